//! Many short words at a time: a length for each byte of a block, as if a word began there, and jumps over jumps.
//!
//! ```text
//! block    00 03 ! r e 04 . t a g 00 …        where would the word end that begins at this byte?
//! once     1  5  …     10 …                   a table of 64 places; those behind the block stay as they are
//! twice    once of once: 5 10 …               a permutation; four of them make sixteen jumps
//! ```
//!
//! From the place where a block is entered, sixteen words are listed by four permutations, one for each bit of their
//! number, and the next block's entry by one: that is all that has to wait from block to block, however many words there
//! are. What a word has in marks is made of the places afterwards, sixteen at a time, from a bit for each `=`.
//!
//! # Safety argument
//!
//! [`list`] reads `blocks + 1` blocks of 64 bytes from `from` on, which [`run`] makes sure are there. A block has at most
//! 64 words, for each listed word is further on than the one before, and places are written sixteen at a time: `run`
//! reserves [`WORDS`] and sixteen more. [`marks`] reads and writes below the number of words listed, and below that plus
//! sixteen in what was reserved; it looks at the bits of at most two dozen bytes behind the last, which exist.

use super::burst::Onto;

/// Blocks that are listed at a time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const BLOCKS: usize = 64;

/// Words that so many blocks have at most.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const WORDS: usize = BLOCKS * 64;

/// Whether [`run`] has its instructions.
pub(in crate::decode) fn exists() -> bool {
    super::vectors() == super::Vectors::Vbmi
}

/// Walks some words from `scan` on, appends what ends sentences to `ends`, and returns where the next one is. Stops at
/// lengths of more than one byte, at words that reach far, and near the end of the buffer; does nothing without
/// [its instructions](exists).
pub(in crate::decode) fn run(buf: &[u8], scan: usize, onto: Onto<'_>, ends: &mut Vec<u32>) -> usize {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let whole = (buf.len() - scan) / 64;
        let blocks = whole.saturating_sub(1).min(BLOCKS);
        if blocks > 0 && exists() {
            // SAFETY: the features were just found; `blocks + 1` blocks are there.
            return unsafe { vbmi(buf, scan, blocks, onto, ends) };
        }
    }
    let _ = (buf, onto, ends);
    scan
}

/// A bit for each `=` of some blocks, and zeros.
#[cfg(all(target_arch = "x86_64", not(miri)))]
type Bits = [u64; BLOCKS + 1 + 8];

/// # Safety
///
/// `blocks + 1` blocks, at most [`BLOCKS`] and one, are in the buffer from `scan` on.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(
    enable = "avx2,bmi1,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512vpopcntdq"
)]
unsafe fn vbmi(buf: &[u8], scan: usize, blocks: usize, onto: Onto<'_>, ends: &mut Vec<u32>) -> usize {
    debug_assert!(blocks <= BLOCKS && buf.len() - scan >= 64 * (blocks + 1));
    let Onto { at, marks: all } = onto;
    at.reserve(WORDS + 16);
    let mut bits: Bits = [0; BLOCKS + 1 + 8];
    let listed = at.len();
    // SAFETY: the blocks are there, and the words were reserved.
    let (count, next) = unsafe { list(buf, scan, blocks, at.as_mut_ptr().add(listed), &mut bits) };
    debug_assert!(count < WORDS + 16);
    all.reserve(count + 16);
    ends.reserve(count + 16);
    let (marked, ended) = (all.len(), ends.len());
    // SAFETY: `count` places were written, and there is space for one more, and in the others for as many and sixteen.
    unsafe {
        let at = at.as_mut_ptr().add(listed);
        *at.add(count) = next as u32;
        let all = all.as_mut_ptr().add(marked);
        let more = marks(
            buf,
            scan,
            at,
            count,
            &bits,
            all,
            ends.as_mut_ptr().add(ended),
            listed as u32,
        );
        ends.set_len(ended + more);
    }
    // SAFETY: so many were written.
    unsafe {
        at.set_len(listed + count);
        all.set_len(marked + count);
    }
    next
}

