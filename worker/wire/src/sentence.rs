//! A sentence as a view over the buffer it came in.

use std::fmt;

use crate::decode::mark;
use crate::length;
use crate::reply::Kind;

const TAG: &[u8] = b".tag=";

/// One sentence: words that borrow from the read buffer.
#[derive(Clone, Copy, Default)]
pub struct Sentence<'a> {
    buf: &'a [u8],
    /// Offset in `buf` of the prefix of each word and of the terminator: a word ends where the next prefix is.
    tape: &'a [u32],
    /// The [mark] of each word: where its name ends, near enough.
    marks: &'a [u8],
}

impl<'a> Sentence<'a> {
    #[inline]
    pub(crate) fn new(buf: &'a [u8], tape: &'a [u32], marks: &'a [u8]) -> Self {
        debug_assert_eq!(tape.len(), marks.len() + 1);
        Self { buf, tape, marks }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether this is the empty sentence, which is legal and means nothing.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The `index`-th word.
    #[inline]
    pub fn word(&self, index: usize) -> Option<&'a [u8]> {
        let [at, next] = self.tape.get(index..)?.first_chunk()?;
        between(self.buf, *at, *next)
    }

    /// The value of the `index`-th word, if it is an attribute of this name.
    #[inline]
    pub fn value_at(&self, index: usize, name: &[u8]) -> Option<&'a [u8]> {
        let mark = *self.marks.get(index)?;
        // A name without a value has its `=`, if any, in a word behind it; one that is not near may be anywhere.
        if mark & !mark::SURE < mark::of_name(name.len()) {
            return None;
        }
        match self.word(index)?.strip_prefix(b"=")?.strip_prefix(name)? {
            [] => Some(&[]),
            [b'=', value @ ..] => Some(value),
            _ => None,
        }
    }

    /// All words in order.
    pub fn words(&self) -> Words<'a> {
        Words {
            sentence: *self,
            front: 0,
        }
    }

    /// What the first word says this sentence is.
    #[inline]
    pub fn kind(&self) -> Kind {
        // Nearly all sentences are rows: one comparison for those.
        match (self.buf, self.tape) {
            (buf, [at, next, ..]) if buf.get(*at as usize..*next as usize) == Some(b"\x03!re") => Kind::Re,
            _ => Kind::of(self.word(0).unwrap_or_default()),
        }
    }

    /// The value of `.tag=`, wherever it stands.
    #[inline]
    pub fn tag(&self) -> Option<&'a [u8]> {
        let of_tag = mark::of_name(TAG.len() - 2);
        let mut marks = self.marks.iter().enumerate();
        marks.find_map(|(index, &mark)| match mark == of_tag {
            true => self.word(index)?.strip_prefix(TAG),
            false => None,
        })
    }

    /// The value of the attribute `name`; of the last one, should a name occur twice. An attribute without a
    /// second `=` has an empty value.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        (0..self.len()).rev().find_map(|index| self.value_at(index, name))
    }

    /// The value of the attribute `name`, looked for at the `hint`-th word first; `hint` is then where it was found.
    #[inline]
    pub fn get_near(&self, name: &[u8], hint: &mut u32) -> Option<&'a [u8]> {
        if let Some(value) = self.value_at(*hint as usize, name) {
            return Some(value);
        }
        let (index, value) = (0..self.len()).find_map(|index| Some((index, self.value_at(index, name)?)))?;
        // A sentence has no more words than bytes, and these have 32-bit offsets.
        *hint = index as u32;
        Some(value)
    }

    /// All attributes in order, duplicates kept.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            buf: self.buf,
            tape: self.tape,
            marks: self.marks,
        }
    }

    /// Whether this row of a `listen` says that its item is gone: `=.dead=true` on devices, `yes` in the vendor's
    /// page.
    pub fn is_dead(&self) -> bool {
        matches!(self.get(b".dead"), Some(b"true" | b"yes"))
    }

    /// The reason of a `!fatal` in either form: the bare second word of a real device, or `=message=`.
    pub fn fatal_reason(&self) -> &'a [u8] {
        self.get(b"message")
            .or_else(|| {
                self.words()
                    .skip(1)
                    .find(|word| !word.starts_with(b"=") && !word.starts_with(b".tag="))
            })
            .unwrap_or_default()
    }

    /// Appends the sentence to `out` in wire format without its `.tag` word, as results are kept. Lengths stay as they
    /// were written.
    pub fn write_untagged(&self, out: &mut Vec<u8>) {
        let of_tag = mark::of_name(TAG.len() - 2);
        let mut from = 0;
        for (index, _) in self.marks.iter().enumerate().filter(|(_, mark)| **mark == of_tag) {
            if self.word(index).is_some_and(|word| word.starts_with(TAG)) {
                self.copy(from, index, out);
                from = index + 1;
            }
        }
        self.copy(from, self.len(), out);
        out.push(0);
    }

    /// Bytes that [`write_untagged`](Self::write_untagged) appends.
    pub fn untagged_len(&self) -> usize {
        let of_tag = mark::of_name(TAG.len() - 2);
        let size = |from: usize, to: usize| match (self.tape.get(from), self.tape.get(to)) {
            (Some(from), Some(to)) => (to - from) as usize,
            _ => 0,
        };
        let tags = self.marks.iter().enumerate().filter(|(_, mark)| **mark == of_tag);
        let tags = tags.filter(|(index, _)| self.word(*index).is_some_and(|word| word.starts_with(TAG)));
        let tags = tags.map(|(index, _)| size(index, index + 1)).sum::<usize>();
        size(0, self.len()) - tags + 1
    }

    /// Appends the words `from..to` with their lengths.
    fn copy(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let bounds = (self.tape.get(from), self.tape.get(to));
        if let (Some(&from), Some(&to)) = bounds
            && let Some(words) = self.buf.get(from as usize..to as usize)
        {
            out.extend_from_slice(words);
        }
    }

    /// The words as owned bytes.
    pub fn to_vec(&self) -> Vec<Vec<u8>> {
        self.words().map(<[u8]>::to_vec).collect()
    }
}

