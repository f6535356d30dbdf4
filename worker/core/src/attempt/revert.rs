//! Taking back what was done, when a check does not hold after it and the plan wants it so.

use std::collections::VecDeque;

use muster_model::{DeviceError, ErrorClass, Level, Step};

use super::Attempt;
use crate::action::{Action, Ended, Mode, Outcome};
use crate::inverse::{self, inverse};
use crate::steps::{Next, Run, ensure};

impl Attempt {
    /// Notes what a step has changed.
    pub(super) fn note_written(&mut self, run: &dyn Run) {
        if !matches!(self.mode, Mode::Apply { .. }) {
            return;
        }
        let pre = run.pre();
        match self.plan.steps.get(self.step) {
            Some(Step::Ensure(wish)) if inverse::is_something(&pre) => {
                self.written.push((self.at(), wish.clone(), pre));
            }
            Some(step)
                if step.effect() >= muster_model::Effect::Change && !matches!(step, Step::Ensure(_)) =>
            {
                self.no_inverse = true;
            }
            _ => {}
        }
    }

    /// Why a step is not done whose plan demands an inverse (L4), when it has none.
    pub(super) fn has_no_inverse(&self, run: &dyn Run) -> Option<Next> {
        if self.plan.way_back.min != Level::L4 || self.reverting.is_some() {
            return None;
        }
        let why = match self.plan.steps.get(self.step)? {
            Step::Ensure(wish) => inverse(wish, &run.pre()).err()?,
            step if step.effect() < muster_model::Effect::Change => return None,
            step => format!("{} has no inverse", step.title()),
        };
        let text = format!("the plan demands a way back of level L4: {why}; nothing of the step was written");
        Some(Next::stop(
            Outcome::Rejected,
            DeviceError::new(ErrorClass::Plan, text),
        ))
    }

    /// Whether an end is one after which what was done is taken back.
    pub(super) fn is_to_revert(&self, ended: &Ended) -> bool {
        let checked = ended
            .error
            .as_ref()
            .is_some_and(|error| error.class == ErrorClass::Check);
        self.plan.way_back.on_failed_check
            && checked
            && ended.outcome == Outcome::Rejected
            && !self.written.is_empty()
            && self.reverting.is_none()
    }

    pub(super) fn revert(&mut self, ended: Ended) -> Action {
        let mut back = VecDeque::new();
        let mut why = self
            .no_inverse
            .then(|| "a command that was done has no inverse".to_owned());
        for (_, wish, pre) in self.written.iter().rev() {
            match inverse(wish, pre) {
                Ok(wish) => back.extend(wish),
                Err(error) => why = Some(error),
            }
        }
        if let Some(why) = why {
            let text = ended.error.map_or_else(String::new, |error| error.message);
            let text = format!("{text}; it cannot be taken back: {why}");
            return Action::End(Ended {
                error: Some(DeviceError::new(ErrorClass::Check, text)),
                ..ended
            });
        }
        self.run = None;
        self.reverting = Some((back, ended));
        self.revert_next()
    }

    /// The next of what is to be taken back.
    pub(super) fn revert_next(&mut self) -> Action {
        let Some((back, ended)) = &mut self.reverting else {
            return self.done();
        };
        match back.pop_front() {
            Some(wish) => {
                let mut run: Box<dyn Run> = Box::new(ensure::Apply::new(wish, None));
                let next = run.begin(&self.around());
                self.follow(run, next)
            }
            None => Action::End(Ended {
                outcome: Outcome::Reverted,
                ..ended.clone()
            }),
        }
    }
}
