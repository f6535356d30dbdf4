//! Sentences into a caller's buffer, so that one write can carry a batch of them.

use thiserror::Error;

use crate::length;

/// A word that the format cannot carry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// An empty word would end the sentence in the middle.
    #[error("an empty word would end the sentence")]
    EmptyWord,
    /// Lengths have 32 bits.
    #[error("word of {0} bytes does not fit a 32-bit length")]
    WordTooLong(usize),
}

/// Appends one sentence: its words and the terminator. On an error the buffer is as it was.
///
/// ```
/// let mut out = Vec::new();
/// routeros_wire::encode::sentence(&mut out, ["/login", "=name=admin"])?;
/// assert_eq!(out, b"\x06/login\x0b=name=admin\x00");
/// # Ok::<(), routeros_wire::EncodeError>(())
/// ```
pub fn sentence<I>(out: &mut Vec<u8>, words: I) -> Result<(), EncodeError>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let before = out.len();
    let result = words.into_iter().try_for_each(|w| word(out, w.as_ref()));
    match result {
        Ok(()) => out.push(0),
        Err(_) => out.truncate(before),
    }
    result
}

/// Appends one word. A sentence is ended with [`end`].
pub fn word(out: &mut Vec<u8>, word: &[u8]) -> Result<(), EncodeError> {
    prefix(out, word.len())?;
    out.extend_from_slice(word);
    Ok(())
}

/// Appends `=name=value` as one word.
pub fn attribute(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
    prefix(out, name.len().saturating_add(value.len()).saturating_add(2))?;
    out.push(b'=');
    out.extend_from_slice(name);
    out.push(b'=');
    out.extend_from_slice(value);
    Ok(())
}

/// Appends `.tag=tag` as one word.
pub fn tag(out: &mut Vec<u8>, tag: &[u8]) -> Result<(), EncodeError> {
    prefix(out, tag.len().saturating_add(5))?;
    out.extend_from_slice(b".tag=");
    out.extend_from_slice(tag);
    Ok(())
}

/// Ends the sentence.
pub fn end(out: &mut Vec<u8>) {
    out.push(0);
}

fn prefix(out: &mut Vec<u8>, length: usize) -> Result<(), EncodeError> {
    match u32::try_from(length) {
        Ok(0) => Err(EncodeError::EmptyWord),
        Ok(length) => {
            length::write(length, out);
            Ok(())
        }
        Err(_) => Err(EncodeError::WordTooLong(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_word_leaves_the_buffer_alone() {
        let mut out = b"before".to_vec();
        assert_eq!(sentence(&mut out, ["/a", ""]), Err(EncodeError::EmptyWord));
        assert_eq!(out, b"before");
    }

    #[test]
    fn attribute_and_tag_are_single_words() {
        let mut out = Vec::new();
        attribute(&mut out, b"comment", b"").expect("short");
        tag(&mut out, b"12").expect("short");
        end(&mut out);
        assert_eq!(out, b"\x09=comment=\x07.tag=12\x00");
    }
}
