//! How long to wait before trying again (fleet-semantics A8).

use std::time::Duration;

/// `delay = min(cap, base·2^k)·U(0.75, 1.25)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub base: Duration,
    /// The longest delay, before jitter.
    pub cap: Duration,
}

impl Backoff {
    /// For jobs somebody waits for at a terminal (A9).
    pub const INTERACTIVE: Self = Self {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(30),
    };

    /// For rollouts and audits, which nobody waits for (A9).
    pub const ROLLOUT: Self = Self {
        base: Duration::from_secs(60),
        cap: Duration::from_secs(12 * 3600),
    };

    /// The delay after `tries` failed tries (from 1), with `jitter` in `0.0..1.0`.
    pub fn delay(self, tries: u32, jitter: f64) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        let plain = self.base.saturating_mul(1 << doublings).min(self.cap);
        plain.mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// A repeatable number in `0.0..1.0` for this try of this execution: splitmix64 over both.
pub fn jitter(execution: u64, tries: u32) -> f64 {
    let mut z = execution
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(u64::from(tries));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let delays = (1..=7)
            .map(|tries| Backoff::INTERACTIVE.delay(tries, 0.5).as_secs())
            .collect::<Vec<_>>();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_quarter(execution: u64, tries: u32) {
            let delay = Backoff::INTERACTIVE.delay(tries, jitter(execution, tries)).as_secs_f64();
            prop_assert!((0.75..=37.5).contains(&delay));
        }
    }
}
