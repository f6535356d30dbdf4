//! The length prefix in front of every word.

use thiserror::Error;

/// A first byte that does not start a length.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadPrefix {
    /// `F8..=FF`: reserved control bytes. Whoever meets an unknown one cannot go on (vendor's page).
    #[error("reserved control byte {0:#04x}")]
    ControlByte(u8),
    /// `F1..=F7`: lengths of more than 32 bits, which no device supports.
    #[error("unsupported length form {0:#04x}")]
    UnsupportedLength(u8),
}

/// The length of the word that starts at `buf[0]` and the width of its prefix, both in bytes; `None` when the
/// prefix is cut. Accepts non-minimal forms.
///
/// ```
/// use routeros_wire::length;
/// assert_eq!(length::read(&[0x81, 0x00]), Ok(Some((256, 2))));
/// assert_eq!(length::read(&[0x81]), Ok(None));
/// assert!(length::read(&[0xF8]).is_err());
/// ```
#[inline]
pub fn read(buf: &[u8]) -> Result<Option<(u32, usize)>, BadPrefix> {
    match buf.first() {
        None => Ok(None),
        Some(&first) if first < 0x80 => Ok(Some((u32::from(first), 1))),
        Some(&first) => read_wide(first, buf),
    }
}

#[cold]
fn read_wide(first: u8, buf: &[u8]) -> Result<Option<(u32, usize)>, BadPrefix> {
    let (width, high) = match first {
        0x00..=0x7F => (1, first),
        0x80..=0xBF => (2, first & 0x3F),
        0xC0..=0xDF => (3, first & 0x1F),
        0xE0..=0xEF => (4, first & 0x0F),
        0xF0 => (5, 0),
        0xF1..=0xF7 => return Err(BadPrefix::UnsupportedLength(first)),
        0xF8..=0xFF => return Err(BadPrefix::ControlByte(first)),
    };
    let Some(rest) = buf.get(1..width) else {
        return Ok(None);
    };
    let length = rest
        .iter()
        .fold(u32::from(high), |length, &byte| length << 8 | u32::from(byte));
    Ok(Some((length, width)))
}

/// Appends the minimal prefix for a word of `length` bytes.
pub fn write(length: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = length.to_be_bytes();
    match length {
        0..=0x7F => out.push(d),
        0x80..=0x3FFF => out.extend([0x80 | c, d]),
        0x4000..=0x1F_FFFF => out.extend([0xC0 | b, c, d]),
        0x20_0000..=0x0FFF_FFFF => out.extend([0xE0 | a, b, c, d]),
        0x1000_0000.. => out.extend([0xF0, a, b, c, d]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_at_its_edges() {
        let cases: [(u32, &[u8]); 10] = [
            (0, &[0x00]),
            (0x7F, &[0x7F]),
            (0x80, &[0x80, 0x80]),
            (0x100, &[0x81, 0x00]),
            (0x3FFF, &[0xBF, 0xFF]),
            (0x4000, &[0xC0, 0x40, 0x00]),
            (0x1F_FFFF, &[0xDF, 0xFF, 0xFF]),
            (0x20_0000, &[0xE0, 0x20, 0x00, 0x00]),
            (0x0FFF_FFFF, &[0xEF, 0xFF, 0xFF, 0xFF]),
            (0x1000_0000, &[0xF0, 0x10, 0x00, 0x00, 0x00]),
        ];
        for (length, bytes) in cases {
            let mut out = Vec::new();
            write(length, &mut out);
            assert_eq!(out, bytes, "{length:#x}");
            assert_eq!(read(bytes), Ok(Some((length, bytes.len()))));
        }
    }

    /// The vectors of go-routeros' reader test.
    #[test]
    fn non_minimal_forms_are_read() {
        assert_eq!(read(&[0x80, 0x07]), Ok(Some((7, 2))));
        assert_eq!(read(&[0xC0, 0x43, 0x21]), Ok(Some((0x4321, 3))));
        assert_eq!(read(&[0xE0, 0x2A, 0xCD, 0xEF]), Ok(Some((0x2A_CDEF, 4))));
        assert_eq!(read(&[0xF0, 0x10, 0x00, 0x00, 0x80]), Ok(Some((0x1000_0080, 5))));
    }

    #[test]
    fn undefined_and_reserved_first_bytes_are_told_apart() {
        for first in 0xF1..=0xF7 {
            assert_eq!(
                read(&[first, 0, 0, 0, 0]),
                Err(BadPrefix::UnsupportedLength(first))
            );
        }
        for first in 0xF8..=0xFF {
            assert_eq!(read(&[first]), Err(BadPrefix::ControlByte(first)));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(length: u32) {
            let mut out = Vec::new();
            write(length, &mut out);
            prop_assert_eq!(read(&out), Ok(Some((length, out.len()))));
            for cut in 0..out.len() {
                prop_assert_eq!(read(&out[..cut]), Ok(None));
            }
        }
    }
}
