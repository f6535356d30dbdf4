//! The way of a router through a restart.
//!
//! ```text
//! (intent) ──▶ sent ──done, lost, anything──▶ wait ──▶ connect ──▶ look ──up anew──▶ look again ──▶ back
//!                │                             ▲         │ refused    │ not up anew, or not well-shaped
//!                └─trap──▶ wait ──▶ look       └─────────┴────────────┘ until its time is over: lost, or not restarted
//! ```
//!
//! Whatever the answer was, and if there was none, it is never sent again: that the router was started anew is told by its
//! uptime and by nothing else (facts §3.3).

use std::time::Duration;

use bytes::Bytes;
use muster_model::quiet::{self, STAYS_UP};
use muster_model::trap::{Refusal, refusal};
use muster_model::{DeviceError, ErrorClass};

use super::router::{RESOURCE, Router, prove};
use super::{Around, Next, write_failed};
use crate::action::{ConnectFailure, Outcome, StepEnd};

/// Between two tries to connect: the shortest, which part of the time that it is away already, and the longest. So a router
/// that has come up is found within a tenth of the time that it took.
const SHORTEST: Duration = Duration::from_secs(1);
const PART: u32 = 10;
const LONGEST: Duration = Duration::from_secs(10);

/// How long one try may take.
const TRY: Duration = Duration::from_secs(15);

/// Between two looks at a router that answers.
const BETWEEN: Duration = Duration::from_secs(1);

/// Looks in a row that have to be well.
const LOOKS: u8 = 2;

/// Uptimes are whole seconds on both ends.
const SLACK: Duration = Duration::from_secs(2);

/// How long after it has come up a router may still lack what it will have: menus, packages, interfaces, neighbours.
pub(super) const SETTLES: Duration = Duration::from_secs(60);
/// Between two looks at such a router.
pub(super) const SETTLING: Duration = Duration::from_secs(5);

/// A restart that was granted.
#[derive(Debug)]
pub(super) struct Restart {
    /// When it was granted, and until when it is waited.
    began: Duration,
    until: Duration,
    /// Its uptime when that was last read, and when that was.
    before: (Duration, Duration),
    well: u8,
    /// What the router said against it.
    refused: Option<DeviceError>,
    /// Whether the router has answered since it was sent, and what kept it from answering otherwise.
    answers: bool,
    last: Option<DeviceError>,
    connected: bool,
    sent: bool,
    /// Whether the router said that it does.
    taken: bool,
}

/// What has come of it.
#[derive(Debug)]
pub(super) enum Came {
    /// This is to be done for it.
    Next(Next),
    /// The router is back, started anew; how long it was away, as it is told.
    Back(Router, String),
}

impl Restart {
    /// Of a router whose uptime was `uptime` at `read_at`.
    pub(super) fn new(around: &Around<'_>, wait_ms: u64, uptime: Duration, read_at: Duration) -> Self {
        Self {
            began: around.now,
            until: around.now + Duration::from_millis(wait_ms),
            before: (uptime, read_at),
            well: 0,
            refused: None,
            answers: false,
            last: None,
            connected: true,
            sent: false,
            taken: false,
        }
    }

    /// Whether the router has been told to restart, and is waited for.
    pub(super) fn is_waited_for(&self) -> bool {
        self.sent
    }

    /// The command was sent, and this is its end.
    fn sent(&mut self, end: StepEnd, around: &Around<'_>) -> Next {
        self.sent = true;
        match end {
            StepEnd::NotSent(_) | StepEnd::Refused(_) => return write_failed(end),
            StepEnd::Trapped(error) => self.refused = Some(error),
            StepEnd::NoAnswer(error) => {
                self.connected = false;
                self.last = Some(error);
            }
            StepEnd::Completed => (self.connected, self.taken) = (false, true),
            StepEnd::Cancelled => self.connected = false,
        }
        Next::Wait(self.pause(around))
    }

