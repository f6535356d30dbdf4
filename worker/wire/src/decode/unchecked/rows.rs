//! Where lanes write down what they find.
//!
//! Some forty kilobytes that are not cleared before they are used: a scan of one read would spend a tenth of its time on
//! that. The invariant that makes up for it: below `filled`, every lane's place is written, and its mask where `masked`,
//! its mark otherwise.
//!
//! Loops write down the low halves of addresses, because they have no time to subtract; the offsets are made of them when
//! the words go to a tape.

use std::mem::MaybeUninit;

use super::burst::Onto;
use super::ends;
use crate::decode::lanes::{LANES, ROWS};
#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::decode::mark;

/// The words of each lane in order.
pub(in crate::decode) struct Rows {
    /// The prefix of each word: its offset in the lane's buffer plus the lane's `low`.
    pub(super) at: [[MaybeUninit<u32>; ROWS]; LANES],
    pub(super) marks: [[MaybeUninit<u8>; ROWS]; LANES],
    /// Of each word a number with as many zeros at its low end as its mark says, but for the second bit, which says
    /// whether it is [sure](mark::SURE).
    pub(super) masks: [[MaybeUninit<u32>; ROWS]; LANES],
    /// Every lane has so many entries.
    pub(super) filled: usize,
    pub(super) low: [u32; LANES],
    pub(super) masked: bool,
}

impl Rows {
    pub(in crate::decode) fn new() -> Self {
        Self {
            at: [const { [const { MaybeUninit::uninit() }; ROWS] }; LANES],
            marks: [const { [const { MaybeUninit::uninit() }; ROWS] }; LANES],
            masks: [const { [const { MaybeUninit::uninit() }; ROWS] }; LANES],
            filled: 0,
            low: [0; LANES],
            masked: false,
        }
    }

    /// Rows written down.
    pub(in crate::decode) fn len(&self) -> usize {
        self.filled
    }

    /// Forgets all rows; those to come are of these buffers, and have masks instead of marks where the processor makes
    /// marks of them sixteen at a time.
    pub(in crate::decode) fn clear(&mut self, bufs: [&[u8]; LANES], masked: bool) {
        self.filled = 0;
        self.low = bufs.map(|buf| buf.as_ptr().addr() as u32);
        self.masked = masked && super::vectors() >= super::Vectors::Avx512;
    }

    /// Writes down a row of offsets and marks. There must be space.
    #[inline]
    pub(in crate::decode) fn push(&mut self, row: [(u32, u8); LANES]) {
        for (lane, (at, mark)) in row.into_iter().enumerate() {
            self.at[lane][self.filled].write(at.wrapping_add(self.low[lane]));
            if self.masked {
                let bit = 1_u32.checked_shl(mark.into()).unwrap_or(0);
                self.masks[lane][self.filled].write(bit & !0b10);
            } else {
                self.marks[lane][self.filled].write(mark);
            }
        }
        self.filled += 1;
    }

    /// How many of a lane's words begin before this offset.
    pub(in crate::decode) fn before(&self, lane: usize, offset: usize) -> usize {
        let low = self.low[lane];
        let all = self.places(lane, self.filled);
        all.partition_point(|at| (at.wrapping_sub(low) as usize) < offset)
    }

    /// The offset of a lane's word.
    pub(in crate::decode) fn offset(&self, lane: usize, row: usize) -> Option<usize> {
        let at = self.places(lane, self.filled).get(row)?;
        Some(at.wrapping_sub(self.low[lane]) as usize)
    }

    fn places(&self, lane: usize, count: usize) -> &[u32] {
        assert!(count <= self.filled);
        // SAFETY: the invariant: every place below `filled` is written.
        unsafe { self.at[lane][..count].assume_init_ref() }
    }

