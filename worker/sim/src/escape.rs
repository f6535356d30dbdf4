//! Bytes as text without loss, for JSON.
//!
//! A backslash becomes `\\` and every byte that is not part of valid UTF-8 becomes `\xNN`; all else stays as it is,
//! so what an operator typed in UTF-8 reads as typed, and no two words look the same.

use std::fmt::Write;

/// `bytes` as text.
///
/// ```
/// assert_eq!(muster_sim::escape(b"caf\xE9 \\ a=b"), r"caf\xe9 \\ a=b");
/// ```
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (at, part) in chunk.valid().split('\\').enumerate() {
            if at > 0 {
                text.push_str("\\\\");
            }
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes that [`escape`] made `text` of; a backslash that starts no escape stands for itself.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let hex = rest.strip_prefix('x').and_then(|hex| hex.get(..2));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(b'\\');
                rest = rest.strip_prefix('\\').unwrap_or(rest);
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x')], 0..40)) {
            prop_assert_eq!(unescape(&escape(&bytes)), bytes);
        }
    }

    #[test]
    fn utf_8_stays_readable() {
        assert_eq!(escape("=comment=Büro\n".as_bytes()), "=comment=Büro\n");
        assert_eq!(escape(b"\\xff"), r"\\xff");
    }
}
