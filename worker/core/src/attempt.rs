//! One attempt: a plan's steps on one device, one after the other.
//!
//! ```text
//! Connect ──ok──▶ for each step:  command that reads ─────────────────▶ Exchange ──answered──▶ next step … End
//!    │    │                       any other command ─▶ AskIntent ─────▶ Exchange      │
//!    │    │                       wish ─▶ Exchange (read) ─as wanted────────────────▶─┤
//!    │    │                                 └─different─▶ AskIntent ─▶ Exchanges ─────┘
//!    │    └─resolve──▶ Exchange (look) ──▶ End
//!    └─failed──▶ End                    revoked, held, anything else ──▶ End
//! ```
//!
//! A preview reads every menu that the plan wants something of, and nothing else. A plan that may only be applied to a
//! device as a preview found it reads them too, before its first step, and goes on only when they are the same.
//!
//! The machine decides what an end means. Whatever is not a read and may have been done is *unknown*, and never
//! *failed*: a lost answer is a question, and the engine does not repeat it. An attempt that is to look after such a
//! question asks what verifies the step and nothing else.

mod measure;
mod memo;
mod precheck;
mod revert;
mod soak;
mod survey;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_model::check::Facts;
use muster_model::{DeviceError, Effect, Ensure, ErrorClass, Guard, Plan, Step};

use crate::action::{Action, ConnectFailure, Ended, Given, Mode, Outcome, Recorded, StepEnd};
use crate::facts;
use crate::steps::guard::{Caps, Guarded, wants_guard};
use crate::steps::{self, Around, Next, Notes, Questions, Run};
use measure::Measuring;
use precheck::Precheck;
use survey::Survey;

/// Bytes of all answers of one attempt: they travel in one message, which may have 64 MiB.
pub(crate) const ANSWERS: usize = 32 << 20;

/// Bytes of answers that were read for a comparison and are kept for the steps that want them.
const KEPT: usize = 1 << 20;

/// The machine. Begins with [`Action::Connect`].
#[derive(Debug)]
pub struct Attempt {
    plan: Arc<Plan>,
    step: usize,
    mode: Mode,
    /// What is being asked before the first step, until it is known.
    asking: Option<Questions>,
    /// What the device said before the first step.
    pre: Facts,
    /// A look at every menu that the plan wants something of, until it is over.
    survey: Option<Survey>,
    /// A look at a later step, until it is answered.
    prechecking: Option<Precheck>,
    /// What menus answered to that, by step, as long as nothing was written.
    kept: BTreeMap<usize, Bytes>,
    /// The step it is at, once it was begun.
    run: Option<Box<dyn Run>>,
    /// Every step is done, and their soak is over: it is only looked whether they still are (B4).
    soaked: bool,
    /// Whether an intent to change something was granted; of a preview, whether there is something to change.
    changed: bool,
    /// Since it began.
    now: Duration,
    replies: Vec<Bytes>,
    /// Of a preview, when it is done.
    fingerprint: Option<[u8; 32]>,
    backup_age: Option<Duration>,
    given: Vec<Given>,
    measuring: Measuring,
    /// What was recorded before, of an execution that was begun by another attempt.
    recorded: Vec<Recorded>,
    /// What the device can do for the way back, once it is known.
    caps: Option<Caps>,
    /// Whether its connection is one that can hold a safe mode.
    over_api: bool,
    /// Wishes that were written, with what they changed: the newest last.
    written: Vec<(u32, Ensure, Bytes)>,
    /// Whether something was done that has no inverse.
    no_inverse: bool,
    /// What is taken back after a check that does not hold, and how the attempt ends then.
    reverting: Option<(VecDeque<Ensure>, Ended)>,
    /// How long before it began the intent was granted that it looks after, and what was noted with it.
    open: Duration,
    notes: Notes,
}

/// What the engine is told of a step together with the question whether it may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The step, from 0.
    pub step: u32,
    /// What it changes, with what is there before, in wire format; empty where it cannot say.
    pub pre: Bytes,
    /// What the device said before the first step; empty where nobody asked.
    pub facts: String,
    /// What is armed meanwhile, and how long that may take to act.
    pub guard: Option<(Guard, Duration)>,
}

/// What comes of an attempt beside how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What the device said to each step, in wire format.
    pub replies: Vec<Bytes>,
    /// What a preview found.
    pub fingerprint: Option<[u8; 32]>,
    /// Files of the device, for the engine to keep.
    pub given: Vec<Given>,
    /// What was measured before the first step.
    pub before: Option<Measured>,
    /// What was measured after the last.
    pub after: Option<Measured>,
}

/// Facts that are numbers, by name.
pub type Measured = BTreeMap<&'static str, i64>;

