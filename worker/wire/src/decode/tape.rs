//! What a walk writes down.

use super::error::{DecodeErrorKind, Limits};
use super::lanes::{Rows, Steps};
use super::mark::{self, BLOCK};
use super::unchecked::burst::{self, Onto};
use super::unchecked::{ends, jump, vector};
use crate::length::{self, BadPrefix};

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

/// Words that a burst of the serial walk takes.
const BURST: usize = 256;

/// A run over short words that finds fewer has come upon others, or upon the end.
pub(super) const FEW: usize = 64;

/// Less than this is walked carefully.
const LEAST: usize = 256;

/// Why a serial walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The rest of the buffer is part of a word.
    Dry,
    /// As many words as were asked for.
    Enough,
}

impl Tape {
    /// Walks one word after the other, about `words` of them.
    pub(super) fn serial(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        mut words: usize,
        steps: Steps,
    ) -> Result<Stop, DecodeErrorKind> {
        // Bursts take every length of one byte unseen, and few bytes are not worth one.
        while words > 0 && limits.word_bytes >= 0x7F && buf.len() - self.scan >= LEAST {
            let count = words.min(BURST);
            words -= count;
            // What stopped a burst is for the careful walk: a word, or as many as a burst if nothing came of it, so
            // that no limit makes all bursts vain.
            let careful = match self.burst(buf, limits, count, steps) {
                taken if taken == count => continue,
                0 => BURST,
                _ => 1,
            };
            if self.careful(buf, limits, careful)? == Stop::Dry {
                return Ok(Stop::Dry);
            }
        }
        self.careful(buf, limits, words)
    }

    /// Walks up to `words` words and looks at the limits on sentences after that. Returns how many were kept.
    fn burst(&mut self, buf: &[u8], limits: &Limits, words: usize, steps: Steps) -> usize {
        let before = self.at.len();
        let next = match steps {
            Steps::Checked => self.burst_checked(buf, words, limits.word_bytes),
            _ => {
                let onto = Onto {
                    at: &mut self.at,
                    marks: &mut self.marks,
                };
                burst::burst(buf, self.scan, words, limits.word_bytes, onto)
            }
        };
        let sentences = self.ends.len();
        ends::ends(&self.marks[before..], before as u32, &mut self.ends);
        self.settle(before, sentences, next, buf, limits);
        self.at.len() - before
    }

    /// Walks words as long as they are short and have lengths of one byte. Returns how many were kept.
    pub(super) fn short(&mut self, buf: &[u8], limits: &Limits) -> usize {
        let words = self.at.len();
        loop {
            let (before, sentences) = (self.at.len(), self.ends.len());
            let onto = Onto {
                at: &mut self.at,
                marks: &mut self.marks,
            };
            let next = jump::run(buf, self.scan, onto, &mut self.ends);
            // What stops a run after few words would stop the next one after fewer.
            let enough = self.at.len() - before < FEW;
            if !self.settle(before, sentences, next, buf, limits) || enough {
                return self.at.len() - words;
            }
        }
    }

    /// [`burst::burst`] in safe code.
    fn burst_checked(&mut self, buf: &[u8], words: usize, word_bytes: u32) -> usize {
        let mut scan = self.scan;
        for _ in 0..words {
            let Some(block) = buf[scan..].first_chunk::<BLOCK>() else {
                break;
            };
            let (end, mark) = match block[0] {
                first @ ..0x80 => (scan + 1 + usize::from(first), mark::of_block(block)),
                _ => match wide(&buf[scan..]) {
                    Ok(Some((length, width, mark))) if length <= word_bytes => {
                        (scan + width + length as usize, mark)
                    }
                    _ => break,
                },
            };
            if end > buf.len() {
                break;
            }
            self.at.push(scan as u32);
            self.marks.push(mark);
            scan = end;
        }
        scan
    }

