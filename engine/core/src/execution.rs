//! One job on one device (fleet-semantics A3).
//!
//! ```text
//!              claim                 intent granted
//!   pending ───────────▶ leased ───────────────────────▶ running
//!    ▲   ▲                 │ │                              │
//!    │   │ unreached,      │ └──────── report ─────┐        │ report
//!    │   │ interrupted,    │                       ▼        ▼
//!    │   │ lease lost      │     succeeded failed broken cancelled unknown   (expired, lost: nothing left to wait for)
//!    │   └─────────────────┘                                │
//!    └──────────────── resolving ◀── no answer, but there is a way to ask (A5)
//! ```
//!
//! *Touched* means that a change or disrupt intent was granted: from then on the device may be different, and the
//! execution can only end in a state that says what became of it. An intent that was granted and has no result is
//! a question. It is *resolved* by looking, when the step says how, or ends `unknown`; it is never simply done again.
//! While it is resolved the execution is pending or leased as ever, with its intent still open.
//!
//! *Soaking* is the same with every step done: a touched execution is pending until its time is over, keeps its unit of the
//! budget and its device, and is then looked at once more. Only what is found then ends it (B4, C3).

mod report;
mod resolve;
#[cfg(test)]
mod tests;

use std::time::Duration;

use muster_model::{DeviceError, Effect, ErrorClass, ExecutionState, JobState, Marks, quiet};
use thiserror::Error;

use crate::budget::Full;
use crate::retry::{self, Backoff};

/// How often a read that was cut off is tried in all.
pub const READ_ATTEMPTS: u32 = 3;

/// How often staging whose end is not known is begun in all: it looks first.
pub const STAGE_ATTEMPTS: u32 = 10;

/// How long an execution stays away that was handed back for want of a unit of the budget.
const AWAY: Duration = Duration::from_secs(30);

/// How long after the quiet time an open question may still be asked.
const RESOLVE_WITHIN: Duration = Duration::from_secs(60);

/// How long a device that was changed may be silent between two steps, or at the end of its soak, beyond its plan's longest
/// step, before it is given up (A9, A11).
pub const SILENT: Duration = Duration::from_secs(600);

/// Between two looks at what became of an open question.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long after its grant an open intent is given up, beyond the deadline of its command, or of its plan's longest
/// step.
pub fn resolved_within() -> Duration {
    quiet::after(Duration::ZERO) + RESOLVE_WITHIN
}

/// What is stored of an execution, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Its number, which seeds its jitter.
    pub id: u64,
    /// Where it is in its life.
    pub state: ExecutionState,
    /// Counts its leases; only the newest one may move it.
    pub epoch: u64,
    /// How often a worker took it up.
    pub attempts: u32,
    /// The step to begin with: those before it are done.
    pub next_step: u32,
    /// Whether a change or disrupt intent was granted.
    pub touched: bool,
    /// The first step for which one was: none before it has changed anything. `None` while it is untouched, and for
    /// executions of versions that did not note it.
    pub touched_from: Option<u32>,
    /// The newest intent that was granted, of whatever class, as long as it has no result. An execution that ended
    /// without an answer keeps it, so that late evidence finds it.
    pub open_intent: Option<Intent>,
    /// Whether its device is one that another job harmed, which counts it.
    pub exempt: bool,
    /// Since when its device, which was changed, could not be reached, Unix milliseconds.
    pub silent_since: Option<i64>,
    /// Why the last attempt did not do it.
    pub error: Option<DeviceError>,
    /// What was found out about the open intent after the end.
    pub resolution: Option<Resolution>,
}

/// A granted intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The step.
    pub step: u32,
    /// The epoch it was granted under.
    pub epoch: u64,
    /// When, Unix milliseconds.
    pub at: i64,
}

/// What became of an effect whose execution had ended `unknown` or `lost`. The state stays, and budgets keep counting
/// it; people, retry and revert use this (A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Whether it was done.
    pub done: bool,
    /// The epoch of the report that told.
    pub epoch: u64,
    /// When it was told, Unix milliseconds.
    pub at: i64,
}

