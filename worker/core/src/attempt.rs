//! One attempt: a plan's steps on one device, one after the other.
//!
//! ```text
//! Connect ──ok──▶ for each step:  read ─────────────────▶ Send ──answered──▶ next step … End(succeeded)
//!    │    └─resolve──▶ Look ──▶ End     other ──▶ AskIntent ──granted──▶ Send     │
//!    └─failed──▶ End                            └─revoked, held──▶ End            └─anything else──▶ End
//! ```
//!
//! The machine decides what an end means. Whatever is not a read and may have been done is *unknown*, and never
//! *failed*: a lost answer is a question, and the engine does not repeat it. An attempt that is to look after such a
//! question sends the step's verification and nothing else.

use std::sync::Arc;

use muster_model::trap::{Refusal, refusal};
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
    /// Ask how this step's effect is verified, then [`Attempt::looked`].
    Look {
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
    /// Steps that are done, counted from the plan's first.
    pub steps_done: u32,
}

/// The ends of an attempt, as `muster.v1.ReportOutcome` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Cancelled by the engine's word.
    Cancelled,
    /// The device's answer is no, or cannot be read. Of a step that is not a read it proves that nothing was done.
    Failed,
    /// The step to look after is done.
    FoundDone,
    /// The step to look after is not done, so far.
    FoundNotDone,
    /// Given back; nothing of the step it was at was sent.
    HandedBack,
    /// A read was sent and the connection ended without an answer.
    Interrupted,
    /// Every step is done.
    Succeeded,
    /// Bytes of something that is not a read had left and no answer came that decides.
    Unknown,
    /// What was to be sent next did not leave.
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
    /// It cannot be sent over this connection, now or later: no byte of it left.
    Refused(DeviceError),
    /// Bytes left and no final reply came, or one that cannot be read.
    NoAnswer(DeviceError),
}

/// The machine. Begins with [`Action::Connect`].
#[derive(Clone, Debug)]
pub struct Attempt {
    plan: Arc<Plan>,
    step: usize,
    /// Whether the step it is at was sent before and its answer was lost.
    resolve: bool,
}

impl Attempt {
    /// An attempt at this plan from a step on; or, to resolve, a look at what became of that step.
    pub fn new(plan: Arc<Plan>, first_step: u32, resolve: bool) -> Self {
        Self {
            plan,
            step: first_step as usize,
            resolve,
        }
    }

    /// The number of the step it is at, from 0.
    pub fn at(&self) -> u32 {
        self.step as u32
    }

    /// The step it is at.
    pub fn step(&self) -> Option<&Step> {
        self.plan.steps.get(self.step)
    }

    /// Whether what it does next is a read.
    pub fn is_read(&self) -> bool {
        self.resolve || self.step().is_none_or(|step| step.effect().is_read())
    }

    /// Whether it needs the device's connection to itself: nobody else's command stands in front of a change once it
    /// is granted, and nobody else's end takes it along.
    pub fn is_alone(&self) -> bool {
        !self.resolve && !self.plan.effect().is_read()
    }

    /// There is a connection.
    pub fn connected(&self) -> Action {
        self.begin_step()
    }

    /// There is none.
    pub fn connect_failed(&self, failure: ConnectFailure) -> Action {
        let outcome = match failure.may_pass {
            true => Outcome::Unreached,
            false => Outcome::Failed,
        };
        self.end(outcome, failure.error)
    }

    /// The engine has the intent on disk.
    pub fn granted(&self) -> Action {
        Action::Send {
            step: self.step as u32,
        }
    }

