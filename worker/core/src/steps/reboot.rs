//! A restart by itself.

use std::time::Duration;

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Reboot};

use super::restart::{Came, Restart, was_restarted, was_restarted_within};
use super::router::{RESOURCE, Router, ask, write};
use super::{Around, Next, Notes, Run, found, look_failed, question_failed, told};
use crate::action::{ConnectFailure, Outcome, StepEnd};

/// What is noted of a router before it is told to restart: how long it had been up, in milliseconds.
pub(super) const UPTIME: &str = "uptime";

/// A restart that is to be done.
#[derive(Debug)]
pub(super) struct Apply {
    reboot: Reboot,
    /// Its uptime, and when that was read.
    read: Option<(Duration, Duration)>,
    restart: Option<Restart>,
}

impl Apply {
    pub(super) fn new(reboot: Reboot) -> Self {
        Self {
            reboot,
            read: None,
            restart: None,
        }
    }

    fn came(came: Came) -> Next {
        match came {
            Came::Next(next) => next,
            Came::Back(router, away) => {
                let named = [("version", router.version.as_str()), ("away", away.as_str())];
                Next::done(told::row("reboot", named))
            }
        }
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(RESOURCE)
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        let (uptime, at) = self.read.unwrap_or_default();
        self.restart = Some(Restart::new(around, self.reboot.wait_ms, uptime, at));
        write(&["/system/reboot"])
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        if let Some(restart) = &mut self.restart {
            return Self::came(restart.ended(end, &answer, around));
        }
        match (end, Router::read(&answer)) {
            (StepEnd::Completed, Some(router)) => {
                self.read = Some((router.uptime, around.now));
                Next::Ask
            }
            (end, _) => question_failed(end).telling(answer),
        }
    }

    fn waited(&mut self, _: &Around<'_>) -> Next {
        self.restart
            .as_ref()
            .map_or_else(|| ask(RESOURCE), Restart::waited)
    }

    fn reconnected(&mut self, made: Result<(), ConnectFailure>, around: &Around<'_>) -> Next {
        match &mut self.restart {
            Some(restart) => restart.reconnected(made, around),
            None => ask(RESOURCE),
        }
    }

    fn notes(&self) -> Notes {
        let (uptime, _) = self.read.unwrap_or_default();
        Notes::from([(UPTIME.to_owned(), uptime.as_millis().to_string())])
    }

    fn only_waits(&self) -> bool {
        self.restart.as_ref().is_some_and(Restart::is_waited_for)
    }

    fn doing(&self) -> &'static str {
        "it waits for the router to be back from its restart"
    }

    fn is_in_the_middle(&self) -> bool {
        self.restart.is_some()
    }
}

/// Whether a router has been started anew since its intent was granted.
pub(super) fn is_new(router: &Router, around: &Around<'_>) -> bool {
    let passed = around.open + around.now;
    let before = around.notes.get(UPTIME).and_then(|before| before.parse().ok());
    match before.map(Duration::from_millis) {
        Some(before) => was_restarted(before, passed, router.uptime),
        None => was_restarted_within(passed, router.uptime),
    }
}

/// A restart whose answer was lost.
#[derive(Debug)]
pub(super) struct Look;

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(RESOURCE)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match (end, Router::read(&answer)) {
            (StepEnd::Completed, Some(router)) => found(is_new(&router, around)),
            (StepEnd::Completed, None) | (StepEnd::Trapped(_), _) => not_up_yet(),
            (end, _) => look_failed(end),
        }
    }
}

/// The answer is none of a router that has come up: it is asked again later.
pub(super) fn not_up_yet() -> Next {
    let text = "the router does not say yet what it is";
    Next::stop(Outcome::Interrupted, DeviceError::new(ErrorClass::Protocol, text))
}
