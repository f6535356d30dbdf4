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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use muster_model::check::{Facts, Source};
use muster_model::trap::{Refusal, refusal};
use muster_model::{Command, DeviceError, Effect, ErrorClass, Follow, Plan, Step, Verify, Want};
use routeros_wire::{Expression, Kind, Limits, decode_all};

use crate::diff::{Diff, question};
use crate::ensure::{EnsureRun, Next, Phase, told};
use crate::facts;
use crate::fingerprint::Fingerprint;

/// Bytes of all answers of one attempt: they travel in one message, which may have 64 MiB.
const ANSWERS: usize = 32 << 20;

/// Bytes of answers that were read for a comparison and are kept for the steps that want them.
const KEPT: usize = 1 << 20;

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To do the plan.
    Apply {
        /// The step to begin with: those before it are done.
        first_step: u32,
        /// Only on a device that is as a preview found it.
        expected: Option<[u8; 32]>,
    },
    /// To look at what became of this step, whose answer was lost.
    Resolve(u32),
    /// To tell what the plan would change.
    Preview,
}

/// What the shell is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have a connection that is logged in, then [`Attempt::connected`] or [`Attempt::connect_failed`].
    Connect,
    /// Ask the engine to grant this step, then [`Attempt::granted`] or [`Attempt::revoked`].
    AskIntent {
        /// The step, from 0.
        step: u32,
    },
    /// Send this, then [`Attempt::answered`].
    Exchange(Exchange),
    /// Tell the engine.
    End(Ended),
}

/// A command for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its words.
    pub words: Vec<Vec<u8>>,
    /// What may be done with it.
    pub manner: Manner,
    /// Whether it is one that does not end by itself, and when it is to end.
    pub follow: Option<Follow>,
}

/// What may be done with a command on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It only looks: it may be cancelled when the engine wants the execution ended.
    Question,
    /// It is not a read. It may be sent only as long as its intent allows, and is never cancelled: half a change helps
    /// nobody. When its time to be sent is over, the intent is asked for again first.
    Write,
    /// It looks at what a write has done: not cancelled either.
    Proof,
}

impl Exchange {
    pub(crate) fn question(words: Vec<Vec<u8>>) -> Self {
        Self::new(words, Manner::Question)
    }

    pub(crate) fn write(words: Vec<Vec<u8>>) -> Self {
        Self::new(words, Manner::Write)
    }

    pub(crate) fn proof(words: Vec<Vec<u8>>) -> Self {
        Self::new(words, Manner::Proof)
    }

    fn new(words: Vec<Vec<u8>>, manner: Manner) -> Self {
        Self {
            words,
            manner,
            follow: None,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Why, when it is not well.
    pub error: Option<DeviceError>,
    /// Steps that are done, counted from the plan's first.
    pub steps_done: u32,
}

/// The ends of an attempt, as `muster.v1.ReportOutcome` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step it was at is done in part: neither the old nor the new state.
    Broken,
    /// Cancelled by the engine's word.
    Cancelled,
    /// The device's answer is no, or cannot be read. Of a step that is not a read it proves that nothing was done.
    Failed,
    /// The step to look after is done.
    FoundDone,
    /// The step to look after is not done, so far.
    FoundNotDone,
    /// Given back; nothing of the step it was at was sent.
    HandedBack,
    /// A read was sent and the connection ended without an answer.
    Interrupted,
    /// The plan does not fit the device; nothing of the step it was at was written.
    Rejected,
    /// Every step is done.
    Succeeded,
    /// Every step is done, and nothing had to be written for it.
    Unchanged,
    /// Bytes of something that is not a read had left and no answer came that decides.
    Unknown,
    /// What was to be sent next did not leave.
    Unreached,
}

/// A device that could not be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFailure {
    /// Why.
    pub error: DeviceError,
    /// Whether waiting may help. A wrong password stays wrong; a refused connection may be a reboot.
    pub may_pass: bool,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// The device is done with it.
    Completed,
    /// The device refused it.
    Trapped(DeviceError),
    /// The device ended it because we asked for that.
    Cancelled,
    /// No byte of it left.
    NotSent(DeviceError),
    /// It cannot be sent over this connection, now or later: no byte of it left.
    Refused(DeviceError),
    /// Bytes left and no final reply came, or one that cannot be read.
    NoAnswer(DeviceError),
}

