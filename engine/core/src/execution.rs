//! One job on one device (fleet-semantics A3).
//!
//! ```text
//!              claim                 intent granted
//!   pending ───────────▶ leased ───────────────────────▶ running
//!      ▲                   │ │                              │
//!      │ unreached,        │ └──────── report ─────┐        │ report
//!      │ interrupted read, │                       ▼        ▼
//!      │ lease lost        │     succeeded  failed  cancelled  unknown  (expired, lost: nothing left to wait for)
//!      └───────────────────┘
//! ```
//!
//! *Touched* means that a change or disrupt intent was granted: from then on the device may be different, and the
//! execution can only end in a state that says what became of it. An intent that was granted and has no result is
//! never simply done again.

use std::time::Duration;

use muster_model::{DeviceError, Effect, ErrorClass, ExecutionState};
use thiserror::Error;

use crate::retry::{self, Backoff};

/// How often a read that was cut off is tried in all.
pub const READ_ATTEMPTS: u32 = 3;

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
    /// Whether a change or disrupt intent was granted.
    pub touched: bool,
    /// The step whose intent was granted, of whatever class, and has no result.
    pub open_intent: Option<u32>,
    /// The strongest effect of its plan.
    pub effect: Effect,
    /// Why the last attempt did not do it.
    pub error: Option<DeviceError>,
}

/// What decisions need from around the execution. Times are milliseconds on one clock.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Now.
    pub now: i64,
    /// When the job gives up on devices it cannot reach.
    pub expires_at: i64,
    /// Whether the job is ending early.
    pub aborting: bool,
    /// The delays between tries.
    pub backoff: Backoff,
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
        /// The step's effect.
        effect: Effect,
    },
    /// A worker tells how its attempt ended.
    Reported {
        /// The epoch it held.
        epoch: u64,
        /// How.
        outcome: Outcome,
        /// Why, when it is not well.
        error: Option<DeviceError>,
    },
    /// The worker that held this epoch is gone.
    LeaseLost {
        /// The epoch it held.
        epoch: u64,
    },
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
    /// The device's answer is no, or cannot be read.
    Failed,
    /// Nothing of the plan was sent.
    Unreached,
    /// A read was sent and the connection ended without an answer.
    Interrupted,
    /// Bytes of something that is not a read had left and no final answer came.
    Unknown,
    /// Cancelled by our word.
    Cancelled,
    /// Given back untouched.
    HandedBack,
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
}

