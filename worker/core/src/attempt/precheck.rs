//! What is looked at before the first change: whether firmware that comes later in the plan is any for the device, and whether
//! it has the way back that the plan demands. Found when it is too late, that would leave the device changed in part.

use bytes::Bytes;
use muster_model::firmware::Part;
use muster_model::{Effect, Step};

use super::Attempt;
use crate::action::{Action, Mode, StepEnd};
use crate::steps::{self, Next, Run};

/// A look at a step that is not begun.
#[derive(Debug)]
pub(super) struct Precheck {
    /// The step.
    at: usize,
    run: Box<dyn Run>,
}

impl Attempt {
    /// Looks at the next step from this one on that is to be looked at; begins with the first step when none is left.
    pub(super) fn precheck(&mut self, from: usize) -> Action {
        if !matches!(self.mode, Mode::Apply { first_step: 0, .. }) {
            return self.begin_step();
        }
        let plan = self.plan.clone();
        // Firmware by itself looks before it changes anything.
        let changes = |step: &Step| step.effect() >= Effect::Change && !matches!(step, Step::Firmware(_));
        let first = plan.steps.iter().position(changes).unwrap_or(plan.steps.len());
        // What comes after an upgrade is for a router of another version.
        let last = |step: &Step| matches!(step, Step::Firmware(one) if one.part == Part::Install && one.below.is_none());
        let end = plan.steps.iter().position(last).unwrap_or(plan.steps.len());
        for (at, step) in plan.steps.iter().enumerate().take(end).skip(first.max(from)) {
            let is_one =
                matches!(step, Step::Firmware(one) if matches!(one.part, Part::Fallback | Part::Stage));
            let run = is_one.then(|| steps::preview(step)).flatten();
            if let Some(mut run) = run {
                let next = run.begin(&self.around());
                match self.prechecked(Precheck { at, run }, next) {
                    Some(action) => return action,
                    None => continue,
                }
            }
        }
        self.begin_step()
    }

    /// What was asked for it is answered.
    pub(super) fn precheck_answered(
        &mut self,
        mut precheck: Precheck,
        end: StepEnd,
        answer: Bytes,
    ) -> Action {
        let at = precheck.at;
        let next = precheck.run.ended(end, answer, &self.around());
        match self.prechecked(precheck, next) {
            Some(action) => action,
            None => self.precheck(at + 1),
        }
    }

    /// `None` when there is nothing against that step.
    fn prechecked(&mut self, precheck: Precheck, next: Next) -> Option<Action> {
        match next {
            Next::Exchange(exchange) => {
                self.prechecking = Some(precheck);
                Some(Action::Exchange(exchange))
            }
            Next::Done { .. } => None,
            next => Some(self.close(next)),
        }
    }
}
