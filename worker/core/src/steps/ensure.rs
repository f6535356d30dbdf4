//! One wish on one device: read, compare, ask, write the difference, read again.
//!
//! ```text
//! Reading ──as wanted──▶ done, nothing written
//!    └──different──▶ (intent) ──▶ Writing, one command after the other ──▶ Proving ──as wanted──▶ done
//!                                                                            └──not──▶ stop
//! ```

use std::collections::HashMap;

use bytes::Bytes;
use muster_model::{DeviceError, Ensure, ErrorClass, Want};
use routeros_wire::{Kind, Limits, decode_all};

use super::{Around, Next, Run, found, look_failed, question_failed, told, unproven, write_failed};
use crate::action::{Exchange, Outcome, StepEnd};
use crate::diff::{Diff, Place, Write, question};

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it was written.
    Reading,
    /// This many commands of it are done, and the next one is written.
    Writing(usize),
    /// All of them are done, and their effect is read back.
    Proving,
}

/// The machine of one step.
#[derive(Debug)]
pub(crate) struct Apply {
    ensure: Ensure,
    /// What the menu answered a moment ago.
    kept: Option<Bytes>,
    phase: Phase,
    diff: Diff,
    /// Ids of items that its writes have added, by the number of the write.
    added: HashMap<usize, Vec<u8>>,
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        match self.kept.take() {
            Some(answer) => self.answered(&answer),
            None => Next::Exchange(Exchange::question(question(&self.ensure))),
        }
    }

    fn granted(&mut self, _: &Around<'_>) -> Next {
        self.write(0)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        match (self.phase, end) {
            (_, StepEnd::Completed) => self.answered(&answer),
            (Phase::Reading, end) => question_failed(end).telling(answer),
            // It writes one item at a time, so a trap says that this one was not written (A5).
            (Phase::Writing(done), StepEnd::Trapped(error) | StepEnd::Refused(error)) => {
                let outcome = if done == 0 {
                    Outcome::Failed
                } else {
                    Outcome::Broken
                };
                Next::stop(outcome, error).telling(self.reply(&answer))
            }
            (Phase::Writing(_), end) => write_failed(end).telling(self.reply(&[])),
            (Phase::Proving, end) => Next::stop(Outcome::Unknown, unproven(end)).telling(self.reply(&[])),
        }
    }

    fn pre(&self) -> Bytes {
        match self.diff.is_empty() {
            true => Bytes::new(),
            false => told::diff(&self.diff, &self.ensure).into(),
        }
    }

    fn is_in_the_middle(&self) -> bool {
        matches!(self.phase, Phase::Writing(1..) | Phase::Proving)
    }
}

impl Apply {
    pub(crate) fn new(ensure: Ensure, kept: Option<Bytes>) -> Self {
        Self {
            ensure,
            kept,
            phase: Phase::Reading,
            diff: Diff::default(),
            added: HashMap::new(),
        }
    }

    /// The exchange it is at was completed.
    fn answered(&mut self, answer: &[u8]) -> Next {
        match self.phase {
            Phase::Reading => match Diff::of(&self.ensure, answer) {
                Err(error) => Next::stop(Outcome::Rejected, error).telling(self.reply(&[])),
                Ok(diff) if diff.is_empty() => Next::done(self.reply(&[])),
                Ok(diff) => {
                    self.diff = diff;
                    Next::Ask
                }
            },
            Phase::Writing(done) => {
                if let Some(id) = ret(answer) {
                    self.added.insert(done, id);
                }
                self.write(done + 1)
            }
            Phase::Proving => self.proven(answer),
        }
    }

    fn write(&mut self, at: usize) -> Next {
        match self.diff.writes.get(at) {
            Some(write) => {
                self.phase = Phase::Writing(at);
                Next::Exchange(Exchange::write(self.words(write)))
            }
            None => {
                self.phase = Phase::Proving;
                Next::Exchange(Exchange::proof(question(&self.ensure)))
            }
        }
    }

