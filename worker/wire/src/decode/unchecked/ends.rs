//! Which words of many end a sentence.

#[cfg(any(not(target_arch = "x86_64"), miri))]
use crate::decode::mark;

/// Appends `base` plus the index of every [`END`](crate::decode::mark::END) in `marks`, in order.
///
/// 32 marks make a mask; indices are taken from it four at a time, whether there are so many or not, because a guess
/// about their number that turns out wrong costs more than writing a few in vain.
#[inline]
pub(in crate::decode) fn ends(marks: &[u8], base: u32, out: &mut Vec<u32>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    match super::vectors() {
        super::Vectors::Plain => sse2(marks, base, out),
        // SAFETY: the features were just found.
        _ => unsafe { avx2(marks, base, out) },
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    mark::ends(marks, |index| out.push(base + index as u32));
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
macro_rules! ends {
    ($marks:ident, $base:ident, $out:ident, $mask:expr) => {{
        const MANY: usize = 4;
        let (chunks, rest) = $marks.as_chunks::<32>();
        // Each mark ends at most one sentence; and what is written in vain.
        $out.reserve($marks.len() + MANY);
        let mut next = $out.len();
        let start = $out.as_mut_ptr();
        let mut first = $base;
        for chunk in chunks {
            let mut mask: u32 = $mask(chunk);
            let after = next + mask.count_ones() as usize;
            while mask != 0 {
                for index in 0..MANY {
                    debug_assert!(next + index < $out.capacity());
                    // SAFETY: at most as many as there are marks up to here, and `MANY`, were written: reserved.
                    unsafe { *start.add(next + index) = first.wrapping_add(mask.trailing_zeros()) };
                    mask &= mask.wrapping_sub(1);
                }
                next += MANY;
            }
            next = after;
            first += 32;
        }
        // SAFETY: as many were written, and reserved.
        unsafe { $out.set_len(next) };
        let rest = rest.iter().zip(first..).filter(|&(&mark, _)| mark == 0);
        $out.extend(rest.map(|(_, index)| index));
    }};
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn sse2(marks: &[u8], base: u32, out: &mut Vec<u32>) {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_setzero_si128};
    let mask = |chunk: &[u8; 32]| {
        // SAFETY: SSE2 is part of x86-64, and the two loads are the two halves of `chunk`.
        let [low, high] = unsafe {
            let halves = [chunk.as_ptr(), chunk.as_ptr().add(16)];
            halves.map(|half| {
                _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(half.cast()), _mm_setzero_si128()))
            })
        };
        (low | high << 16) as u32
    };
    ends!(marks, base, out, mask);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn avx2(marks: &[u8], base: u32, out: &mut Vec<u32>) {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_setzero_si256,
    };
    let mask = |chunk: &[u8; 32]| {
        // SAFETY: 32 bytes are there.
        let chunk = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(chunk, _mm256_setzero_si256())) as u32
    };
    ends!(marks, base, out, mask);
}
