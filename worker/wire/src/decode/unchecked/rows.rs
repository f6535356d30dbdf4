//! Where lanes write down what they find.
//!
//! Twenty kilobytes that are not cleared before they are used: a scan of one read would spend a tenth of its time on that.
//! The invariant that makes up for it: below `filled`, every lane's entry is written.

use std::mem::MaybeUninit;

use crate::decode::lanes::{LANES, ROWS};

/// The words of each lane in order.
pub(in crate::decode) struct Rows {
    /// Offset in the lane's buffer of each word's prefix.
    pub(super) at: [[MaybeUninit<u32>; ROWS]; LANES],
    pub(super) marks: [[MaybeUninit<u8>; ROWS]; LANES],
    /// Every lane has so many entries.
    pub(super) filled: usize,
}

impl Rows {
    pub(in crate::decode) fn new() -> Self {
        Self {
            at: [const { [const { MaybeUninit::uninit() }; ROWS] }; LANES],
            marks: [const { [const { MaybeUninit::uninit() }; ROWS] }; LANES],
            filled: 0,
        }
    }

    /// Rows written down.
    pub(in crate::decode) fn len(&self) -> usize {
        self.filled
    }

    pub(in crate::decode) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Writes down a row. There must be space.
    #[inline]
    pub(in crate::decode) fn push(&mut self, row: [(u32, u8); LANES]) {
        for (lane, (at, mark)) in row.into_iter().enumerate() {
            self.at[lane][self.filled].write(at);
            self.marks[lane][self.filled].write(mark);
        }
        self.filled += 1;
    }

    /// What a lane found: where words are, and their marks.
    pub(in crate::decode) fn lane(&self, lane: usize) -> (&[u32], &[u8]) {
        let (at, marks) = (&self.at[lane][..self.filled], &self.marks[lane][..self.filled]);
        // SAFETY: the invariant: everything below `filled` is written.
        unsafe { (at.assume_init_ref(), marks.assume_init_ref()) }
    }
}
