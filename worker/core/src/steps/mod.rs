//! The kinds of steps: one module for each, behind one seam.
//!
//! A step is under way as a [`Run`]. It is made by [`apply`] to be done, by [`look`] when its answer was lost and it is
//! only to be found out what became of it (A5), and by [`preview`] to tell what it would do. It says what comes
//! [`Next`]; the attempt sees to intents, connections and what follows a step.
//!
//! A step may ask for its intent as often as it has effects: each `Ask` is an intent of its own (A4).

mod backup;
mod check;
mod command;
pub(crate) mod ensure;
mod fetch;
mod firmware;
pub(crate) mod guard;
mod reboot;
mod restart;
mod router;
mod script;
pub(crate) mod told;
mod wait;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use muster_model::check::Facts;
use muster_model::trap::{Refusal, refusal};
use muster_model::{DeviceError, ErrorClass, Guard, Step};

use crate::action::{ConnectFailure, Exchange, Given, Outcome, Recorded, StepEnd};

pub(crate) use check::Questions;

/// What a step can see of the attempt it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// What the device said before the first step.
    pub(crate) pre: &'a Facts,
    /// Bytes of answers that the attempt still has room for.
    pub(crate) room: usize,
    /// Since the attempt began.
    pub(crate) now: Duration,
    /// Whether its connection is one over the API; over REST a command lasts a minute at most.
    pub(crate) over_api: bool,
    /// Of a preview: whether a step before it would change something.
    pub(crate) changes: bool,
    /// Whether the attempt was granted a change before, or another has begun before it and may have been.
    pub(crate) changed: bool,
    /// Whether a step before it restarts the device.
    pub(crate) restarted: bool,
    /// How old the newest backup of the device is that the engine has.
    pub(crate) backup_age: Option<Duration>,
    /// How long before the attempt the intent was granted that is looked after.
    pub(crate) open: Duration,
    /// What was noted with that intent.
    pub(crate) notes: &'a Notes,
}

/// What is kept with an intent, for whoever looks after it when the worker is gone, by name.
pub(crate) type Notes = BTreeMap<String, String>;

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// The engine is to be asked for the step's intent.
    Ask,
    /// This.
    Exchange(Exchange),
    /// Some time is to pass, then [`Run::waited`].
    Wait(Duration),
    /// The connection is given up, and a new one is made within this time, then [`Run::reconnected`].
    Reconnect(Duration),
    /// The step is done, or told of, or its question is answered with yes.
    Done {
        /// What is told of it, in wire format.
        reply: Bytes,
        /// Of a preview: whether there is something to change.
        changes: bool,
    },
    /// The attempt ends here.
    Stop {
        /// How.
        outcome: Outcome,
        /// Why, when it is not well.
        error: Option<DeviceError>,
        /// What is told of the step, in wire format, if anything is.
        reply: Option<Bytes>,
    },
}

impl Next {
    pub(crate) fn done(reply: impl Into<Bytes>) -> Self {
        Self::Done {
            reply: reply.into(),
            changes: false,
        }
    }

    pub(crate) fn stop(outcome: Outcome, error: DeviceError) -> Self {
        Self::Stop {
            outcome,
            error: Some(error),
            reply: None,
        }
    }

    /// The same, with what is told of the step.
    pub(crate) fn telling(self, told: impl Into<Bytes>) -> Self {
        match self {
            Self::Stop { outcome, error, .. } => Self::Stop {
                outcome,
                error,
                reply: Some(told.into()),
            },
            other => other,
        }
    }
}

/// One step under way.
pub(crate) trait Run: fmt::Debug + Send + Sync {
    /// The first thing it does.
    fn begin(&mut self, around: &Around<'_>) -> Next;

    /// The intent it asked for is on disk.
    fn granted(&mut self, _: &Around<'_>) -> Next {
        unasked("an intent was granted")
    }

    /// The time it wanted to wait is over.
    fn waited(&mut self, _: &Around<'_>) -> Next {
        unasked("a wait ended")
    }

    /// There is the new connection it asked for; or there is none yet, and why.
    fn reconnected(&mut self, _: Result<(), ConnectFailure>, _: &Around<'_>) -> Next {
        unasked("a connection was made")
    }

    /// The exchange it is at is over. `answer` are its replies, in wire format without tags.
    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next;

    /// What is to be kept with the intent that it asks for.
    fn notes(&self) -> Notes {
        Notes::new()
    }

    /// Whether it is at nothing but to wait, for a router to be back or for time to pass: others may use its place meanwhile.
    fn only_waits(&self) -> bool {
        false
    }

    /// What it lets time pass for, for people who ask.
    fn doing(&self) -> &'static str {
        "it lets time pass, as its step wants it"
    }

