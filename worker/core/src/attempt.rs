//! One attempt: a plan's steps on one device, one after the other.
//!
//! ```text
//! Connect ──ok──▶ for each step:  read ─────────────────▶ Send ──answered──▶ next step … End(succeeded)
//!    │                            other ──▶ AskIntent ──granted──▶ Send           │
//!    └─failed──▶ End                            └─revoked──▶ End                  └─anything else──▶ End
//! ```
//!
//! The machine decides what an end means. Whatever is not a read and may have reached the device is *unknown*, and
//! never *failed*: a lost answer is a question, and the engine does not repeat it.

use std::sync::Arc;

use muster_model::{DeviceError, ErrorClass, Plan, Step};

/// What the shell is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have a connection that is logged in, then [`Attempt::connected`] or [`Attempt::connect_failed`].
    Connect,
    /// Ask the engine to grant this step, then [`Attempt::granted`] or [`Attempt::revoked`].
    AskIntent {
        /// The step, from 0.
        step: u32,
    },
    /// Send this step, then [`Attempt::step_ended`].
    Send {
        /// The step, from 0.
        step: u32,
    },
    /// Tell the engine.
    End(Ended),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Why, when it is not well.
    pub error: Option<DeviceError>,
}

/// The ends of an attempt, as `muster.v1.ReportOutcome` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Cancelled by the engine's word.
    Cancelled,
    /// The device's answer is no, or cannot be read.
    Failed,
    /// A read was sent and the connection ended without an answer.
    Interrupted,
    /// Every step is done.
    Succeeded,
    /// Bytes of something that is not a read had left and no final answer came.
    Unknown,
    /// Nothing was sent that is not a read, and what was to be sent next did not leave.
    Unreached,
}

/// A device that could not be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFailure {
    /// Why.
    pub error: DeviceError,
    /// Whether waiting may help. A wrong password stays wrong; a refused connection may be a reboot.
    pub may_pass: bool,
}

/// How the exchange of a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// The device is done with it.
    Completed,
    /// The device refused it.
    Trapped(DeviceError),
    /// The device ended it because we asked for that.
    Cancelled,
    /// No byte of it left.
    NotSent(DeviceError),
    /// Bytes left and no final reply came, or one that cannot be read.
    NoAnswer(DeviceError),
}

/// The machine. Begins with [`Action::Connect`].
#[derive(Clone, Debug)]
pub struct Attempt {
    plan: Arc<Plan>,
    step: usize,
    /// Whether a step before this one was not a read.
    effects_done: bool,
}

impl Attempt {
    /// An attempt at this plan.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            step: 0,
            effects_done: false,
        }
    }

    /// The step it is at.
    pub fn step(&self) -> Option<&Step> {
        self.plan.steps.get(self.step)
    }

    /// Whether the step it is at is a read.
    pub fn is_read(&self) -> bool {
        self.step().is_none_or(|step| step.effect().is_read())
    }

    /// There is a connection.
    pub fn connected(&self) -> Action {
        self.begin_step()
    }

    /// There is none.
    pub fn connect_failed(&self, failure: ConnectFailure) -> Action {
        let outcome = match (failure.may_pass, self.effects_done) {
            (true, false) => Outcome::Unreached,
            _ => Outcome::Failed,
        };
        end(outcome, failure.error)
    }

    /// The engine has the intent on disk.
    pub fn granted(&self) -> Action {
        Action::Send {
            step: self.step as u32,
        }
    }

    /// The engine wants the execution dropped.
    pub fn revoked(&self) -> Action {
        end(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "taken back by the engine"),
        )
    }

    /// The engine wants it ended, and nothing is in flight.
    pub fn cancelled(&self) -> Action {
        end(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "cancelled by an operator"),
        )
    }

    /// The exchange of the step is over.
    pub fn step_ended(&mut self, end_of_step: StepEnd) -> Action {
        let read = self.is_read();
        match end_of_step {
            StepEnd::Completed => {
                self.effects_done |= !read;
                self.step += 1;
                self.begin_step()
            }
            StepEnd::Trapped(error) => end(Outcome::Failed, error),
            StepEnd::Cancelled if read => self.cancelled(),
            StepEnd::Cancelled => end(
                Outcome::Unknown,
                DeviceError::new(
                    ErrorClass::Cancelled,
                    "cancelled while it ran; it may have been done in part",
                ),
            ),
            StepEnd::NotSent(error) if !self.effects_done => end(Outcome::Unreached, error),
            StepEnd::NotSent(error) => self.cut_off(error),
            StepEnd::NoAnswer(error) if !read => end(Outcome::Unknown, error),
            StepEnd::NoAnswer(error) if error.class == ErrorClass::Reset => self.cut_off(error),
            StepEnd::NoAnswer(error) => end(Outcome::Failed, error),
        }
    }

    /// A connection that ended in the middle of a plan: everything may be done again if everything was a read.
    fn cut_off(&self, error: DeviceError) -> Action {
        end(
            if self.effects_done {
                Outcome::Failed
            } else {
                Outcome::Interrupted
            },
            error,
        )
    }

    fn begin_step(&self) -> Action {
        let step = self.step as u32;
        match self.step() {
            None => Action::End(Ended {
                outcome: Outcome::Succeeded,
                error: None,
            }),
            Some(next) if next.effect().is_read() => Action::Send { step },
            Some(_) => Action::AskIntent { step },
        }
    }
}

