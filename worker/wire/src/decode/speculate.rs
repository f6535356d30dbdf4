//! One large buffer as several lanes, by guesses that prove themselves.
//!
//! ```text
//! buffer   ├──── lane 0 ────┼──── lane 1 ────┼──── lane 2 ────┼──── lane 3 ──▶
//!          ▲ known          ▲ guess: behind a 00 that a `!re` or `!done` follows
//! ```
//!
//! All lanes are walked in lock step until the first three have passed the place where their neighbour began. Lane 0
//! began at a word. If one of its words began exactly where lane 1 did, lane 1 began at a word too, and what it found
//! is true; and so on. Where a chain does not meet the next guess, as when a file's contents look like a reply, the
//! lanes behind it are dropped: nothing wrong is ever kept, and time was lost only. Then some words are walked
//! serially, twice as many after each failure in a row, so that a peer that sends such files costs no more than a
//! small factor.
//!
//! Whether to try at all is measured on the words before: long ones are walked serially, because three searches for a
//! guess cost more than a few words.

use super::error::{DecodeErrorKind, Limits};
use super::lanes::{Ahead, LANES, ROWS, Rows, Steps, Walk};
use super::tape::{FEW, Stop, Tape};

/// Less than this is left to the serial walk.
pub(super) const LEAST: usize = 6 << 10;

/// How far to look for a guess.
const SEARCH: usize = 2 << 10;

/// Words that are walked serially first, to see how long they are.
const PROBE: usize = 32;

/// Bytes a word from which on lanes do not pay.
const LONG: Average = Average::new(512, 1);

/// Bytes a word from which on lengths of two bytes are expected.
const WIDE: Average = Average::new(64, 1);

/// Bytes a word up to which many can be found at once, where the processor can: then sixteen of them fit in two blocks.
const SHORT: Average = Average::new(8, 1);

/// Rows aimed at, a little less than fit: words are not all alike.
const AIM: usize = ROWS * 15 / 16;

/// Serial words after failures, at most.
const PENANCE: usize = 64 << 10;

/// Bytes a word, in sixteenths: whole bytes would be wrong by a tenth where words are short.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Average(usize);

impl Average {
    const ONE: usize = 16;

    const fn new(bytes: usize, words: usize) -> Self {
        // Of at least a byte: that is what a word takes.
        let sixteenths = bytes * Self::ONE / words;
        Self(if sixteenths < Self::ONE {
            Self::ONE
        } else {
            sixteenths
        })
    }

    /// Bytes that so many words have.
    fn bytes(self, words: usize) -> usize {
        words * self.0 / Self::ONE
    }

    /// Words that so many bytes have.
    fn words(self, bytes: usize) -> usize {
        bytes * Self::ONE / self.0
    }
}

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// In lanes.
    pub(super) steps: Steps,
    /// From how many bytes on in lanes at all.
    pub(super) least: usize,
    /// When [`Tape::short`] is tried.
    pub(super) jumps: Jumps,
}

/// When [`Tape::short`] is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jumps {
    Never,
    /// Where words are short.
    Short,
    /// Wherever lanes would be.
    Always,
}

