//! From a stream of bytes to sentences, without copying either.
//!
//! The caller owns the buffer. [`Decoder::scan`] walks the length prefixes that are new since the last call and
//! notes on a reusable *tape* where each word starts and how long its name is; a [`Sentence`] is a view over a
//! stretch of that tape:
//!
//! ```text
//! buffer   03 !re  0C =name=ether1  00  05 !done  00  03 !r
//! tape     ^0      ^4                ^17 ^18      ^24 ^25 (scan: the next prefix, its word is not all there)
//! marks    -       6 (name of 4)     0   -        0
//! ends     entry 2 ends sentence 0, entry 4 ends sentence 1; entry 5 belongs to the open sentence
//! ```
//!
//! Nothing is looked at twice: an unfinished word costs one more look at its prefix, and only when it is all there.
//!
//! The walk is a chain, each length telling where the next one is, and a processor could follow four such chains in
//! the time of one. So large buffers are walked at four places at once ([`speculate`]), and so are several buffers
//! ([`Decoder::scan_many`], [`decode_each`]); where words are very short, some processors find sixteen at a time. What is
//! found is the same, and so are the errors and the time, up to a factor. `DESIGN.md` in this crate's folder has the
//! measurements.

use std::iter;

use crate::sentence::Sentence;

mod error;
mod lanes;
mod many;
pub(crate) mod mark;
mod speculate;
mod tape;
mod unchecked;

pub use error::{DecodeError, DecodeErrorKind, Limits};
use lanes::Steps;
use speculate::{How, Jumps};
use tape::Tape;
use unchecked::{Vectors, jump};

/// Which walk a [`Decoder`] uses. All find the same; there is a choice for tests and measurements only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// What is fastest on this machine, chosen anew for each stretch of bytes by the words before it.
    #[default]
    Auto,
    /// One word after the other.
    Serial,
    /// Lock step in safe code wherever there is anything to guess at.
    Checked,
    /// The same without bounds checks in the innermost loop.
    Unchecked,
    /// That, with AVX2 where the processor has it.
    Avx2,
    /// That, with AVX-512 where the processor has it.
    Avx512,
    /// Many words at a time, with permutations of bytes (AVX-512 VBMI) where the processor has them.
    Vbmi,
}