impl Attempt {
    /// An attempt at this plan.
    pub fn new(plan: Arc<Plan>, mode: Mode) -> Self {
        let (step, surveys) = match mode {
            // Past its first step, or in it, a device is no longer as it was found, and we know why.
            Mode::Apply { first_step, expected } => (first_step, expected.is_some() && first_step == 0),
            Mode::Resolve(step) => (step, false),
            Mode::Preview => (0, true),
        };
        let soaked = matches!(mode, Mode::Apply { .. }) && step > 0 && step as usize >= plan.steps.len();
        Self {
            step: if soaked { 0 } else { step as usize },
            soaked,
            plan,
            mode,
            asking: None,
            pre: Facts::new(),
            survey: surveys.then(Survey::new),
            prechecking: None,
            kept: BTreeMap::new(),
            run: None,
            changed: false,
            now: Duration::ZERO,
            replies: Vec::new(),
            fingerprint: None,
            backup_age: None,
            given: Vec::new(),
            measuring: Measuring::default(),
            recorded: Vec::new(),
            caps: None,
            over_api: true,
            written: Vec::new(),
            no_inverse: false,
            reverting: None,
            open: Duration::ZERO,
            notes: Notes::new(),
        }
    }

    /// The number of the step it is at, from 0.
    pub fn at(&self) -> u32 {
        self.step as u32
    }

    /// Whether it needs the device's connection to itself: nobody else's command stands in front of a change once it
    /// is granted, and nobody else's end takes it along.
    pub fn is_alone(&self) -> bool {
        matches!(self.mode, Mode::Apply { .. }) && !self.plan.effect().is_read()
    }

