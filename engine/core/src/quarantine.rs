//! Devices that are left alone for a while (fleet-semantics A12).

use std::time::Duration;

/// When a device is quarantined: after so many harmful outcomes within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Harmful outcomes (C1: broken, lost, unknown).
    pub after: u32,
    /// Within this.
    pub within: Duration,
}

impl Quarantine {
    /// Five within a day: a device that failed so often has a fault of its own, and the next job should not pay for it.
    pub const DEFAULT: Self = Self {
        after: 5,
        within: Duration::from_secs(24 * 3600),
    };

    /// Harms after this count, Unix milliseconds.
    pub fn since(self, now: i64) -> i64 {
        now.saturating_sub(i64::try_from(self.within.as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether a device with harms at these times is quarantined.
    pub fn holds(self, harms: impl IntoIterator<Item = i64>, now: i64) -> bool {
        let since = self.since(now);
        harms.into_iter().filter(|at| *at > since).count() >= self.after as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_within_a_day_and_no_older_ones() {
        const DAY: i64 = 24 * 3_600_000;
        let rule = Quarantine::DEFAULT;
        assert!(rule.holds([1, 2, 3, 4, 5], DAY));
        assert!(!rule.holds([1, 2, 3, 4, 5], DAY + 1), "the first is a day old");
        assert!(!rule.holds([1, 2, 3, 4], 10));
    }
}