impl Kernel {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Auto,
        Self::Serial,
        Self::Checked,
        Self::Unchecked,
        Self::Avx2,
        Self::Avx512,
        Self::Vbmi,
    ];

    /// Whether this machine has the instructions it is made of. Where it has not, it is the next best one.
    pub fn is_native(self) -> bool {
        match self {
            Self::Auto | Self::Serial | Self::Checked | Self::Unchecked => true,
            Self::Avx2 => unchecked::vectors() >= Vectors::Avx2,
            Self::Avx512 => unchecked::vectors() >= Vectors::Avx512,
            Self::Vbmi => jump::exists(),
        }
    }

    /// How to walk.
    fn how(self) -> How {
        // Forced kernels take every buffer that they can, so that tests need no large ones.
        const FORCED: usize = 2 << 10;
        let (steps, least) = match self {
            Self::Auto | Self::Vbmi => (Steps::best(), speculate::LEAST),
            Self::Serial => (Steps::Unchecked, usize::MAX),
            Self::Checked => (Steps::Checked, FORCED),
            Self::Unchecked => (Steps::Unchecked, FORCED),
            Self::Avx2 => (Steps::Avx2, FORCED),
            Self::Avx512 => (Steps::Avx512, FORCED),
        };
        match self {
            Self::Vbmi if jump::exists() => How {
                steps,
                least: FORCED,
                jumps: Jumps::Always,
            },
            Self::Auto if jump::exists() => How {
                steps,
                least,
                jumps: Jumps::Short,
            },
            _ => How {
                steps,
                least,
                jumps: Jumps::Never,
            },
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
    kernel: Kernel,
    tape: Tape,
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

    /// A decoder that walks as told instead of as is best.
    pub fn with_kernel(limits: Limits, kernel: Kernel) -> Self {
        Self {
            limits,
            kernel,
            ..Self::default()
        }
    }

    /// Walks what is new in `buf`. Returns how many complete sentences the buffer holds now, those of earlier
    /// calls since the last [`consume`](Self::consume) included.
    #[inline]
    pub fn scan(&mut self, buf: &[u8]) -> Result<usize, DecodeError> {
        if buf.len() < self.tape.need && self.failed.is_none() {
            return Ok(self.tape.ends.len());
        }
        self.advance(buf)
    }

    fn advance(&mut self, buf: &[u8]) -> Result<usize, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let buf = within(buf);
        let left = buf.len() - self.tape.scan;
        let how = self.kernel.how();
        // Lanes take every length of one byte.
        let walked = match left >= how.least && self.limits.word_bytes >= 0x7F {
            true => speculate::walk(&mut self.tape, buf, &self.limits, how),
            false => {
                let all = self.tape.serial(buf, &self.limits, usize::MAX, how.steps);
                all.map(drop)
            }
        };
        match walked {
            Ok(()) => Ok(self.tape.ends.len()),
            Err(kind) => {
                let error = DecodeError {
                    kind,
                    at: self.base + self.tape.scan as u64,
                };
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// [`scan`](Self::scan) for several connections at once, their buffers walked in lock step. Each decoder then
    /// has its own [`ready`](Self::ready) and [`error`](Self::error).
    ///
    /// ```
    /// use routeros_wire::{Decoder, Kind};
    ///
    /// let (mut one, mut other) = (Decoder::default(), Decoder::default());
    /// Decoder::scan_many(&mut [(&mut one, b"\x03!re\x00"), (&mut other, b"\x05!done\x00\xFF")]);
    /// assert_eq!(one.ready(), 1);
    /// assert_eq!(other.ready(), 1);
    /// assert_eq!(other.error().map(|error| error.at), Some(7));
    /// ```
    pub fn scan_many(pairs: &mut [(&mut Self, &[u8])]) {
        many::scan(pairs);
    }

    /// Complete sentences in the buffer as of the last [`scan`](Self::scan).
    pub fn ready(&self) -> usize {
        self.tape.ends.len()
    }

    /// The error that ended this stream, if one did.
    pub fn error(&self) -> Option<DecodeError> {
        self.failed
    }

    /// Whether bytes of an unfinished sentence are in `buf`, which is the buffer as last scanned.
    pub fn is_partial(&self, buf: &[u8]) -> bool {
        buf.len() > self.tape.open_at
    }

    /// The `index`-th complete sentence of `buf`, which must be the buffer as last scanned; empty when there is
    /// no such sentence.
    #[inline]
    pub fn sentence<'a>(&'a self, buf: &'a [u8], index: usize) -> Sentence<'a> {
        let Some(&end) = self.tape.ends.get(index) else {
            return Sentence::default();
        };
        let start = match index.checked_sub(1) {
            Some(before) => self.tape.ends[before] as usize + 1,
            None => 0,
        };
        let end = end as usize;
        Sentence::new(buf, &self.tape.at[start..=end], &self.tape.marks[start..end])
    }

    /// All complete sentences of `buf`, which must be the buffer as last scanned.
    #[inline]
    pub fn sentences<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = Sentence<'a>> {
        let Tape { at, marks, ends, .. } = &self.tape;
        let mut start = 0;
        ends.iter().map(move |&end| {
            let end = end as usize;
            let sentence = Sentence::new(buf, &at[start..=end], &marks[start..end]);
            start = end + 1;
            sentence
        })
    }

    /// Forgets the complete sentences. Returns how many bytes the caller has to remove from the buffer's front.
    pub fn consume(&mut self) -> usize {
        let used = self.tape.consume();
        self.base += used as u64;
        used
    }

    /// As new, at the start of another stream, with the memory that it has.
    pub fn restart(&mut self) {
        self.tape.restart();
        self.base = 0;
        self.failed = None;
    }

    /// The same, at the offset `at` of that stream and with other limits: so one decoder serves many connections, one after
    /// the other.
    pub fn restart_at(&mut self, at: u64, limits: Limits) {
        self.restart();
        self.base = at;
        self.limits = limits;
    }

    /// Gives back what the tape holds beyond its need. For connections that fall idle.
    pub fn shrink(&mut self) {
        self.tape.at.shrink_to_fit();
        self.tape.marks.shrink_to_fit();
        self.tape.ends.shrink_to_fit();
    }
}

/// Offsets on the tape are 32 bits wide. What lies beyond is scanned after the next `consume`.
fn within(buf: &[u8]) -> &[u8] {
    &buf[..buf.len().min(u32::MAX as usize)]
}

/// Decodes a whole byte string, such as a stored result, and hands each sentence to `each`.
///
/// The bytes are taken in windows, so that the tape stays in the cache however long the string is. Returns the
/// error that ended the stream, if one did; a partial last sentence is passed over.
pub fn decode_all(
    bytes: &[u8],
    limits: Limits,
    mut each: impl FnMut(Sentence<'_>),
) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(limits);
    windows(&mut decoder, bytes, |decoder, window| {
        decoder.sentences(window).for_each(&mut each);
    })
}

/// Scans `bytes` in windows of a size that the caches like, and hands each window to `each` before its sentences are
/// consumed. What [`decode_all`] does, for who has a decoder to use again.
pub fn windows(
    decoder: &mut Decoder,
    bytes: &[u8],
    mut each: impl FnMut(&Decoder, &[u8]),
) -> Result<(), DecodeError> {
    const WINDOW: usize = 256 << 10;
    let (mut rest, mut size) = (bytes, WINDOW);
    loop {
        let window = &rest[..rest.len().min(size)];
        let result = decoder.scan(window);
        each(decoder, window);
        result?;
        let used = decoder.consume();
        rest = &rest[used..];
        // A sentence that does not fit gets more space, so that the bytes are not walked again and again.
        size = if used == 0 { size.saturating_mul(2) } else { WINDOW };
        if used == 0 && window.len() == rest.len() {
            return Ok(());
        }
    }
}

/// [`decode_all`] for many byte strings, such as a page of stored results: `each` is told which of them a sentence is
/// from, and is handed those of one after those of the one before. Short strings are walked in lock step, with
/// [`Decoder::scan_many`]. Returns the error of each that had one.
///
/// ```
/// use routeros_wire::{Limits, decode::decode_each};
///
/// let mut found = Vec::new();
/// let results = [&b"\x03!re\x04=a=1\0\x05!done\0"[..], b"", b"\x05!done\0\xFF"];
/// let errors = decode_each(&results, Limits::default(), |of, sentence| found.push((of, sentence.len())));
/// assert_eq!(found, [(0, 2), (0, 1), (2, 1)]);
/// assert_eq!(errors.iter().map(|(of, error)| (*of, error.at)).collect::<Vec<_>>(), [(2, 7)]);
/// ```
pub fn decode_each(
    all: &[&[u8]],
    limits: Limits,
    mut each: impl FnMut(usize, Sentence<'_>),
) -> Vec<(usize, DecodeError)> {
    /// As many tapes as stay in the cache with what they are of.
    const AT_ONCE: usize = 32;
    /// Longer ones have lanes of their own.
    const SHORT: usize = 16 << 10;
    let mut decoders = vec![Decoder::new(limits); all.len().min(AT_ONCE)];
    let mut errors = Vec::new();
    for (group, first) in all.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
        let short = |bytes: &[u8]| if bytes.len() <= SHORT { bytes.len() } else { 0 };
        let mut pairs = iter::zip(&mut decoders, group)
            .map(|(decoder, bytes)| {
                decoder.restart();
                (decoder, &bytes[..short(bytes)])
            })
            .collect::<Vec<_>>();
        Decoder::scan_many(&mut pairs);
        for ((decoder, bytes), index) in iter::zip(&mut decoders, group).zip(first..) {
            let read = match short(bytes) < bytes.len() {
                true => windows(decoder, bytes, |decoder, window| {
                    decoder
                        .sentences(window)
                        .for_each(|sentence| each(index, sentence));
                }),
                false => {
                    decoder
                        .sentences(bytes)
                        .for_each(|sentence| each(index, sentence));
                    decoder.error().map_or(Ok(()), Err)
                }
            };
            errors.extend(read.err().map(|error| (index, error)));
        }
    }
    errors
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