impl fmt::Debug for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.words().map(<[u8]>::escape_ascii).map(|w| w.to_string()))
            .finish()
    }
}

/// Iterator over the words of a [`Sentence`].
#[derive(Clone, Debug)]
pub struct Words<'a> {
    sentence: Sentence<'a>,
    front: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let word = self.sentence.word(self.front)?;
        self.front += 1;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.sentence.len() - self.front;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Words<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let last = self
            .sentence
            .len()
            .checked_sub(1)
            .filter(|&last| last >= self.front)?;
        let word = self.sentence.word(last);
        self.sentence.tape = &self.sentence.tape[..=last];
        self.sentence.marks = &self.sentence.marks[..last];
        word
    }
}

impl ExactSizeIterator for Words<'_> {}

/// Iterator over the attributes of a [`Sentence`] as `(name, value)`.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    buf: &'a [u8],
    tape: &'a [u32],
    marks: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&mark, marks) = self.marks.split_first()?;
            let (at, tape) = self.tape.split_first()?;
            let next = tape.first()?;
            (self.marks, self.tape) = (marks, tape);
            let raw = self.buf.get(*at as usize..*next as usize)?;
            if let Some(attribute) = attribute(raw, mark) {
                return Some(attribute);
            }
        }
    }

    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        let words = self.tape.array_windows().zip(self.marks);
        words.fold(init, |folded, (&[at, next], &mark)| {
            let raw = self.buf.get(at as usize..next as usize);
            match raw.and_then(|raw| attribute(raw, mark)) {
                Some(attribute) => f(folded, attribute),
                None => folded,
            }
        })
    }
}

/// The name and the value of a word, if it is an attribute. `raw` is the word with its prefix.
#[inline]
fn attribute(raw: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    // The common case first, with as few questions as can be: it is known to be one, and the name ends inside it.
    let name = mark.wrapping_sub(mark::SURE | 2);
    if name < mark::FAR - 2
        && let Some((head, value)) = raw.split_at_checked(usize::from(name) + 3)
    {
        return Some((&head[2..usize::from(name) + 2], value));
    }
    unsure_attribute(raw, mark & !mark::SURE)
}

/// The same where the bytes have to be looked at.
#[inline]
fn unsure_attribute(raw: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    match (raw, mark) {
        ([..0x80, first, ..], _) if *first != b'=' => None,
        ([..0x80, ..], 2..mark::FAR) => match raw.split_at_checked(usize::from(mark)) {
            Some(([_, _, name @ ..], [_, value @ ..])) => Some((name, value)),
            _ => other_attribute(raw, mark),
        },
        _ => other_attribute(raw, mark),
    }
}

/// The same for what has no value, a long name, or a longer prefix.
#[inline(never)]
fn other_attribute(raw: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let word = match raw {
        [..0x80, b'=', word @ ..] => word,
        [..0x80, ..] | [] => return None,
        wide => behind_wide(wide)?.strip_prefix(b"=")?,
    };
    // Of an attribute the mark is 2 at least.
    let name = usize::from(mark).wrapping_sub(2);
    let name = match mark < mark::FAR {
        true => name,
        false => far(word),
    };
    Some(match word.split_at_checked(name) {
        Some((name, [_, value @ ..])) => (name, value),
        _ => (word, &[]),
    })
}