    /// Files that it brought back, once it is done.
    fn given(&mut self) -> Vec<Given> {
        Vec::new()
    }

    /// What it is about to change, with what is there now, in wire format; empty where it cannot say.
    fn pre(&self) -> Bytes {
        Bytes::new()
    }

    /// What is armed on the device while it writes, and how long that may take to act.
    fn guard(&self) -> Option<(Guard, Duration)> {
        None
    }

    /// What it found out about the device's ways back.
    fn caps(&self) -> Option<guard::Caps> {
        None
    }

    /// Whether it is done in part, or done and not looked at: it is to go on, whatever the engine wants.
    fn is_in_the_middle(&self) -> bool {
        false
    }
}

fn unasked(what: &str) -> Next {
    let text = format!("{what} that the step had not asked for");
    Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::Worker, text))
}

/// Said of a step that [`crate::inverse::prepare`] should have made another of.
const UNPREPARED: &str = "nobody has said what was before the step that is to be taken back";

/// A step that is to be done. `kept` is what its menu answered a moment ago.
pub(crate) fn apply(step: &Step, kept: Option<Bytes>) -> Box<dyn Run> {
    match step {
        Step::Command(command) => Box::new(command::Apply::new(command.clone())),
        Step::Ensure(wish) => Box::new(ensure::Apply::new(wish.clone(), kept)),
        Step::Check(check) => Box::new(check::Apply::new(check.clone(), false)),
        Step::Backup(wanted) => Box::new(backup::Apply::backup(wanted)),
        Step::Export => Box::new(backup::Apply::export()),
        Step::Wait(wait) => Box::new(wait::Apply::new(wait.clone())),
        Step::Script(script) => Box::new(script::Apply::new(script.clone())),
        Step::Fetch(file) => Box::new(fetch::Apply::new(file.clone())),
        Step::Reboot(reboot) => Box::new(reboot::Apply::new(reboot.clone())),
        Step::Firmware(firmware) => firmware::apply(firmware),
        Step::Revert(_) => Box::new(Nothing(UNPREPARED)),
    }
}

/// A step whose answer was lost. Its `Done` says that it was done.
pub(crate) fn look(step: &Step, recorded: Option<&Recorded>) -> Box<dyn Run> {
    let pre = recorded.map(|recorded| recorded.pre.clone()).unwrap_or_default();
    let look: Box<dyn Run> = match step {
        Step::Command(command) => Box::new(command::Look::new(command.verify().cloned())),
        Step::Script(script) => Box::new(command::Look::new(script.verify.clone())),
        Step::Reboot(_) => Box::new(reboot::Look),
        Step::Firmware(firmware) => firmware::look(firmware),
        Step::Ensure(wish) => Box::new(ensure::Look::new(wish.clone(), pre)),
        Step::Check(_) | Step::Wait(_) => Box::new(Nothing("a check leaves nothing to look after")),
        Step::Backup(_) | Step::Export | Step::Fetch(_) => {
            Box::new(Nothing("files are nothing to look after"))
        }
        Step::Revert(_) => Box::new(Nothing(UNPREPARED)),
    };
    match recorded.and_then(|recorded| recorded.guard) {
        Some(armed) => Box::new(guard::Look::new(look, armed)),
        None => look,
    }
}

/// Whether firmware that was installed is what the router still runs, where that can be told.
pub(crate) fn still(firmware: &muster_model::Firmware) -> Option<Box<dyn Run>> {
    firmware::still(firmware)
}

