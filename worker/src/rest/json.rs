//! JSON as RouterOS writes it, without loss: strings are bytes.
//!
//! Devices put raw control characters and bytes that are not UTF-8 into strings (facts §1.7). Strict parsers refuse
//! both; here they come through as they are.

use thiserror::Error;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// A string, with its escapes undone.
    Text(Vec<u8>),
    /// A number, `true`, `false` or `null`, as written.
    Bare(Vec<u8>),
    List(Vec<Json>),
    /// In the order written; names may come twice.
    Object(Vec<(Vec<u8>, Json)>),
}

/// Bytes that are no JSON.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no JSON at byte {at}: {what}")]
pub(crate) struct JsonError {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// Lists and objects inside each other.
const DEPTH: usize = 16;

impl Json {
    /// Reads one value and nothing after it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let mut parser = Parser { bytes, at: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        match parser.bytes.get(parser.at) {
            None => Ok(value),
            Some(_) => Err(parser.error("something stands after the value")),
        }
    }

    /// A value of an object.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Json> {
        match self {
            Self::Object(fields) => fields
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// As a RouterOS value: what is not a string, which devices do not send, as it was written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bare(bare) if bare == b"null" => Vec::new(),
            Self::Bare(bare) => bare.clone(),
            Self::List(list) => list.iter().map(Self::bytes).collect::<Vec<_>>().join(&b','),
            Self::Object(fields) => {
                let pair = |(name, value): &(Vec<u8>, Self)| [&name[..], b"=", &value.bytes()].concat();
                fields.iter().map(pair).collect::<Vec<_>>().join(&b';')
            }
        }
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > DEPTH {
            return Err(self.error("too deep"));
        }
        self.skip_space();
        match self.bytes.get(self.at) {
            Some(b'"') => self.string().map(Json::Text),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => {
                let rest = &self.bytes[self.at..];
                let is_bare = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let length = rest.iter().take_while(is_bare).count();
                self.at += length;
                Ok(Json::Bare(rest[..length].to_vec()))
            }
            Some(_) => Err(self.error("no value begins so")),
            None => Err(self.error("it ends in the middle")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut list = Vec::new();
        if self.eat(b']') {
            return Ok(Json::List(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Json::List(list));
            }
            self.need(b',', "a comma or ] is missing")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.eat(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.missing("a name is missing"));
            }
            let name = self.string()?;
            self.need(b':', "a colon is missing")?;
            fields.push((name, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Json::Object(fields));
            }
            self.need(b',', "a comma or } is missing")?;
        }
    }

    fn need(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        match self.eat(byte) {
            true => Ok(()),
            false => Err(self.missing(what)),
        }
    }

    fn missing(&self, what: &'static str) -> JsonError {
        match self.at < self.bytes.len() {
            true => self.error(what),
            false => self.error("it ends in the middle"),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, JsonError> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest
                .iter()
                .take_while(|byte| !matches!(byte, b'"' | b'\\'))
                .count();
            text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(_) => self.escape(&mut text)?,
                None => return Err(self.error("it ends inside a string")),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let escaped = *self
            .bytes
            .get(self.at + 1)
            .ok_or_else(|| self.error("it ends inside a string"))?;
        let byte = match escaped {
            b'"' | b'\\' | b'/' => escaped,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(text),
            _ => return Err(self.error("no such escape")),
        };
        self.at += 2;
        text.push(byte);
        Ok(())
    }

    /// `\u00e9`, or a pair of surrogates. One alone stands for no character and is refused.
    fn unicode(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let first = self.unit()?;
        let code = match first {
            0xD800..=0xDBFF if self.bytes[self.at..].starts_with(b"\\u") => {
                let second = self.unit()?;
                match second {
                    0xDC00..=0xDFFF => 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00),
                    _ => return Err(self.error("half a character")),
                }
            }
            other => other,
        };
        let char = char::from_u32(code).ok_or_else(|| self.error("half a character"))?;
        text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn unit(&mut self) -> Result<u32, JsonError> {
        let digits = self
            .bytes
            .get(self.at + 2..self.at + 6)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.ok_or_else(|| self.error("an escape without four hex digits"))?;
        self.at += 6;
        Ok(digits.iter().fold(0, |unit, digit| {
            unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0)
        }))
    }
}

/// Appends a string. Bytes that are not UTF-8 go as they are, which is how devices take them.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..=0x1F => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Json {
        Json::Text(text.to_vec())
    }

    #[test]
    fn what_devices_write_is_read_without_loss() {
        let read = Json::parse(
            b" [ {\".id\":\"*1\",\"comment\":\"a\nb\tc\x01 caf\xE9\",\"n\":12,\"on\":true} , {} ] ",
        );
        let row = vec![
            (b".id".to_vec(), text(b"*1")),
            (b"comment".to_vec(), text(b"a\nb\tc\x01 caf\xE9")),
            (b"n".to_vec(), Json::Bare(b"12".to_vec())),
            (b"on".to_vec(), Json::Bare(b"true".to_vec())),
        ];
        assert_eq!(
            read,
            Ok(Json::List(vec![Json::Object(row), Json::Object(vec![])]))
        );
        let escaped = Json::parse(br#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#);
        assert_eq!(escaped, Ok(text("\"\\/\u{8}\u{c}\n\r\té😀".as_bytes())));
    }

    #[test]
    fn what_is_cut_or_no_json_is_refused_with_its_place() {
        let whole = br#"[{"a":"b\n","c":[1,2]},"\u00e9"]"#;
        for end in 0..whole.len() {
            assert!(Json::parse(&whole[..end]).is_err(), "{end}");
        }
        for (bad, at) in [
            (&b"<html>"[..], 0),
            (b"[1,]", 3),
            (b"{\"a\" 1}", 5),
            (b"[] x", 3),
            (b"\"\\x\"", 1),
            (b"\"\\ud800\"", 7),
            (b"[1 2]", 3),
        ] {
            assert_eq!(
                Json::parse(bad).map_err(|error| error.at),
                Err(at),
                "{}",
                bad.escape_ascii()
            );
        }
        assert!(Json::parse(&[b'['; 1000]).is_err());
    }

    #[test]
    fn strings_are_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut written = Vec::new();
        write_text(&mut written, &all);
        assert_eq!(Json::parse(&written), Ok(Json::Text(all)));
    }
}
