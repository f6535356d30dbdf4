//! JSON as RouterOS reads and writes it (the vendor's page, "JSON format").
//!
//! Read: numbers may be octal (`010`) or hexadecimal (`0x10`), and may have no exponent. Written: every value is a
//! string, and what would be escaped elsewhere goes as it is but for quotes and backslashes (facts §1.7).

/// A value that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    /// A string, or a number or boolean in RouterOS's spelling.
    Text(Vec<u8>),
    List(Vec<Json>),
    Object(Vec<(Vec<u8>, Json)>),
}

/// Reads a body. `None` when it is not JSON as RouterOS takes it.
pub(crate) fn read(bytes: &[u8]) -> Option<Json> {
    let mut rest = bytes;
    let value = value(&mut rest, 0)?;
    trim(&mut rest);
    rest.is_empty().then_some(value)
}

fn trim(rest: &mut &[u8]) {
    *rest = rest.trim_ascii_start();
}

fn eat(rest: &mut &[u8], byte: u8) -> bool {
    trim(rest);
    match rest.split_first() {
        Some((first, after)) if *first == byte => {
            *rest = after;
            true
        }
        _ => false,
    }
}

fn value(rest: &mut &[u8], depth: u8) -> Option<Json> {
    trim(rest);
    if depth > 8 {
        return None;
    }
    match rest.first()? {
        b'"' => string(rest).map(Json::Text),
        b'[' => {
            *rest = &rest[1..];
            let mut list = Vec::new();
            if eat(rest, b']') {
                return Some(Json::List(list));
            }
            loop {
                list.push(value(rest, depth + 1)?);
                match (eat(rest, b','), eat(rest, b']')) {
                    (true, _) => {}
                    (false, true) => return Some(Json::List(list)),
                    (false, false) => return None,
                }
            }
        }
        b'{' => {
            *rest = &rest[1..];
            let mut fields = Vec::new();
            if eat(rest, b'}') {
                return Some(Json::Object(fields));
            }
            loop {
                trim(rest);
                let name = string(rest)?;
                if !eat(rest, b':') {
                    return None;
                }
                fields.push((name, value(rest, depth + 1)?));
                if eat(rest, b'}') {
                    return Some(Json::Object(fields));
                }
                if !eat(rest, b',') {
                    return None;
                }
            }
        }
        _ => bare(rest),
    }
}

/// A number or a word.
fn bare(rest: &mut &[u8]) -> Option<Json> {
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
    let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = after;
    let text = std::str::from_utf8(word).ok()?;
    Some(match text {
        "null" => Json::Null,
        "true" | "false" => Json::Text(word.to_vec()),
        _ => Json::Text(number(text)?.into_bytes()),
    })
}

/// A number in decimal. Octal begins with 0, hexadecimal with 0x; exponents are not supported.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let value = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()?.to_string()
    } else if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") {
        u64::from_str_radix(&digits[1..], 8).ok()?.to_string()
    } else {
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(part) {
            return None;
        }
        digits.to_owned()
    };
    Some(format!("{sign}{value}"))
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    *rest = rest.strip_prefix(b"\"")?;
    let mut text = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        match byte {
            b'"' => return Some(text),
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                *rest = after;
                match escaped {
                    b'"' | b'\\' | b'/' => text.push(escaped),
                    b'b' => text.push(8),
                    b'f' => text.push(12),
                    b'n' => text.push(b'\n'),
                    b'r' => text.push(b'\r'),
                    b't' => text.push(b'\t'),
                    b'u' => {
                        let mut unit = four(rest)?;
                        if (0xD800..0xDC00).contains(&unit) {
                            *rest = rest.strip_prefix(b"\\u")?;
                            let low = four(rest)?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                            unit = 0x1_0000 + ((unit - 0xD800) << 10) + low;
                        }
                        let char = char::from_u32(unit)?;
                        text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    _ => return None,
                }
            }
            byte => text.push(byte),
        }
    }
}

fn four(rest: &mut &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(rest.get(..4)?).ok()?;
    *rest = &rest[4..];
    u32::from_str_radix(digits, 16).ok()
}

/// Appends a string, raw but for quotes and backslashes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends an object of strings.
pub(crate) fn write_object<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    out.push(b'{');
    for (at, (name, value)) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_text(out, value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Json {
        Json::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn numbers_are_octal_hexadecimal_or_decimal_and_have_no_exponent() {
        for (written, value) in [
            ("1500", "1500"),
            ("02734", "1500"),
            ("0x5dc", "1500"),
            ("-3", "-3"),
            ("0", "0"),
            ("1.5", "1.5"),
            ("true", "true"),
        ] {
            assert_eq!(read(written.as_bytes()), Some(text(value)), "{written}");
        }
        for bad in [
            "1e3", "1E3", "09", "0xg", "1.", "", "nul", "[1", "{\"a\":}", "1 2",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read(b"\"010\""), Some(text("010")), "a string is decimal");
    }

    #[test]
    fn bodies_are_read() {
        let read = read(b" {\"a\" : [\"x\", null], \"b\":\"\\u00e9\\ud83d\\ude00\\n\"} ");
        let list = Json::List(vec![text("x"), Json::Null]);
        let fields = vec![(b"a".to_vec(), list), (b"b".to_vec(), text("é😀\n"))];
        assert_eq!(read, Some(Json::Object(fields)));
    }
}