/// What decisions need from around the execution. Times are milliseconds on one clock.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Now.
    pub now: i64,
    /// When the job gives up on devices it cannot reach.
    pub expires_at: i64,
    /// Whether the job is ending early.
    pub aborting: bool,
    /// The state of a job that admits nothing new for now.
    pub held: Option<JobState>,
    /// Whether it is outside its job's windows: until then it stages, and changes nothing (J1).
    pub shut: bool,
    /// Whether what is in flight stops before its next step: its window has ended, and wants it so (G3).
    pub stops: bool,
    /// The budget that lets no further execution be touched (C3).
    pub full: Option<Full>,
    /// Whether too many of those beside its device are out of service for it to be taken out, too (D3).
    pub unavailable: bool,
    /// The delays between tries.
    pub backoff: Backoff,
    /// The deadline of one command.
    pub command: Duration,
    /// How long a device is left alone after it was changed, before it is looked at again (B4).
    pub soak: Duration,
    /// How long what is armed on the device may take to act, from the grant of the open intent; zero for nothing.
    pub guard: Duration,
    /// How long its longest step may take beyond that: a restart is waited for.
    pub linger: Duration,
    /// The steps of the plan.
    pub steps: Marks<'a>,
}

/// What happens to an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker takes it.
    Claimed,
    /// A worker asks to do something that is not a read.
    IntentAsked {
        /// The epoch it holds.
        epoch: u64,
        /// The step.
        step: u32,
    },
    /// A worker tells how its attempt ended.
    Reported {
        /// The epoch it held.
        epoch: u64,
        /// How.
        outcome: Outcome,
        /// The steps that are done, counted from the plan's first.
        steps_done: u32,
        /// Why, when it is not well.
        error: Option<DeviceError>,
    },
    /// The worker that held this epoch is gone.
    LeaseLost {
        /// The epoch it held.
        epoch: u64,
    },
    /// A connection to its device succeeded, for whatever reason (A9).
    Reachable,
    /// Its device was quarantined (A12).
    Quarantined,
    /// The job's time is up.
    JobExpired,
    /// Somebody ends the job early.
    JobAborted,
}

/// How an attempt ended, as a worker tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step is done.
    Succeeded,
    /// The device's answer is no, or cannot be read. Of an effect it proves that nothing was done.
    Failed,
    /// The step it was at did not leave: the device was not reached.
    Unreached,
    /// A read was sent and the connection ended without an answer.
    Interrupted,
    /// Bytes of something that is not a read had left and no answer came that decides.
    Unknown,
    /// Cancelled by our word; nothing of the step it was at was sent, unless it was a read.
    Cancelled,
    /// Given back; nothing of the step it was at was sent.
    HandedBack,
    /// The open intent was looked after, and it was done.
    FoundDone,
    /// The open intent was looked after, and so far it was not done.
    FoundNotDone,
    /// Every step is done, and in this attempt nothing had to be written for it.
    Unchanged,
    /// The plan does not fit the device, or a check says no. Nothing of the step it was at was written.
    Rejected,
    /// The step it was at is done in part: neither the old nor the new state.
    Broken,
    /// What was done is taken back, by the device or by the worker, and a look has shown it.
    Reverted,
    /// It had touched the device, and the device was silent until the step's deadline.
    Lost,
}

/// What becomes of the execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The execution afterwards.
    pub to: Execution,
    /// When it may be claimed, for one that is pending afterwards.
    pub ready_at: Option<i64>,
}

/// An event that moves nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Illegal {
    /// Told under an epoch that is not the newest.
    #[error("stale epoch: held {held}, current {current}")]
    Stale {
        /// The epoch of the event.
        held: u64,
        /// The execution's epoch.
        current: u64,
    },
    /// Not in this state.
    #[error("an execution that is {state} cannot be {event}")]
    State {
        /// The state it is in.
        state: ExecutionState,
        /// What was to happen.
        event: &'static str,
    },
    /// Not now. It may be asked again.
    #[error("not now: {0}")]
    Held(Held),
}

/// Why an intent is not granted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Held {
    /// Its job, in this state, admits nothing new.
    #[error("the job is {0}")]
    Job(JobState),
    /// It would be the first to touch its device, and no unit of the budget is left for it (C3).
    #[error("{0}")]
    Budget(Full),
    /// It would take its device out of service, and of those beside it too many are (D3).
    #[error("too many devices with the same value of a label are out of service")]
    Availability,
}

