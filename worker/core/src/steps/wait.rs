//! Time that is to pass, or something that is waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use muster_model::check::{Fact, Facts, Source};
use muster_model::{DeviceError, ErrorClass, Wait};

use super::{Around, Next, Questions, Run, question_failed, told};
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
        let needs = match &self.wait {
            Wait::Idle { .. } => BTreeSet::from([Source::Load]),
            wait => wait.check().map(muster_model::Check::needs).unwrap_or_default(),
        };
        self.questions = Questions::new(needs);
        self.next(around)
    }

    fn next(&mut self, around: &Around<'_>) -> Next {
        match self.questions.next() {
            Ok(exchange) => Next::Exchange(exchange),
            Err(now) => self.decide(&now, around),
        }
    }

    fn decide(&mut self, now: &Facts, around: &Around<'_>) -> Next {
        let check = match &self.wait {
            Wait::Until { check, .. } => check,
            Wait::Idle { max_load, .. } => {
                return match now.get("cpu_load") {
                    Some(Fact::Number(load)) if *load > i64::from(*max_load) => {
                        self.last = format!("it is {load} %");
                        self.again(around)
                    }
                    // What it was differs from look to look, and nothing depends on it any more.
                    _ => Next::done(told::check(&[])),
                };
            }
            Wait::For(_) => return Next::done(told::check(&[])),
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
        let (within_ms, every_ms, wanted) = match &self.wait {
            Wait::For(_) => return Next::done(told::check(&[])),
            Wait::Until {
                check,
                within_ms,
                every_ms,
            } => (within_ms, every_ms, format!("{} did not hold", check.text())),
            Wait::Idle {
                max_load,
                within_ms,
                every_ms,
            } => (
                within_ms,
                every_ms,
                format!("it was too busy to be asked: its CPU load was not {max_load} % or less"),
            ),
        };
        let since = around.now.saturating_sub(self.began.unwrap_or_default());
        let left = Duration::from_millis(*within_ms).saturating_sub(since);
        if left.is_zero() {
            let text = format!(
                "{wanted} within {:?}: {}",
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
            Wait::Until { .. } | Wait::Idle { .. } => self.look(around),
        }
    }

    fn only_waits(&self) -> bool {
        self.began.is_some() && !matches!(self.wait, Wait::Idle { .. })
    }

    fn waited(&mut self, around: &Around<'_>) -> Next {
        match (&self.wait, self.connected) {
            (Wait::For(_), _) => Next::done(told::check(&[])),
            (Wait::Until { .. } | Wait::Idle { .. }, true) => self.look(around),
            (Wait::Until { .. } | Wait::Idle { .. }, false) => Next::Reconnect(TRY),
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
            // A router that does not answer is no busy one: it ends as with any other question.
            StepEnd::NoAnswer(_) | StepEnd::NotSent(_) if matches!(self.wait, Wait::Idle { .. }) => {
                question_failed(end)
            }
            // It is waited for: a connection that went is made anew.
            StepEnd::NoAnswer(error) | StepEnd::NotSent(error) => {
                self.connected = false;
                self.last = error.message;
                self.again(around)
            }
            // One that does not tell is not waited for.
            StepEnd::Trapped(_) if matches!(self.wait, Wait::Idle { .. }) => Next::done(told::check(&[])),
            end => match self.questions.ended(end, &answer) {
                Ok(()) => self.next(around),
                Err(next) => next,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Action, Mode};
    use crate::{Attempt, Outcome};
    use muster_model::{Command, Plan, Step};
    use routeros_wire::encode;

    fn attempt() -> Attempt {
        let within = Some(Duration::from_secs(30));
        let steps = vec![
            Step::Wait(Wait::idle(90, within, None).expect("valid")),
            Step::Command(Command::parse(["/interface/print"]).expect("valid")),
        ];
        let mode = Mode::Apply {
            first_step: 0,
            expected: None,
        };
        Attempt::new(std::sync::Arc::new(Plan::new(steps)), mode)
    }

    fn load(load: &str) -> Bytes {
        let mut out = Vec::new();
        let row = ["!re".to_owned(), format!("=cpu-load={load}")];
        encode::sentence(&mut out, row).expect("no empty words");
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out.into()
    }

    fn asks(action: &Action) -> String {
        match action {
            Action::Exchange(exchange) => String::from_utf8(exchange.words[0].clone()).expect("text"),
            other => panic!("no exchange: {other:?}"),
        }
    }

    #[test]
    fn a_busy_router_is_looked_at_again_and_asked_when_it_has_time() {
        let mut attempt = attempt();
        assert_eq!(asks(&attempt.connected()), "/system/resource/print");
        for at in 1..=3 {
            let wait = attempt.answered(StepEnd::Completed, load("91"));
            assert_eq!(wait, Action::Wait(Duration::from_secs(5)));
            attempt.tick(Duration::from_secs(5 * at));
            assert_eq!(asks(&attempt.waited()), "/system/resource/print");
        }
        let asked = attempt.answered(StepEnd::Completed, load("90"));
        assert_eq!(asks(&asked), "/interface/print");
    }

    #[test]
    fn one_that_stays_busy_is_left_out_and_says_why() {
        let mut attempt = attempt();
        let mut action = attempt.connected();
        for at in 1..=7 {
            action = attempt.answered(StepEnd::Completed, load("99"));
            if matches!(action, Action::Wait(_)) {
                attempt.tick(Duration::from_secs(5 * at));
                attempt.waited();
            }
        }
        let Action::End(ended) = action else {
            panic!("not an end: {action:?}");
        };
        assert_eq!(ended.outcome, Outcome::Rejected);
        let error = ended.error.expect("a reason");
        assert_eq!(
            error.message,
            "it was too busy to be asked: its CPU load was not 90 % or less within 30s: it is 99 %"
        );
    }

    #[test]
    fn one_that_does_not_answer_ends_as_with_any_other_question() {
        for (class, outcome) in [
            (ErrorClass::Timeout, Outcome::Failed),
            (ErrorClass::Reset, Outcome::Interrupted),
        ] {
            let mut attempt = attempt();
            attempt.connected();
            let silent = StepEnd::NoAnswer(DeviceError::new(class, "nothing came"));
            let Action::End(ended) = attempt.answered(silent, Bytes::new()) else {
                panic!("it is still waited for");
            };
            assert_eq!(ended.outcome, outcome);
        }
    }

    #[test]
    fn one_that_does_not_tell_how_busy_it_is_is_asked() {
        for end in [
            StepEnd::Completed,
            StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, "not enough permissions (9)")),
        ] {
            let mut attempt = attempt();
            attempt.connected();
            assert_eq!(asks(&attempt.answered(end, Bytes::new())), "/interface/print");
        }
    }
}
