//! What a worker tells of its attempt.

use muster_model::{DeviceError, Effect, ErrorClass, ExecutionState};

use super::{AWAY, Context, Execution, Intent, Outcome, READ_ATTEMPTS, STAGE_ATTEMPTS, Transition, millis};

impl Execution {
    pub(super) fn reported(
        &self,
        outcome: Outcome,
        steps_done: u32,
        error: Option<DeviceError>,
        context: &Context<'_>,
    ) -> Transition {
        if self.is_soaking(context) {
            return self.soaked(outcome, error, context);
        }
        let told = self.with_steps_done(steps_done);
        match outcome {
            Outcome::Succeeded => self.completed(context),
            Outcome::Failed => told.refused(error, context),
            Outcome::Unreached => told.decided().wait_or_give_up(error, context),
            Outcome::HandedBack if context.shut && !told.touched && !context.aborting => told.staged(),
            Outcome::HandedBack => {
                let mut to = told.decided();
                to.attempts = to.attempts.saturating_sub(1);
                match context.aborting {
                    true => to.aborted(context),
                    false => to.again(context.now + to.pause(context), self.error.clone(), context),
                }
            }
            Outcome::Interrupted if told.open_intent.is_some() => {
                told.undecided(error, context.now + self.delay(context), context)
            }
            Outcome::Interrupted if context.aborting => told.stopped(error, context),
            Outcome::Interrupted => {
                let ready_at = context.now + self.delay(context);
                match self.attempts < READ_ATTEMPTS && ready_at < context.expires_at {
                    true => told.again(ready_at, error, context),
                    false => told.end(ExecutionState::Failed, error),
                }
            }
            Outcome::Unknown => told.undecided(error, context.now + self.delay(context), context),
            // Its intent came too late, and that is all that happened to it.
            Outcome::Cancelled if !told.touched && context.now >= context.expires_at && !context.aborting => {
                told.given_up(self.error.clone())
            }
            Outcome::Cancelled => told.decided().stopped(error, context),
            // An earlier attempt may have changed something.
            Outcome::Unchanged if told.touched => self.completed(context),
            Outcome::Unchanged => told.end(ExecutionState::Unchanged, None),
            Outcome::Rejected => told.rejected(error, context),
            // Without an intent nothing was written.
            Outcome::Broken if !told.touched => told.end(ExecutionState::Failed, error),
            Outcome::Broken => told.end(ExecutionState::Broken, error),
            Outcome::Reverted if !told.touched => told.end(ExecutionState::Failed, error),
            Outcome::Reverted => told.end(ExecutionState::Reverted, error),
            Outcome::Lost if told.touched => told.open_ended(ExecutionState::Lost, error),
            Outcome::Lost => told.decided().wait_or_give_up(error, context),
            // Only an attempt that was to look tells these. It decides nothing here.
            Outcome::FoundDone | Outcome::FoundNotDone => {
                told.undecided(error, context.now + self.delay(context), context)
            }
        }
    }

    /// What was found on a device at the end of its soak. What does not hold any more stays so, for all we know.
    fn soaked(&self, outcome: Outcome, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        match outcome {
            Outcome::Succeeded | Outcome::Unchanged => self.end(ExecutionState::Succeeded, None),
            Outcome::Cancelled => self.stopped(error, context),
            Outcome::Unreached | Outcome::Interrupted | Outcome::Lost => self.wait_or_give_up(error, context),
            Outcome::HandedBack => {
                let mut again = self.again(context.now, self.error.clone(), context);
                again.to.attempts = again.to.attempts.saturating_sub(1);
                again
            }
            Outcome::Failed
            | Outcome::Unknown
            | Outcome::FoundDone
            | Outcome::FoundNotDone
            | Outcome::Rejected
            | Outcome::Reverted
            | Outcome::Broken => self.end(ExecutionState::Broken, error),
        }
    }

    /// With what a report says of how far it came.
    fn with_steps_done(&self, steps_done: u32) -> Self {
        let mut to = self.clone();
        to.next_step = to.next_step.max(steps_done);
        to.open_intent = self.open_intent.filter(|intent| intent.step >= steps_done);
        to
    }

    /// How long one that was handed back stays away: while the budget has no unit for it, or its device has to stay in
    /// service, others use its slot.
    fn pause(&self, context: &Context<'_>) -> i64 {
        let touches = context.steps.effect(self.next_step) >= Effect::Change;
        let waits = context.full.is_some() && touches && !self.touched;
        match waits || context.unavailable {
            true => millis(AWAY),
            false => 0,
        }
    }

    /// It has staged what it could before its window. When that opens it begins from its first step: what is checked and
    /// measured before a change is to be so then. It keeps its place in the order.
    fn staged(&self) -> Transition {
        let mut to = self.decided();
        to.attempts = to.attempts.saturating_sub(1);
        to.next_step = 0;
        to.error = None;
        to.state = ExecutionState::Pending;
        Transition { to, ready_at: None }
    }

    /// Nothing of the step it was at was done.
    fn decided(&self) -> Self {
        Self {
            open_intent: None,
            ..self.clone()
        }
    }

    /// The device's answer was no: after an earlier change was done that leaves it in neither state.
    fn refused(&self, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        let effect = context.steps.effect(self.next_step);
        let state = if effect >= Effect::Change && self.changed_before(self.next_step, context) {
            ExecutionState::Broken
        } else {
            ExecutionState::Failed
        };
        self.end(state, error)
    }

    /// An effect that may or may not have happened. Staging adds files only and harms nothing, so it has failed.
    /// Anything else is looked after, if there is a way, or stays unknown. `ready_at` is when staging is begun again.
    pub(super) fn undecided(
        &self,
        error: Option<DeviceError>,
        ready_at: i64,
        context: &Context<'_>,
    ) -> Transition {
        let stages = |intent: Intent| {
            context.steps.effect(intent.step) == Effect::Stage && context.steps.is_repeatable(intent.step)
        };
        if self.open_intent.is_some_and(stages) && !context.aborting && self.attempts < STAGE_ATTEMPTS {
            // It looks first what is there, and does only what is left.
            return self.decided().again(ready_at, error, context);
        }
        let Some(intent) = self.open_intent.filter(|_| self.touched) else {
            return self.end(ExecutionState::Failed, error);
        };
        if context.steps.is_verifiable(intent.step) {
            return self.look_again(context.now, error, context);
        }
        self.open_ended(ExecutionState::Unknown, error)
    }

    /// Ends with its question open.
    pub(super) fn open_ended(&self, state: ExecutionState, error: Option<DeviceError>) -> Transition {
        let mut to = self.with_error(error);
        to.state = state;
        Transition { to, ready_at: None }
    }

    /// What a report says about an intent for this step: done, not done, or neither.
    pub(super) fn evidence(outcome: Outcome, steps_done: u32, step: u32) -> Option<bool> {
        match outcome {
            Outcome::Succeeded | Outcome::FoundDone | Outcome::Unchanged => Some(true),
            _ if steps_done > step => Some(true),
            Outcome::Failed
            | Outcome::Unreached
            | Outcome::HandedBack
            | Outcome::Cancelled
            | Outcome::Reverted
            | Outcome::Rejected => Some(false),
            Outcome::Interrupted
            | Outcome::Unknown
            | Outcome::FoundNotDone
            | Outcome::Broken
            | Outcome::Lost => None,
        }
    }

    /// Says that a step was found not to be done.
    pub(super) fn not_done_error(step: u32) -> DeviceError {
        let text = format!(
            "step {} was not done: its answer was lost, and it was verified",
            step + 1
        );
        DeviceError::new(ErrorClass::NotDone, text)
    }
}
