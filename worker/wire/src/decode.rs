//! From a stream of bytes to sentences, without copying either.
//!
//! The caller owns the buffer. [`Decoder::scan`] walks the length prefixes that are new since the last call and
//! notes on a reusable *tape* where each word starts; a [`Sentence`] is a view over a stretch of that tape:
//!
//! ```text
//! buffer   03 !re  0C =name=ether1  00  05 !done  00  03 !r
//! tape     ^0      ^4                ^17 ^18      ^24 ^25 (scan: the next prefix, its word is not all there)
//! ends     entry 2 ends sentence 0, entry 4 ends sentence 1; entry 5 belongs to the open sentence
//! ```
//!
//! Nothing is looked at twice: an unfinished word costs one more look at its prefix a call.

use thiserror::Error;

use crate::length::{self, BadPrefix};
use crate::sentence::Sentence;

/// What a peer may make us hold. Checked on announced lengths, before anything is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one word. Default 16 MiB; real large words (file contents, script output) stay under 64 KiB.
    pub word_bytes: u32,
    /// Words in one sentence, the terminator not counted. Default 4,096.
    pub sentence_words: usize,
    /// Bytes in one sentence, prefixes counted. Default 64 MiB.
    pub sentence_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            word_bytes: 16 << 20,
            sentence_words: 4096,
            sentence_bytes: 64 << 20,
        }
    }
}

/// Why a stream cannot be read further, and where.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{kind} at byte {at} of the stream")]
pub struct DecodeError {
    /// What was wrong.
    pub kind: DecodeErrorKind,
    /// Offset in the stream, in bytes from its start, of the first byte of the offending prefix.
    pub at: u64,
}

/// The classes of bytes that end a stream.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// `F8..=FF` where a length should be.
    #[error("reserved control byte {0:#04x}")]
    ControlByte(u8),
    /// `F1..=F7` where a length should be.
    #[error("unsupported length form {0:#04x}")]
    UnsupportedLength(u8),
    /// A word over [`Limits::word_bytes`].
    #[error("word of {announced} bytes is over the limit of {limit}")]
    WordTooLong {
        /// Announced length in bytes.
        announced: u32,
        /// The limit in force.
        limit: u32,
    },
    /// A sentence over [`Limits::sentence_words`] or [`Limits::sentence_bytes`].
    #[error("sentence is over the limit of {limit} {unit}")]
    SentenceTooLong {
        /// The limit in force.
        limit: usize,
        /// `words` or `bytes`.
        unit: &'static str,
    },
}

impl DecodeErrorKind {
    /// The class as printed by tools: `control-byte`, `unsupported-length`, `word-too-long`, `sentence-too-long`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::ControlByte(_) => "control-byte",
            Self::UnsupportedLength(_) => "unsupported-length",
            Self::WordTooLong { .. } => "word-too-long",
            Self::SentenceTooLong { .. } => "sentence-too-long",
        }
    }
}

impl From<BadPrefix> for DecodeErrorKind {
    fn from(bad: BadPrefix) -> Self {
        match bad {
            BadPrefix::ControlByte(byte) => Self::ControlByte(byte),
            BadPrefix::UnsupportedLength(byte) => Self::UnsupportedLength(byte),
        }
    }
}

