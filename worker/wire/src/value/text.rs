//! Bytes as text and back, without loss.
//!
//! Operators write comments in the code page of their desktop, so a value may be any bytes. The escape leaves text as it
//! is and writes the rest so that it can be read back:
//!
//! ```text
//! bytes that are UTF-8     as they are, control characters included
//! a backslash              \\
//! any other byte           \xHH, upper case
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error;

/// A backslash in escaped text that [`escape`] does not write.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("bad escape at byte {at}: after a backslash comes another, or x and two hexadecimal digits")]
pub struct BadEscape {
    /// Offset of the backslash in bytes.
    pub at: usize,
}

/// Writes bytes as text. Borrows where there is nothing to escape.
///
/// ```
/// use routeros_wire::value::text;
/// assert_eq!(text::escape("Küche".as_bytes()), "Küche");
/// assert_eq!(text::escape(b"caf\xE9"), r"caf\xE9");
/// assert_eq!(text::unescape(r"caf\xE9")?, &b"caf\xE9"[..]);
/// # Ok::<(), text::BadEscape>(())
/// ```
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\\') => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for (at, part) in chunk.valid().split('\\').enumerate() {
            if at > 0 {
                out.push_str("\\\\");
            }
            out.push_str(part);
        }
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out
}

/// Reads what [`escape`] wrote. Hexadecimal digits may be of either case, and any byte may be written as `\xHH`.
pub fn unescape(text: &str) -> Result<Cow<'_, [u8]>, BadEscape> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'\\') {
        return Ok(Cow::Borrowed(bytes));
    }
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', after) => hex_byte(after).ok_or(BadEscape {
                at: bytes.len() - rest.len(),
            })?,
            (byte, after) => (*byte, after),
        };
        out.push(byte);
        rest = after;
    }
    Ok(Cow::Owned(out))
}

/// The byte of `xHH` and what follows.
pub(crate) fn hex_byte(rest: &[u8]) -> Option<(u8, &[u8])> {
    let [b'x', high, low, after @ ..] = rest else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    // Two digits make a byte.
    Some(((digit(*high)? * 16 + digit(*low)?) as u8, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_not_text_is_escaped() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"two\nlines", "two\nlines"),
            ("Küche ж".as_bytes(), "Küche ж"),
            (b"a\\b", r"a\\b"),
            (b"\\xE9", r"\\xE9"),
            (b"\xCA\xE0", r"\xCA\xE0"),
            (b"caf\xE9!", r"caf\xE9!"),
            // A truncated character, and one that is too long.
            (b"\xE2\x82", r"\xE2\x82"),
            (b"\xC0\x80", r"\xC0\x80"),
        ] {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).as_deref(), Ok(bytes));
        }
    }

    #[test]
    fn bad_escapes_have_a_place() {
        for (text, at) in [(r"a\", 1), (r"\x", 0), (r"\x0", 0), (r"ab\xG0", 2), (r"\\\n", 2)] {
            assert_eq!(unescape(text), Err(BadEscape { at }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = escape(&bytes);
            let back = unescape(&text);
            prop_assert_eq!(back.as_deref(), Ok(&bytes[..]));
        }

        #[test]
        fn text_stays_text(text in "[^\\\\]{0,32}") {
            prop_assert!(matches!(escape(text.as_bytes()), Cow::Borrowed(same) if same == text));
        }

        #[test]
        fn no_text_panics(text in "[\\\\x0-9a-fé]{0,16}") {
            let _ = unescape(&text);
        }
    }
}