/// A step that is only told of. `None` is for one whose menu is looked at with everybody else's: see
/// [`crate::attempt`].
pub(crate) fn preview(step: &Step) -> Option<Box<dyn Run>> {
    match step {
        Step::Command(command) => Some(Box::new(command::Preview::new(command.clone()))),
        Step::Ensure(_) => None,
        Step::Check(check) => Some(Box::new(check::Apply::new(check.clone(), true))),
        Step::Backup(wanted) => Some(Box::new(backup::Preview::new(Some(wanted)))),
        Step::Export => Some(Box::new(backup::Preview::new(None))),
        Step::Wait(_) => Some(Box::new(Told(told::done(Vec::new()), false))),
        Step::Script(_) | Step::Fetch(_) | Step::Reboot(_) => {
            Some(Box::new(Told(told::would(step.effect(), &step.title()), true)))
        }
        Step::Firmware(firmware) => Some(firmware::preview(firmware)),
        Step::Revert(_) => Some(Box::new(Nothing(UNPREPARED))),
    }
}

/// A step of which this is told, and whether it would change something.
#[derive(Debug)]
struct Told(Vec<u8>, bool);

impl Run for Told {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        Next::Done {
            reply: self.0.clone().into(),
            changes: self.1,
        }
    }

    fn ended(&mut self, _: StepEnd, _: Bytes, around: &Around<'_>) -> Next {
        self.begin(around)
    }
}

/// A step that there is nothing to do about.
#[derive(Debug)]
struct Nothing(&'static str);

impl Run for Nothing {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::Worker, self.0))
    }

    fn ended(&mut self, _: StepEnd, _: Bytes, around: &Around<'_>) -> Next {
        self.begin(around)
    }
}

/// A read of a step did not come to its end. It may be tried again when the reason passes.
pub(crate) fn question_failed(end: StepEnd) -> Next {
    match end {
        StepEnd::Completed => Next::stop(
            Outcome::Failed,
            DeviceError::new(ErrorClass::Protocol, "no answer to go by"),
        ),
        StepEnd::Cancelled => Next::stop(
            Outcome::Cancelled,
            DeviceError::new(ErrorClass::Cancelled, "cancelled by an operator"),
        ),
        StepEnd::NotSent(error) => Next::stop(Outcome::Unreached, error),
        StepEnd::Refused(error) => Next::stop(Outcome::Failed, error),
        StepEnd::Trapped(error) => match refusal(&error.message) {
            Refusal::Transient => Next::stop(Outcome::Interrupted, error),
            Refusal::Permanent => Next::stop(Outcome::Failed, error),
        },
        StepEnd::NoAnswer(error) if error.class == ErrorClass::Reset => {
            Next::stop(Outcome::Interrupted, error)
        }
        StepEnd::NoAnswer(error) => Next::stop(Outcome::Failed, error),
    }
}

/// A write did not come to its end, or to one that decides.
pub(crate) fn write_failed(end: StepEnd) -> Next {
    match end {
        StepEnd::NotSent(error) => Next::stop(Outcome::Unreached, error),
        StepEnd::Refused(error) => Next::stop(Outcome::Failed, error),
        end => Next::stop(Outcome::Unknown, unproven(end)),
    }
}

/// A look at what became of a step did not come to its end.
pub(crate) fn look_failed(end: StepEnd) -> Next {
    match end {
        StepEnd::Completed | StepEnd::Cancelled | StepEnd::NotSent(_) | StepEnd::Refused(_) => {
            question_failed(end)
        }
        StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => {
            Next::stop(Outcome::Failed, error)
        }
        StepEnd::Trapped(error) | StepEnd::NoAnswer(error) => Next::stop(Outcome::Interrupted, error),
    }
}

/// What a look at what became of a step has found.
pub(crate) fn found(done: bool) -> Next {
    match done {
        true => Next::done(Bytes::new()),
        false => Next::Stop {
            outcome: Outcome::FoundNotDone,
            error: None,
            reply: None,
        },
    }
}

/// What kept a write, or the look after it, from an answer that decides.
pub(crate) fn unproven(end: StepEnd) -> DeviceError {
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

pub(crate) fn words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Vec<u8>> {
    words.map(|word| word.as_bytes().to_vec()).collect()
}