/// Lists the places of words from `from` on at `out`. Returns how many there are and where the next one is.
///
/// # Safety
///
/// `blocks + 1` blocks are in the buffer from `from` on, and `64 * blocks + 16` places may be written.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(
    enable = "avx2,bmi1,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512vpopcntdq"
)]
#[inline(never)]
unsafe fn list(buf: &[u8], from: usize, blocks: usize, out: *mut u32, bits: &mut Bits) -> (usize, usize) {
    use std::arch::x86_64::{
        __m128i, __m512i, _mm_add_epi8, _mm_blend_epi16, _mm_blend_epi32, _mm_blendv_epi8, _mm_cvtsi128_si32,
        _mm_movemask_epi8, _mm_set1_epi16, _mm512_add_epi32, _mm512_adds_epu8, _mm512_castsi128_si512,
        _mm512_castsi512_si128, _mm512_cmpeq_epi8_mask, _mm512_cvtepu8_epi32, _mm512_loadu_si512,
        _mm512_min_epu8, _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512, _mm512_sub_epi8,
    };

    const fn counting(first: u8) -> [u8; 64] {
        let mut bytes = [0; 64];
        let mut index = 0;
        while index < 64 {
            bytes[index] = first + index as u8;
            index += 1;
        }
        bytes
    }
    static ONE_ON: [u8; 64] = counting(1);
    static BEHIND: [u8; 64] = counting(64);

    let low = |v: __m512i| _mm512_castsi512_si128(v);
    let first_byte = |v: __m512i| _mm_cvtsi128_si32(_mm512_castsi512_si128(v)) as u32 & 0xFF;
    let whole = |v: __m128i| _mm512_castsi128_si512(v);
    let load = |block: usize| {
        debug_assert!(from + 64 * (block + 1) <= buf.len());
        // SAFETY: only blocks up to the one behind the last are loaded.
        unsafe { _mm512_loadu_si512(buf.as_ptr().add(from + 64 * block).cast()) }
    };
    // SAFETY: they have 64 bytes.
    let (one_on, behind) = unsafe {
        (
            _mm512_loadu_si512(ONE_ON.as_ptr().cast()),
            _mm512_loadu_si512(BEHIND.as_ptr().cast()),
        )
    };
    let signs = _mm512_set1_epi8(b'=' as i8);
    // Where a word ends so far behind its block, or has a longer prefix, no table can tell.
    let far = _mm512_set1_epi8(127);
    let odd = _mm_set1_epi16(0xFF00_u16 as i16);
    let mut entry = _mm512_setzero_si512();
    let mut base = _mm512_set1_epi32(from as i32);
    let (mut next, mut block) = (out, 0);
    loop {
        let bytes = load(block);
        bits[block] = _mm512_cmpeq_epi8_mask(bytes, signs);
        if block == blocks {
            break;
        }
        let once = _mm512_min_epu8(_mm512_adds_epu8(bytes, one_on), far);
        // Blends by themselves, for a permutation with a mask takes twice as long; and the shortest jumps first, which do
        // not wait for the others.
        let mut p = low(entry);
        p = _mm_blendv_epi8(p, low(_mm512_permutex2var_epi8(once, whole(p), behind)), odd);
        let twice = _mm512_permutex2var_epi8(once, once, behind);
        p = _mm_blend_epi16::<0b1010_1010>(p, low(_mm512_permutex2var_epi8(twice, whole(p), behind)));
        let four = _mm512_permutex2var_epi8(twice, twice, behind);
        p = _mm_blend_epi32::<0b1010>(p, low(_mm512_permutex2var_epi8(four, whole(p), behind)));
        let eight = _mm512_permutex2var_epi8(four, four, behind);
        p = _mm_blend_epi32::<0b1100>(p, low(_mm512_permutex2var_epi8(eight, whole(p), behind)));
        let sixteen = _mm512_permutex2var_epi8(eight, eight, behind);
        let exit = _mm512_permutex2var_epi8(sixteen, entry, behind);
        // Places behind the block have the bit of 64.
        let past = (_mm_movemask_epi8(_mm_add_epi8(p, p)) as u32).count_ones() as usize;
        // SAFETY: fewer than 64 words of each block so far, and sixteen more.
        unsafe {
            _mm512_storeu_si512(next.cast(), _mm512_add_epi32(_mm512_cvtepu8_epi32(p), base));
            next = next.add(16 - past);
        }
        match first_byte(exit) {
            // More words than sixteen begin here.
            ..64 => entry = exit,
            64..127 => {
                entry = _mm512_sub_epi8(exit, _mm512_set1_epi8(64));
                block += 1;
                base = _mm512_add_epi32(base, _mm512_set1_epi32(64));
            }
            _ => {
                bits[block + 1] = _mm512_cmpeq_epi8_mask(load(block + 1), signs);
                // SAFETY: at least the word at the entry was written; the last one is the one that reaches far.
                return unsafe { (next.offset_from(out) as usize - 1, *next.sub(1) as usize) };
            }
        }
    }
    // SAFETY: both are in what was reserved.
    let count = unsafe { next.offset_from(out) } as usize;
    (count, from + 64 * blocks + first_byte(entry) as usize)
}

