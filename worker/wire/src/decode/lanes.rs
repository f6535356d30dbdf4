//! Several chains of lengths walked in lock step.
//!
//! Where a word begins is known when the length before it has been read: six cycles a word, however wide the
//! processor is. It has room for several such chains at a time:
//!
//! ```text
//! lane 0   03 !re  ·  0C =name=ether1  ·  00  ·  03 !re …        one row of the walk reads one length
//! lane 1   06 .tag=2  ·  0B =type=vlan ·  08 =mtu=150 …          of each lane; nobody waits for
//! lane 2   …                                                     anybody but himself
//! lane 3   …
//! ```
//!
//! A lane is a place in some buffer. The walk writes down, lane by lane, where each word begins and its
//! [mark](super::mark), and stops at the first length in any lane that takes more than one byte; [`Walk::cold`]
//! takes that row. What the places mean, and whether they were right, is for the caller.

use std::array;

use super::mark::{self, BLOCK};
pub(super) use super::unchecked::rows::Rows;
use super::unchecked::{self, Vectors, narrow, vector};
use crate::length;

/// Chains at a time. Eight are no faster: they do not fit the registers.
pub(super) const LANES: usize = 4;

/// Rows that are written down before they go to a tape: what the first-level cache holds beside the bytes. A power of two
/// would put the same row of all lanes where the cache has space for one of them.
pub(super) const ROWS: usize = 1040;

/// A word with a prefix of one byte moves its lane on by no more than this.
pub(super) const STRIDE: usize = 0x80;

/// What memory to ask for meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// Offset in the first lane's buffer of what is asked for first.
    pub(super) at: usize,
    /// Bytes further for each row.
    pub(super) step: usize,
}

/// How to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// Safe code only.
    Checked,
    /// Without looking at every byte whether it is inside its buffer.
    Unchecked,
    /// That, with vectors of 32 bytes.
    Avx2,
    /// That, with masks, two rows at a time.
    Avx512,
}

impl Steps {
    /// Whether rows are to have masks.
    pub(super) fn masked(self) -> bool {
        self == Self::Avx512
    }

    /// The fastest on this machine.
    pub(super) fn best() -> Self {
        match unchecked::vectors() {
            Vectors::Vbmi | Vectors::Avx512 => Self::Avx512,
            Vectors::Avx2 => Self::Avx2,
            Vectors::Plain => Self::Unchecked,
        }
    }
}

/// Lanes under way.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// The buffer of each lane, cut at `u32::MAX` bytes.
    pub(super) bufs: [&'a [u8]; LANES],
    /// The offset in its buffer that each lane has reached.
    pub(super) at: [usize; LANES],
}

impl<'a> Walk<'a> {
    pub(super) fn new(bufs: [&'a [u8]; LANES], at: [usize; LANES]) -> Self {
        Self { bufs, at }
    }

    /// Rows that can be walked in one go: no lane leaves its buffer, whatever the lengths, and there is space.
    pub(super) fn room(&self, rows: &Rows) -> usize {
        (0..LANES)
            .map(|lane| (self.bufs[lane].len() - self.at[lane]).saturating_sub(BLOCK) / STRIDE)
            .fold(ROWS - rows.len(), usize::min)
    }

    /// Walks up to `count` rows, which must be within [`room`](Self::room). Returns false when it came upon a
    /// length of more than one byte.
    pub(super) fn run(&mut self, rows: &mut Rows, count: usize, steps: Steps, ahead: Ahead) -> bool {
        assert!(count <= self.room(rows));
        let until = rows.len() + count;
        match steps {
            Steps::Checked => self.run_checked(rows, until),
            Steps::Unchecked => narrow::run(self, rows, until, ahead),
            Steps::Avx2 => narrow::run_avx2(self, rows, until, ahead),
            Steps::Avx512 => narrow::run_avx512(self, rows, until, ahead),
        }
        rows.len() == until
    }

    #[inline(never)]
    fn run_checked(&mut self, rows: &mut Rows, until: usize) {
        // Lossless: buffers are cut at u32::MAX.
        let mut at = self.at.map(|at| at as u32);
        while rows.len() < until.min(ROWS) {
            let blocks: [Option<&[u8; BLOCK]>; LANES] =
                array::from_fn(|lane| self.bufs[lane].get(at[lane] as usize..)?.first_chunk());
            let [Some(a), Some(b), Some(c), Some(d)] = blocks else {
                break;
            };
            let blocks = [a, b, c, d];
            if (a[0] | b[0] | c[0] | d[0]) >= 0x80 {
                break;
            }
            rows.push(array::from_fn(|lane| (at[lane], mark::of_block(blocks[lane]))));
            for lane in 0..LANES {
                at[lane] += 1 + u32::from(blocks[lane][0]);
            }
        }
        self.at = at.map(|at| at as usize);
    }

    /// Walks up to `count` rows with lengths of one or two bytes, without a branch that depends on which; stops at any
    /// other, and where a lane comes near the end of its buffer.
    pub(super) fn run_wide(&mut self, rows: &mut Rows, count: usize, steps: Steps) {
        let until = (rows.len() + count).min(ROWS);
        match steps {
            Steps::Checked => self.run_wide_checked(rows, until),
            _ => unchecked::wide::run(self, rows, until),
        }
    }

    #[inline(never)]
    fn run_wide_checked(&mut self, rows: &mut Rows, until: usize) {
        let mut at = self.at;
        while rows.len() < until {
            let mut next = [(0, 0); LANES];
            let mut fits = true;
            for (lane, next) in next.iter_mut().enumerate() {
                let Some(block) = self.bufs[lane][at[lane]..].first_chunk::<{ BLOCK + 1 }>() else {
                    fits = false;
                    break;
                };
                let (first, second) = (usize::from(block[0]), usize::from(block[1]));
                let wide = first >= 0x80;
                let length = if wide { (first & 0x3F) << 8 | second } else { first };
                let [narrow_block @ .., _] = block;
                let [_, wide_block @ ..] = block;
                let mark_narrow = vector::mark(narrow_block);
                let mark_wide = vector::mark_wide(wide_block);
                let mark = if wide { mark_wide } else { mark_narrow };
                let end = at[lane] + 1 + usize::from(wide) + length;
                fits &= first < 0xC0 && end <= self.bufs[lane].len() && (length > 0 || !wide);
                *next = (end, mark);
            }
            if !fits {
                break;
            }
            rows.push(array::from_fn(|lane| (at[lane] as u32, next[lane].1)));
            at = next.map(|(end, _)| end);
        }
        self.at = at;
    }

    /// Walks one row whatever its lengths. Returns the first lane that cannot go on, all lanes left as they were:
    /// its word is cut, or over the limit, or none at all.
    pub(super) fn cold(&mut self, rows: &mut Rows, word_bytes: u32) -> Result<(), usize> {
        let mut next = [(0, 0); LANES];
        for (lane, next) in next.iter_mut().enumerate() {
            let rest = &self.bufs[lane][self.at[lane]..];
            let Ok(Some((length, width))) = length::read(rest) else {
                return Err(lane);
            };
            let Some(word) = rest.get(width..width + length as usize) else {
                return Err(lane);
            };
            if length > word_bytes {
                return Err(lane);
            }
            *next = (width + word.len(), mark::of_word(word));
        }
        rows.push(array::from_fn(|lane| (self.at[lane] as u32, next[lane].1)));
        for (at, (bytes, _)) in self.at.iter_mut().zip(next) {
            *at += bytes;
        }
        Ok(())
    }
}
