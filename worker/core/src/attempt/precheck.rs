//! What is looked at before the first change: whether firmware that comes later in the plan is any for the device, and whether
//! later changes have the way back that they need. Found when it is too late, that would leave the device changed in part.

use bytes::Bytes;
use muster_model::firmware::Part;
use muster_model::{DeviceError, Effect, Level, Plan, Step};

use super::Attempt;
use crate::action::{Action, Exchange, Mode, Outcome, StepEnd};
use crate::diff::{Diff, question};
use crate::steps::guard::{Probe, refusal};
use crate::steps::{self, Next, Run, question_failed};

/// What is asked.
#[derive(Debug)]
pub(super) enum Precheck {
    /// Of a step of firmware, what it would do.
    Firmware { at: usize, run: Box<dyn Run> },
    /// What the device can do for the way back.
    Probe(Probe),
    /// Whether a step would change anything that has no way back, and why it has none.
    Menu { at: usize, refused: DeviceError },
}

/// The first step that changes something and does not look by itself whether it may.
fn first_change(plan: &Plan) -> usize {
    let changes = |step: &Step| step.effect() >= Effect::Change && !matches!(step, Step::Firmware(_));
    plan.steps.iter().position(changes).unwrap_or(plan.steps.len())
}

impl Attempt {
    /// Begins with the first step once there is nothing against any.
    pub(super) fn precheck(&mut self) -> Action {
        match self.mode {
            Mode::Apply { first_step: 0, .. } => self.precheck_firmware(0),
            _ => self.begin_step(),
        }
    }

    /// Looks at the next step of firmware from this one on.
    fn precheck_firmware(&mut self, from: usize) -> Action {
        let plan = self.plan.clone();
        let first = first_change(&plan).max(from);
        // What comes after an upgrade is for a router of another version.
        let last = |step: &Step| matches!(step, Step::Firmware(one) if one.part == Part::Install && one.below.is_none());
        let end = plan.steps.iter().position(last).unwrap_or(plan.steps.len());
        for (at, step) in plan.steps.iter().enumerate().take(end).skip(first) {
            let is_one =
                matches!(step, Step::Firmware(one) if matches!(one.part, Part::Fallback | Part::Stage));
            if let Some(mut run) = is_one.then(|| steps::preview(step)).flatten() {
                let next = run.begin(&self.around());
                if let Some(action) = self.prechecked(at, run, next) {
                    return action;
                }
            }
        }
        self.precheck_guards(0)
    }

    /// `None` when there is nothing against that step.
    fn prechecked(&mut self, at: usize, run: Box<dyn Run>, next: Next) -> Option<Action> {
        match next {
            Next::Exchange(exchange) => {
                self.prechecking = Some(Precheck::Firmware { at, run });
                Some(Action::Exchange(exchange))
            }
            Next::Done { .. } => None,
            next => Some(self.close(next)),
        }
    }

    /// Looks whether steps from this one on that come after a change have the guard that they need.
    fn precheck_guards(&mut self, from: usize) -> Action {
        let plan = self.plan.clone();
        let way = &plan.way_back;
        let after = (first_change(&plan) + 1).max(from);
        for (at, step) in plan.steps.iter().enumerate().skip(after) {
            if step.effect() != Effect::Change
                || way.needs(step) < Level::L3
                || matches!(step, Step::Firmware(_))
            {
                continue;
            }
            let Some(caps) = self.caps else {
                return self.ask_precheck(Precheck::Probe(Probe::Version), Probe::Version.question());
            };
            let Some(refused) = refusal(way, step, caps, self.over_api) else {
                continue;
            };
            let Step::Ensure(wish) = step else {
                return self.close(Next::stop(Outcome::Rejected, refused));
            };
            // Where all is as wanted nothing needs a way back.
            return self.ask_precheck(Precheck::Menu { at, refused }, Exchange::question(question(wish)));
        }
        self.begin_step()
    }

    fn ask_precheck(&mut self, precheck: Precheck, exchange: Exchange) -> Action {
        self.prechecking = Some(precheck);
        Action::Exchange(exchange)
    }

    /// What was asked for it is answered.
    pub(super) fn precheck_answered(&mut self, precheck: Precheck, end: StepEnd, answer: Bytes) -> Action {
        let is_answered = matches!(end, StepEnd::Completed | StepEnd::Trapped(_));
        match precheck {
            Precheck::Firmware { at, mut run } => {
                let next = run.ended(end, answer, &self.around());
                match self.prechecked(at, run, next) {
                    Some(action) => action,
                    None => self.precheck_firmware(at + 1),
                }
            }
            Precheck::Probe(_) | Precheck::Menu { .. } if !is_answered => {
                self.close(question_failed(end).telling(answer))
            }
            Precheck::Probe(probe) => match probe.answered(&answer) {
                Ok(caps) => {
                    self.caps = Some(caps);
                    self.precheck_guards(0)
                }
                Err(next) => self.ask_precheck(Precheck::Probe(next), next.question()),
            },
            Precheck::Menu { at, refused } => {
                let plan = self.plan.clone();
                let differs = match plan.steps.get(at) {
                    Some(Step::Ensure(wish)) => Diff::of(wish, &answer).is_ok_and(|diff| !diff.is_empty()),
                    _ => false,
                };
                match differs {
                    true => self.close(Next::stop(Outcome::Rejected, refused)),
                    // What is wrong otherwise is told at its turn.
                    false => self.precheck_guards(at + 1),
                }
            }
        }
    }
}
