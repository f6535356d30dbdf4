//! The inner loop of the lock step without bounds checks: the only unsafe code of the crate.
//!
//! Its safe twin is [`Walk::run`] with [`Steps::Checked`](super::lanes::Steps::Checked); `DESIGN.md` has what the
//! difference is worth, and the tests hold them together.
//!
//! # Safety argument
//!
//! One row moves a lane on by at most 128 bytes, because a length of 128 or more ends the loop before it is used. So
//! before row `r` of `count`, a lane that began at `at` stands at no more than `at + 128 * r`, and the furthest byte
//! that is read is `at + 128 * (count - 1) + 31`. [`check`] makes sure, once for all rows and also in release
//! builds, that this is inside the lane's buffer, and that the rows are inside [`Rows`].

#![expect(
    unsafe_code,
    reason = "bounds checks in the innermost loop of the decoder cost more than a tenth of it"
)]

use super::lanes::{LANES, ROWS, Rows, Walk};
use super::mark::BLOCK;

/// What the loop relies on.
fn check(walk: &Walk<'_>, until: usize) {
    assert!(walk.row <= until && until <= ROWS);
    let reach = (until - walk.row) * 0x80 + BLOCK;
    for lane in 0..LANES {
        assert!(walk.at[lane] <= walk.bufs[lane].len());
        assert!(walk.row == until || walk.bufs[lane].len() - walk.at[lane] >= reach);
    }
}

macro_rules! steps {
    ($walk:ident, $rows:ident, $until:ident, $mark:expr) => {{
        check($walk, $until);
        let mut row = $walk.row;
        let starts: [*const u8; LANES] = std::array::from_fn(|lane| $walk.bufs[lane].as_ptr());
        // SAFETY: `check`: `at` is inside the buffer.
        let mut p: [*const u8; LANES] =
            std::array::from_fn(|lane| unsafe { starts[lane].add($walk.at[lane]) });
        while row < $until {
            debug_assert!(
                (0..LANES)
                    .all(|lane| { p[lane].addr() + BLOCK <= starts[lane].addr() + $walk.bufs[lane].len() })
            );
            // SAFETY: every lane is 32 bytes or more before the end of its buffer (module's argument).
            let c = p.map(|p| unsafe { usize::from(*p) });
            if (c[0] | c[1] | c[2] | c[3]) >= 0x80 {
                break;
            }
            for lane in 0..LANES {
                // The low half of the address; the offset in the buffer is made of it afterwards.
                // SAFETY: row < until <= ROWS (`check`).
                unsafe { *$rows.at[lane].get_unchecked_mut(row) = p[lane].addr() as u32 };
                // SAFETY: as above; and 32 bytes are readable at `p`.
                unsafe { *$rows.marks[lane].get_unchecked_mut(row) = $mark(p[lane]) };
                // SAFETY: at most 128 bytes further, and only one past the last row's.
                p[lane] = unsafe { p[lane].add(1 + c[lane]) };
            }
            row += 1;
        }
        for lane in 0..LANES {
            let low = starts[lane].addr() as u32;
            for at in &mut $rows.at[lane][$walk.row..row] {
                *at = at.wrapping_sub(low);
            }
            $walk.at[lane] = p[lane].addr() - starts[lane].addr();
        }
        $walk.row = row;
    }};
}

#[inline(never)]
pub(super) fn run(walk: &mut Walk<'_>, rows: &mut Rows, until: usize) {
    // SAFETY: the loop calls this with 32 readable bytes.
    let near = |p: *const u8| mark(unsafe { &*p.cast::<[u8; BLOCK]>() });
    steps!(walk, rows, until, near);
}

/// [`mark::of_block`](super::mark::of_block) with the vectors that every processor of this architecture has.
#[inline(always)]
pub(super) fn mark(block: &[u8; BLOCK]) -> u8 {
    #[cfg(target_arch = "x86_64")]
    {
        (equal(block) | 1 << BLOCK).trailing_zeros() as u8
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        super::mark::of_block(block)
    }
}

/// The mark of a word that is not empty and has a longer prefix, from the prefix's last byte on.
#[inline(always)]
pub(super) fn mark_wide(block: &[u8; BLOCK]) -> u8 {
    #[cfg(target_arch = "x86_64")]
    {
        (equal(block) & !1 | 1 << BLOCK).trailing_zeros() as u8
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        super::mark::of_word(&block[1..])
    }
}

/// A bit for each byte that is as in the pattern of [`mark`](super::mark).
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal(block: &[u8; BLOCK]) -> u64 {
    {
        use std::arch::x86_64::{
            _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8,
        };
        // SAFETY: SSE2 is part of x86-64, and the two loads are the two halves of `block`.
        let (low, high) = unsafe {
            let low = _mm_loadu_si128(block.as_ptr().cast());
            let high = _mm_loadu_si128(block.as_ptr().add(16).cast());
            let equals = _mm_set1_epi8(b'=' as i8);
            let first = _mm_set_epi64x(EQUALS, EQUALS << 16);
            (
                _mm_movemask_epi8(_mm_cmpeq_epi8(low, first)) as u64,
                _mm_movemask_epi8(_mm_cmpeq_epi8(high, equals)) as u64,
            )
        };
        low | high << 16
    }
}

#[cfg(target_arch = "x86_64")]
const EQUALS: i64 = i64::from_le_bytes([b'='; 8]);

/// Whether [`run_avx2`] has its instructions.
pub(super) fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// As [`run`], one compare a word; `run` itself where the processor cannot.
pub(super) fn run_avx2(walk: &mut Walk<'_>, rows: &mut Rows, until: usize) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features were just found.
        return unsafe { avx2(walk, rows, until) };
    }
    run(walk, rows, until);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
#[inline(never)]
fn avx2(walk: &mut Walk<'_>, rows: &mut Rows, until: usize) {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_setr_epi64x,
    };
    let pattern = _mm256_setr_epi64x(EQUALS << 16, EQUALS, EQUALS, EQUALS);
    let mark = |p: *const u8| {
        // SAFETY: the loop calls this with 32 readable bytes.
        let block = unsafe { _mm256_loadu_si256(p.cast()) };
        let equal = _mm256_movemask_epi8(_mm256_cmpeq_epi8(block, pattern));
        equal.trailing_zeros() as u8
    };
    steps!(walk, rows, until, mark);
}