    /// Whether the step it is at is done in part, or done and not looked at: it is to go on, whatever the engine wants.
    pub fn is_in_the_middle(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.is_in_the_middle())
    }

    /// What came of it beside how it ended.
    pub fn into_told(self) -> Told {
        Told {
            replies: self.replies,
            fingerprint: self.fingerprint,
            given: self.given,
            before: self.measuring.before,
            after: self.measuring.after,
        }
    }

    /// Files that steps have brought and that nobody has yet.
    pub fn given(&self) -> &[Given] {
        &self.given
    }

    /// The engine has them.
    pub fn handed_over(&mut self) {
        self.given.clear();
    }

    /// With the age of the newest backup of the device that the engine has.
    #[must_use]
    pub fn with_backup(mut self, age: Option<Duration>) -> Self {
        self.backup_age = age;
        self
    }

    /// With what earlier attempts at the same execution have recorded.
    #[must_use]
    pub fn with_recorded(mut self, recorded: Vec<Recorded>) -> Self {
        let facts = recorded.iter().find(|recorded| !recorded.facts.is_empty());
        if let Some(recorded) = facts {
            self.pre = facts::of_text(&recorded.facts);
        }
        self.recorded = recorded;
        self
    }

    /// With what is known of the device's ways back already.
    #[must_use]
    pub fn with_caps(mut self, caps: Option<Caps>) -> Self {
        self.caps = caps;
        self
    }

    /// What it knows of the device's ways back.
    pub fn caps(&self) -> Option<Caps> {
        self.caps
    }

    /// Whether the connection is one over the API, which can hold a safe mode. To be told when it is there.
    pub fn is_over_api(&mut self, is: bool) {
        self.over_api = is;
    }

    /// What is to be told together with the question for an intent; `None` when it was told or there is nothing.
    pub fn note(&self) -> Option<Note> {
        if self.reverting.is_some() {
            return None;
        }
        let run = self.run.as_ref()?;
        let facts = match self.changed {
            false => facts::to_text(&self.pre),
            true => String::new(),
        };
        let note = Note {
            step: self.at(),
            pre: run.pre(),
            facts,
            guard: run.guard(),
        };
        let says = !note.pre.is_empty() || !note.facts.is_empty() || note.guard.is_some();
        says.then_some(note)
    }

    /// The step whose intent is to be asked for again in the middle of it.
    pub fn intent_step(&self) -> u32 {
        match (&self.reverting, self.written.last()) {
            (Some(_), Some((step, ..))) => *step,
            _ => self.at(),
        }
    }

    /// It is so long since it began. To be told before whatever else is.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
    }

    /// With what was kept with an intent that was granted `open` ago.
    pub fn with_memo(mut self, memo: &[u8], open: Duration) -> Self {
        let (pre, notes) = memo::read(memo);
        if !pre.is_empty() {
            self.pre = pre;
        }
        (self.notes, self.open) = (notes, open);
        self
    }

    /// What is to be kept with the intent that is asked for; empty for nothing.
    pub fn memo(&self) -> Vec<u8> {
        let notes = self.run.as_ref().map(|run| run.notes()).unwrap_or_default();
        memo::write(&self.pre, &notes)
    }

    /// Whether it is at nothing but to wait, for minutes maybe: others may use its place meanwhile.
    pub fn only_waits(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.only_waits())
    }

    /// What it lets time pass for.
    pub fn doing(&self) -> &'static str {
        self.run.as_ref().map_or("it lets time pass", |run| run.doing())
    }

    /// There is a connection.
    pub fn connected(&mut self) -> Action {
        let checks = self.plan.steps.iter().filter_map(Step::check);
        let checks = checks.map(muster_model::Check::needs_before);
        let mut needed = checks.flatten().collect::<BTreeSet<_>>();
        needed.extend(self.measuring.sources());
        match self.mode {
            // Of an execution that was cut off before it asked for anything nobody has kept what was said then; and nothing
            // was changed, or it would have been kept.
            Mode::Apply { first_step, .. }
                if !needed.is_empty() && (first_step == 0 || self.pre.is_empty() && !self.soaked) =>
            {
                self.ask(Questions::new(needed))
            }
            Mode::Apply { .. } | Mode::Resolve(_) | Mode::Preview => self.survey_next(),
        }
    }

    /// The plan is nothing for this device, and that is known before anything is asked of it.
    pub fn unfit(&self, error: impl Into<String>) -> Action {
        self.end(Outcome::Rejected, DeviceError::new(ErrorClass::Plan, error))
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
    pub fn granted(&mut self) -> Action {
        self.changed |= self.effect() >= Effect::Change;
        // What was read before is no longer what the device has.
        self.kept.clear();
        let Some(mut run) = self.take_run() else {
            return self.done();
        };
        let next = run.granted(&self.around());
        self.follow(run, next)
    }

    /// The time that was to pass is over.
    pub fn waited(&mut self) -> Action {
        let Some(mut run) = self.take_run() else {
            return self.done();
        };
        let next = run.waited(&self.around());
        self.follow(run, next)
    }

    /// There is a new connection; or there is none yet.
    pub fn reconnected(&mut self, made: Result<(), ConnectFailure>) -> Action {
        let Some(mut run) = self.take_run() else {
            return self.done();
        };
        let next = run.reconnected(made, &self.around());
        self.follow(run, next)
    }

    /// The engine wants the execution dropped.
    pub fn revoked(&self) -> Action {
        self.stopped(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "taken back by the engine"),
        )
    }

    /// The engine does not grant the intent for now, and the device should be free meanwhile.
    pub fn held_too_long(&self) -> Action {
        self.stopped(
            Outcome::HandedBack,
            DeviceError::new(ErrorClass::Cancelled, "not granted for now"),
        )
    }

    /// The engine wants it ended, and nothing is in flight.
    pub fn cancelled(&self) -> Action {
        self.stopped(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "cancelled by an operator"),
        )
    }

    /// The exchange is over. `sentences` are its replies, in wire format without tags.
    pub fn answered(&mut self, end: StepEnd, sentences: Bytes) -> Action {
        if let Some(mut asking) = self.asking.take() {
            return match asking.ended(end, &sentences) {
                Ok(()) => self.ask(asking),
                Err(next) => self.close(next),
            };
        }
        if let Some(action) = self.measured(&end, &sentences) {
            return action;
        }
        if let Some(survey) = self.survey.take() {
            return self.surveyed(survey, end, sentences);
        }
        if let Some(precheck) = self.prechecking.take() {
            return self.precheck_answered(precheck, end, sentences);
        }
        let Some(mut run) = self.take_run() else {
            return self.done();
        };
        let next = run.ended(end, sentences, &self.around());
        self.follow(run, next)
    }

    /// Asks for what the plan compares with later. It may be nothing.
    fn ask(&mut self, mut asking: Questions) -> Action {
        match asking.next() {
            Ok(exchange) => {
                self.asking = Some(asking);
                Action::Exchange(exchange)
            }
            Err(facts) => {
                self.measuring.begin(&facts);
                self.pre = facts;
                self.survey_next()
            }
        }
    }

    /// The step it is at: as it was left, or from its beginning.
    fn take_run(&mut self) -> Option<Box<dyn Run>> {
        match self.run.take() {
            Some(run) => Some(run),
            None => {
                if self.soaked {
                    return self.take_look();
                }
                let step = self.plan.steps.get(self.step)?;
                let (at, way) = (self.at(), &self.plan.way_back);
                Some(match self.mode {
                    Mode::Resolve(_) => {
                        let recorded = self.recorded.iter().find(|recorded| recorded.step == at);
                        steps::look(step, recorded)
                    }
                    Mode::Apply { .. } | Mode::Preview => {
                        let run = steps::apply(step, self.kept.remove(&self.step));
                        match wants_guard(way, step) {
                            true => Box::new(Guarded::new(
                                run,
                                step.clone(),
                                way.clone(),
                                self.over_api,
                                self.caps,
                            )),
                            false => run,
                        }
                    }
                })
            }
        }
    }

    fn around(&self) -> Around<'_> {
        Around {
            pre: &self.pre,
            room: ANSWERS.saturating_sub(self.replies.iter().map(Bytes::len).sum()),
            now: self.now,
            over_api: self.over_api,
            changes: self.mode == Mode::Preview && self.changed,
            changed: self.changed || matches!(self.mode, Mode::Apply { first_step, .. } if first_step > 0),
            restarted: self.plan.steps.iter().take(self.step).any(Step::restarts),
            backup_age: self.backup_age,
            open: self.open,
            notes: &self.notes,
        }
    }

    fn begin_step(&mut self) -> Action {
        let Some(mut run) = self.take_run() else {
            return self.done();
        };
        let next = run.begin(&self.around());
        self.follow(run, next)
    }

    /// Does what a step wants next.
    fn follow(&mut self, mut run: Box<dyn Run>, next: Next) -> Action {
        self.caps = self.caps.or(run.caps());
        match next {
            Next::Ask => {
                if let Some(refused) = self.has_no_inverse(&*run) {
                    return self.close(refused);
                }
                self.run = Some(run);
                Action::AskIntent {
                    step: self.intent_step(),
                }
            }
            Next::Exchange(exchange) => {
                self.run = Some(run);
                Action::Exchange(exchange)
            }
            Next::Wait(time) => {
                self.run = Some(run);
                Action::Wait(time)
            }
            Next::Reconnect(within) => {
                self.run = Some(run);
                Action::Reconnect(within)
            }
            Next::Done { .. } if matches!(self.mode, Mode::Resolve(_)) => Action::End(Ended {
                outcome: Outcome::FoundDone,
                error: None,
                steps_done: self.at(),
            }),
            Next::Done { .. } if self.soaked => {
                self.step += 1;
                self.begin_step()
            }
            Next::Done { .. } if self.reverting.is_some() => self.revert_next(),
            Next::Done { reply, .. } => {
                self.note_written(&*run);
                self.replies.push(reply);
                self.given.extend(run.given());
                self.step += 1;
                self.begin_step()
            }
            Next::Stop { outcome, error, .. } if self.soaked => self.no_longer(outcome, error),
            Next::Stop { error, reply, .. } if let Some((_, ended)) = self.reverting.take() => {
                self.replies.extend(reply);
                let why = error.map_or_else(String::new, |error| format!(": {}", error.message));
                let text = ended.error.map_or_else(String::new, |error| error.message);
                self.end(
                    Outcome::Broken,
                    DeviceError::new(
                        ErrorClass::Check,
                        format!("{text}; it could not be taken back{why}"),
                    ),
                )
            }
            next @ Next::Stop { .. } => self.close(next),
        }
    }

    /// Ends as a step or a question wants it.
    fn close(&mut self, next: Next) -> Action {
        match next {
            Next::Stop {
                outcome,
                error,
                reply,
            } => {
                self.replies.extend(reply);
                let ended = Ended {
                    outcome,
                    error,
                    steps_done: self.at(),
                };
                match self.is_to_revert(&ended) {
                    true => self.revert(ended),
                    false => Action::End(ended),
                }
            }
            Next::Ask | Next::Exchange(_) | Next::Wait(_) | Next::Reconnect(_) | Next::Done { .. } => {
                self.begin_step()
            }
        }
    }

    /// Every step is done, or previewed, and nothing is left to be asked.
    fn end_well(&self) -> Action {
        let unchanged = !self.changed && self.plan.effect() >= Effect::Change;
        let outcome = if unchanged {
            Outcome::Unchanged
        } else {
            Outcome::Succeeded
        };
        Action::End(Ended {
            outcome,
            error: None,
            steps_done: self.at(),
        })
    }

    /// Ends between two exchanges. In the middle of a step nobody can say what the device is left with: it is looked
    /// after.
    fn stopped(&self, outcome: Outcome, error: DeviceError) -> Action {
        match self.is_in_the_middle() {
            true => self.end(Outcome::Unknown, error),
            false => self.end(outcome, error),
        }
    }

    fn end(&self, outcome: Outcome, error: DeviceError) -> Action {
        Action::End(Ended {
            outcome,
            error: Some(error),
            steps_done: self.at(),
        })
    }

    fn effect(&self) -> Effect {
        self.plan
            .steps
            .get(self.step)
            .map_or(Effect::Change, Step::effect)
    }
}

#[cfg(test)]
mod tests;