    /// Appends the first `count` words of a lane to a tape, and what ends sentences among them.
    pub(in crate::decode) fn append(&self, lane: usize, count: usize, onto: Onto<'_>, ends: &mut Vec<u32>) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if self.masked {
            assert!(count <= self.filled);
            // SAFETY: rows are masked only where the processor has the features; `count` rows are written.
            return unsafe { self.append_masked(lane, count, onto, ends) };
        }
        let (low, first) = (self.low[lane], onto.marks.len());
        let places = self.places(lane, count).iter();
        onto.at.extend(places.map(|at| at.wrapping_sub(low)));
        // SAFETY: the invariant: every mark below `filled` is written, and `places` looked at `count`.
        onto.marks
            .extend_from_slice(unsafe { self.marks[lane][..count].assume_init_ref() });
        ends::ends(&onto.marks[first..], first as u32, ends);
    }

    /// # Safety
    ///
    /// The rows are masked, and `count` of them are written.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[target_feature(enable = "avx2,bmi1,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    unsafe fn append_masked(&self, lane: usize, count: usize, onto: Onto<'_>, ends: &mut Vec<u32>) {
        use std::arch::x86_64::{
            _mm_mask_add_epi8, _mm_mask_storeu_epi8, _mm_set1_epi8, _mm512_add_epi32, _mm512_andnot_si512,
            _mm512_cvtepi32_epi8, _mm512_mask_storeu_epi32, _mm512_maskz_compress_epi32,
            _mm512_maskz_loadu_epi32, _mm512_popcnt_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
            _mm512_storeu_si512, _mm512_sub_epi32, _mm512_test_epi32_mask,
        };
        let Onto { at, marks } = onto;
        at.reserve(count);
        marks.reserve(count);
        ends.reserve(count + 16);
        let (words, all, sentences) = (at.len(), marks.len(), ends.len());
        let low = _mm512_set1_epi32(self.low[lane] as i32);
        let (ones, one, second) = (
            _mm512_set1_epi32(-1),
            _mm512_set1_epi32(0b01),
            _mm512_set1_epi32(0b10),
        );
        let sure = _mm_set1_epi8(mark::SURE as i8);
        let mut index = _mm512_add_epi32(
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            _mm512_set1_epi32(words as i32),
        );
        let mut ended = sentences;
        for first in (0..count).step_by(16) {
            let some = ((1_u32 << (count - first).min(16)) - 1) as u16;
            // SAFETY: the mask leaves nothing but words below `count`, which are written and for which there is space;
            // and there is space for one end a word, and sixteen.
            unsafe {
                let places = self.at[lane].as_ptr().add(first).cast();
                let places = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(some, places), low);
                _mm512_mask_storeu_epi32(at.as_mut_ptr().add(words + first).cast(), some, places);
                let masks = self.masks[lane].as_ptr().add(first).cast();
                let masks = _mm512_maskz_loadu_epi32(some, masks);
                // The zeros below the lowest one: 32 where there is none.
                let first_sign = _mm512_andnot_si512(second, masks);
                let below = _mm512_andnot_si512(first_sign, _mm512_add_epi32(first_sign, ones));
                let made = _mm512_cvtepi32_epi8(_mm512_popcnt_epi32(below));
                let made = _mm_mask_add_epi8(made, _mm512_test_epi32_mask(masks, second), made, sure);
                _mm_mask_storeu_epi8(marks.as_mut_ptr().add(all + first).cast(), some, made);
                // The mark of a word without bytes is zero.
                let empty = _mm512_test_epi32_mask(masks, one);
                let found = _mm512_maskz_compress_epi32(empty, index);
                _mm512_storeu_si512(ends.as_mut_ptr().add(ended).cast(), found);
                ended += empty.count_ones() as usize;
            }
            index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
        }
        const { assert!(mark::END == 0 && mark::FAR == 32) };
        // SAFETY: so many were written.
        unsafe {
            at.set_len(words + count);
            marks.set_len(all + count);
            ends.set_len(ended);
        }
    }
}