/// Makes marks of `count` places and of the bits, and lists what ends a sentence, counted from `first`. Returns how
/// many do.
///
/// # Safety
///
/// `count + 1` places can be read, the first not before `from`, and `count + 16` marks and ends written; the bits are
/// those of the blocks from `from` on, and of the block behind the last place.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(
    enable = "avx2,bmi1,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512vpopcntdq"
)]
#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "a loop that was taken out of its only caller"
)]
unsafe fn marks(
    buf: &[u8],
    from: usize,
    at: *const u32,
    count: usize,
    bits: &Bits,
    out: *mut u8,
    ends: *mut u32,
    first: u32,
) -> usize {
    use std::arch::x86_64::{
        _mm_add_epi8, _mm_maskz_mov_epi8, _mm_set1_epi8, _mm_storeu_si128, _mm512_add_epi32,
        _mm512_andnot_si512, _mm512_cmpeq_epi32_mask, _mm512_cvtepi32_epi8, _mm512_loadu_si512,
        _mm512_maskz_compress_epi32, _mm512_maskz_loadu_epi32, _mm512_permutexvar_epi32, _mm512_popcnt_epi32,
        _mm512_set1_epi32, _mm512_setr_epi32, _mm512_shrdv_epi32, _mm512_srli_epi32, _mm512_storeu_si512,
        _mm512_sub_epi32,
    };

    use super::vector;
    use crate::decode::mark::BLOCK;

    /// Sixteen words that are not further apart have their bits in sixteen times 32.
    const APART: u32 = 14 * 32;

    let words = bits.as_ptr().cast::<u32>();
    let mut index = _mm512_add_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        _mm512_set1_epi32(first as i32),
    );
    let mut ended = ends;
    for done in (0..count).step_by(16) {
        let some = (count - done).min(16);
        let mask = ((1_u32 << some) - 1) as u16;
        // SAFETY: below `count`, and one behind.
        let (places, next, one, last) = unsafe {
            (
                _mm512_maskz_loadu_epi32(mask, at.add(done).cast()),
                _mm512_maskz_loadu_epi32(mask, at.add(done + 1).cast()),
                *at.add(done),
                *at.add(done + some - 1),
            )
        };
        // A word that is a byte further on than the one before: that one has no bytes.
        let step = _mm512_sub_epi32(next, places);
        let empty = _mm512_cmpeq_epi32_mask(step, _mm512_set1_epi32(1)) & mask;
        // SAFETY: room for `count + 16` of each.
        unsafe {
            _mm512_storeu_si512(ended.cast(), _mm512_maskz_compress_epi32(empty, index));
            ended = ended.add(empty.count_ones() as usize);
        }
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
        if last - one > APART {
            for word in done..done + some {
                // SAFETY: words that were listed are followed by a block.
                unsafe {
                    let block = buf.as_ptr().add(*at.add(word) as usize).cast::<[u8; BLOCK]>();
                    *out.add(word) = vector::mark(&*block);
                }
            }
            continue;
        }
        // Bits from the second byte of each word on: 32 that begin somewhere in a pair of 32.
        let offset = one as usize - from + 2;
        let origin = from + offset / 32 * 32;
        let bit = _mm512_sub_epi32(places, _mm512_set1_epi32(origin as i32 - 2));
        let word = _mm512_srli_epi32::<5>(bit);
        // SAFETY: the first place is in the blocks, and eight more follow the one behind the last.
        let (low, high) = unsafe {
            let words = words.add(offset / 32);
            (
                _mm512_loadu_si512(words.cast()),
                _mm512_loadu_si512(words.add(1).cast()),
            )
        };
        let low = _mm512_permutexvar_epi32(word, low);
        let high = _mm512_permutexvar_epi32(word, high);
        let near = _mm512_shrdv_epi32(low, high, bit);
        let below = _mm512_andnot_si512(near, _mm512_add_epi32(near, _mm512_set1_epi32(-1)));
        // Thirty and more are all the same: far.
        let marks = _mm512_cvtepi32_epi8(_mm512_popcnt_epi32(below));
        let marks = _mm_add_epi8(marks, _mm_set1_epi8(2));
        // SAFETY: room for `count + 16`.
        unsafe { _mm_storeu_si128(out.add(done).cast(), _mm_maskz_mov_epi8(!empty, marks)) };
    }
    // SAFETY: both are in the same space.
    unsafe { ended.offset_from(ends) as usize }
}
