//! Lanes with lengths of one byte.
//!
//! # Safety argument
//!
//! One row moves a lane on by at most 128 bytes, because a length of 128 or more ends the loop before the next row. So
//! before row `r` of `count`, a lane that began at `at` stands at no more than `at + 128 * r`. The furthest byte that is
//! read is `at + 128 * (count - 1) + 31`; where two rows are taken at once, the second may have moved by 256, and it is
//! `at + 128 * (count - 2) + 256 + 31`. [`check`] makes sure, once for all rows and also in release builds, that both are
//! inside the lane's buffer, and that the rows are inside [`Rows`].

use super::rows::Rows;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{Vectors, vectors};
use super::{prefetch, vector};
use crate::decode::lanes::{Ahead, LANES, ROWS, STRIDE, Walk};
use crate::decode::mark::BLOCK;

/// What the loops rely on.
fn check(walk: &Walk<'_>, row: usize, until: usize) {
    assert!(row <= until && until <= ROWS);
    let reach = (until - row) * STRIDE + BLOCK;
    for lane in 0..LANES {
        assert!(walk.at[lane] <= walk.bufs[lane].len());
        assert!(row == until || walk.bufs[lane].len() - walk.at[lane] >= reach);
    }
}

/// A place to ask memory for, a row at a time.
struct Fetch {
    at: *const u8,
    step: usize,
}

impl Fetch {
    fn new(walk: &Walk<'_>, ahead: Ahead) -> Self {
        Self {
            at: walk.bufs[0].as_ptr().wrapping_add(ahead.at),
            step: ahead.step,
        }
    }

    #[inline(always)]
    fn next(&mut self) {
        prefetch(self.at);
        self.at = self.at.wrapping_add(self.step);
    }
}

macro_rules! steps {
    ($walk:ident, $rows:ident, $until:ident, $ahead:ident, $mark:expr) => {{
        let from = $rows.filled;
        check($walk, from, $until);
        let mut row = from;
        let starts: [*const u8; LANES] = std::array::from_fn(|lane| $walk.bufs[lane].as_ptr());
        // SAFETY: `check`: `at` is inside the buffer.
        let mut p: [*const u8; LANES] =
            std::array::from_fn(|lane| unsafe { starts[lane].add($walk.at[lane]) });
        let mut fetch = Fetch::new($walk, $ahead);
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
            fetch.next();
            for lane in 0..LANES {
                // SAFETY: row < until <= ROWS (`check`); 32 bytes are readable at `p`; and it goes on by at most 128
                // bytes, and only one past the last row's.
                unsafe {
                    $rows.at[lane].get_unchecked_mut(row).write(p[lane].addr() as u32);
                    $rows.marks[lane].get_unchecked_mut(row).write($mark(p[lane]));
                    p[lane] = p[lane].add(1 + c[lane]);
                }
            }
            row += 1;
        }
        for lane in 0..LANES {
            $walk.at[lane] = p[lane].addr() - starts[lane].addr();
        }
        $rows.filled = row;
    }};
}

#[inline(never)]
pub(in crate::decode) fn run(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    // SAFETY: the loop calls this with 32 readable bytes.
    let near = |p: *const u8| vector::mark(unsafe { &*p.cast::<[u8; BLOCK]>() });
    steps!(walk, rows, until, ahead, near);
}

/// As [`run`], one compare a word; `run` itself where the processor cannot.
pub(in crate::decode) fn run_avx2(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if vectors() != Vectors::Plain {
        // SAFETY: the features were just found.
        return unsafe { avx2(walk, rows, until, ahead) };
    }
    run(walk, rows, until, ahead);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1")]
#[inline(never)]
fn avx2(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    // SAFETY: the loop calls this with 32 readable bytes.
    let mark = |p: *const u8| unsafe { vector::equal_avx2(p) }.trailing_zeros() as u8;
    steps!(walk, rows, until, ahead, mark);
}

/// As [`run_avx2`], two rows at a time and with masks for marks; another one where the rows have no masks, and for a last
/// row.
pub(in crate::decode) fn run_avx512(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if rows.masked {
        // SAFETY: rows are masked only where the processor has the features.
        return unsafe { avx512(walk, rows, until, ahead) };
    }
    run_avx2(walk, rows, until, ahead);
}

/// Stores set the pace of the other loops: a place and a mark a word. Here two places go in one, and so do the two masks
/// that marks are made of afterwards.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
#[inline(never)]
fn avx512(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8_mask, _mm256_loadu_si256, _mm256_setr_epi64x, _mm512_kunpackd,
    };

    use vector::EQUALS;

    check(walk, rows.filled, until);
    let starts: [*const u8; LANES] = std::array::from_fn(|lane| walk.bufs[lane].as_ptr());
    // SAFETY: `check`: `at` is inside the buffer.
    let [mut p0, mut p1, mut p2, mut p3] =
        std::array::from_fn(|lane| unsafe { starts[lane].add(walk.at[lane]) });
    // The second byte is one of the signs here: it makes marks sure.
    let pattern = _mm256_setr_epi64x(EQUALS << 8, EQUALS, EQUALS, EQUALS);
    let (places, masks) = (
        rows.at.as_mut_ptr().cast::<u32>(),
        rows.masks.as_mut_ptr().cast::<u32>(),
    );
    let Fetch { at: mut fetch, step } = Fetch::new(walk, ahead);
    let mut row = rows.filled;
    while row + 2 <= until {
        prefetch(fetch);
        prefetch(fetch.wrapping_add(step));
        fetch = fetch.wrapping_add(2 * step);
        let mut any = 0;
        let mut take = |lane: usize, p: &mut *const u8| {
            let one = *p;
            // SAFETY: both rows are below `until`, so 32 bytes are readable where the first stands, and where the second
            // stands, wherever in 256 bytes that is (module's argument); and `until <= ROWS` (`check`).
            unsafe {
                let length = usize::from(*one);
                let other = one.add(1 + length);
                let other_length = usize::from(*other);
                any |= length | other_length;
                let both = (other.addr() << 32 | one.addr() & 0xFFFF_FFFF) as u64;
                places.add(lane * ROWS + row).cast::<u64>().write_unaligned(both);
                let mask = _mm256_cmpeq_epi8_mask(_mm256_loadu_si256(one.cast()), pattern);
                let other_mask = _mm256_cmpeq_epi8_mask(_mm256_loadu_si256(other.cast()), pattern);
                let both = _mm512_kunpackd(u64::from(other_mask), u64::from(mask));
                masks.add(lane * ROWS + row).cast::<u64>().write_unaligned(both);
                *p = other.wrapping_add(1 + other_length);
            }
        };
        take(0, &mut p0);
        take(1, &mut p1);
        take(2, &mut p2);
        take(3, &mut p3);
        if any >= 0x80 {
            // They did not count; what they wrote first is where the lanes stand.
            [p0, p1, p2, p3] = std::array::from_fn(|lane| {
                // SAFETY: just written.
                let stands = unsafe { *places.add(lane * ROWS + row) };
                starts[lane].wrapping_add(stands.wrapping_sub(rows.low[lane]) as usize)
            });
            break;
        }
        row += 2;
    }
    rows.filled = row;
    for (lane, p) in [p0, p1, p2, p3].into_iter().enumerate() {
        walk.at[lane] = p.addr() - starts[lane].addr();
    }
}
