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
use super::unchecked;
use crate::length;

/// Chains at a time. Eight are no faster: they do not fit the registers.
pub(super) const LANES: usize = 4;

/// Rows that are written down before they go to a tape: what 20 KiB of first-level cache hold.
pub(super) const ROWS: usize = 1024;

/// A word with a prefix of one byte moves its lane on by no more than this.
const STRIDE: usize = 0x80;

/// The words of each lane in order.
#[derive(Debug)]
pub(super) struct Rows {
    /// Offset in the lane's buffer of each word's prefix.
    pub(super) at: [[u32; ROWS]; LANES],
    pub(super) marks: [[u8; ROWS]; LANES],
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            at: [[0; ROWS]; LANES],
            marks: [[0; ROWS]; LANES],
        }
    }
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
}

impl Steps {
    /// The fastest on this machine.
    pub(super) fn best() -> Self {
        if unchecked::has_avx2() {
            Self::Avx2
        } else {
            Self::Unchecked
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
    /// Rows written down.
    pub(super) row: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bufs: [&'a [u8]; LANES], at: [usize; LANES]) -> Self {
        Self { bufs, at, row: 0 }
    }

    /// Rows that can be walked in one go: no lane leaves its buffer, whatever the lengths, and there is space.
    pub(super) fn room(&self) -> usize {
        (0..LANES)
            .map(|lane| (self.bufs[lane].len() - self.at[lane]).saturating_sub(BLOCK) / STRIDE)
            .fold(ROWS - self.row, usize::min)
    }

    /// Walks up to `count` rows, which must be within [`room`](Self::room). Returns false when it came upon a
    /// length of more than one byte.
    pub(super) fn run(&mut self, rows: &mut Rows, count: usize, steps: Steps) -> bool {
        assert!(count <= self.room());
        let until = self.row + count;
        match steps {
            Steps::Checked => self.run_checked(rows, until),
            Steps::Unchecked => unchecked::run(self, rows, until),
            Steps::Avx2 => unchecked::run_avx2(self, rows, until),
        }
        self.row == until
    }

    #[inline(never)]
    fn run_checked(&mut self, rows: &mut Rows, until: usize) {
        // Lossless: buffers are cut at u32::MAX.
        let mut at = self.at.map(|at| at as u32);
        let mut row = self.row;
        while row < until.min(ROWS) {
            let blocks: [Option<&[u8; BLOCK]>; LANES] =
                array::from_fn(|lane| self.bufs[lane].get(at[lane] as usize..)?.first_chunk());
            let [Some(a), Some(b), Some(c), Some(d)] = blocks else {
                break;
            };
            let blocks = [a, b, c, d];
            if (a[0] | b[0] | c[0] | d[0]) >= 0x80 {
                break;
            }
            for lane in 0..LANES {
                rows.at[lane][row] = at[lane];
                rows.marks[lane][row] = mark::of_block(blocks[lane]);
                at[lane] += 1 + u32::from(blocks[lane][0]);
            }
            row += 1;
        }
        self.at = at.map(|at| at as usize);
        self.row = row;
    }

    /// Walks rows up to `until` with lengths of one or two bytes, without a branch that depends on which; stops at
    /// any other, and where a lane comes near the end of its buffer.
    pub(super) fn run_wide(&mut self, rows: &mut Rows, until: usize) {
        let mut at = self.at;
        let mut row = self.row;
        while row < until.min(ROWS) {
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
                let mark_narrow = unchecked::mark(narrow_block);
                let mark_wide = unchecked::mark_wide(wide_block);
                let mark = if wide { mark_wide } else { mark_narrow };
                let end = at[lane] + 1 + usize::from(wide) + length;
                fits &= first < 0xC0 && end <= self.bufs[lane].len() && (length > 0 || !wide);
                *next = (end, mark);
            }
            if !fits {
                break;
            }
            for (lane, (end, mark)) in next.into_iter().enumerate() {
                rows.at[lane][row] = at[lane] as u32;
                rows.marks[lane][row] = mark;
                at[lane] = end;
            }
            row += 1;
        }
        self.at = at;
        self.row = row;
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
        for (lane, (bytes, mark)) in next.into_iter().enumerate() {
            rows.at[lane][self.row] = self.at[lane] as u32;
            rows.marks[lane][self.row] = mark;
            self.at[lane] += bytes;
        }
        self.row += 1;
        Ok(())
    }
}