/// Where the name ends that no mark tells.
#[cold]
fn far(word: &[u8]) -> usize {
    word.iter().position(|&byte| byte == b'=').unwrap_or(usize::MAX)
}

/// The word between two prefixes.
#[inline]
fn between(buf: &[u8], at: u32, next: u32) -> Option<&[u8]> {
    match buf.get(at as usize..next as usize)? {
        [..0x80, word @ ..] => Some(word),
        wide => behind_wide(wide),
    }
}

#[cold]
fn behind_wide(raw: &[u8]) -> Option<&[u8]> {
    let (_, width) = length::read(raw).ok()??;
    raw.get(width..)
}

/// Splits `=name=value` at the second `=`; `=name` has an empty value; `None` for any other word.
pub fn split_attribute(word: &[u8]) -> Option<(&[u8], &[u8])> {
    word.strip_prefix(b"=").map(split)
}

fn split(rest: &[u8]) -> (&[u8], &[u8]) {
    match rest.iter().position(|&byte| byte == b'=') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits, encode};

    fn with<T>(words: &[&[u8]], test: impl FnOnce(Sentence<'_>) -> T) -> T {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("no empty words");
        let mut decoder = Decoder::new(Limits::default());
        decoder.scan(&bytes).expect("valid");
        test(decoder.sentence(&bytes, 0))
    }

    #[test]
    fn values_are_split_at_the_second_equals_sign_only() {
        with(&[b"!re", b"=comment=a=b=c", b"=empty=", b"=once"], |s| {
            assert_eq!(s.get(b"comment"), Some(&b"a=b=c"[..]));
            assert_eq!(s.get(b"empty"), Some(&b""[..]));
            assert_eq!(s.get(b"once"), Some(&b""[..]));
            assert_eq!(s.get(b"comm"), None);
            assert_eq!(s.attributes().count(), 3);
        });
    }

    #[test]
    fn a_duplicate_name_keeps_its_order_and_the_last_wins() {
        with(&[b"!re", b"=a=1", b"=a=2"], |s| {
            assert_eq!(s.get(b"a"), Some(&b"2"[..]));
            assert_eq!(s.attributes().map(|(_, v)| v).collect::<Vec<_>>(), [b"1", b"2"]);
        });
    }

    #[test]
    fn the_tag_may_stand_anywhere() {
        with(&[b"!re", b".tag=x", b"=a=1"], |s| {
            assert_eq!(s.tag(), Some(&b"x"[..]));
        });
        with(&[b"!re", b"=a=1", b".tag=x"], |s| {
            assert_eq!(s.tag(), Some(&b"x"[..]));
        });
        with(&[b"!re", b"=.tag=x"], |s| {
            assert_eq!(s.tag(), None, "that is an attribute");
        });
    }

    #[test]
    fn fatal_gives_its_reason_in_both_forms() {
        with(&[b"!fatal", b"session terminated on request"], |s| {
            assert_eq!(s.fatal_reason(), b"session terminated on request");
        });
        with(&[b"!fatal", b"=message=too many"], |s| {
            assert_eq!(s.fatal_reason(), b"too many");
        });
        with(&[b"!fatal"], |s| assert_eq!(s.fatal_reason(), b""));
    }

    #[test]
    fn a_removed_item_is_dead_in_both_spellings() {
        with(&[b"!re", b"=.id=*1", b"=.dead=true"], |s| assert!(s.is_dead()));
        with(&[b"!re", b"=.id=*1", b"=.dead=yes"], |s| assert!(s.is_dead()));
        with(&[b"!re", b"=.id=*1"], |s| assert!(!s.is_dead()));
    }

    #[test]
    fn a_result_is_kept_without_its_tag() {
        let mut out = Vec::new();
        with(&[b"!re", b".tag=9", b"=a=\xFF"], |s| {
            s.write_untagged(&mut out);
            assert_eq!(s.untagged_len(), out.len());
        });
        assert_eq!(out, b"\x03!re\x04=a=\xFF\x00");
    }

    #[test]
    fn words_iterate_from_both_ends_once() {
        with(&[b"a", b"b", b"c"], |s| {
            let mut words = s.words();
            assert_eq!(words.next_back(), Some(&b"c"[..]));
            assert_eq!(words.next(), Some(&b"a"[..]));
            assert_eq!(words.len(), 1);
            assert_eq!(words.next(), Some(&b"b"[..]));
            assert_eq!((words.next(), words.next_back()), (None, None));
        });
    }
}
