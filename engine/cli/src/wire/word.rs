//! Words as JSON: a string, or `{"hex": "…"}` where the bytes are not UTF-8.

use std::fmt::Write as _;

use serde_json::Value;

/// Appends a word.
pub(super) fn write(out: &mut String, word: &[u8]) {
    match std::str::from_utf8(word) {
        Ok(text) => write_text(out, text),
        Err(_) => {
            out.push_str("{\"hex\": \"");
            write_hex(out, word);
            out.push_str("\"}");
        }
    }
}

/// Appends a sentence as an array.
pub(super) fn write_all<'a>(out: &mut String, words: impl Iterator<Item = &'a [u8]>) {
    out.push('[');
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(out, word);
    }
    out.push(']');
}

/// A JSON string without any control character, so that none can reach a terminal or be taken out on the way to it.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            // All control characters are below U+00A0.
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
            c => {
                out.push(c);
                Ok(())
            }
        };
    }
    out.push('"');
}

/// Appends two digits a byte.
pub(super) fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// Reads a word.
pub(super) fn read(value: &Value) -> Result<Vec<u8>, String> {
    let object = match value {
        Value::String(text) => return Ok(text.as_bytes().to_vec()),
        Value::Object(object) if object.len() == 1 => object,
        _ => {
            return Err(format!(
                "{value} is no word; write a string or {{\"hex\": \"…\"}}"
            ));
        }
    };
    let hex = object
        .get("hex")
        .and_then(Value::as_str)
        .ok_or_else(|| format!("{value} is no word; write {{\"hex\": \"…\"}}"))?;
    from_hex(hex).ok_or_else(|| format!("{hex:?} is not pairs of hexadecimal digits"))
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |&[high, low]: &[u8; 2]| Some((digit(high)? * 16 + digit(low)?) as u8);
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        let words: [&[u8]; 6] = [
            b"",
            b"=name=\"a\\b\"",
            "=comment=Küche\u{9b}2J\u{7f}\0\r\n\t\u{1b}[0m".as_bytes(),
            b"=comment=caf\xE9",
            b"\xFF",
            b" ",
        ];
        let mut line = String::new();
        write_all(&mut line, words.iter().copied());
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let parsed: Vec<Value> = serde_json::from_str(&line).unwrap();
        let back = parsed.iter().map(|word| read(word).unwrap()).collect::<Vec<_>>();
        assert_eq!(back, words);
        assert!(line.ends_with(r#"{"hex": "ff"}, " "]"#), "{line}");
    }

    #[test]
    fn what_is_no_word() {
        for bad in [
            "1",
            "null",
            "[]",
            "{}",
            r#"{"hex": 1}"#,
            r#"{"hex": "0"}"#,
            r#"{"hex": "0g"}"#,
            r#"{"a": ""}"#,
        ] {
            assert!(read(&serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