    pub(super) fn ended(&mut self, end: StepEnd, answer: &Bytes, around: &Around<'_>) -> Came {
        if !self.sent {
            return Came::Next(self.sent(end, around));
        }
        let router = match end {
            StepEnd::Completed => Router::read(answer),
            // A trap in the middle of booting.
            StepEnd::Trapped(error) => {
                self.last = Some(error);
                None
            }
            StepEnd::NotSent(error) | StepEnd::Refused(error) | StepEnd::NoAnswer(error) => {
                self.connected = false;
                self.last = Some(error);
                None
            }
            StepEnd::Cancelled => None,
        };
        let Some(router) = router else {
            self.well = 0;
            return Came::Next(self.again(around));
        };
        self.answers = true;
        let (uptime, read_at) = self.before;
        if !was_restarted(uptime, around.now.saturating_sub(read_at), router.uptime) {
            self.well = 0;
            return Came::Next(self.stays_up(around));
        }
        self.well += 1;
        match self.well {
            LOOKS.. => Came::Back(router, away(around.now.saturating_sub(self.began))),
            _ => Came::Next(Next::Wait(BETWEEN)),
        }
    }

    pub(super) fn waited(&self) -> Next {
        match self.connected {
            true => prove(RESOURCE),
            false => Next::Reconnect(TRY),
        }
    }

    pub(super) fn reconnected(&mut self, made: Result<(), ConnectFailure>, around: &Around<'_>) -> Next {
        match made {
            Ok(()) => {
                self.connected = true;
                prove(RESOURCE)
            }
            // A login that is refused is a part of coming up; so may be another router's answer.
            Err(failure) => {
                self.answers = false;
                self.last = Some(failure.error);
                self.again(around)
            }
        }
    }

    /// Tries again, unless its time is over.
    fn again(&mut self, around: &Around<'_>) -> Next {
        if around.now < self.until {
            return Next::Wait(self.pause(around));
        }
        let waited = self.until.saturating_sub(self.began).as_secs();
        let last = self.last.take().map(|error| format!("; last: {}", error.message));
        let text = format!(
            "it was not back within {waited} s of the restart{}",
            last.unwrap_or_default()
        );
        let outcome = if self.answers {
            Outcome::Unknown
        } else {
            Outcome::Lost
        };
        Next::stop(outcome, DeviceError::new(ErrorClass::Timeout, text))
    }

    /// The router answers and was not started anew, so far.
    fn stays_up(&mut self, around: &Around<'_>) -> Next {
        let since = around.now.saturating_sub(self.began);
        // As long as what was sent may still arrive nobody can say that it did not.
        let quiet = quiet::after(STAYS_UP);
        // A refusal that may pass says nothing of what was begun before it.
        let for_good = |error: &DeviceError| refusal(&error.message) == Refusal::Permanent;
        if let Some(error) = self.refused.take_if(|error| for_good(error) || since >= quiet) {
            return Next::stop(Outcome::Failed, error);
        }
        if since < quiet && around.now < self.until.max(self.began + quiet) {
            return Next::Wait(self.pause(around));
        }
        let text = format!(
            "it was told to restart, and {} s later it has not",
            since.as_secs()
        );
        // What did not arrive is found not to have, and begun again.
        let outcome = if self.taken {
            Outcome::Failed
        } else {
            Outcome::Unknown
        };
        Next::stop(outcome, DeviceError::new(ErrorClass::NotAsWanted, text))
    }

    fn pause(&self, around: &Around<'_>) -> Duration {
        // One that answers, if only with a no, is about to be up.
        match &self.last {
            Some(error) if error.class == ErrorClass::Auth => SHORTEST,
            _ => (around.now.saturating_sub(self.began) / PART).clamp(SHORTEST, LONGEST),
        }
    }
}

/// In tens of seconds, rounded up: what is told of thousands of routers should be alike where they are.
fn away(time: Duration) -> String {
    format!("{}s", time.as_secs().div_ceil(10).max(1) * 10)
}

/// Whether a router that was up for `before` was started anew in the time that has passed since, being up for `now`.
pub(super) fn was_restarted(before: Duration, passed: Duration, now: Duration) -> bool {
    now + SLACK <= before + passed
}

/// The same of one of which nothing is known but how long ago it was told to.
pub(super) fn was_restarted_within(passed: Duration, now: Duration) -> bool {
    now < passed
}
