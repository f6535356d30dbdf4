//! One byte a word, found while the walk is there anyway.
//!
//! ```text
//! word     0C  =  n  a  m  e  =  e  t  h  …      compared byte for byte, 32 at once,
//! pattern  00 00  =  =  =  =  =  =  =  =  …      with this
//! index     0  1  2  3  4  5  6 ◀ the first that is equal: the mark
//! ```
//!
//! * [`END`]: the length is zero, the word ends a sentence.
//! * 1: the word begins with a zero byte. It is no attribute.
//! * 2 to 31: where the first `=` behind the word's first byte stands. In an attribute that is two more than the
//!   length of its name, *if* it is inside the word: the 32 bytes may reach into the words behind it, and to look
//!   is left to the reader, who needs the length anyway.
//! * [`FAR`] or more: no such byte within 32.
//!
//! A longer prefix moves the word but not the mark: it counts as if the prefix had been one byte wide.
//!
//! [`SURE`] is added by who happens to know more: that the prefix is one byte and the word begins with `=`. Who splits the
//! word then need not look at its bytes. Nobody may rely on its absence.

/// The mark of a word of no bytes.
pub(crate) const END: u8 = 0;

/// The mark of a word with no `=` within the first 32 bytes.
pub(crate) const FAR: u8 = 32;

/// Set in the mark of a word that is known to be an attribute and to have a prefix of one byte.
pub(crate) const SURE: u8 = 0x80;

/// Bytes that are compared.
pub(super) const BLOCK: usize = 32;

/// The mark of an attribute whose name has this length, unless it is [`FAR`].
#[inline]
pub(crate) fn of_name(length: usize) -> u8 {
    (length.min(FAR as usize - 2) + 2) as u8
}

/// The mark of a word, from its bytes alone.
pub(super) fn of_word(word: &[u8]) -> u8 {
    match word {
        [] => END,
        [0, ..] => 1,
        [_, rest @ ..] => {
            let near = &rest[..rest.len().min(BLOCK - 2)];
            near.iter()
                .position(|&byte| byte == b'=')
                .map_or(FAR, |at| at as u8 + 2)
        }
    }
}

/// The mark of a word with a prefix of one byte, from the bytes that begin with its prefix.
///
/// Safe and for every processor; [`vector::mark`](super::unchecked::vector::mark) has the vector instructions.
#[inline(always)]
pub(super) fn of_block(block: &[u8; BLOCK]) -> u8 {
    let mut pattern = [b'='; BLOCK];
    [pattern[0], pattern[1]] = [0, 0];
    let (words, patterns) = (block.as_chunks::<8>().0, pattern.as_chunks::<8>().0);
    for ((word, pattern), at) in words.iter().zip(patterns).zip((0..).step_by(8)) {
        // A byte that is equal is zero here. The lowest one has its high bit set in `equal`; those above may be
        // wrong.
        let unequal = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*pattern);
        let equal = unequal.wrapping_sub(LOW) & !unequal & (LOW << 7);
        if equal != 0 {
            return at + (equal.trailing_zeros() / 8) as u8;
        }
    }
    FAR
}

/// A one in every byte.
const LOW: u64 = u64::MAX / 0xFF;

/// Calls `each` with the index of every [`END`] in `marks`, in order.
///
/// Safe and for every processor; [`ends::ends`](super::unchecked::ends::ends) has the vector instructions.
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
pub(super) fn ends(marks: &[u8], mut each: impl FnMut(usize)) {
    let (chunks, rest) = marks.as_chunks::<8>();
    for (chunk, at) in chunks.iter().zip((0..).step_by(8)) {
        // Without the highest bit no byte carries into the next.
        let marks = u64::from_le_bytes(*chunk);
        let mut ends = !(((marks & (LOW * 0x7F)) + LOW * 0x7F) | marks) & (LOW << 7);
        while ends != 0 {
            each(at + (ends.trailing_zeros() / 8) as usize);
            ends &= ends - 1;
        }
    }
    let before = marks.len() - rest.len();
    for (index, _) in rest.iter().enumerate().filter(|&(_, &mark)| mark == END) {
        each(before + index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::unchecked::ends as unchecked_ends;
    use crate::decode::unchecked::vector;

    #[test]
    fn a_block_and_its_word_have_the_same_mark_wherever_the_sign_stands() {
        for at in 0..BLOCK + 4 {
            let mut word = [b'x'; BLOCK + 4];
            word[0] = b'=';
            word[at] = b'=';
            let mut block = [40; BLOCK];
            block[1..].copy_from_slice(&word[..BLOCK - 1]);
            assert_eq!(of_block(&block), of_word(&word), "{at}");
            assert_eq!(vector::mark(&block), of_word(&word), "{at}");
            if at > 0 {
                assert_eq!(of_word(&word), of_name(at - 1).min(FAR), "{at}");
            }
        }
        assert_eq!((of_block(&[0; BLOCK]), vector::mark(&[0; BLOCK])), (END, END));
        let mut zero = [b'='; BLOCK];
        [zero[0], zero[1]] = [5, 0];
        assert_eq!((of_block(&zero), of_word(&zero[1..])), (1, 1));
        assert_eq!(vector::mark(&zero), 1);
    }

    #[test]
    fn ends_are_found_at_every_index() {
        for length in 0..40 {
            for at in 0..length {
                let mut marks = vec![if at % 2 == 0 { FAR } else { SURE | 4 }; length];
                marks[at] = END;
                marks[0] = END;
                let mut found = Vec::new();
                ends(&marks, |index| found.push(index));
                found.dedup();
                let mut fast = vec![7];
                unchecked_ends::ends(&marks, 1_000, &mut fast);
                let both = found.iter().map(|index| *index as u32 + 1_000);
                assert_eq!(
                    fast,
                    [7].into_iter().chain(both).collect::<Vec<_>>(),
                    "{length} {at}"
                );
                assert_eq!(found, if at == 0 { vec![0] } else { vec![0, at] });
            }
        }
    }
}
