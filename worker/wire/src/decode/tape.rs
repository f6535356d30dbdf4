//! What a walk writes down.

use super::error::{DecodeErrorKind, Limits};
use super::{mark, unchecked};
use crate::length;

/// Where words and sentences are, and what came of the walk so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tape {
    /// Offset in the buffer of the prefix of each word, terminators included.
    pub(super) at: Vec<u32>,
    /// The [mark](super::mark) of each word.
    pub(super) marks: Vec<u8>,
    /// For each complete sentence, the index of its terminator.
    pub(super) ends: Vec<u32>,
    /// Offset of the next prefix to read.
    pub(super) scan: usize,
    /// Offset of the first byte of the open sentence.
    pub(super) open_at: usize,
    /// Index of the first word of the open sentence.
    pub(super) open_word: usize,
    /// A buffer shorter than this has no further complete word.
    pub(super) need: usize,
    /// Words that lanes found.
    #[cfg(test)]
    pub(super) lanes: usize,
}

/// Why a serial walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The rest of the buffer is part of a word.
    Dry,
    /// As many words as were asked for.
    Enough,
}

impl Tape {
    /// Walks one word after the other, `words` of them at most.
    pub(super) fn serial(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        words: usize,
    ) -> Result<Stop, DecodeErrorKind> {
        for _ in 0..words {
            let rest = &buf[self.scan..];
            let (length, width, mark) = match rest.first_chunk() {
                Some(block) if block[0] < 0x80 => (u32::from(block[0]), 1, Some(unchecked::mark(block))),
                _ => match length::read(rest)? {
                    // `mark` needs the word, which may not be there.
                    Some((length, width)) => (length, width, None),
                    None => {
                        self.need = buf.len() + 1;
                        return Ok(Stop::Dry);
                    }
                },
            };
            self.check(length, width, limits)?;
            let end = self.scan + width + length as usize;
            if end > buf.len() {
                self.need = end;
                return Ok(Stop::Dry);
            }
            let mark = mark.unwrap_or_else(|| mark::of_word(&buf[self.scan + width..end]));
            // Lossless: buffers are cut at u32::MAX.
            self.at.push(self.scan as u32);
            self.marks.push(mark);
            self.scan = end;
            if length == 0 {
                self.ends.push(self.at.len() as u32 - 1);
                self.open_word = self.at.len();
                self.open_at = end;
            }
        }
        Ok(Stop::Enough)
    }

    fn check(&self, length: u32, width: usize, limits: &Limits) -> Result<(), DecodeErrorKind> {
        if length > limits.word_bytes {
            return Err(DecodeErrorKind::WordTooLong {
                announced: length,
                limit: limits.word_bytes,
            });
        }
        if length == 0 {
            return Ok(());
        }
        if self.at.len() - self.open_word >= limits.sentence_words {
            return Err(DecodeErrorKind::SentenceTooLong {
                limit: limits.sentence_words,
                unit: "words",
            });
        }
        if (self.scan - self.open_at + width).saturating_add(length as usize) > limits.sentence_bytes {
            return Err(DecodeErrorKind::SentenceTooLong {
                limit: limits.sentence_bytes,
                unit: "bytes",
            });
        }
        Ok(())
    }

    /// Takes over the words of a lane that began at `scan` and ended at `next`. When they break a limit nothing is
    /// taken and the answer is false: the serial walk knows which word it was.
    pub(super) fn take(
        &mut self,
        at: &[u32],
        marks: &[u8],
        next: usize,
        buf: &[u8],
        limits: &Limits,
    ) -> bool {
        debug_assert!(at.first().is_none_or(|&first| first as usize == self.scan));
        // A bound on every sentence at once; lanes are small beside the limit, so it seldom rejects wrongly, and
        // then it only costs time.
        if next - self.open_at > limits.sentence_bytes {
            return false;
        }
        let (words, sentences) = (self.at.len(), self.ends.len());
        let (mut open, mut longest) = (self.open_word, 0);
        mark::ends(marks, |index| {
            let end = words + index;
            longest = longest.max(end - open);
            open = end + 1;
            self.ends.push(end as u32);
        });
        longest = longest.max(words + at.len() - open);
        if longest > limits.sentence_words {
            self.ends.truncate(sentences);
            return false;
        }
        self.at.extend_from_slice(at);
        self.marks.extend_from_slice(marks);
        self.scan = next;
        #[cfg(test)]
        {
            self.lanes += at.len();
        }
        if open > self.open_word {
            self.open_word = open;
            // A length of zero may be written in more than one byte.
            let end = self.at[open - 1] as usize;
            self.open_at = match length::read(&buf[end..]) {
                Ok(Some((_, width))) => end + width,
                _ => end + 1,
            };
        }
        true
    }

    /// Forgets the complete sentences. Returns how many bytes they had.
    pub(super) fn consume(&mut self) -> usize {
        let used = self.open_at;
        if self.open_word == self.at.len() {
            self.at.clear();
            self.marks.clear();
        } else {
            self.at.drain(..self.open_word);
            self.marks.drain(..self.open_word);
            for at in &mut self.at {
                *at -= used as u32;
            }
        }
        self.ends.clear();
        self.open_word = 0;
        self.open_at = 0;
        self.scan -= used;
        self.need = self.need.saturating_sub(used);
        used
    }
}
