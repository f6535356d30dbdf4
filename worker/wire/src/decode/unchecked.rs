//! Inner loops without bounds checks: the only unsafe code of the crate.
//!
//! Each has a safe twin, and `DESIGN.md` has what the difference is worth; the tests hold them together.
//!
//! | here | what it does | its safe twin |
//! |---|---|---|
//! | [`rows`] | where lanes write down what they find, and how that becomes a tape | |
//! | [`narrow`] | lanes, lengths of one byte | [`Walk::run`](super::lanes::Walk::run) with [`Steps::Checked`](super::lanes::Steps::Checked) |
//! | [`wide`] | lanes, lengths of one or two bytes | the same |
//! | [`burst`] | one word after the other, onto the tape | [`Tape::burst_checked`](super::tape::Tape) |
//! | [`jump`] | many short words at a time, onto the tape | `burst` |
//! | [`ends`] | which marks end sentences | [`mark::ends`](super::mark::ends) |
//! | [`vector`] | the mark of a word | [`mark::of_block`](super::mark::of_block) |
//!
//! # Safety argument
//!
//! A loop here reads at most so far ahead, and [`check`] or a comparison in the loop makes sure, also in release builds,
//! that so much is inside the buffer; each module says how far and why. What is written goes to space that was reserved
//! in the same function, or to rows below [`ROWS`](super::lanes::ROWS). Vector instructions beyond those of the
//! architecture are used only by functions that have just looked whether the processor has them.

#![expect(
    unsafe_code,
    reason = "bounds checks in the innermost loops of the decoder cost more than a tenth of it"
)]

pub(super) mod burst;
pub(super) mod ends;
pub(super) mod jump;
pub(super) mod narrow;
pub(super) mod rows;
pub(super) mod vector;
pub(super) mod wide;

/// What this processor has beyond its architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Vectors {
    /// Nothing, or nobody knows.
    Plain,
    /// Vectors of 32 bytes.
    Avx2,
    /// And masks, and instructions that make marks of them.
    Avx512,
    /// And permutations of bytes.
    Vbmi,
}

/// What [`narrow`] may use. Costs a load: the standard library remembers what it found.
#[inline]
pub(super) fn vectors() -> Vectors {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt")
        {
            let wider = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vpopcntdq");
            let bytes = is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512vbmi2");
            return match (wider, bytes) {
                (true, true) => Vectors::Vbmi,
                (true, false) => Vectors::Avx512,
                (false, _) => Vectors::Avx2,
            };
        }
    }
    Vectors::Plain
}

/// Asks for a line of memory that will be needed, into the second-level cache: the first is full of what is needed now.
/// Harmless wherever `at` points to.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch of no memory does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
