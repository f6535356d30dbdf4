//! How fast a device answers when it is asked much: at once for a burst, then one answer every so long, counted over all
//! of its connections, and at once again after a rest (facts §1.4).

use std::time::Duration;

/// The model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamp {
    /// Answers that are given at once.
    pub burst: u32,
    /// From one answer to the next after that.
    pub each: Duration,
    /// A rest of this length gives the burst back.
    pub rest: Duration,
}

impl Clamp {
    /// As measured on a CHR: 160 answers, then one every 20 ms, and 5 s of rest.
    pub const MEASURED: Self = Self {
        burst: 160,
        each: Duration::from_millis(20),
        rest: Duration::from_secs(5),
    };
}

/// What one device has been asked lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    count: u32,
    last: Duration,
    /// When the last answer is given.
    free: Duration,
}

impl Asked {
    /// How long the answer to one more command takes.
    pub(crate) fn wait(&mut self, clamp: Clamp, now: Duration) -> Option<Duration> {
        if now >= self.last.max(self.free) + clamp.rest {
            self.count = 0;
        }
        self.last = now;
        self.count = self.count.saturating_add(1);
        if self.count <= clamp.burst {
            return None;
        }
        self.free = self.free.max(now) + clamp.each;
        Some(self.free - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_answered_at_once_and_what_follows_in_turn() {
        let clamp = Clamp {
            burst: 3,
            each: Duration::from_millis(20),
            rest: Duration::from_secs(5),
        };
        let (mut asked, at) = (Asked::default(), Duration::from_millis);
        let waits = [0, 1, 2, 2, 2, 100, 5099, 5200].map(|now| asked.wait(clamp, at(now)));
        assert_eq!(waits[..3], [None; 3]);
        assert_eq!(waits[3..6], [Some(at(20)), Some(at(40)), Some(at(20))]);
        assert_eq!(waits[6], Some(at(20)), "no rest yet");
        assert!(waits[7].is_some());
        assert_eq!(asked.wait(clamp, at(11_000)), None, "after a rest");
    }
}