/// Walks all complete words of `buf`.
#[inline(never)]
pub(super) fn walk(tape: &mut Tape, buf: &[u8], limits: &Limits, how: How) -> Result<(), DecodeErrorKind> {
    let How { steps, least, jumps } = how;
    let mut rows = Rows::new();
    let (mut serial, mut penance) = (PROBE, PROBE);
    // Nothing is known yet: as if words were too long.
    let mut average = LONG;
    loop {
        let (at, words) = (tape.scan, tape.at.len());
        if serial > 0 {
            if tape.serial(buf, limits, serial, steps)? == Stop::Dry {
                return Ok(());
            }
            serial = 0;
        } else if buf.len() - tape.scan < least {
            serial = usize::MAX;
        } else if average >= LONG {
            serial = 32 * PROBE;
        } else if jumps == Jumps::Always || (jumps == Jumps::Short && average <= SHORT) {
            if tape.short(buf, limits) < FEW {
                serial = 2 * PROBE;
            }
        } else {
            let left = buf.len() - tape.scan;
            // The last lane gets a little more: guesses lie behind the quarter points, and it must not be the first
            // to run dry.
            let lane = ((left - left / 32 - 1024) / LANES).min(average.bytes(AIM));
            let right = batch(tape, buf, limits, steps, &mut rows, lane, average);
            if right {
                penance = PROBE;
            } else {
                serial = penance;
                penance = (penance * 2).min(PENANCE);
            }
        }
        if tape.at.len() > words {
            average = Average::new(tape.scan - at, tape.at.len() - words);
        }
    }
}

/// Walks lanes of about `lane` bytes. Returns whether all guesses were right.
fn batch(
    tape: &mut Tape,
    buf: &[u8],
    limits: &Limits,
    steps: Steps,
    rows: &mut Rows,
    lane: usize,
    average: Average,
) -> bool {
    let mut starts = [tape.scan; LANES];
    for k in 1..LANES {
        let from = (tape.scan + k * lane).max(starts[k - 1] + 1);
        match guess(buf, from) {
            Some(at) => starts[k] = at,
            None => return false,
        }
    }
    let mut walk = Walk::new([buf; LANES], starts);
    rows.clear(walk.bufs, steps.masked());
    // What comes after this batch, a row at a time as the lanes together go on.
    let step = average.bytes(LANES);
    let after = starts[LANES - 1] + lane;
    loop {
        let short = (0..LANES - 1)
            .map(|k| starts[k + 1].saturating_sub(walk.at[k]))
            .fold(0, usize::max);
        if short == 0 {
            break;
        }
        // As many rows as it should take, an even number for who takes two at a time; what is walked too far is dropped.
        let rows_left = (average.words(short) + 3) & !1;
        if average < WIDE {
            let ahead = Ahead {
                at: after + rows.len() * step,
                step,
            };
            let count = walk.room(rows).min(rows_left) & !1;
            if count > 0 && walk.run(rows, count, steps, ahead) {
                continue;
            }
        }
        let row = rows.len();
        if limits.word_bytes >= 0x3FFF {
            let count = if average < WIDE { 1 } else { rows_left };
            walk.run_wide(rows, count, steps);
        }
        if rows.len() == row && (row == ROWS || walk.cold(rows, limits.word_bytes).is_err()) {
            break;
        }
    }
    // Keep what is proven.
    for k in 0..LANES {
        let (count, next, met) = match starts.get(k + 1) {
            None => (rows.len(), walk.at[k], true),
            Some(&next) => {
                let count = rows.before(k, next);
                let at = rows.offset(k, count).unwrap_or(walk.at[k]);
                (count, at, at == next)
            }
        };
        if !tape.take(rows, k, count, next, buf, limits) || !met {
            return false;
        }
    }
    true
}

/// The first place from `from` on that looks like the start of a reply.
fn guess(buf: &[u8], from: usize) -> Option<usize> {
    const STEP: usize = 32;
    let hay = buf.get(from.checked_sub(1)?..)?;
    let hay = &hay[..hay.len().min(SEARCH)];
    for (index, chunk) in hay.chunks(STEP).enumerate() {
        // Without a branch a byte, so that it becomes a vector compare.
        if !chunk.iter().fold(false, |any, &byte| any | (byte == b'!')) {
            continue;
        }
        let first = index * STEP;
        for at in first..first + chunk.len() {
            let reply = hay[at] == b'!'
                && at >= 2
                && (hay[at - 2..].starts_with(b"\0\x03!re") || hay[at - 2..].starts_with(b"\0\x05!done"));
            if reply {
                return Some(from + at - 2);
            }
        }
    }
    None
}
