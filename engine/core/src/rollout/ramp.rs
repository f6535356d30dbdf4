//! Concurrency that grows while all is well (D2).

use muster_model::policy::Ramp;

/// How many executions may be with workers at once, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many.
    pub concurrency: u32,
    /// Since then, Unix milliseconds.
    pub since: i64,
}

/// The pace at the beginning.
pub fn begin(ramp: &Ramp, now: i64) -> Pace {
    Pace {
        concurrency: ramp.start,
        since: now,
    }
}

/// The pace from now on: it grows by the factor after each interval without a warning. A warning that came since the
/// last change halves it. `most` is the job's own cap.
pub fn next(ramp: &Ramp, pace: Pace, warned_at: Option<i64>, most: Option<u32>, now: i64) -> Pace {
    let most = most.unwrap_or(u32::MAX);
    if warned_at.is_some_and(|at| at > pace.since) {
        return Pace {
            concurrency: (pace.concurrency / 2).max(1),
            since: now,
        };
    }
    let interval = i64::try_from(ramp.interval.as_millis()).unwrap_or(i64::MAX);
    if now.saturating_sub(pace.since) < interval || pace.concurrency >= most {
        return pace;
    }
    let grown = (u64::from(pace.concurrency) * u64::from(ramp.factor_percent)).div_ceil(100);
    let grown = u32::try_from(grown)
        .unwrap_or(u32::MAX)
        .max(pace.concurrency.saturating_add(1));
    Pace {
        concurrency: grown.min(most),
        since: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RAMP: Ramp = Ramp {
        start: 10,
        factor_percent: 150,
        interval: Duration::from_secs(60),
    };

    #[test]
    fn it_grows_after_clean_intervals_and_halves_on_a_warning() {
        let mut pace = begin(&RAMP, 0);
        assert_eq!(next(&RAMP, pace, None, None, 59_999), pace);
        for (minute, expected) in [(1, 15), (2, 23), (3, 35)] {
            pace = next(&RAMP, pace, None, Some(35), minute * 60_000);
            assert_eq!(pace.concurrency, expected);
        }
        assert_eq!(
            next(&RAMP, pace, None, Some(35), 900_000),
            pace,
            "the cap is the cap"
        );
        let halved = next(&RAMP, pace, Some(200_000), Some(35), 201_000);
        assert_eq!((halved.concurrency, halved.since), (17, 201_000));
        assert_eq!(
            next(&RAMP, halved, Some(200_000), Some(35), 202_000),
            halved,
            "one warning halves once"
        );
        let one = Pace {
            concurrency: 1,
            since: 0,
        };
        assert_eq!(next(&RAMP, one, Some(1), None, 2).concurrency, 1);
    }
}