impl Execution {
    /// One that nobody has taken up yet.
    pub fn new(id: u64) -> Self {
        Self {
            id,
            state: ExecutionState::Pending,
            epoch: 0,
            attempts: 0,
            next_step: 0,
            touched: false,
            touched_from: None,
            open_intent: None,
            exempt: false,
            silent_since: None,
            error: None,
            resolution: None,
        }
    }

    /// Whether what became of its open intent is being looked after. Nothing is sent meanwhile that is not a read.
    pub fn is_resolving(&self) -> bool {
        let open = |intent: Intent| self.state == ExecutionState::Pending || intent.epoch != self.epoch;
        !self.state.is_terminal() && self.open_intent.is_some_and(open)
    }

    /// What an event makes of the execution. Total: every pair has an answer, and an illegal one changes nothing.
    pub fn next(&self, event: &Event, context: &Context<'_>) -> Result<Transition, Illegal> {
        use ExecutionState::{Leased, Pending, Running};
        match (self.state, event) {
            (Pending, Event::Claimed) if self.is_resolving() || self.is_soaking(context) => {
                Ok(self.claimed())
            }
            (Pending, Event::Claimed)
                if context.aborting || (context.held.is_some() && !self.may_stage(context)) =>
            {
                Err(self.illegal("claimed"))
            }
            (Pending, Event::Claimed) => Ok(self.claimed()),
            (
                _,
                Event::Reported {
                    epoch,
                    outcome,
                    steps_done,
                    ..
                },
            ) if *epoch != self.epoch || !matches!(self.state, Leased | Running) => {
                self.told_late(*epoch, *outcome, *steps_done, context)
            }
            (_, Event::LeaseLost { epoch } | Event::IntentAsked { epoch, .. }) if *epoch != self.epoch => {
                Err(self.stale(*epoch))
            }
            (Leased | Running, Event::IntentAsked { step, .. }) => self.asked(*step, context),
            (Leased | Running, Event::Reported { outcome, error, .. }) if self.is_resolving() => {
                Ok(self.looked(*outcome, error.clone(), context))
            }
            (
                Leased | Running,
                Event::Reported {
                    outcome,
                    steps_done,
                    error,
                    ..
                },
            ) => Ok(self.reported(*outcome, *steps_done, error.clone(), context)),
            (Leased | Running, Event::LeaseLost { .. }) => Ok(self.lease_lost(context)),
            (Pending, Event::Reachable) if self.waits_for_its_device() => Ok(self.woken(context)),
            (Pending, Event::Quarantined) if !self.touched => Ok(self.skipped()),
            (Pending, Event::JobExpired) if self.is_resolving() => self.resolution_overdue(context),
            // It was changed in time, and was well when it was last seen.
            (Pending, Event::JobExpired) if self.is_soaking(context) && self.error.is_none() => {
                Ok(self.end(ExecutionState::Succeeded, None))
            }
            (Pending, Event::JobExpired) => Ok(self.given_up(self.error.clone())),
            // A question that is open stays open: its answer is part of ending the job.
            (Pending, Event::JobAborted) if !self.is_resolving() => Ok(self.aborted(context)),
            (_, event) => Err(self.illegal(event.name())),
        }
    }

    fn stale(&self, held: u64) -> Illegal {
        Illegal::Stale {
            held,
            current: self.epoch,
        }
    }

    fn illegal(&self, event: &'static str) -> Illegal {
        Illegal::State {
            state: self.state,
            event,
        }
    }

    /// Outside its job's window it may stage, as long as it was not changed (J1).
    fn may_stage(&self, context: &Context<'_>) -> bool {
        context.held == Some(JobState::WaitingWindow) && context.shut && !self.touched
    }

    fn claimed(&self) -> Transition {
        let mut to = self.clone();
        to.state = ExecutionState::Leased;
        to.epoch += 1;
        to.attempts += 1;
        Transition { to, ready_at: None }
    }