/// A resumable decoder over a buffer that the caller owns.
///
/// Calling order: append bytes to the buffer, [`scan`](Self::scan), look at the
/// [`sentence`](Self::sentence)s, [`consume`](Self::consume), remove as many bytes from the buffer's front, and
/// again. Between two `consume`s the buffer may only grow. Once `scan` has failed it keeps failing with the same
/// error; the sentences before the error stay readable.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    limits: Limits,
    /// Offset in the buffer of the prefix of each word, terminators included.
    tape: Vec<u32>,
    /// For each complete sentence, the tape index of its terminator.
    ends: Vec<u32>,
    /// Offset of the next prefix to read.
    scan: usize,
    /// Offset of the first byte of the open sentence.
    open_at: usize,
    /// Tape index of the first word of the open sentence.
    open_word: usize,
    /// Offset in the stream of the buffer's first byte.
    base: u64,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Walks what is new in `buf`. Returns how many complete sentences the buffer holds now, those of earlier
    /// calls since the last [`consume`](Self::consume) included.
    pub fn scan(&mut self, buf: &[u8]) -> Result<usize, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        // Offsets on the tape are 32 bits wide. What lies beyond is scanned after the next `consume`.
        let buf = &buf[..buf.len().min(u32::MAX as usize)];
        match self.walk(buf) {
            Ok(()) => Ok(self.ends.len()),
            Err(kind) => {
                let error = DecodeError {
                    kind,
                    at: self.base + self.scan as u64,
                };
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    fn walk(&mut self, buf: &[u8]) -> Result<(), DecodeErrorKind> {
        while let Some((length, width)) = length::read(&buf[self.scan..])? {
            self.check(length, width)?;
            let end = self.scan + width + length as usize;
            if end > buf.len() {
                break;
            }
            // Lossless: `scan` cut the buffer at u32::MAX.
            self.tape.push(self.scan as u32);
            self.scan = end;
            if length == 0 {
                self.ends.push(self.tape.len() as u32 - 1);
                self.open_word = self.tape.len();
                self.open_at = end;
            }
        }
        Ok(())
    }

    fn check(&self, length: u32, width: usize) -> Result<(), DecodeErrorKind> {
        let Limits {
            word_bytes,
            sentence_words,
            sentence_bytes,
        } = self.limits;
        if length > word_bytes {
            return Err(DecodeErrorKind::WordTooLong {
                announced: length,
                limit: word_bytes,
            });
        }
        if length == 0 {
            return Ok(());
        }
        if self.tape.len() - self.open_word >= sentence_words {
            return Err(DecodeErrorKind::SentenceTooLong {
                limit: sentence_words,
                unit: "words",
            });
        }
        if (self.scan - self.open_at + width).saturating_add(length as usize) > sentence_bytes {
            return Err(DecodeErrorKind::SentenceTooLong {
                limit: sentence_bytes,
                unit: "bytes",
            });
        }
        Ok(())
    }

    /// Complete sentences in the buffer as of the last [`scan`](Self::scan).
    pub fn ready(&self) -> usize {
        self.ends.len()
    }

    /// The error that ended this stream, if one did.
    pub fn error(&self) -> Option<DecodeError> {
        self.failed
    }

    /// Whether bytes of an unfinished sentence are in `buf`, which is the buffer as last scanned.
    pub fn is_partial(&self, buf: &[u8]) -> bool {
        buf.len() > self.open_at
    }

    /// The `index`-th complete sentence of `buf`, which must be the buffer as last scanned; empty when there is
    /// no such sentence.
    pub fn sentence<'a>(&'a self, buf: &'a [u8], index: usize) -> Sentence<'a> {
        let Some(&end) = self.ends.get(index) else {
            return Sentence::default();
        };
        let start = match index.checked_sub(1) {
            Some(before) => self.ends[before] as usize + 1,
            None => 0,
        };
        Sentence::new(buf, &self.tape[start..end as usize])
    }

    /// All complete sentences of `buf`, which must be the buffer as last scanned.
    pub fn sentences<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = Sentence<'a>> {
        (0..self.ends.len()).map(move |index| self.sentence(buf, index))
    }

    /// Forgets the complete sentences. Returns how many bytes the caller has to remove from the buffer's front.
    pub fn consume(&mut self) -> usize {
        let used = self.open_at;
        self.tape.drain(..self.open_word);
        for at in &mut self.tape {
            *at -= used as u32;
        }
        self.ends.clear();
        self.open_word = 0;
        self.open_at = 0;
        self.scan -= used;
        self.base += used as u64;
        used
    }

    /// Gives back what the tape holds beyond its need. For connections that fall idle.
    pub fn shrink(&mut self) {
        self.tape.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// Decodes a whole byte string, such as a stored result, and hands each sentence to `each`.
///
/// Returns the error that ended the stream, if one did; a partial last sentence is passed over.
pub fn decode_all(
    bytes: &[u8],
    limits: Limits,
    mut each: impl FnMut(Sentence<'_>),
) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(limits);
    let mut rest = bytes;
    loop {
        let result = decoder.scan(rest);
        decoder.sentences(rest).for_each(&mut each);
        result?;
        match decoder.consume() {
            0 => return Ok(()),
            used => rest = &rest[used..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use proptest::prelude::*;

    type Sentences = Vec<Vec<Vec<u8>>>;

    /// The oracle: the grammar read off the page, on owned bytes, with no thought of speed.
    fn naive(mut bytes: &[u8]) -> Sentences {
        let (mut all, mut open) = (Vec::new(), Vec::new());
        while let Ok(Some((length, width))) = length::read(bytes) {
            let Some(word) = bytes.get(width..width + length as usize) else {
                break;
            };
            bytes = &bytes[width + length as usize..];
            match word {
                [] => all.push(std::mem::take(&mut open)),
                word => open.push(word.to_vec()),
            }
        }
        all
    }

    fn collect(decoder: &Decoder, buf: &[u8], into: &mut Sentences) {
        into.extend(
            decoder
                .sentences(buf)
                .map(|s| s.words().map(<[u8]>::to_vec).collect::<Vec<_>>()),
        );
    }

    /// Feeds `bytes` in pieces of `sizes` (cycled), consuming after each.
    fn chunked(bytes: &[u8], sizes: &[usize]) -> (Sentences, Option<DecodeError>) {
        let mut decoder = Decoder::new(Limits::default());
        let (mut buf, mut out, mut rest) = (Vec::new(), Vec::new(), bytes);
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
            rest = after;
            buf.extend_from_slice(piece);
            let result = decoder.scan(&buf);
            collect(&decoder, &buf, &mut out);
            if let Err(error) = result {
                return (out, Some(error));
            }
            buf.drain(..decoder.consume());
            if rest.is_empty() {
                break;
            }
        }
        (out, None)
    }

    fn stream() -> impl Strategy<Value = (Vec<u8>, Sentences)> {
        let word = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 1..40),
            1 => proptest::collection::vec(any::<u8>(), 100..400),
        ];
        proptest::collection::vec(proptest::collection::vec(word, 0..8), 0..12).prop_map(|sentences| {
            let mut bytes = Vec::new();
            for sentence in &sentences {
                encode::sentence(&mut bytes, sentence).expect("no empty words are generated");
            }
            (bytes, sentences)
        })
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_sentences(
            (bytes, sentences) in stream(),
            sizes in proptest::collection::vec(1usize..50, 1..8),
        ) {
            prop_assert_eq!(naive(&bytes), sentences.clone());
            let (out, error) = chunked(&bytes, &sizes);
            prop_assert_eq!(error, None);
            prop_assert_eq!(out, sentences);
        }

        #[test]
        fn noise_neither_panics_nor_differs_from_the_oracle(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            sizes in proptest::collection::vec(1usize..50, 1..8),
        ) {
            let (out, _) = chunked(&bytes, &sizes);
            prop_assert_eq!(out, naive(&bytes));
        }
    }

    #[test]
    fn every_split_point_of_a_conversation() {
        let mut bytes = Vec::new();
        let long = [b"=contents=".as_slice(), &[b'x'; 300]].concat();
        let words: [&[&[u8]]; 4] = [
            &[b"!re", b"=name=a=b", long.as_slice(), b".tag=1"],
            &[],
            &[b"!re"],
            &[b"!done", b"=ret=*1"],
        ];
        for sentence in words {
            encode::sentence(&mut bytes, sentence).expect("no empty words");
        }
        let whole = naive(&bytes);
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::new(Limits::default());
            let (mut buf, mut out) = (bytes[..cut].to_vec(), Vec::new());
            decoder.scan(&buf).expect("valid so far");
            collect(&decoder, &buf, &mut out);
            buf.drain(..decoder.consume());
            buf.extend_from_slice(&bytes[cut..]);
            decoder.scan(&buf).expect("valid");
            collect(&decoder, &buf, &mut out);
            assert_eq!(out, whole, "cut at {cut}");
            assert!(!decoder.is_partial(&buf));
        }
    }

    #[test]
    fn a_zero_inside_a_length_does_not_end_a_sentence() {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, [&[b'a'; 256][..], b"next"]).expect("no empty words");
        assert_eq!(&bytes[..2], &[0x81, 0x00]);
        assert_eq!(naive(&bytes)[0].len(), 2);
        assert_eq!(chunked(&bytes, &[1]).0[0].len(), 2);
    }

    #[test]
    fn an_announcement_of_4_gib_is_refused_before_a_byte_is_reserved() {
        let mut decoder = Decoder::new(Limits::default());
        let buf = [0x03, b'!', b'r', b'e', 0x00, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF];
        let error = decoder.scan(&buf).expect_err("4 GiB is over the limit");
        assert_eq!(error.at, 5);
        assert_eq!(error.kind.class(), "word-too-long");
        assert_eq!(decoder.ready(), 1, "the sentence before it is still there");
        assert_eq!(decoder.scan(&buf), Err(error), "the error stays");
    }

    #[test]
    fn error_offsets_count_from_the_start_of_the_stream() {
        let bytes = [0x01, b'a', 0x00, 0x01, b'b', 0x00, 0xFF];
        let (sentences, error) = chunked(&bytes, &[2]);
        assert_eq!(sentences.len(), 2);
        assert_eq!(
            error,
            Some(DecodeError {
                kind: DecodeErrorKind::ControlByte(0xFF),
                at: 6
            })
        );
    }

    #[test]
    fn long_sentences_are_refused_by_words_and_by_bytes() {
        let limits = Limits {
            word_bytes: 100,
            sentence_words: 3,
            sentence_bytes: 64,
        };
        let fails = |words: &[&[u8]]| {
            let mut bytes = Vec::new();
            encode::sentence(&mut bytes, words).expect("no empty words");
            Decoder::new(limits).scan(&bytes).map_err(|e| e.kind.class())
        };
        assert_eq!(fails(&[b"1", b"2", b"3"]), Ok(1));
        assert_eq!(fails(&[b"1", b"2", b"3", b"4"]), Err("sentence-too-long"));
        assert_eq!(fails(&[&[b'x'; 40], &[b'x'; 40]]), Err("sentence-too-long"));
        assert_eq!(fails(&[&[b'x'; 101]]), Err("word-too-long"));
    }

    #[test]
    fn decode_all_reads_a_stored_result() {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, ["!re", "=a=1"]).expect("no empty words");
        encode::sentence(&mut bytes, ["!done"]).expect("no empty words");
        let mut kinds = Vec::new();
        decode_all(&bytes, Limits::default(), |s| kinds.push(s.kind())).expect("valid");
        assert_eq!(kinds, [crate::Kind::Re, crate::Kind::Done]);
    }
}