impl Execution {
    /// What an event makes of the execution. Total: every pair has an answer, and an illegal one changes nothing.
    pub fn next(&self, event: &Event, context: &Context) -> Result<Transition, Illegal> {
        use ExecutionState::{Leased, Pending, Running};
        match (self.state, event) {
            (Pending, Event::Claimed) if context.aborting => Err(self.illegal("claimed")),
            (Pending, Event::Claimed) => Ok(self.claimed()),
            (Leased | Running, Event::IntentAsked { epoch, .. }) if *epoch != self.epoch => {
                Err(self.stale(*epoch))
            }
            (Leased | Running, Event::IntentAsked { .. }) if context.aborting && !self.touched => {
                Err(self.illegal("granted an intent while its job is aborting"))
            }
            (Leased | Running, Event::IntentAsked { .. })
                if context.now >= context.expires_at && !self.touched =>
            {
                Err(self.illegal("granted an intent after its job's time"))
            }
            (Leased | Running, Event::IntentAsked { step, effect, .. }) => Ok(self.granted(*step, *effect)),
            (Leased | Running, Event::Reported { epoch, .. } | Event::LeaseLost { epoch })
                if *epoch != self.epoch =>
            {
                Err(self.stale(*epoch))
            }
            (Leased | Running, Event::Reported { outcome, error, .. }) => {
                Ok(self.reported(*outcome, error.clone(), context))
            }
            (Leased | Running, Event::LeaseLost { .. }) => Ok(self.lease_lost(context)),
            (Pending, Event::JobExpired) => Ok(self.given_up(self.error.clone())),
            (Pending, Event::JobAborted) if self.touched => Ok(self.given_up(self.error.clone())),
            (Pending, Event::JobAborted) => Ok(self.aborted()),
            (
                _,
                Event::Reported { epoch, .. } | Event::LeaseLost { epoch } | Event::IntentAsked { epoch, .. },
            ) if *epoch != self.epoch => Err(self.stale(*epoch)),
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

    fn claimed(&self) -> Transition {
        let mut to = self.clone();
        to.state = ExecutionState::Leased;
        to.epoch += 1;
        to.attempts += 1;
        Transition { to, ready_at: None }
    }

    fn granted(&self, step: u32, effect: Effect) -> Transition {
        let mut to = self.clone();
        to.state = ExecutionState::Running;
        to.open_intent = Some(step);
        to.touched |= effect >= Effect::Change;
        Transition { to, ready_at: None }
    }

    fn reported(&self, outcome: Outcome, error: Option<DeviceError>, context: &Context) -> Transition {
        match outcome {
            Outcome::Succeeded => self.end(ExecutionState::Succeeded, None),
            Outcome::Failed => self.end(ExecutionState::Failed, error),
            // Nothing was sent, so an open intent is answered: not done.
            Outcome::Unreached => self.without_intent().wait_or_give_up(error, context),
            Outcome::HandedBack => {
                let mut to = self.without_intent();
                to.attempts = to.attempts.saturating_sub(1);
                to.again(context.now, self.error.clone(), context)
            }
            Outcome::Interrupted if self.open_intent.is_some() => self.undecided(error),
            Outcome::Interrupted if context.aborting && !self.touched => self.aborted(),
            Outcome::Interrupted => {
                let ready_at = context.now + self.delay(context);
                let more =
                    self.attempts < READ_ATTEMPTS && ready_at < context.expires_at && !context.aborting;
                if more {
                    self.again(ready_at, error, context)
                } else {
                    self.end(ExecutionState::Failed, error)
                }
            }
            Outcome::Unknown => self.undecided(error),
            Outcome::Cancelled if self.open_intent.is_some() => self.undecided(error),
            // Its intent came too late, and that is all that happened to it.
            Outcome::Cancelled
                if self.touched || (context.now >= context.expires_at && !context.aborting) =>
            {
                self.given_up(self.error.clone())
            }
            Outcome::Cancelled => self.end(ExecutionState::Cancelled, error),
        }
    }

    fn lease_lost(&self, context: &Context) -> Transition {
        let error = DeviceError::new(ErrorClass::Worker, "the worker that held it is gone");
        match self.open_intent {
            Some(_) => self.undecided(Some(error)),
            None if context.aborting && !self.touched => self.end(ExecutionState::Cancelled, Some(error)),
            None => self.again(context.now, Some(error), context),
        }
    }

    /// An effect that may or may not have happened. Staging adds files only and harms nothing, so it has failed.
    fn undecided(&self, error: Option<DeviceError>) -> Transition {
        let state = if self.touched {
            ExecutionState::Unknown
        } else {
            ExecutionState::Failed
        };
        self.end(state, error)
    }

    fn wait_or_give_up(&self, error: Option<DeviceError>, context: &Context) -> Transition {
        let left = context.expires_at - context.now;
        let base = millis(context.backoff.base);
        if context.aborting {
            return if self.touched {
                self.given_up(error)
            } else {
                self.aborted()
            };
        }
        // A try with less than the first delay left to it would be cut off before it could say anything.
        match self.delay(context) {
            _ if left <= base => self.given_up(error),
            delay => self.again(context.now + delay.min(left - base), error, context),
        }
    }

    fn delay(&self, context: &Context) -> i64 {
        millis(
            context
                .backoff
                .delay(self.attempts, retry::jitter(self.id, self.attempts)),
        )
    }

    fn again(&self, ready_at: i64, error: Option<DeviceError>, context: &Context) -> Transition {
        if context.now >= context.expires_at {
            return self.given_up(error);
        }
        let mut to = self.clone();
        to.state = ExecutionState::Pending;
        to.error = error;
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

    fn aborted(&self) -> Transition {
        let error = DeviceError::new(ErrorClass::Cancelled, "the job was aborted");
        self.end(ExecutionState::Cancelled, Some(error))
    }

    fn without_intent(&self) -> Self {
        Self {
            open_intent: None,
            ..self.clone()
        }
    }

    fn end(&self, state: ExecutionState, error: Option<DeviceError>) -> Transition {
        let mut to = self.clone();
        to.state = state;
        to.error = error;
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
            Self::JobExpired => "expired",
            Self::JobAborted => "cancelled",
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTEXT: Context = Context {
        now: 0,
        expires_at: 30_000,
        aborting: false,
        backoff: Backoff::INTERACTIVE,
    };

    fn pending(effect: Effect) -> Execution {
        Execution {
            id: 7,
            state: ExecutionState::Pending,
            epoch: 0,
            attempts: 0,
            touched: false,
            open_intent: None,
            effect,
            error: None,
        }
    }

    fn leased(effect: Effect) -> Execution {
        pending(effect)
            .next(&Event::Claimed, &CONTEXT)
            .expect("claimable")
            .to
    }

    fn granted(effect: Effect) -> Execution {
        leased(effect)
            .next(
                &Event::IntentAsked {
                    epoch: 1,
                    step: 0,
                    effect,
                },
                &CONTEXT,
            )
            .expect("granted")
            .to
    }

    fn error(class: ErrorClass) -> Option<DeviceError> {
        Some(DeviceError::new(class, "x"))
    }

    fn report(execution: &Execution, outcome: Outcome, class: ErrorClass, now: i64) -> Transition {
        let event = Event::Reported {
            epoch: execution.epoch,
            outcome,
            error: error(class),
        };
        execution
            .next(&event, &Context { now, ..CONTEXT })
            .expect("legal")
    }

    #[test]
    fn an_unreachable_device_waits_and_then_expires_with_its_last_error() {
        let mut execution = leased(Effect::Read);
        let mut now = 0;
        loop {
            let transition = report(&execution, Outcome::Unreached, ErrorClass::Refused, now);
            let Some(ready_at) = transition.ready_at else {
                assert_eq!(transition.to.state, ExecutionState::Expired);
                assert_eq!(transition.to.error, error(ErrorClass::Refused));
                break;
            };
            assert!(ready_at > now && ready_at <= 29_000, "{ready_at}");
            now = ready_at;
            execution = transition
                .to
                .next(&Event::Claimed, &CONTEXT)
                .expect("claimable")
                .to;
        }
        assert!((5..=7).contains(&execution.attempts), "{}", execution.attempts);
        assert_eq!(now, 29_000, "the last try is as late as it can be");
    }

    #[test]
    fn a_read_that_is_cut_off_is_tried_three_times() {
        let mut execution = leased(Effect::Read);
        for _ in 1..READ_ATTEMPTS {
            let transition = report(&execution, Outcome::Interrupted, ErrorClass::Reset, 0);
            assert_eq!(transition.to.state, ExecutionState::Pending);
            execution = transition
                .to
                .next(&Event::Claimed, &CONTEXT)
                .expect("claimable")
                .to;
        }
        let last = report(&execution, Outcome::Interrupted, ErrorClass::Reset, 0).to;
        assert_eq!(
            (last.state, last.error),
            (ExecutionState::Failed, error(ErrorClass::Reset))
        );
    }

    #[test]
    fn a_read_that_is_cut_off_near_the_end_has_failed_and_not_expired() {
        let last = report(
            &leased(Effect::Read),
            Outcome::Interrupted,
            ErrorClass::Reset,
            29_900,
        )
        .to;
        assert_eq!(last.state, ExecutionState::Failed);
    }

    #[test]
    fn a_lost_worker_costs_nothing_before_an_intent_and_leaves_a_question_after_one() {
        let lost = Event::LeaseLost { epoch: 1 };
        let read = leased(Effect::Change).next(&lost, &CONTEXT).expect("legal");
        assert_eq!((read.to.state, read.ready_at), (ExecutionState::Pending, Some(0)));
        let change = granted(Effect::Change).next(&lost, &CONTEXT).expect("legal").to;
        assert_eq!(change.state, ExecutionState::Unknown);
        let stage = granted(Effect::Stage).next(&lost, &CONTEXT).expect("legal").to;
        assert_eq!(stage.state, ExecutionState::Failed);
    }

    #[test]
    fn a_grant_that_was_not_used_may_be_used_later() {
        let transition = report(&granted(Effect::Change), Outcome::Unreached, ErrorClass::Reset, 0);
        assert_eq!(transition.to.state, ExecutionState::Pending);
        assert!(transition.to.touched && transition.to.open_intent.is_none());
        let given_up = transition
            .to
            .next(&Event::JobExpired, &CONTEXT)
            .expect("legal")
            .to;
        assert_eq!(given_up.state, ExecutionState::Lost);
    }

    #[test]
    fn an_abort_cancels_what_waits_and_grants_nothing_new() {
        let aborting = Context {
            aborting: true,
            ..CONTEXT
        };
        let cancelled = pending(Effect::Change)
            .next(&Event::JobAborted, &aborting)
            .expect("legal")
            .to;
        assert_eq!(cancelled.state, ExecutionState::Cancelled);
        let asked = Event::IntentAsked {
            epoch: 1,
            step: 0,
            effect: Effect::Change,
        };
        assert!(leased(Effect::Change).next(&asked, &aborting).is_err());
        assert!(pending(Effect::Read).next(&Event::Claimed, &aborting).is_err());
        let report = Event::Reported {
            epoch: 1,
            outcome: Outcome::Cancelled,
            error: None,
        };
        assert_eq!(
            leased(Effect::Read)
                .next(&report, &aborting)
                .expect("legal")
                .to
                .state,
            ExecutionState::Cancelled
        );
        assert_eq!(
            granted(Effect::Change)
                .next(&report, &aborting)
                .expect("legal")
                .to
                .state,
            ExecutionState::Unknown
        );
    }

    #[test]
    fn nothing_is_granted_after_the_job_s_time() {
        let late = Context {
            now: 30_000,
            ..CONTEXT
        };
        let asked = Event::IntentAsked {
            epoch: 1,
            step: 0,
            effect: Effect::Change,
        };
        let execution = leased(Effect::Change);
        assert!(execution.next(&asked, &late).is_err());
        let revoked = Event::Reported {
            epoch: 1,
            outcome: Outcome::Cancelled,
            error: None,
        };
        assert_eq!(
            execution.next(&revoked, &late).expect("legal").to.state,
            ExecutionState::Expired
        );
    }

    fn event() -> impl Strategy<Value = Event> {
        let epoch = 0_u64..5;
        let outcome = proptest::sample::select(vec![
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Unreached,
            Outcome::Interrupted,
            Outcome::Unknown,
            Outcome::Cancelled,
            Outcome::HandedBack,
        ]);
        let effect = proptest::sample::select(vec![Effect::Stage, Effect::Change, Effect::Disrupt]);
        prop_oneof![
            3 => Just(Event::Claimed),
            2 => (epoch.clone(), effect).prop_map(|(epoch, effect)| Event::IntentAsked { epoch, step: 0, effect }),
            4 => (epoch.clone(), outcome).prop_map(|(epoch, outcome)| {
                Event::Reported { epoch, outcome, error: error(ErrorClass::Reset) }
            }),
            2 => epoch.prop_map(|epoch| Event::LeaseLost { epoch }),
            1 => Just(Event::JobExpired),
            1 => Just(Event::JobAborted),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens(events in proptest::collection::vec((event(), 0_i64..40_000, any::<bool>()), 0..40)) {
            let mut execution = pending(Effect::Change);
            for (event, now, aborting) in events {
                let context = Context { now, aborting, ..CONTEXT };
                let Ok(transition) = execution.next(&event, &context) else { continue };
                let to = &transition.to;
                prop_assert!(!execution.state.is_terminal(), "no terminal state is left");
                prop_assert!(to.touched || !execution.touched, "touched never becomes untouched");
                prop_assert!(to.epoch >= execution.epoch);
                if let Event::Reported { epoch, .. } | Event::LeaseLost { epoch } = event {
                    prop_assert_eq!(epoch, execution.epoch, "a stale epoch changes nothing");
                }
                prop_assert_eq!(transition.ready_at.is_some(), to.state == ExecutionState::Pending);
                if to.state == ExecutionState::Pending {
                    prop_assert!(to.open_intent.is_none(), "an open question is never simply asked again");
                }
                if matches!(to.state, ExecutionState::Expired | ExecutionState::Cancelled) {
                    prop_assert!(!to.touched, "only an untouched one ends so");
                }
                if matches!(to.state, ExecutionState::Lost | ExecutionState::Unknown) {
                    prop_assert!(to.touched, "only a touched one ends so");
                }
                execution = transition.to;
            }
        }
    }
}