    /// May a step that is not a read be sent? What is touched goes on to its end; what is not is only let in while the
    /// job admits anything.
    fn asked(&self, step: u32, context: &Context<'_>) -> Result<Transition, Illegal> {
        if self.is_resolving() || step < self.next_step || context.steps.effect(step).is_read() {
            return Err(self.illegal("granted this intent"));
        }
        let touches = context.steps.effect(step) >= Effect::Change;
        if !self.touched {
            if context.aborting {
                return Err(self.illegal("granted an intent while its job is aborting"));
            }
            if context.now >= context.expires_at {
                return Err(self.illegal("granted an intent after its job's time"));
            }
            // Staging waits for no window (C3).
            if let Some(state) = context
                .held
                .filter(|state| touches || *state != JobState::WaitingWindow)
            {
                return Err(Illegal::Held(Held::Job(state)));
            }
        }
        if self.touched && context.stops {
            return Err(Illegal::Held(Held::Job(JobState::WaitingWindow)));
        }
        if let Some(full) = context.full.filter(|_| touches && !self.touched && !self.exempt) {
            return Err(Illegal::Held(Held::Budget(full)));
        }
        if context.unavailable && context.steps.effect(step) == Effect::Disrupt {
            return Err(Illegal::Held(Held::Availability));
        }
        let mut to = self.clone();
        to.state = ExecutionState::Running;
        to.silent_since = None;
        // Steps run one after the other: those before this one are done.
        to.next_step = step;
        to.open_intent = Some(Intent {
            step,
            epoch: self.epoch,
            at: context.now,
        });
        if touches && !to.touched {
            to.touched_from = Some(step);
        }
        to.touched |= touches;
        Ok(Transition { to, ready_at: None })
    }

    fn lease_lost(&self, context: &Context<'_>) -> Transition {
        let error = DeviceError::new(ErrorClass::Worker, "the worker that held it is gone");
        match self.open_intent {
            Some(_) if self.is_resolving() => self.look_again(context.now, self.error.clone(), context),
            // It is the worker that is gone: nothing says that the device needs a pause.
            Some(_) => self.undecided(Some(error), context.now, context),
            None if context.aborting => self.stopped(Some(error), context),
            None => self.again(context.now, Some(error), context),
        }
    }

    /// The device answered somebody: no need to wait for the next try.
    fn woken(&self, context: &Context<'_>) -> Transition {
        Transition {
            to: self.clone(),
            ready_at: Some(context.now),
        }
    }

    /// Whether every step is done, and what is left is to look at the device once more.
    pub fn is_soaking(&self, context: &Context<'_>) -> bool {
        !self.state.is_terminal()
            && self.touched
            && self.open_intent.is_none()
            && !context.steps.is_empty()
            && self.next_step >= context.steps.len()
    }

    /// Every step is done: what was changed soaks first.
    fn completed(&self, context: &Context<'_>) -> Transition {
        let soaked = self.next_step >= context.steps.len();
        if soaked || !self.touched || context.soak.is_zero() || context.aborting {
            return self.end(ExecutionState::Succeeded, None);
        }
        let mut to = self.with_error(None);
        to.state = ExecutionState::Pending;
        to.open_intent = None;
        to.silent_since = None;
        to.next_step = context.steps.len();
        Transition {
            to,
            ready_at: Some(context.now.saturating_add(millis(context.soak))),
        }
    }

    /// Whether it waits because its device could not be reached.
    pub fn waits_for_its_device(&self) -> bool {
        self.state == ExecutionState::Pending && self.error.as_ref().is_some_and(is_unreachable)
    }

    fn skipped(&self) -> Transition {
        let text =
            "the device is quarantined: too many of its executions ended badly (device release lifts it)";
        self.end(
            ExecutionState::Skipped,
            Some(DeviceError::new(ErrorClass::Quarantined, text)),
        )
    }

    fn wait_or_give_up(&self, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        if context.aborting {
            return self.with_error(error).aborted(context);
        }
        if self.touched {
            return self.silent(error, context);
        }
        let left = context.expires_at - context.now;
        let base = millis(context.backoff.base);
        // A try with less than the first delay left to it would be cut off before it could say anything.
        match self.delay(context) {
            _ if left <= base => self.given_up(error),
            delay => self.again(context.now + delay.min(left - base), error, context),
        }
    }