    /// The words of a command.
    fn words(&self, write: &Write) -> Vec<Vec<u8>> {
        let menu = self.ensure.menu();
        let command = |verb: &str| format!("{menu}/{verb}").into_bytes();
        let named = |name: &str, value: &[u8]| [format!("={name}=").as_bytes(), value].concat();
        match write {
            Write::Set { id, values } => {
                let mut words = vec![command("set")];
                words.extend(id.iter().map(|id| named(".id", id)));
                let values = values.iter();
                words.extend(values.map(|(name, value)| named(name, value.as_bytes())));
                words
            }
            Write::Add { values, place } => {
                let mut words = vec![command("add")];
                let given = values.iter().filter(|(_, value)| !value.is_empty());
                words.extend(given.map(|(name, value)| named(name, value.as_bytes())));
                words.extend(self.id_at(place).map(|id| named("place-before", id)));
                words
            }
            Write::Move { id, place } => {
                let mut words = vec![command("move"), named("numbers", id)];
                words.extend(self.id_at(place).map(|id| named("destination", id)));
                words
            }
            Write::Remove { id } => vec![command("remove"), named(".id", id)],
        }
    }

    /// The item that a place is before. `None` for the end, which is also where an item goes when the device did not say
    /// what it called the one before; the look afterwards finds that out.
    fn id_at<'s>(&'s self, place: &'s Place) -> Option<&'s [u8]> {
        match place {
            Place::End => None,
            Place::Before(id) => Some(id),
            Place::BeforeAdded(write) => self.added.get(write).map(Vec::as_slice),
        }
    }

    /// What the device has now decides, not what it said.
    fn proven(&self, answer: &[u8]) -> Next {
        let stop = |outcome, text: String| {
            Next::stop(outcome, DeviceError::new(ErrorClass::NotAsWanted, text)).telling(self.reply(&[]))
        };
        match Diff::of(&self.ensure, answer) {
            Ok(left) if left.is_empty() => Next::done(self.reply(&[])),
            Ok(left) if left.changes == self.diff.changes => {
                let text = format!("the device took the change and is as before: {}", left.text());
                stop(Outcome::Failed, text)
            }
            Ok(left) => {
                let text = format!("after the change, which the device took, {}", left.text());
                stop(Outcome::Broken, text)
            }
            Err(error) => stop(Outcome::Broken, error.message),
        }
    }

    /// What is told of the step: its changes, then whatever the device said of a command that it refused.
    fn reply(&self, refusal: &[u8]) -> Vec<u8> {
        match refusal {
            [] => told::diff(&self.diff, &self.ensure),
            refusal => {
                let mut out = Vec::new();
                self.diff.write(&self.ensure, &mut out);
                out.extend_from_slice(refusal);
                out
            }
        }
    }
}

/// A wish whose answer was lost: its menu is read, and nothing else.
#[derive(Debug)]
pub(super) struct Look {
    ensure: Ensure,
    /// The differences as they were before the first write; empty where nobody recorded them.
    pre: Bytes,
}

impl Look {
    pub(super) fn new(ensure: Ensure, pre: Bytes) -> Self {
        Self { ensure, pre }
    }
}

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        Next::Exchange(Exchange::question(question(&self.ensure)))
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        if end != StepEnd::Completed {
            return look_failed(end);
        }
        let diff = match Diff::of(&self.ensure, &answer) {
            Ok(diff) => diff,
            Err(error) => return Next::stop(Outcome::Failed, error),
        };
        if !self.pre.is_empty() && !diff.is_empty() {
            // What was recorded before the first write says which of the two it is.
            if told::diff(&diff, &self.ensure)[..] == self.pre[..] {
                return found(false);
            }
            let text = format!(
                "the step was done in part when its answer was lost: {}",
                diff.text()
            );
            return Next::stop(Outcome::Broken, DeviceError::new(ErrorClass::NotAsWanted, text));
        }
        match self.ensure.want() {
            // One command sets all of them: what is not as wanted was not done.
            Want::Set(_) => found(diff.is_empty()),
            Want::Items(_) if diff.is_empty() => found(true),
            Want::Items(_) => {
                let text = format!(
                    "the step was not done, or only in part, when its answer was lost: {}",
                    diff.text()
                );
                Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::NotAsWanted, text))
            }
        }
    }
}

/// The id that a device gave a new item.
fn ret(answer: &[u8]) -> Option<Vec<u8>> {
    let mut id = None;
    // Written by the session, sentence by sentence, within the same limits: it decodes.
    let _ = decode_all(answer, Limits::default(), |sentence| {
        if sentence.kind() == Kind::Done {
            id = sentence.get(b"ret").map(<[u8]>::to_vec);
        }
    });
    id
}
