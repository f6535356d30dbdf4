//! The engine's time: the wall clock at its start, and the monotonic clock from there on. Setting the machine's
//! clock while the engine runs moves no lease, deadline or backoff. An engine that starts and finds the clock set back
//! goes on from the newest time that is stored: what waits for a time waits no longer than it was to.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineClock {
    began: Instant,
    unix_ms: i64,
}

impl EngineClock {
    /// Starts at the wall clock, or at `newest`, the newest time that was noted before, if that is later.
    pub(crate) fn start(newest: i64) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = millis(since.as_millis());
        if wall < newest {
            tracing::warn!(
                back_ms = newest - wall,
                "the clock was set back; going on from the newest time stored"
            );
        }
        Self {
            began: Instant::now(),
            unix_ms: wall.max(newest),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.unix_ms
            .saturating_add(millis(self.began.elapsed().as_millis()))
    }
}

fn millis(millis: u128) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_over_a_restart() {
        let first = EngineClock::start(0).now();
        assert!(first > 1_700_000_000_000, "it is later than 2023: {first}");
        let ahead = first + 86_400_000;
        assert!(EngineClock::start(ahead).now() >= ahead);
        assert!(EngineClock::start(first - 86_400_000).now() < ahead);
    }
}
