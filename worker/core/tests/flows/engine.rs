//! The engine's part in a flow, and what is lost of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Plan, Step};
use muster_worker_core::{Action, Attempt, ConnectFailure, Ended, Mode, Outcome, Recorded, StepEnd};

use crate::router::Router;

/// What happens to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The command does not arrive.
    Before,
    /// It is carried out, and its answer does not come.
    After,
    /// It does not arrive, for the router has lost its power for a moment.
    Power,
}

pub(crate) fn lost() -> StepEnd {
    StepEnd::NoAnswer(DeviceError::new(ErrorClass::Reset, "lost"))
}

/// The engine's part in it: what it keeps, and what it makes of an attempt's end.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) plan: Arc<Plan>,
    /// The exchange, counted over all attempts, that is lost.
    pub(crate) loses: Option<(usize, Loss)>,
    pub(crate) exchanges: usize,
    pub(crate) step: u32,
    pub(crate) memo: Vec<u8>,
    pub(crate) granted: Duration,
    pub(crate) effects: usize,
    /// What was there before each step.
    recorded: Vec<Recorded>,
}

impl Engine {
    pub(crate) fn new(steps: Vec<Step>, loses: Option<(usize, Loss)>) -> Self {
        Self {
            plan: Arc::new(Plan::new(steps)),
            loses,
            exchanges: 0,
            step: 0,
            memo: Vec::new(),
            granted: Duration::ZERO,
            effects: 0,
            recorded: Vec::new(),
        }
    }

    /// One attempt to its end.
    pub(crate) fn attempt(&mut self, router: &mut Router, resolve: bool) -> Ended {
        let mode = match resolve {
            true => Mode::Resolve(self.step),
            false => Mode::Apply {
                first_step: self.step,
                expected: None,
            },
        };
        let began = router.now;
        let mut attempt = Attempt::new(self.plan.clone(), mode)
            .with_recorded(self.recorded.clone())
            .with_memo(&self.memo, began.saturating_sub(self.granted));
        let mut action = Action::Connect;
        for _ in 0..10_000 {
            attempt.tick(router.now.saturating_sub(began));
            action = match action {
                Action::Connect if router.is_away() => {
                    let error = DeviceError::new(ErrorClass::Refused, "away");
                    attempt.connect_failed(ConnectFailure {
                        error,
                        may_pass: true,
                    })
                }
                Action::Connect => attempt.connected(),
                Action::Reconnect(_) if router.is_away() => {
                    let error = DeviceError::new(ErrorClass::Refused, "away");
                    attempt.reconnected(Err(ConnectFailure {
                        error,
                        may_pass: true,
                    }))
                }
                Action::Reconnect(_) => attempt.reconnected(Ok(())),
                Action::Wait(time) => {
                    router.pass(time);
                    attempt.tick(router.now.saturating_sub(began));
                    attempt.waited()
                }
                Action::AskIntent { step } => {
                    assert!(!resolve, "who looks does nothing else");
                    (self.step, self.granted, self.memo) = (step, router.now, attempt.memo());
                    self.effects += 1;
                    if let Some(note) = attempt.note() {
                        self.recorded.retain(|recorded| recorded.step != step);
                        self.recorded.push(Recorded {
                            step,
                            pre: note.pre,
                            facts: note.facts,
                            guard: note.guard.map(|(guard, _)| guard),
                        });
                    }
                    attempt.granted()
                }
                Action::Exchange(exchange) => {
                    let at = self.exchanges;
                    self.exchanges += 1;
                    match self.loses.filter(|(lost, _)| *lost == at) {
                        Some((_, Loss::Before)) => attempt.answered(lost(), Bytes::new()),
                        Some((_, Loss::Power)) => {
                            router.lose_power();
                            attempt.answered(lost(), Bytes::new())
                        }
                        Some((_, Loss::After)) => {
                            router.run(&exchange.words);
                            attempt.answered(lost(), Bytes::new())
                        }
                        None if router.is_away() => attempt.answered(lost(), Bytes::new()),
                        None if exchange.words[0] == router.drops.as_bytes() => {
                            attempt.answered(lost(), Bytes::new())
                        }
                        None if router.refuses.is_some() && exchange.words[0] == b"/system/reboot" => {
                            router.goes = router.refuses.take().map(|after| router.now + after);
                            let no = DeviceError::new(ErrorClass::Trap, "action failed (6)");
                            attempt.answered(StepEnd::Trapped(no), Bytes::new())
                        }
                        None => {
                            let answer = router.run(&exchange.words);
                            attempt.answered(StepEnd::Completed, answer)
                        }
                    }
                }
                Action::End(ended) => return ended,
            };
        }
        panic!("it does not end: {attempt:?}");
    }

    /// As the engine's core has it: attempts, and looks at what became of a lost one, until it is over.
    pub(crate) fn run(&mut self, router: &mut Router) -> Ended {
        let mut resolve = false;
        for _ in 0..20 {
            let ended = self.attempt(router, resolve);
            self.step = self.step.max(ended.steps_done);
            let step = &self.plan.steps[(self.step as usize).min(self.plan.steps.len() - 1)];
            match ended.outcome {
                Outcome::Unknown if step.is_verifiable() => resolve = true,
                // What was not done and cannot be begun again has failed.
                Outcome::FoundNotDone if !step.is_repeatable() => return ended,
                Outcome::Unreached | Outcome::Interrupted => router.now += Duration::from_secs(15),
                Outcome::FoundDone => {
                    self.step += 1;
                    resolve = false;
                    if self.step as usize == self.plan.steps.len() {
                        return ended;
                    }
                }
                Outcome::FoundNotDone => {
                    // The quiet time, and then it is begun again.
                    router.now += Duration::from_secs(60);
                    resolve = false;
                }
                _ => return ended,
            }
            // A stage that was lost looks first by itself.
            let stages = self.plan.steps[self.step as usize].effect() == muster_model::Effect::Stage;
            resolve &= !stages;
        }
        panic!("it does not end");
    }
}
