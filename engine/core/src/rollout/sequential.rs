//! The evidence gate (C4): Wald's sequential probability ratio test.

use muster_model::policy::{Classes, Evidence, Share};

use super::rule::failures;
use crate::Tally;

/// What the evidence says so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The change is good enough.
    Promote,
    /// It is not.
    Halt,
    /// It takes more to tell.
    Undecided,
}

/// The test after so many executions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// Harmed and rescued.
    pub failures: u64,
    /// The rest of what was touched and is over.
    pub successes: u64,
    /// The log of the ratio.
    pub ratio: f64,
    /// At or above it: halt.
    pub upper: f64,
    /// At or below it: promote.
    pub lower: f64,
}

impl Test {
    /// From what was counted.
    pub fn of(evidence: &Evidence, tally: &Tally) -> Self {
        let failures = failures(tally, &Classes::default());
        let successes = tally.touched.max(0).unsigned_abs().saturating_sub(failures);
        let (p0, p1) = (evidence.acceptable.fraction(), evidence.unacceptable.fraction());
        let (a, b) = (evidence.false_halt.fraction(), evidence.false_promote.fraction());
        Self {
            failures,
            successes,
            ratio: failures as f64 * (p1 / p0).ln() + successes as f64 * ((1.0 - p1) / (1.0 - p0)).ln(),
            upper: ((1.0 - b) / a).ln(),
            lower: (b / (1.0 - a)).ln(),
        }
    }

    /// What it says.
    pub fn verdict(&self) -> Verdict {
        match self.ratio {
            ratio if ratio >= self.upper => Verdict::Halt,
            ratio if ratio <= self.lower => Verdict::Promote,
            _ => Verdict::Undecided,
        }
    }

    /// In one sentence.
    pub fn describe(&self) -> String {
        let Self {
            failures,
            successes,
            ratio,
            upper,
            lower,
        } = self;
        format!(
            "{failures} failed and {successes} went well: L = {ratio:.2}; promoted at {lower:.2}, halted at {upper:.2}"
        )
    }
}

/// How many devices have to go well, without one that fails, before the test promotes.
pub fn needed(evidence: &Evidence) -> u64 {
    let (p0, p1) = (evidence.acceptable.fraction(), evidence.unacceptable.fraction());
    let (a, b) = (evidence.false_halt.fraction(), evidence.false_promote.fraction());
    ((b / (1.0 - a)).ln() / ((1.0 - p1) / (1.0 - p0)).ln()).ceil() as u64
}

/// How many devices have to go well to claim, with 95 % confidence, that fewer than this share fail.
pub fn canary_for(rate: Share) -> u64 {
    match rate {
        Share::ALL => 1,
        rate => (0.05_f64.ln() / (1.0 - rate.fraction()).ln()).ceil() as u64,
    }
}

/// The share of failures that so many devices without one leave room for, with 95 % confidence.
pub fn claim_of(devices: u64) -> f64 {
    match devices {
        0 => 1.0,
        devices => 1.0 - 0.05_f64.powf(1.0 / devices as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evidence() -> Evidence {
        Evidence {
            acceptable: Share::percent(1),
            unacceptable: Share::percent(5),
            false_halt: Share::percent(5),
            false_promote: Share::percent(5),
        }
    }

    fn tally(harmed: i64, good: i64) -> Tally {
        Tally {
            harmed,
            good,
            touched: harmed + good,
            ended: harmed + good,
            ..Tally::default()
        }
    }

    #[test]
    fn the_sizes_of_the_claims_are_as_documented() {
        assert_eq!(canary_for(Share::percent(5)), 59);
        assert_eq!(canary_for(Share::percent(1)), 299);
        assert!((claim_of(59) - 0.05).abs() < 0.001);
    }

    #[test]
    fn a_good_change_is_promoted_and_a_bad_one_halted() {
        let needed = needed(&evidence()) as i64;
        let verdict = |harmed, good| Test::of(&evidence(), &tally(harmed, good)).verdict();
        assert_eq!(verdict(0, 0), Verdict::Undecided);
        assert_eq!(verdict(0, needed), Verdict::Promote);
        assert_eq!(verdict(0, needed - 1), Verdict::Undecided);
        assert_eq!(verdict(2, 0), Verdict::Halt);
        assert_eq!(verdict(1, 20), Verdict::Undecided);
    }

    proptest! {
        #[test]
        fn failures_push_up_and_successes_down(harmed in 0_i64..50, good in 0_i64..2000) {
            let ratio = |harmed, good| Test::of(&evidence(), &tally(harmed, good)).ratio;
            prop_assert!(ratio(harmed + 1, good) > ratio(harmed, good));
            prop_assert!(ratio(harmed, good + 1) < ratio(harmed, good));
        }
    }
}