fn end(outcome: Outcome, error: DeviceError) -> Action {
    Action::End(Ended {
        outcome,
        error: Some(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::Command;

    fn attempt(commands: &[&str]) -> Attempt {
        let step = |path: &&str| Step::Command(Command::parse([*path]).expect("valid"));
        Attempt::new(Arc::new(Plan {
            steps: commands.iter().map(step).collect(),
        }))
    }

    fn error(class: ErrorClass) -> DeviceError {
        DeviceError::new(class, "x")
    }

    fn outcome(action: Action) -> (Outcome, Option<ErrorClass>) {
        match action {
            Action::End(ended) => (ended.outcome, ended.error.map(|error| error.class)),
            other => panic!("not an end: {other:?}"),
        }
    }

    const READ: &[&str] = &["/system/resource/print"];
    const CHANGE: &[&str] = &["/ip/dns/set"];

    #[test]
    fn a_read_is_sent_at_once_and_a_change_asks_first() {
        assert_eq!(attempt(READ).connected(), Action::Send { step: 0 });
        let mut change = attempt(CHANGE);
        assert_eq!(change.connected(), Action::AskIntent { step: 0 });
        assert_eq!(change.granted(), Action::Send { step: 0 });
        assert_eq!(
            outcome(change.step_ended(StepEnd::Completed)),
            (Outcome::Succeeded, None)
        );
    }

    #[test]
    fn what_a_lost_answer_means_depends_on_what_was_asked() {
        for (class, read) in [
            (ErrorClass::Reset, Outcome::Interrupted),
            (ErrorClass::Timeout, Outcome::Failed),
            (ErrorClass::Protocol, Outcome::Failed),
            (ErrorClass::Fatal, Outcome::Failed),
        ] {
            let lost = StepEnd::NoAnswer(error(class));
            assert_eq!(
                outcome(attempt(READ).step_ended(lost.clone())),
                (read, Some(class))
            );
            assert_eq!(
                outcome(attempt(CHANGE).step_ended(lost)),
                (Outcome::Unknown, Some(class))
            );
        }
    }

    #[test]
    fn what_never_left_may_be_tried_again() {
        let unsent = StepEnd::NotSent(error(ErrorClass::Reset));
        assert_eq!(
            outcome(attempt(CHANGE).step_ended(unsent.clone())).0,
            Outcome::Unreached
        );
        let mut reads = attempt(&["/a/print", "/b/print"]);
        reads.step_ended(StepEnd::Completed);
        assert_eq!(outcome(reads.step_ended(unsent.clone())).0, Outcome::Unreached);
        let mut change = attempt(&["/a/set", "/b/print"]);
        change.step_ended(StepEnd::Completed);
        assert_eq!(
            outcome(change.step_ended(unsent)).0,
            Outcome::Failed,
            "the change is not done twice"
        );
    }

    #[test]
    fn a_trap_is_an_answer() {
        let trap = StepEnd::Trapped(error(ErrorClass::Trap));
        assert_eq!(
            outcome(attempt(CHANGE).step_ended(trap)),
            (Outcome::Failed, Some(ErrorClass::Trap))
        );
    }

    #[test]
    fn a_cancelled_change_is_a_question() {
        assert_eq!(
            outcome(attempt(READ).step_ended(StepEnd::Cancelled)).0,
            Outcome::Cancelled
        );
        assert_eq!(
            outcome(attempt(CHANGE).step_ended(StepEnd::Cancelled)).0,
            Outcome::Unknown
        );
    }

    #[test]
    fn only_some_failures_to_connect_may_pass() {
        let refused = ConnectFailure {
            error: error(ErrorClass::Refused),
            may_pass: true,
        };
        assert_eq!(
            outcome(attempt(READ).connect_failed(refused)).0,
            Outcome::Unreached
        );
        let auth = ConnectFailure {
            error: error(ErrorClass::Auth),
            may_pass: false,
        };
        assert_eq!(
            outcome(attempt(READ).connect_failed(auth)),
            (Outcome::Failed, Some(ErrorClass::Auth))
        );
    }
}
