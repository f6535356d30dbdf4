//! Time that is to pass, or something that is waited for.

use std::time::Duration;

use bytes::Bytes;
use muster_model::check::Facts;
use muster_model::{DeviceError, ErrorClass, Wait};

use super::{Around, Next, Questions, Run, told};
use crate::action::{ConnectFailure, Outcome, StepEnd};

/// How long one try to connect may take.
const TRY: Duration = Duration::from_secs(15);

/// A wait.
#[derive(Debug)]
pub(super) struct Apply {
    wait: Wait,
    questions: Questions,
    /// When it began.
    began: Option<Duration>,
    /// What the last look said.
    last: String,
    connected: bool,
}

impl Apply {
    pub(super) fn new(wait: Wait) -> Self {
        Self {
            wait,
            questions: Questions::new(Default::default()),
            began: None,
            last: String::new(),
            connected: true,
        }
    }

    /// Asks for what is waited for.
    fn look(&mut self, around: &Around<'_>) -> Next {
        let needs = self.wait.check().map(muster_model::Check::needs);
        self.questions = Questions::new(needs.unwrap_or_default());
        self.next(around)
    }

    fn next(&mut self, around: &Around<'_>) -> Next {
        match self.questions.next() {
            Ok(exchange) => Next::Exchange(exchange),
            Err(now) => self.decide(&now, around),
        }
    }

    fn decide(&mut self, now: &Facts, around: &Around<'_>) -> Next {
        let Wait::Until { check, .. } = &self.wait else {
            return Next::done(told::check(&[]));
        };
        let named = check.named(around.pre, now);
        self.last = match check.holds(around.pre, now) {
            Ok(true) => return Next::done(told::check(&named)),
            Ok(false) => {
                let named = named.iter().map(|(name, value)| format!("{name}={value}"));
                named.collect::<Vec<_>>().join(", ")
            }
            Err(error) => error,
        };
        self.again(around)
    }

    fn again(&mut self, around: &Around<'_>) -> Next {
        let Wait::Until {
            check,
            within_ms,
            every_ms,
        } = &self.wait
        else {
            return Next::done(told::check(&[]));
        };
        let since = around.now.saturating_sub(self.began.unwrap_or_default());
        let left = Duration::from_millis(*within_ms).saturating_sub(since);
        if left.is_zero() {
            let text = format!(
                "{} did not hold within {:?}: {}",
                check.text(),
                Duration::from_millis(*within_ms),
                self.last
            );
            return Next::stop(Outcome::Rejected, DeviceError::new(ErrorClass::Check, text));
        }
        Next::Wait(Duration::from_millis(*every_ms).min(left))
    }
}

impl Run for Apply {
    fn begin(&mut self, around: &Around<'_>) -> Next {
        self.began = Some(around.now);
        match &self.wait {
            Wait::For(ms) => Next::Wait(Duration::from_millis(*ms)),
            Wait::Until { .. } => self.look(around),
        }
    }

    fn waited(&mut self, around: &Around<'_>) -> Next {
        match (&self.wait, self.connected) {
            (Wait::For(_), _) => Next::done(told::check(&[])),
            (Wait::Until { .. }, true) => self.look(around),
            (Wait::Until { .. }, false) => Next::Reconnect(TRY),
        }
    }

    fn reconnected(&mut self, made: Result<(), ConnectFailure>, around: &Around<'_>) -> Next {
        match made {
            Ok(()) => {
                self.connected = true;
                self.look(around)
            }
            Err(ConnectFailure {
                error,
                may_pass: true,
            }) => {
                self.last = error.message;
                self.again(around)
            }
            Err(failure) => Next::stop(Outcome::Failed, failure.error),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match end {
            // It is waited for: a connection that went is made anew.
            StepEnd::NoAnswer(error) | StepEnd::NotSent(error) => {
                self.connected = false;
                self.last = error.message;
                self.again(around)
            }
            end => match self.questions.ended(end, &answer) {
                Ok(()) => self.next(around),
                Err(next) => next,
            },
        }
    }
}
