//! One word after the other, straight onto the tape.
//!
//! The bare chain waits six cycles a word: four for the length and two to add it. Here the next length is loaded from
//! `rest + length`, which the load adds by itself, and `rest` goes on in its shadow: four cycles.
//!
//! # Safety argument
//!
//! A word is looked at only if 161 bytes or more are left of the buffer from its prefix on. A length of one byte then
//! lies inside with its whole word and the byte behind that, the four bytes that hold a longer one do, and so do the 32
//! bytes of the mark, which begin at most three bytes on. A longer word is taken only after its end was compared with
//! the buffer's, and the byte behind it is looked at only if the word does not end the buffer.

use super::vector;
use super::{Vectors, vectors};
use crate::decode::mark::BLOCK;

/// A prefix of one byte and the longest word behind it, and more than what is looked at.
const LEFT: usize = 1 + 0x7F + BLOCK + 1;

/// Where a burst goes.
pub(in crate::decode) struct Onto<'a> {
    pub(in crate::decode) at: &'a mut Vec<u32>,
    pub(in crate::decode) marks: &'a mut Vec<u8>,
}

/// Walks up to `words` words from `scan` on and returns where the next one is. Stops at what needs care: near the end
/// of the buffer, at a word that is longer than `word_bytes` or not all there, at an empty one written in more than one
/// byte, and at prefixes from `F0` on. Lengths of one byte are taken unseen: `word_bytes` is to be 0x7F at least.
pub(in crate::decode) fn burst(
    buf: &[u8],
    scan: usize,
    words: usize,
    word_bytes: u32,
    onto: Onto<'_>,
) -> usize {
    match vectors() {
        Vectors::Plain => plain(buf, scan, words, word_bytes, onto),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: the features were just found.
        _ => unsafe { avx2(buf, scan, words, word_bytes, onto) },
        #[cfg(any(not(target_arch = "x86_64"), miri))]
        _ => plain(buf, scan, words, word_bytes, onto),
    }
}

/// The byte at `rest + length`, in one step.
///
/// # Safety
///
/// It is readable.
#[inline(always)]
unsafe fn behind(rest: *const u8, length: usize) -> usize {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let byte: usize;
        // In Rust, the compiler computes the sum first, for it needs it too, and the load waits for it.
        // SAFETY: the instruction reads one byte, which is readable.
        unsafe {
            std::arch::asm!(
                "movzx {byte:e}, byte ptr [{rest} + {length}]",
                byte = lateout(reg) byte,
                rest = in(reg) rest,
                length = in(reg) length,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        byte
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    // SAFETY: it is readable.
    unsafe {
        usize::from(*rest.add(length))
    }
}

macro_rules! burst {
    ($buf:ident, $scan:ident, $words:ident, $word_bytes:ident, $onto:ident, $equal:expr) => {{
        debug_assert!($word_bytes >= 0x7F && $scan <= $buf.len());
        let Some(last) = $buf.len().checked_sub(LEFT).filter(|last| $scan <= *last) else {
            return $scan;
        };
        let Onto { at, marks } = $onto;
        at.reserve($words);
        marks.reserve($words);
        let start = $buf.as_ptr();
        let (ats, all) = (
            at.spare_capacity_mut().as_mut_ptr(),
            marks.spare_capacity_mut().as_mut_ptr(),
        );
        let (behind_start, last) = (start.wrapping_add(1), start.wrapping_add(last + 1));
        // Where the byte behind the prefix's first is.
        let mut rest = start.wrapping_add($scan + 1);
        // SAFETY: `scan <= last`.
        let mut length = unsafe { usize::from(*start.add($scan)) };
        let mut count = 0;
        while count < $words && rest <= last {
            // SAFETY: `rest <= last`: 161 bytes are readable from the prefix on (module's argument).
            let p = unsafe { rest.sub(1) };
            // SAFETY: as above, 32 bytes.
            let equal: u32 = $equal(p);
            let mut mark = equal.trailing_zeros();
            let next;
            let next_rest;
            if length < 0x80 {
                // SAFETY: as above, 129 bytes.
                unsafe {
                    next = behind(rest, length);
                    next_rest = rest.add(length).add(1);
                }
            } else {
                // SAFETY: as above, 4 bytes.
                let four = u32::from_be_bytes(unsafe { *p.cast::<[u8; 4]>() });
                let (length, width) = match length {
                    ..0xC0 => (four >> 16 & 0x3FFF, 2),
                    ..0xE0 => (four >> 8 & 0x1F_FFFF, 3),
                    ..0xF0 => (four & 0x0FFF_FFFF, 4),
                    _ => break,
                };
                let end = p.addr() - start.addr() + width + length as usize;
                if length == 0 || length > $word_bytes || end > $buf.len() {
                    break;
                }
                // SAFETY: as above, 32 bytes from at most the fourth on.
                let equal: u32 = $equal(unsafe { p.add(width - 1) });
                mark = (equal & !1).trailing_zeros();
                next = $buf.get(end).map_or(0, |&next| usize::from(next));
                next_rest = start.wrapping_add(end + 1);
            }
            // SAFETY: `count < words`, and so many were reserved.
            unsafe {
                // Lossless: buffers are cut at u32::MAX.
                (*ats.add(count)).write((rest.addr() - behind_start.addr()) as u32);
                (*all.add(count)).write(mark as u8);
            }
            (rest, length) = (next_rest, next);
            count += 1;
        }
        let scan = rest.addr() - behind_start.addr();
        let (words, all) = (at.len() + count, marks.len() + count);
        // SAFETY: `count` entries were written behind the last.
        unsafe {
            at.set_len(words);
            marks.set_len(all);
        }
        scan
    }};
}

#[inline(never)]
fn plain(buf: &[u8], scan: usize, words: usize, word_bytes: u32, onto: Onto<'_>) -> usize {
    // SAFETY: called with 32 readable bytes.
    let equal = |p: *const u8| vector::equal(unsafe { &*p.cast::<[u8; BLOCK]>() });
    burst!(buf, scan, words, word_bytes, onto, equal)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1")]
#[inline(never)]
fn avx2(buf: &[u8], scan: usize, words: usize, word_bytes: u32, onto: Onto<'_>) -> usize {
    // SAFETY: called with 32 readable bytes.
    let equal = |p: *const u8| unsafe { vector::equal_avx2(p) };
    burst!(buf, scan, words, word_bytes, onto, equal)
}
