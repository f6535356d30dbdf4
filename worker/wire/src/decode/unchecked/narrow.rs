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
use super::{Vectors, prefetch, vector, vectors};
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
                    // The low half of the address; the offset in the buffer is made of it afterwards.
                    $rows.at[lane].get_unchecked_mut(row).write(p[lane].addr() as u32);
                    $rows.marks[lane].get_unchecked_mut(row).write($mark(p[lane]));
                    p[lane] = p[lane].add(1 + c[lane]);
                }
            }
            row += 1;
        }
        for lane in 0..LANES {
            let low = starts[lane].addr() as u32;
            // SAFETY: these rows were just written.
            for at in unsafe { $rows.at[lane][from..row].assume_init_mut() } {
                *at = at.wrapping_sub(low);
            }
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

/// As [`run_avx2`], two rows at a time; `run_avx2` where the processor cannot, and for a last row.
pub(in crate::decode) fn run_avx512(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if vectors() == Vectors::Avx512 {
        // SAFETY: the features were just found.
        unsafe { avx512(walk, rows, until, ahead) };
        if rows.filled + 1 != until {
            return;
        }
    }
    run_avx2(walk, rows, until, ahead);
}

/// Rows whose masks are kept: what a few kilobytes of stack hold.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const KEPT: usize = 64;

/// For each lane and each two rows the masks of both.
#[cfg(all(target_arch = "x86_64", not(miri)))]
type Masks = [[std::mem::MaybeUninit<u64>; KEPT / 2]; LANES];

/// Stores set the pace of the other loops: a place and a mark a word. Here two places go in one, and so do the two masks
/// that marks are made of, sixteen at a time, when some rows have been walked.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
#[inline(never)]
fn avx512(walk: &mut Walk<'_>, rows: &mut Rows, until: usize, ahead: Ahead) {
    use std::arch::x86_64::{
        _mm_mask_storeu_epi8, _mm512_add_epi32, _mm512_andnot_si512, _mm512_cvtepi32_epi8,
        _mm512_mask_storeu_epi32, _mm512_maskz_loadu_epi32, _mm512_popcnt_epi32, _mm512_set1_epi32,
        _mm512_sub_epi32,
    };

    check(walk, rows.filled, until);
    let starts: [*const u8; LANES] = std::array::from_fn(|lane| walk.bufs[lane].as_ptr());
    // SAFETY: `check`: `at` is inside the buffer.
    let mut p: [*const u8; LANES] = std::array::from_fn(|lane| unsafe { starts[lane].add(walk.at[lane]) });
    let mut fetch = Fetch::new(walk, ahead);
    let mut masks: Masks = [const { [const { std::mem::MaybeUninit::uninit() }; KEPT / 2] }; LANES];
    let mut narrow = true;
    while narrow && until - rows.filled >= 2 {
        let from = rows.filled;
        let wanted = (until - from).min(KEPT) / 2;
        // SAFETY: `check`: all these rows are below `until`, whose lanes have the bytes and whose entries exist.
        let pairs = unsafe { pairs(&mut p, &raw mut rows.at[0][from], &mut masks, wanted, &mut fetch) };
        narrow = pairs == wanted;
        let count = 2 * pairs;
        for lane in 0..LANES {
            let low = _mm512_set1_epi32(starts[lane].addr() as i32);
            if !narrow {
                // SAFETY: the pair that was broken off wrote its places, the first of which is where the lane stands.
                let stands = unsafe { rows.at[lane][from + count].assume_init() };
                let offset = stands.wrapping_sub(starts[lane].addr() as u32);
                p[lane] = starts[lane].wrapping_add(offset as usize);
            }
            for first in (0..count).step_by(16) {
                let some = ((1_u32 << (count - first).min(16)) - 1) as u16;
                // SAFETY: the mask leaves nothing but what the pairs wrote: places below `from + count`, which is not
                // over ROWS, and as many masks.
                unsafe {
                    let place = rows.at[lane].as_mut_ptr().add(from + first).cast::<i32>();
                    let places = _mm512_maskz_loadu_epi32(some, place);
                    _mm512_mask_storeu_epi32(place, some, _mm512_sub_epi32(places, low));
                    let equal = masks[lane].as_ptr().cast::<i32>().add(first);
                    let equal = _mm512_maskz_loadu_epi32(some, equal);
                    // The zeros below the lowest one: 32 where there is none.
                    let below = _mm512_andnot_si512(equal, _mm512_add_epi32(equal, _mm512_set1_epi32(-1)));
                    let marks = _mm512_cvtepi32_epi8(_mm512_popcnt_epi32(below));
                    let mark = rows.marks[lane].as_mut_ptr().add(from + first).cast::<i8>();
                    _mm_mask_storeu_epi8(mark, some, marks);
                }
            }
        }
        rows.filled = from + count;
    }
    for lane in 0..LANES {
        walk.at[lane] = p[lane].addr() - starts[lane].addr();
    }
}

/// Walks `wanted` times two rows: the low halves of addresses go to `at` and as far behind it as the lanes of [`Rows`] are
/// apart, the masks to `masks`. Returns how many times two rows had lengths of one byte; behind them, the places of two
/// more rows were written, and `p` is of no use, if those are not all.
///
/// # Safety
///
/// For each lane, `128 * 2 * wanted + 32` bytes are readable at `p`, and `2 * wanted` entries writable at its `at`;
/// `wanted` is not over half of [`KEPT`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
#[inline(never)]
unsafe fn pairs(
    p: &mut [*const u8; LANES],
    at: *mut std::mem::MaybeUninit<u32>,
    masks: &mut Masks,
    wanted: usize,
    fetch: &mut Fetch,
) -> usize {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8_mask, _mm256_loadu_si256, _mm256_setr_epi64x, _mm512_kunpackd,
    };

    use vector::EQUALS;

    debug_assert!(wanted <= KEPT / 2);
    let pattern = _mm256_setr_epi64x(EQUALS << 16, EQUALS, EQUALS, EQUALS);
    let [mut p0, mut p1, mut p2, mut p3] = *p;
    let mut ahead = fetch.at;
    let mut pair = 0;
    while pair < wanted {
        prefetch(ahead);
        prefetch(ahead.wrapping_add(64));
        ahead = ahead.wrapping_add(128);
        let mut any = 0;
        let mut step = |lane: usize, p: &mut *const u8| {
            let one = *p;
            // SAFETY: the pair is below `wanted`, so 32 bytes are readable where its first row stands, and where its
            // second stands, wherever in 256 bytes that is (module's argument); and the entries exist.
            unsafe {
                let length = usize::from(*one);
                let other = one.add(1 + length);
                let other_length = usize::from(*other);
                any |= length | other_length;
                let both = (other.addr() << 32 | one.addr() & 0xFFFF_FFFF) as u64;
                at.add(lane * ROWS + 2 * pair).cast::<u64>().write_unaligned(both);
                let mask = _mm256_cmpeq_epi8_mask(_mm256_loadu_si256(one.cast()), pattern);
                let other_mask = _mm256_cmpeq_epi8_mask(_mm256_loadu_si256(other.cast()), pattern);
                let both = _mm512_kunpackd(u64::from(other_mask), u64::from(mask));
                masks[lane].get_unchecked_mut(pair).write(both);
                *p = other.wrapping_add(1 + other_length);
            }
        };
        step(0, &mut p0);
        step(1, &mut p1);
        step(2, &mut p2);
        step(3, &mut p3);
        if any >= 0x80 {
            break;
        }
        pair += 1;
    }
    fetch.at = ahead;
    *p = [p0, p1, p2, p3];
    pair
}
