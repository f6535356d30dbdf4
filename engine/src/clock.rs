//! The engine's time: the wall clock at its start, and the monotonic clock from there on. Setting the machine's
//! clock while the engine runs moves no lease, deadline or backoff.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineClock {
    began: Instant,
    unix_ms: i64,
}

impl EngineClock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began: Instant::now(),
            unix_ms: millis(since.as_millis()),
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