/// The machine. Begins with [`Action::Connect`].
#[derive(Clone, Debug)]
pub struct Attempt {
    plan: Arc<Plan>,
    step: usize,
    mode: Mode,
    /// What is being asked for a check, until it is known.
    asking: Option<Asking>,
    /// What the device said before the first step.
    pre: Facts,
    /// What is being compared with what a preview found, until it is.
    survey: Option<Survey>,
    /// What menus answered to that, by step, as long as nothing was written.
    kept: BTreeMap<usize, Bytes>,
    /// The wish it is at, once it was begun.
    wish: Option<EnsureRun>,
    /// Whether an intent to change something was granted; of a preview, whether there is something to change.
    changed: bool,
    replies: Vec<Bytes>,
    /// Of a preview, when it is done.
    fingerprint: Option<[u8; 32]>,
}

/// Questions whose answers a check needs.
#[derive(Clone, Debug)]
struct Asking {
    /// The one that is asked, and those that follow.
    sources: Vec<Source>,
    facts: Facts,
    /// Whether it is for later, before the first step.
    before: bool,
}

/// A look at every menu that a plan wants something of.
#[derive(Clone, Debug)]
struct Survey {
    /// The step whose menu is looked at.
    at: usize,
    fingerprint: Fingerprint,
}

impl Attempt {
    /// An attempt at this plan.
    pub fn new(plan: Arc<Plan>, mode: Mode) -> Self {
        let survey = Survey {
            at: 0,
            fingerprint: Fingerprint::new(),
        };
        let (step, surveys) = match mode {
            // Past its first step, or in it, a device is no longer as it was found, and we know why.
            Mode::Apply { first_step, expected } => (first_step, expected.is_some() && first_step == 0),
            Mode::Resolve(step) => (step, false),
            Mode::Preview => (0, true),
        };
        Self {
            plan,
            step: step as usize,
            mode,
            asking: None,
            pre: Facts::new(),
            survey: surveys.then_some(survey),
            kept: BTreeMap::new(),
            wish: None,
            changed: false,
            replies: Vec::new(),
            fingerprint: None,
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
        let phase = self.wish.as_ref().map(EnsureRun::phase);
        matches!(phase, Some(Phase::Writing(1..) | Phase::Proving))
    }

    /// What the device said to each step, in wire format, and what a preview found.
    pub fn into_told(self) -> (Vec<Bytes>, Option<[u8; 32]>) {
        (self.replies, self.fingerprint)
    }

    /// There is a connection.
    pub fn connected(&mut self) -> Action {
        let checks = self.plan.steps.iter().filter_map(|step| match step {
            Step::Check(check) => Some(check.needs_before()),
            Step::Command(_) | Step::Ensure(_) => None,
        });
        let needed = checks.flatten().collect::<BTreeSet<_>>();
        match self.mode {
            Mode::Apply { first_step: 0, .. } if !needed.is_empty() => self.ask(needed, true),
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
        let plan = self.plan.clone();
        self.changed |= self.effect() >= Effect::Change;
        // What was read before is no longer what the device has.
        self.kept.clear();
        match (plan.steps.get(self.step), &mut self.wish) {
            (Some(Step::Command(command)), _) => {
                Action::Exchange(Exchange::write(words(command.sent_words())))
            }
            (Some(Step::Ensure(_)), Some(wish)) => {
                let next = wish.granted();
                self.follow(next)
            }
            (Some(Step::Ensure(_)), None) | (Some(Step::Check(_)) | None, _) => self.begin_step(),
        }
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
        let plan = self.plan.clone();
        if let Some(asking) = self.asking.take() {
            return self.told(asking, end, sentences);
        }
        if let Some(survey) = self.survey.take() {
            return self.surveyed(survey, end, sentences);
        }
        match plan.steps.get(self.step) {
            Some(step) if self.is_look() => self.looked(step, end, &sentences),
            Some(Step::Command(command)) => self.command_ended(command, end, sentences),
            Some(Step::Ensure(_)) => self.wish_answered(end, sentences),
            Some(Step::Check(_)) | None => self.begin_step(),
        }
    }

    /// Asks for what a check needs. It may be nothing.
    fn ask(&mut self, needed: BTreeSet<Source>, before: bool) -> Action {
        let asking = Asking {
            sources: needed.into_iter().collect(),
            facts: Facts::new(),
            before,
        };
        self.ask_next(asking)
    }

    fn ask_next(&mut self, asking: Asking) -> Action {
        match asking.sources.first() {
            Some(source) => {
                let exchange = Exchange::question(facts::question(*source));
                self.asking = Some(asking);
                Action::Exchange(exchange)
            }
            None if asking.before => {
                self.pre = asking.facts;
                self.survey_next()
            }
            None => self.checked(&asking.facts),
        }
    }

    fn told(&mut self, mut asking: Asking, end: StepEnd, sentences: Bytes) -> Action {
        let source = asking.sources.remove(0);
        match end {
            StepEnd::Completed => facts::read(source, &sentences, &mut asking.facts),
            // The device has no such thing to tell of; whether that matters is for the check to say.
            StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => {}
            end => {
                self.replies.push(sentences);
                return self.question_failed(end);
            }
        }
        self.ask_next(asking)
    }

    /// Everything that the check needs is known.
    fn checked(&mut self, now: &Facts) -> Action {
        let plan = self.plan.clone();
        let preview = self.mode == Mode::Preview;
        let Some(Step::Check(check)) = plan.steps.get(self.step) else {
            return self.begin_step();
        };
        let named = check.named(&self.pre, now);
        // What is different on every device would keep apart those that need the same.
        let reply = told::check(if preview { &[] } else { &named });
        let why = match check.holds(&self.pre, now) {
            Ok(true) if preview => {
                self.replies.push(reply.into());
                self.step += 1;
                if let Some(survey) = &mut self.survey {
                    survey.at += 1;
                }
                return self.survey_next();
            }
            Ok(true) => {
                self.replies.push(reply.into());
                return self.step_done();
            }
            Ok(false) => {
                let named = named.iter().map(|(name, value)| format!("{name}={value}"));
                format!(
                    "{} does not hold: {}",
                    check.text(),
                    named.collect::<Vec<_>>().join(", ")
                )
            }
            Err(error) => format!("{}: {error}", check.text()),
        };
        self.replies.push(reply.into());
        self.end(Outcome::Rejected, DeviceError::new(ErrorClass::Check, why))
    }

    /// Goes on with the look at the plan's menus, and with the plan when that is done.
    fn survey_next(&mut self) -> Action {
        let Some(mut survey) = self.survey.take() else {
            return self.begin_step();
        };
        let plan = self.plan.clone();
        let preview = self.mode == Mode::Preview;
        while let Some(step) = plan.steps.get(survey.at) {
            match step {
                Step::Ensure(ensure) => {
                    self.survey = Some(survey);
                    return Action::Exchange(Exchange::question(question(ensure)));
                }
                Step::Command(command) if preview => {
                    self.changed |= !command.effect().is_read();
                    self.replies.push(told::command(command).into());
                    self.step += 1;
                }
                Step::Check(check) if preview && !check.is_about_a_change() => {
                    self.survey = Some(survey);
                    return self.ask(check.needs(), false);
                }
                Step::Check(_) if preview => {
                    self.replies.push(told::check(&[]).into());
                    self.step += 1;
                }
                Step::Command(_) | Step::Check(_) => {}
            }
            survey.at += 1;
        }
        let found = survey.fingerprint.finish();
        match self.mode {
            Mode::Preview => {
                self.fingerprint = Some(found);
                self.done()
            }
            Mode::Apply { expected, .. } if expected.is_some_and(|expected| expected != found) => {
                let text = "the device is not as the preview found it; nothing was written. Preview again";
                self.end(Outcome::Rejected, DeviceError::new(ErrorClass::Drift, text))
            }
            Mode::Apply { .. } | Mode::Resolve(_) => self.begin_step(),
        }
    }

    fn surveyed(&mut self, mut survey: Survey, end: StepEnd, sentences: Bytes) -> Action {
        let plan = self.plan.clone();
        let Some(Step::Ensure(ensure)) = plan.steps.get(survey.at) else {
            return self.begin_step();
        };
        if end != StepEnd::Completed {
            self.replies.push(sentences);
            return self.question_failed(end);
        }
        survey.fingerprint.add(ensure, &sentences);
        if self.mode == Mode::Preview {
            match Diff::of(ensure, &sentences) {
                Ok(diff) => {
                    self.changed |= !diff.is_empty();
                    self.replies.push(told::diff(&diff, ensure).into());
                    self.step += 1;
                }
                Err(error) => return self.end(Outcome::Rejected, error),
            }
        } else if self.kept.values().map(Bytes::len).sum::<usize>() + sentences.len() <= KEPT {
            self.kept.insert(survey.at, sentences);
        }
        survey.at += 1;
        self.survey = Some(survey);
        self.survey_next()
    }

    fn command_ended(&mut self, command: &Command, end: StepEnd, sentences: Bytes) -> Action {
        let read = command.effect().is_read();
        if !matches!(end, StepEnd::NotSent(_)) {
            let fits = self.replies.iter().map(Bytes::len).sum::<usize>() + sentences.len() <= ANSWERS;
            match (fits, read) {
                (true, _) => self.replies.push(sentences),
                // What it did counts, not what it said.
                (false, false) => self.replies.push(Bytes::new()),
                (false, true) => {
                    let text = format!(
                        "the answers of the plan's steps are over the limit of {ANSWERS} bytes together"
                    );
                    return self.end(Outcome::Failed, DeviceError::new(ErrorClass::Protocol, text));
                }
            }
        }
        match end {
            StepEnd::Completed => self.step_done(),
            end if read => self.question_failed(end),
            // Only for some commands a trap proves that nothing was done (A5).
            StepEnd::Trapped(error) if command.trap_proves_nothing_done(&error.message) => {
                self.end(Outcome::Failed, error)
            }
            end => self.write_failed(end),
        }
    }

    fn wish_answered(&mut self, end: StepEnd, sentences: Bytes) -> Action {
        let Some(wish) = &mut self.wish else {
            return self.begin_step();
        };
        let phase = wish.phase();
        if end == StepEnd::Completed {
            let next = wish.answered(&sentences);
            return self.follow(next);
        }
        match (phase, end) {
            (Phase::Reading, end) => {
                self.replies.push(sentences);
                self.question_failed(end)
            }
            // It writes one item at a time, so a trap says that this one was not written (A5).
            (Phase::Writing(done), StepEnd::Trapped(error) | StepEnd::Refused(error)) => {
                self.replies.push(wish.reply(&sentences).into());
                let outcome = if done == 0 {
                    Outcome::Failed
                } else {
                    Outcome::Broken
                };
                self.end(outcome, error)
            }
            (Phase::Writing(_), end) => {
                self.replies.push(wish.reply(&[]).into());
                self.write_failed(end)
            }
            (Phase::Proving, end) => {
                self.replies.push(wish.reply(&[]).into());
                self.end(Outcome::Unknown, unproven(end))
            }
        }
    }

    fn follow(&mut self, next: Next) -> Action {
        let reply = |wish: &Option<EnsureRun>| wish.as_ref().map(|wish| wish.reply(&[]).into());
        match next {
            Next::Ask => Action::AskIntent { step: self.at() },
            Next::Exchange(exchange) => Action::Exchange(exchange),
            Next::Done => {
                self.replies.extend(reply(&self.wish));
                self.step_done()
            }
            Next::Stop(outcome, error) => {
                self.replies.extend(reply(&self.wish));
                self.end(outcome, error)
            }
        }
    }

    /// A read of a step did not come to its end. It may be tried again when the reason passes.
    fn question_failed(&self, end: StepEnd) -> Action {
        match end {
            StepEnd::Completed => self.end(
                Outcome::Failed,
                DeviceError::new(ErrorClass::Protocol, "no answer to go by"),
            ),
            StepEnd::Cancelled => self.cancelled(),
            StepEnd::NotSent(error) => self.end(Outcome::Unreached, error),
            StepEnd::Refused(error) => self.end(Outcome::Failed, error),
            StepEnd::Trapped(error) => match refusal(&error.message) {
                Refusal::Transient => self.end(Outcome::Interrupted, error),
                Refusal::Permanent => self.end(Outcome::Failed, error),
            },
            StepEnd::NoAnswer(error) if error.class == ErrorClass::Reset => {
                self.end(Outcome::Interrupted, error)
            }
            StepEnd::NoAnswer(error) => self.end(Outcome::Failed, error),
        }
    }

    /// A write did not come to its end, or to one that decides.
    fn write_failed(&self, end: StepEnd) -> Action {
        match end {
            StepEnd::NotSent(error) => self.end(Outcome::Unreached, error),
            StepEnd::Refused(error) => self.end(Outcome::Failed, error),
            end => self.end(Outcome::Unknown, unproven(end)),
        }
    }

    /// The exchange of the verification is over.
    fn looked(&self, step: &Step, end: StepEnd, sentences: &[u8]) -> Action {
        let error = match end {
            StepEnd::Completed => match found(step, sentences) {
                Ok(found) => {
                    let outcome = if found {
                        Outcome::FoundDone
                    } else {
                        Outcome::FoundNotDone
                    };
                    return Action::End(Ended {
                        outcome,
                        error: None,
                        steps_done: self.at(),
                    });
                }
                Err(error) => return self.end(Outcome::Failed, error),
            },
            StepEnd::Cancelled => return self.cancelled(),
            StepEnd::NotSent(error) => return self.end(Outcome::Unreached, error),
            StepEnd::Refused(error) => return self.end(Outcome::Failed, error),
            StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => {
                return self.end(Outcome::Failed, error);
            }
            StepEnd::Trapped(error) | StepEnd::NoAnswer(error) => error,
        };
        self.end(Outcome::Interrupted, error)
    }

    fn step_done(&mut self) -> Action {
        self.step += 1;
        self.wish = None;
        self.begin_step()
    }

    fn begin_step(&mut self) -> Action {
        let plan = self.plan.clone();
        let Some(step) = plan.steps.get(self.step) else {
            return self.done();
        };
        match step {
            step if self.is_look() => self.look(step),
            Step::Command(command) if command.effect().is_read() => {
                let follow = command.follow();
                Action::Exchange(Exchange {
                    follow,
                    ..Exchange::question(words(command.sent_words()))
                })
            }
            Step::Command(_) => Action::AskIntent { step: self.at() },
            Step::Check(check) => self.ask(check.needs(), false),
            Step::Ensure(ensure) => {
                let kept = self.kept.remove(&self.step);
                let wish = self.wish.insert(EnsureRun::new(ensure.clone()));
                match kept {
                    Some(answer) => {
                        let next = wish.answered(&answer);
                        self.follow(next)
                    }
                    None => Action::Exchange(wish.begin()),
                }
            }
        }
    }

    /// Every step is done, or previewed.
    fn done(&self) -> Action {
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

    fn is_look(&self) -> bool {
        matches!(self.mode, Mode::Resolve(_))
    }

    /// Asks what became of a step.
    fn look(&self, step: &Step) -> Action {
        match step {
            Step::Ensure(ensure) => Action::Exchange(Exchange::question(question(ensure))),
            Step::Check(_) => self.end(
                Outcome::Failed,
                DeviceError::new(ErrorClass::Worker, "a check leaves nothing to look after"),
            ),
            Step::Command(command) => match command.verify() {
                Some(verify) => Action::Exchange(Exchange::question(words(verify.sent_words()))),
                None => self.end(
                    Outcome::Failed,
                    DeviceError::new(ErrorClass::Worker, "there is nothing to verify the step with"),
                ),
            },
        }
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

/// What kept a write, or the look after it, from an answer that decides.
fn unproven(end: StepEnd) -> DeviceError {
    match end {
        StepEnd::Trapped(error)
        | StepEnd::NotSent(error)
        | StepEnd::Refused(error)
        | StepEnd::NoAnswer(error) => error,
        StepEnd::Cancelled | StepEnd::Completed => DeviceError::new(
            ErrorClass::Cancelled,
            "cancelled while it ran; it may have been done in part",
        ),
    }
}

/// Whether an answer to a look says that the step was done.
fn found(step: &Step, answer: &[u8]) -> Result<bool, DeviceError> {
    match step {
        Step::Ensure(ensure) => {
            let diff = Diff::of(ensure, answer)?;
            match ensure.want() {
                // One command sets all of them: what is not as wanted was not done.
                Want::Set(_) => Ok(diff.is_empty()),
                Want::Items(_) if diff.is_empty() => Ok(true),
                Want::Items(_) => {
                    let text = format!(
                        "the step was not done, or only in part, when its answer was lost: {}",
                        diff.text()
                    );
                    Err(DeviceError::new(ErrorClass::NotAsWanted, text))
                }
            }
        }
        Step::Check(_) => Ok(false),
        Step::Command(command) => command
            .verify()
            .map_or(Ok(false), |verify| verified(verify, answer)),
    }
}

fn verified(verify: &Verify, answer: &[u8]) -> Result<bool, DeviceError> {
    let expect = match verify.expect.is_empty() {
        true => None,
        false => Some(verify.expect.parse::<Expression>().map_err(|error| {
            DeviceError::new(
                ErrorClass::Worker,
                format!("the verification's expectation: {error}"),
            )
        })?),
    };
    let mut any = false;
    // Written by the session, sentence by sentence, within the same limits: it decodes.
    let _ = decode_all(answer, Limits::default(), |sentence| {
        let expected = |expression: &Expression| expression.matches(&|name| sentence.get(name));
        any |= sentence.kind() == Kind::Re && expect.as_ref().is_none_or(expected);
    });
    Ok(any != verify.absent)
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Vec<u8>> {
    words.map(|word| word.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests;