    /// A device that was changed holds a unit of the budget and keeps its wave open: it is asked often, and not for ever.
    fn silent(&self, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        let since = self.silent_since.unwrap_or(context.now);
        let until = since.saturating_add(millis(SILENT.saturating_add(context.linger)));
        let left = until.min(context.expires_at) - context.now;
        let backoff = Backoff::INTERACTIVE;
        let base = millis(backoff.base);
        if left <= base {
            return self.given_up(error);
        }
        let delay = millis(backoff.delay(self.attempts, retry::jitter(self.id, self.attempts)));
        let mut again = self.again(context.now + delay.min(left - base), error, context);
        again.to.silent_since = Some(since);
        again
    }

    fn delay(&self, context: &Context<'_>) -> i64 {
        millis(
            context
                .backoff
                .delay(self.attempts, retry::jitter(self.id, self.attempts)),
        )
    }

    fn again(&self, ready_at: i64, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        if context.now >= context.expires_at {
            return self.given_up(error);
        }
        let mut to = self.with_error(error);
        to.state = ExecutionState::Pending;
        Transition {
            to,
            ready_at: Some(ready_at),
        }
    }

    fn given_up(&self, error: Option<DeviceError>) -> Transition {
        let state = if self.touched {
            ExecutionState::Lost
        } else {
            ExecutionState::Expired
        };
        let error =
            error.unwrap_or_else(|| DeviceError::new(ErrorClass::Timeout, "no worker took it in time"));
        self.end(state, Some(error))
    }

    /// The plan does not go on here. With a change done the device is in neither state (A3).
    fn rejected(&self, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        let state = match (self.touched, self.changed_before(self.next_step, context)) {
            (true, true) => ExecutionState::Broken,
            (true, false) => ExecutionState::Failed,
            (false, _) => ExecutionState::Rejected,
        };
        self.end(state, error)
    }

    /// Ends because the job is ending early, with nothing under way.
    fn aborted(&self, context: &Context<'_>) -> Transition {
        match &self.error {
            Some(error) if self.touched && is_unreachable(error) => self.given_up(self.error.clone()),
            _ => {
                let error = DeviceError::new(ErrorClass::Cancelled, "the job was aborted");
                self.stopped(Some(error), context)
            }
        }
    }

    /// Ends between two steps: with a change done and the plan not, the device is in neither state (A3).
    fn stopped(&self, error: Option<DeviceError>, context: &Context<'_>) -> Transition {
        // Its soak is cut short.
        if self.is_soaking(context) {
            return self.end(ExecutionState::Succeeded, None);
        }
        let state = match (self.touched, self.changed_before(self.next_step, context)) {
            (true, true) => ExecutionState::Broken,
            (true, false) => ExecutionState::Failed,
            (false, _) => ExecutionState::Cancelled,
        };
        self.end(state, error)
    }

    /// Whether a step before this one has changed the device.
    fn changed_before(&self, step: u32, context: &Context<'_>) -> bool {
        let from = self.touched_from.unwrap_or(0);
        self.touched && (from..step).any(|step| context.steps.effect(step) >= Effect::Change)
    }

    fn with_error(&self, error: Option<DeviceError>) -> Self {
        Self {
            error,
            ..self.clone()
        }
    }

    /// Ends with nothing left open.
    fn end(&self, state: ExecutionState, error: Option<DeviceError>) -> Transition {
        let mut to = self.with_error(error);
        to.open_intent = None;
        to.state = state;
        Transition { to, ready_at: None }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::IntentAsked { .. } => "granted an intent",
            Self::Reported { .. } => "reported",
            Self::LeaseLost { .. } => "taken from a lost worker",
            Self::Reachable => "woken",
            Self::Quarantined => "quarantined",
            Self::JobExpired => "expired",
            Self::JobAborted => "cancelled",
        }
    }
}

/// Whether the device could not be spoken to.
fn is_unreachable(error: &DeviceError) -> bool {
    use ErrorClass::{Address, Refused, Reset, Timeout};
    matches!(error.class, Address | Refused | Reset | Timeout)
}

fn quiet_at(intent: Intent, context: &Context<'_>) -> i64 {
    intent.at.saturating_add(millis(quiet::after(context.command)))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
