//! Lanes with lengths of one or two bytes, without a branch that depends on which.
//!
//! # Safety argument
//!
//! Before a row is looked at, every lane stands at or before its `last`, which is 32 bytes before the end of its
//! buffer: that many are readable. Where a lane would go next is compared with that before it goes there.

use super::rows::Rows;
use super::vector;
use crate::decode::lanes::{LANES, ROWS, Walk};
use crate::decode::mark::BLOCK;

/// Walks rows up to `until`; stops at any other length, at an empty word written in two bytes, and where a lane comes
/// within a vector of the end of its buffer. Words are not longer than 0x3FFF bytes.
pub(in crate::decode) fn run(walk: &mut Walk<'_>, rows: &mut Rows, until: usize) {
    match rows.masked {
        true => lanes::<true>(walk, rows, until),
        false => lanes::<false>(walk, rows, until),
    }
}

#[inline(never)]
fn lanes<const MASKED: bool>(walk: &mut Walk<'_>, rows: &mut Rows, until: usize) {
    let until = until.min(ROWS);
    let starts = walk.bufs.map(<[u8]>::as_ptr);
    let mut lasts = [0; LANES];
    for ((last, buf), at) in lasts.iter_mut().zip(walk.bufs).zip(walk.at) {
        match buf.len().checked_sub(BLOCK) {
            Some(found) if at <= found => *last = found,
            _ => return,
        }
    }
    let mut at = walk.at;
    let mut row = rows.filled;
    while row < until {
        let mut next = [0; LANES];
        let (mut odd, mut left) = (0, 0);
        for lane in 0..LANES {
            debug_assert!(at[lane] + BLOCK <= walk.bufs[lane].len());
            // SAFETY: `at <= last`: 32 bytes are readable (module's argument).
            let block = unsafe { &*starts[lane].add(at[lane]).cast::<[u8; BLOCK]>() };
            let two = usize::from(u16::from_be_bytes([block[0], block[1]]));
            let (wide, low) = (two >> 15, two & 0x3FFF);
            let length = if wide > 0 { low } else { two >> 8 };
            next[lane] = at[lane] + 1 + wide + length;
            // Bit 16: the prefix is longer. The highest bit: none of the 14 bits is set; or the lane goes too far.
            odd |= (two + 0x4000) | low.wrapping_sub(1);
            left |= lasts[lane].wrapping_sub(next[lane]);
            // Behind a prefix of two bytes everything stands one further on, and neither its second byte nor the
            // first one of the word counts. The first one of a word never has to.
            let equal = u64::from(vector::equal(block) & !((7 * wide as u32) | 0b10)) | 1 << (BLOCK + 1);
            let equal = equal >> wide;
            // SAFETY: row < until <= ROWS.
            unsafe {
                let place = (at[lane] as u32).wrapping_add(rows.low[lane]);
                rows.at[lane].get_unchecked_mut(row).write(place);
                if MASKED {
                    rows.masks[lane].get_unchecked_mut(row).write(equal as u32);
                } else {
                    let mark = equal.trailing_zeros().min(BLOCK as u32) as u8;
                    rows.marks[lane].get_unchecked_mut(row).write(mark);
                }
            }
        }
        if odd & 1 << 16 != 0 || (odd | left) >> (usize::BITS - 1) != 0 {
            break;
        }
        at = next;
        row += 1;
    }
    walk.at = at;
    rows.filled = row;
}
