//! What became of a step whose answer was lost while a guard was armed (A5).

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Guard};

use super::{NAME, TWIN, armed_question, armed_rows};
use crate::action::{Exchange, Outcome, StepEnd};
use crate::steps::{Around, Next, Run, found, look_failed, words};

/// A step whose answer was lost while a guard was armed: first whether it still is, then the step's own look.
#[derive(Debug)]
pub(crate) struct Look {
    inner: Box<dyn Run>,
    guard: Guard,
    phase: LookPhase,
    armed: bool,
    end: Option<Next>,
}

#[derive(Debug, PartialEq, Eq)]
enum LookPhase {
    Armed,
    Inner,
    Disarming(Vec<&'static str>),
    Disarmed,
    Cleaning,
}

impl Look {
    pub(crate) fn new(inner: Box<dyn Run>, guard: Guard) -> Self {
        Self {
            inner,
            guard,
            phase: LookPhase::Armed,
            armed: false,
            end: None,
        }
    }

    fn not_yet() -> Next {
        let text = "what is armed on the device has not taken the change back yet";
        Next::stop(
            Outcome::Interrupted,
            DeviceError::new(ErrorClass::NotAsWanted, text),
        )
    }

    /// What the step's own look has found.
    fn found(&mut self, next: Next) -> Next {
        match next {
            // Reached over a new connection, and as wanted: that is the proof, and it is disarmed.
            next @ Next::Done { .. } if self.armed => {
                self.end = Some(next);
                self.disarm_next(vec![TWIN, NAME])
            }
            Next::Stop {
                outcome: Outcome::FoundNotDone,
                reply,
                ..
            } => {
                let text = match (self.guard, self.armed) {
                    // It runs once, and what it restores knows nothing of it.
                    (Guard::Scheduler, false) => {
                        "nobody could be told that the change was well: the device's schedule has restored what was before"
                    }
                    _ => "the answer to the change was lost, and the device is as it was before",
                };
                let end = Next::Stop {
                    outcome: Outcome::Reverted,
                    error: Some(DeviceError::new(ErrorClass::NotDone, text)),
                    reply,
                };
                match self.armed {
                    // It would put back what is there.
                    true => {
                        self.end = Some(end);
                        self.disarm_next(vec![TWIN, NAME])
                    }
                    false if self.guard == Guard::Scheduler => {
                        self.end = Some(end);
                        self.clean()
                    }
                    false => end,
                }
            }
            Next::Stop {
                outcome: Outcome::Broken,
                ..
            } if self.armed => Self::not_yet(),
            next => next,
        }
    }

    fn disarm_next(&mut self, mut left: Vec<&'static str>) -> Next {
        match left.pop() {
            Some(name) => {
                self.phase = LookPhase::Disarming(left);
                let named = format!("=numbers={name}");
                Next::Exchange(Exchange::proof(words(
                    ["/system/scheduler/remove", &named].into_iter(),
                )))
            }
            None => {
                self.phase = LookPhase::Disarmed;
                Next::Exchange(Exchange::question(armed_question(Some(self.guard))))
            }
        }
    }

    fn clean(&mut self) -> Next {
        self.phase = LookPhase::Cleaning;
        let named = format!("=numbers={NAME}.backup");
        Next::Exchange(Exchange::proof(words(["/file/remove", &named].into_iter())))
    }
}

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        Next::Exchange(Exchange::question(armed_question(Some(self.guard))))
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let done = end == StepEnd::Completed;
        match std::mem::replace(&mut self.phase, LookPhase::Inner) {
            LookPhase::Armed if done => {
                self.armed = armed_rows(Some(self.guard), &answer) > 0;
                if self.armed && self.guard == Guard::SafeMode {
                    // A hold that we did not take on this connection is not ours to give up.
                    return Self::not_yet();
                }
                let next = self.inner.begin(around);
                self.found(next)
            }
            LookPhase::Inner => {
                let next = self.inner.ended(end, answer, around);
                self.found(next)
            }
            LookPhase::Disarming(left) if done || matches!(end, StepEnd::Trapped(_)) => {
                self.disarm_next(left)
            }
            LookPhase::Disarmed if done && armed_rows(Some(self.guard), &answer) == 0 => self.clean(),
            LookPhase::Disarmed if done => Self::not_yet(),
            LookPhase::Cleaning => self.end.take().unwrap_or_else(|| found(false)),
            _ => look_failed(end),
        }
    }
}