    /// The same with every length and limit looked at in turn: what comes first in the stream is told first.
    fn careful(&mut self, buf: &[u8], limits: &Limits, words: usize) -> Result<Stop, DecodeErrorKind> {
        // Locals, because a chain through memory takes twice as long.
        let (mut scan, mut open_at, mut open_word) = (self.scan, self.open_at, self.open_word);
        let mut words = words;
        let mut need = None;
        let stopped = loop {
            if words == 0 {
                break Ok(Stop::Enough);
            }
            words -= 1;
            let rest = &buf[scan..];
            let (length, width, mark) = match rest.first_chunk::<BLOCK>() {
                Some(block) if block[0] < 0x80 => (u32::from(block[0]), 1, vector::mark(block)),
                _ => match wide(rest) {
                    Ok(Some(found)) => found,
                    Ok(None) => {
                        need = Some(buf.len() + 1);
                        break Ok(Stop::Dry);
                    }
                    Err(bad) => break Err(bad.into()),
                },
            };
            let end = scan + width + length as usize;
            if length > limits.word_bytes
                || (length > 0
                    && (self.at.len() - open_word >= limits.sentence_words
                        || end - open_at > limits.sentence_bytes))
            {
                break Err(too_long(length, self.at.len() - open_word, limits));
            }
            if end > buf.len() {
                need = Some(end);
                break Ok(Stop::Dry);
            }
            // Lossless: buffers are cut at u32::MAX.
            self.at.push(scan as u32);
            self.marks.push(mark);
            scan = end;
            if length == 0 {
                self.ends.push(self.at.len() as u32 - 1);
                open_word = self.at.len();
                open_at = end;
            }
        };
        (self.scan, self.open_at, self.open_word) = (scan, open_at, open_word);
        self.need = need.unwrap_or(self.need);
        stopped
    }

    /// Takes over the first `count` words of a lane that began at `scan`; they end at `next`. When they break a limit
    /// nothing is taken and the answer is false: the careful walk knows which word it was.
    pub(super) fn take(
        &mut self,
        rows: &Rows,
        lane: usize,
        count: usize,
        next: usize,
        buf: &[u8],
        limits: &Limits,
    ) -> bool {
        debug_assert!(rows.offset(lane, 0).is_none_or(|first| first == self.scan));
        let (before, sentences) = (self.at.len(), self.ends.len());
        let onto = Onto {
            at: &mut self.at,
            marks: &mut self.marks,
        };
        rows.append(lane, count, onto, &mut self.ends);
        let kept = self.settle(before, sentences, next, buf, limits);
        #[cfg(test)]
        {
            self.lanes += self.at.len() - before;
        }
        kept
    }

    /// Keeps the words from index `before` on, which end at `next`, and the sentences from `sentences` on; forgets them
    /// all and returns false when they break a limit.
    fn settle(&mut self, before: usize, sentences: usize, next: usize, buf: &[u8], limits: &Limits) -> bool {
        // Bounds on every sentence at once. What is walked at a time is small beside the limit on bytes, so that one
        // seldom rejects wrongly, and then it only costs time; the other is looked at again.
        if next - self.open_at > limits.sentence_bytes
            || (self.at.len() - self.open_word > limits.sentence_words
                && self.longest(sentences) > limits.sentence_words)
        {
            self.at.truncate(before);
            self.marks.truncate(before);
            self.ends.truncate(sentences);
            return false;
        }
        self.scan = next;
        if let Some(&end) = self.ends[sentences..].last() {
            self.open_word = end as usize + 1;
            let end = self.at[end as usize] as usize;
            self.open_at = match buf[end..] {
                [0, ..] => end + 1,
                // A length of zero may be written in more than one byte.
                ref wide => end + length::read(wide).ok().flatten().map_or(1, |(_, width)| width),
            };
        }
        true
    }

    /// Words in the longest sentence from index `sentences` on, the open one included.
    #[cold]
    fn longest(&self, sentences: usize) -> usize {
        let (mut open, mut longest) = (self.open_word, 0);
        for &end in &self.ends[sentences..] {
            longest = longest.max(end as usize - open);
            open = end as usize + 1;
        }
        longest.max(self.at.len() - open)
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) {
        self.at.clear();
        self.marks.clear();
        self.ends.clear();
        *self = Self {
            at: std::mem::take(&mut self.at),
            marks: std::mem::take(&mut self.marks),
            ends: std::mem::take(&mut self.ends),
            ..Self::default()
        };
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

/// Length, width and mark of a word that is not of the common kind. The mark is that of the part of the word that is
/// there.
fn wide(rest: &[u8]) -> Result<Option<(u32, usize, u8)>, BadPrefix> {
    let Some((length, width)) = length::read(rest)? else {
        return Ok(None);
    };
    let mark = match rest[width - 1..].first_chunk::<BLOCK>() {
        _ if length == 0 => mark::END,
        Some(block) => vector::mark_wide(block),
        None => mark::of_word(&rest[width..rest.len().min(width + length as usize)]),
    };
    Ok(Some((length, width, mark)))
}

#[cold]
fn too_long(length: u32, words: usize, limits: &Limits) -> DecodeErrorKind {
    if length > limits.word_bytes {
        DecodeErrorKind::WordTooLong {
            announced: length,
            limit: limits.word_bytes,
        }
    } else if words >= limits.sentence_words {
        DecodeErrorKind::SentenceTooLong {
            limit: limits.sentence_words,
            unit: "words",
        }
    } else {
        DecodeErrorKind::SentenceTooLong {
            limit: limits.sentence_bytes,
            unit: "bytes",
        }
    }
}
