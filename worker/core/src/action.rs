//! What an attempt and whoever runs it say to each other.

use std::time::Duration;

use bytes::Bytes;
use muster_model::{DeviceError, Follow, Guard, Kept};
use routeros_wire::value::Version;

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
    /// Have a connection that is logged in, then [`crate::Attempt::connected`] or [`crate::Attempt::connect_failed`].
    Connect,
    /// Ask the engine to grant this step, then [`crate::Attempt::granted`] or [`crate::Attempt::revoked`].
    AskIntent {
        /// The step, from 0.
        step: u32,
    },
    /// Send this, then [`crate::Attempt::answered`].
    Exchange(Exchange),
    /// Let this time pass, then [`crate::Attempt::waited`].
    Wait(Duration),
    /// Give up the connection and have a new one within this time, then [`crate::Attempt::reconnected`]. One try is enough: who
    /// asked for it decides whether there is another.
    Reconnect(Duration),
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
    /// Whether it goes over a new connection, made for it beside the one that there is.
    pub fresh: bool,
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
            fresh: false,
        }
    }
}

/// A file that a device gave, for the engine to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// What it is.
    pub kind: Kept,
    /// All of it; never empty.
    pub bytes: Bytes,
    /// The version of the device that made it; empty when it is not known.
    pub version: String,
}

impl Given {
    pub(crate) fn new(kind: Kept, bytes: Vec<u8>, version: Option<Version>) -> Self {
        Self {
            kind,
            bytes: bytes.into(),
            version: version.map(|version| version.to_string()).unwrap_or_default(),
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
    /// The device was silent until the deadline of the step it was at, which had touched it.
    Lost,
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
    /// The plan does not fit the device; nothing of the step it was at was written. Of a step to look after: it was done,
    /// and left the device as it was before.
    Rejected,
    /// Every step is done.
    Succeeded,
    /// Every step is done, and nothing had to be written for it.
    Unchanged,
    /// Bytes of something that is not a read had left and no answer came that decides.
    Unknown,
    /// What was to be sent next did not leave.
    Unreached,
    /// What was done is taken back, by the device or by us, and a look has shown it.
    Reverted,
}

/// What was recorded of a step before it was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The step.
    pub step: u32,
    /// The differences that it was to make, in wire format; empty for a step that could not say.
    pub pre: Bytes,
    /// What the device said before the first step, as [`crate::Attempt`] wrote it; empty where nobody asked.
    pub facts: String,
    /// What was armed on the device.
    pub guard: Option<Guard>,
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
