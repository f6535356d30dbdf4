//! Finding out what became of an intent that has no result (A5).

use muster_model::{DeviceError, ErrorClass, ExecutionState};

use super::{
    Context, Execution, Illegal, LOOK_EVERY, Outcome, RESOLVE_WITHIN, Resolution, Transition, millis,
    quiet_at,
};

impl Execution {
    /// What an attempt that was to look has told.
    pub(super) fn looked(
        &self,
        outcome: Outcome,
        error: Option<DeviceError>,
        context: &Context<'_>,
    ) -> Transition {
        let quiet_at = self
            .open_intent
            .map_or(context.now, |intent| quiet_at(intent, context));
        match outcome {
            Outcome::FoundDone => self.decide(true, None, context),
            Outcome::FoundNotDone if context.now >= quiet_at => self.decide(false, error, context),
            // What was sent into the old connection may still arrive.
            Outcome::FoundNotDone => self.look_again(quiet_at, self.error.clone(), context),
            // Taken back, or done in part: the same rule, for what was sent may still arrive.
            Outcome::Reverted | Outcome::Broken if context.now < quiet_at => {
                self.look_again(quiet_at, error, context)
            }
            Outcome::Reverted => self.end(ExecutionState::Reverted, error),
            Outcome::Broken => self.end(ExecutionState::Broken, error),
            Outcome::Unreached => {
                let ready_at = context.now + self.pause_between(context);
                match ready_at < self.resolve_by(context) {
                    true => self.look_again(ready_at, error, context),
                    false => self.open_ended(ExecutionState::Lost, error),
                }
            }
            Outcome::HandedBack => {
                let mut to = self.look_again(context.now, self.error.clone(), context);
                to.to.attempts = to.to.attempts.saturating_sub(1);
                to
            }
            Outcome::Interrupted | Outcome::Cancelled => {
                self.look_again(context.now + self.pause_between(context), error, context)
            }
            // It happened, and left the device as it was before.
            Outcome::Rejected => self.found_in_vain(error, context),
            // The device answers and its answer does not decide.
            Outcome::Failed | Outcome::Succeeded | Outcome::Unchanged | Outcome::Lost | Outcome::Unknown => {
                self.open_ended(ExecutionState::Unknown, error.or_else(|| self.error.clone()))
            }
        }
    }

    /// Between two looks: never so long that the time to look is over meanwhile.
    fn pause_between(&self, context: &Context<'_>) -> i64 {
        self.delay(context).min(millis(LOOK_EVERY))
    }

    /// Back in line, with the question open; past its time there is nobody left to ask.
    pub(super) fn look_again(
        &self,
        ready_at: i64,
        error: Option<DeviceError>,
        context: &Context<'_>,
    ) -> Transition {
        if context.now >= self.resolve_by(context) {
            return self.open_ended(ExecutionState::Unknown, error);
        }
        let mut to = self.with_error(error);
        to.state = ExecutionState::Pending;
        Transition {
            to,
            ready_at: Some(ready_at),
        }
    }

    /// Nobody looked in time.
    pub(super) fn resolution_overdue(&self, context: &Context<'_>) -> Result<Transition, Illegal> {
        match context.now >= self.resolve_by(context) {
            true => Ok(self.open_ended(ExecutionState::Unknown, self.error.clone())),
            false => Err(self.illegal("expired while its open intent is looked after")),
        }
    }

    /// Until when an open question may be asked: a deadline of its own, because the job's may be over (A11).
    fn resolve_by(&self, context: &Context<'_>) -> i64 {
        self.open_intent.map_or(context.expires_at, |intent| {
            let lasts = intent.at.saturating_add(millis(context.linger));
            quiet_at(intent, context)
                .saturating_add(millis(context.guard))
                .max(lasts)
                .saturating_add(millis(RESOLVE_WITHIN))
        })
    }

    /// The open intent is answered: with what is left of the plan it goes on, if the job still does.
    fn decide(&self, done: bool, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        let Some(intent) = self.open_intent else {
            return self.again(context.now, self.error.clone(), context);
        };
        let mut to = self.clone();
        to.open_intent = None;
        if !done {
            let ends = context.aborting || context.now >= context.expires_at;
            if context.steps.is_repeatable(intent.step) && !ends {
                return to.again(context.now, error, context);
            }
            let said = error.filter(|error| error.class == ErrorClass::NotDone);
            let error = said.or_else(|| Some(Self::not_done_error(intent.step)));
            return self.found_in_vain(error, context);
        }
        to.next_step = intent.step + 1;
        if to.next_step >= context.steps.len() {
            to.next_step = intent.step;
            return to.completed(context);
        }
        if context.aborting || context.now >= context.expires_at {
            return to.stopped(self.error.clone(), context);
        }
        to.again(context.now, None, context)
    }

    /// Nothing of the step is to be seen on the device.
    fn found_in_vain(&self, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        let step = self.open_intent.map_or(self.next_step, |intent| intent.step);
        match self.changed_before(step, context) {
            true => self.end(ExecutionState::Broken, error),
            false => self.end(ExecutionState::Failed, error),
        }
    }

    /// A report that may move no lease: under an old epoch, or after the end. It is evidence for the intent that was
    /// granted under its epoch.
    pub(super) fn told_late(
        &self,
        epoch: u64,
        outcome: Outcome,
        steps_done: u32,
        context: &Context<'_>,
    ) -> Result<Transition, Illegal> {
        let refused = || match epoch == self.epoch {
            true => self.illegal("reported"),
            false => self.stale(epoch),
        };
        let intent = self
            .open_intent
            .filter(|intent| intent.epoch == epoch)
            .ok_or_else(refused)?;
        let done = Self::evidence(outcome, steps_done, intent.step).ok_or_else(refused)?;
        if self.is_resolving() {
            return Ok(self.decide(done, None, context));
        }
        if !self.state.is_terminal() || self.resolution.is_some() {
            return Err(refused());
        }
        let mut to = self.clone();
        to.resolution = Some(Resolution {
            done,
            epoch,
            at: context.now,
        });
        Ok(Transition { to, ready_at: None })
    }
}