    /// The engine wants the execution dropped.
    pub fn revoked(&self) -> Action {
        self.end(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "taken back by the engine"),
        )
    }

    /// The engine does not grant the intent for now, and the device should be free meanwhile.
    pub fn held_too_long(&self) -> Action {
        self.end(
            Outcome::HandedBack,
            DeviceError::new(ErrorClass::Cancelled, "not granted for now"),
        )
    }

    /// The engine wants it ended, and nothing is in flight.
    pub fn cancelled(&self) -> Action {
        self.end(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "cancelled by an operator"),
        )
    }

    /// The exchange of the step is over.
    pub fn step_ended(&mut self, end_of_step: StepEnd) -> Action {
        let read = self.is_read();
        match end_of_step {
            StepEnd::Completed => {
                self.step += 1;
                self.begin_step()
            }
            StepEnd::Trapped(error) => self.refused(error),
            StepEnd::Cancelled if read => self.cancelled(),
            StepEnd::Cancelled => self.end(
                Outcome::Unknown,
                DeviceError::new(
                    ErrorClass::Cancelled,
                    "cancelled while it ran; it may have been done in part",
                ),
            ),
            StepEnd::NotSent(error) => self.end(Outcome::Unreached, error),
            StepEnd::Refused(error) => self.end(Outcome::Failed, error),
            StepEnd::NoAnswer(error) if !read => self.end(Outcome::Unknown, error),
            StepEnd::NoAnswer(error) if error.class == ErrorClass::Reset => {
                self.end(Outcome::Interrupted, error)
            }
            StepEnd::NoAnswer(error) => self.end(Outcome::Failed, error),
        }
    }

    /// The exchange of the verification is over; `found` says whether its answer is the expected one.
    pub fn looked(&self, end_of_look: StepEnd, found: bool) -> Action {
        let error = match end_of_look {
            StepEnd::Completed => {
                let outcome = if found {
                    Outcome::FoundDone
                } else {
                    Outcome::FoundNotDone
                };
                return Action::End(Ended {
                    outcome,
                    error: None,
                    steps_done: self.steps_done(),
                });
            }
            StepEnd::Cancelled => return self.cancelled(),
            StepEnd::NotSent(error) => return self.end(Outcome::Unreached, error),
            StepEnd::Refused(error) => return self.end(Outcome::Failed, error),
            StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => {
                return self.end(Outcome::Failed, error);
            }
            StepEnd::Trapped(error) | StepEnd::NoAnswer(error) => error,
        };
        self.end(Outcome::Interrupted, error)
    }

    /// A trap. Only for some commands it proves that nothing was done (A5); a read may be tried again when the reason
    /// passes.
    fn refused(&self, error: DeviceError) -> Action {
        let outcome = match self.step() {
            _ if self.is_read() => match refusal(&error.message) {
                Refusal::Transient => Outcome::Interrupted,
                Refusal::Permanent => Outcome::Failed,
            },
            Some(Step::Command(command)) if command.trap_proves_nothing_done(&error.message) => {
                Outcome::Failed
            }
            _ => Outcome::Unknown,
        };
        self.end(outcome, error)
    }

    fn begin_step(&self) -> Action {
        let step = self.step as u32;
        match self.step() {
            None => Action::End(Ended {
                outcome: Outcome::Succeeded,
                error: None,
                steps_done: self.steps_done(),
            }),
            Some(_) if self.resolve => Action::Look { step },
            Some(next) if next.effect().is_read() => Action::Send { step },
            Some(_) => Action::AskIntent { step },
        }
    }

    fn end(&self, outcome: Outcome, error: DeviceError) -> Action {
        Action::End(Ended {
            outcome,
            error: Some(error),
            steps_done: self.steps_done(),
        })
    }

    fn steps_done(&self) -> u32 {
        self.step as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::Command;

    fn attempt(commands: &[&str]) -> Attempt {
        let step = |path: &&str| Step::Command(Command::parse([*path]).expect("valid"));
        let steps = commands.iter().map(step).collect();
        Attempt::new(Arc::new(Plan { steps }), 0, false)
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
        let mut change = attempt(&["/a/set", "/b/print"]);
        change.step_ended(StepEnd::Completed);
        let Action::End(ended) = change.step_ended(unsent) else {
            panic!("it goes on");
        };
        assert_eq!(
            (ended.outcome, ended.steps_done),
            (Outcome::Unreached, 1),
            "the change is not done twice"
        );
    }

    #[test]
    fn a_trap_is_an_answer_where_it_proves_something() {
        let trap = |message: &str| StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, message));
        let told = |commands: &[&str], message: &str| outcome(attempt(commands).step_ended(trap(message)));
        let refused = (Outcome::Failed, Some(ErrorClass::Trap));
        assert_eq!(told(CHANGE, "failure: invalid value"), refused);
        assert_eq!(told(READ, "no such command prefix"), refused);
        assert_eq!(
            told(READ, "could not authenticate - radius timeout").0,
            Outcome::Interrupted
        );
        assert_eq!(told(&["/system/script/run"], "failure").0, Outcome::Unknown);
        assert_eq!(told(&["/ip/dns/frobnicate"], "no such command"), refused);
    }

    #[test]
    fn an_attempt_that_looks_does_nothing_else() {
        let plan = Arc::new(Plan {
            steps: attempt(CHANGE).plan.steps.clone(),
        });
        let look = Attempt::new(plan, 0, true);
        assert!(look.is_read() && !look.is_alone());
        assert_eq!(look.connected(), Action::Look { step: 0 });
        assert_eq!(
            outcome(look.looked(StepEnd::Completed, true)).0,
            Outcome::FoundDone
        );
        assert_eq!(
            outcome(look.looked(StepEnd::Completed, false)).0,
            Outcome::FoundNotDone
        );
        let lost = StepEnd::NoAnswer(error(ErrorClass::Timeout));
        assert_eq!(outcome(look.looked(lost, false)).0, Outcome::Interrupted);
        let trap = StepEnd::Trapped(error(ErrorClass::Trap));
        assert_eq!(
            outcome(look.looked(trap, false)).0,
            Outcome::Failed,
            "its answer will not decide"
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
