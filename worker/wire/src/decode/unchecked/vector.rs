//! The mark of a word with the vectors that every processor of this architecture has.

#[cfg(any(not(target_arch = "x86_64"), miri))]
use crate::decode::mark;
use crate::decode::mark::BLOCK;

/// [`mark::of_block`](crate::decode::mark::of_block).
#[inline(always)]
pub(in crate::decode) fn mark(block: &[u8; BLOCK]) -> u8 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        (u64::from(equal(block)) | 1 << BLOCK).trailing_zeros() as u8
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    {
        mark::of_block(block)
    }
}

/// The mark of a word that is not empty and has a longer prefix, from the prefix's last byte on.
#[inline(always)]
pub(in crate::decode) fn mark_wide(block: &[u8; BLOCK]) -> u8 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        (u64::from(equal(block)) & !1 | 1 << BLOCK).trailing_zeros() as u8
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    {
        mark::of_word(&block[1..])
    }
}

/// A bit for each byte that is as in the pattern of [`mark`](crate::decode::mark).
#[inline(always)]
pub(super) fn equal(block: &[u8; BLOCK]) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
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
                _mm_movemask_epi8(_mm_cmpeq_epi8(low, first)) as u32,
                _mm_movemask_epi8(_mm_cmpeq_epi8(high, equals)) as u32,
            )
        };
        low | high << 16
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    {
        let pattern = |at| if at < 2 { 0 } else { b'=' };
        let bits = block.iter().enumerate();
        bits.fold(0, |bits, (at, &byte)| bits | u32::from(byte == pattern(at)) << at)
    }
}

/// [`equal`] of the 32 bytes at `p`, in one compare.
///
/// # Safety
///
/// They are readable.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1")]
#[inline]
pub(super) unsafe fn equal_avx2(p: *const u8) -> u32 {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_setr_epi64x,
    };
    let pattern = _mm256_setr_epi64x(EQUALS << 16, EQUALS, EQUALS, EQUALS);
    // SAFETY: the caller's.
    let block = unsafe { _mm256_loadu_si256(p.cast()) };
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(block, pattern)) as u32
}

/// Eight signs at once.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) const EQUALS: i64 = i64::from_le_bytes([b'='; 8]);
