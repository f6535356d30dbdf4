//! One wish on one device: read, compare, ask, write the difference, read again.
//!
//! ```text
//! Reading ──as wanted──▶ done, nothing written
//!    └──different──▶ (intent) ──▶ Writing, one command after the other ──▶ Proving ──as wanted──▶ done
//!                                                                            └──not──▶ stop
//! ```

use std::collections::HashMap;

use muster_model::{DeviceError, Ensure, ErrorClass};
use routeros_wire::{Kind, Limits, decode_all, encode};

use crate::attempt::{Exchange, Outcome};
use crate::diff::{Diff, Place, Write, question};

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of it was written.
    Reading,
    /// This many commands of it are done, and the next one is written.
    Writing(usize),
    /// All of them are done, and their effect is read back.
    Proving,
}

/// The machine of one step.
#[derive(Clone, Debug)]
pub(crate) struct EnsureRun {
    ensure: Ensure,
    phase: Phase,
    diff: Diff,
    /// Ids of items that its writes have added, by the number of the write.
    added: HashMap<usize, Vec<u8>>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// The engine is to be asked for the step's intent.
    Ask,
    /// This.
    Exchange(Exchange),
    /// The step is done.
    Done,
    /// The attempt ends here.
    Stop(Outcome, DeviceError),
}

impl EnsureRun {
    pub(crate) fn new(ensure: Ensure) -> Self {
        Self {
            ensure,
            phase: Phase::Reading,
            diff: Diff::default(),
            added: HashMap::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn begin(&self) -> Exchange {
        Exchange::question(question(&self.ensure))
    }

    /// The intent is on disk.
    pub(crate) fn granted(&mut self) -> Next {
        self.phase = Phase::Writing(0);
        self.write(0)
    }

    /// The exchange it is at was completed.
    pub(crate) fn answered(&mut self, answer: &[u8]) -> Next {
        match self.phase {
            Phase::Reading => match Diff::of(&self.ensure, answer) {
                Err(error) => Next::Stop(Outcome::Rejected, error),
                Ok(diff) if diff.is_empty() => Next::Done,
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
        let stop =
            |outcome, text: String| Next::Stop(outcome, DeviceError::new(ErrorClass::NotAsWanted, text));
        match Diff::of(&self.ensure, answer) {
            Ok(left) if left.is_empty() => Next::Done,
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
    pub(crate) fn reply(&self, refusal: &[u8]) -> Vec<u8> {
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

/// Answers that muster writes in the place of a device.
pub(crate) mod told {
    use super::{Diff, Ensure, encode};
    use muster_model::Command;

    /// The changes that a wish needs.
    pub(crate) fn diff(diff: &Diff, ensure: &Ensure) -> Vec<u8> {
        let mut out = Vec::new();
        diff.write(ensure, &mut out);
        done(out)
    }

    /// A command that a preview does not send: one that does more than read is told.
    pub(crate) fn command(command: &Command) -> Vec<u8> {
        let mut out = Vec::new();
        if !command.effect().is_read() {
            let words = [
                "!re".to_owned(),
                "=op=run".to_owned(),
                format!("=effect={}", command.effect().as_str()),
                format!("=command={}", command.words().join(" ")),
            ];
            // No word is empty, and none longer than a plan may be.
            let _ = encode::sentence(&mut out, words);
        }
        done(out)
    }

    /// A check that was evaluated, with what it named. A check of which nothing is to be told is only done.
    pub(crate) fn check(named: &[(String, String)]) -> Vec<u8> {
        let mut out = Vec::new();
        if !named.is_empty() {
            let words = named.iter().map(|(name, value)| format!("={name}={value}"));
            let words = ["!re".to_owned(), "=op=check".to_owned()]
                .into_iter()
                .chain(words);
            // No word is empty, and none longer than what came over the wire.
            let _ = encode::sentence(&mut out, words);
        }
        done(out)
    }

    fn done(mut out: Vec<u8>) -> Vec<u8> {
        let _ = encode::sentence(&mut out, ["!done"]);
        out
    }
}
