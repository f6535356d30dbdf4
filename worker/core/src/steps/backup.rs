//! A backup and an export: made on the device, brought back in parts, looked at, and cleared away there.
//!
//! ```text
//! version ──▶ (intent) ──▶ save ──▶ list ──▶ read, part by part ──▶ export ──▶ remove ──▶ done
//! ```
//!
//! An export is text that comes back in one answer where the version can do that (`/execute … as-string`); before, it is a
//! file like the backup. It adds files and nothing else, so an answer that is lost is no question: it is begun again, and what
//! it left has a fixed name and is written over.

use std::time::Duration;

use bytes::Bytes;
use muster_model::backup::MOST_BYTES;
use muster_model::trap::{Refusal, refusal};
use muster_model::{Backup, DeviceError, ErrorClass, Kept};
use routeros_wire::value::{Version, size};
use routeros_wire::{Kind, Limits, decode_all};

use super::{Around, Next, Run, question_failed, told};
use crate::action::{Exchange, Given, Outcome, StepEnd};
use crate::diff::read_rows;
use crate::export::normalise;

/// What its files are called on the device.
const BACKUP: &str = "muster-backup";
const EXPORT: &str = "muster-export";

/// Bytes of one part.
const PART: usize = 32_768;

/// How often, and how long after one another, a file is looked for that is being written.
const LOOKS: u32 = 60;
const BETWEEN: Duration = Duration::from_millis(500);

/// The first versions that read files in parts, and that print what a script says.
const READS_PARTS: (u32, u32) = (7, 13);
const PRINTS: (u32, u32) = (7, 9);

/// Whether a version is one that has something since.
pub(crate) fn since(version: Version, (major, minor): (u32, u32)) -> bool {
    (version.major, version.minor) >= (major, minor)
}

/// A step that is to be done.
#[derive(Debug)]
pub(super) struct Apply {
    /// Whether a binary backup is wanted too.
    backup: bool,
    max_age: Option<Duration>,
    /// Whether the export alone will do where a backup cannot be had.
    or_export: bool,
    phase: Phase,
    version: Option<Version>,
    granted: bool,
    /// Files it left, by id.
    left: Vec<Vec<u8>>,
    given: Vec<Given>,
    /// How it ends, when what it left is cleared away.
    failed: Option<Next>,
}

#[derive(Debug)]
enum Phase {
    Version,
    Saving,
    Fetching(Fetch),
    Printing,
    Exporting,
    Removing,
}

/// A file on its way back.
#[derive(Debug)]
struct Fetch {
    kind: Kept,
    looks: u32,
    id: Vec<u8>,
    size: usize,
    bytes: Vec<u8>,
    listed: bool,
}

impl Fetch {
    fn new(kind: Kept) -> Self {
        Self {
            kind,
            looks: 0,
            id: Vec::new(),
            size: 0,
            bytes: Vec::new(),
            listed: false,
        }
    }

    fn name(&self) -> String {
        match self.kind {
            Kept::Backup => format!("{BACKUP}.backup"),
            Kept::Export => format!("{EXPORT}.rsc"),
        }
    }

    fn list(&self) -> Next {
        let named = format!("?name={}", self.name());
        ask(&["/file/print", "=.proplist=.id,name,size", &named])
    }

    /// Reads on, in parts or all of it.
    fn read(&self, parts: bool) -> Next {
        let name = self.name();
        match parts {
            true => {
                let file = format!("=file={name}");
                let (offset, part) = (
                    format!("=offset={}", self.bytes.len()),
                    format!("=chunk-size={PART}"),
                );
                ask(&["/file/read", &file, &offset, &part])
            }
            false => ask(&["/file/print", "=.proplist=contents", &format!("?name={name}")]),
        }
    }
}

impl Apply {
    pub(super) fn backup(backup: &Backup) -> Self {
        Self {
            backup: true,
            max_age: backup.max_age_ms.map(Duration::from_millis),
            or_export: backup.or_export,
            ..Self::export()
        }
    }

    pub(super) fn export() -> Self {
        Self {
            backup: false,
            max_age: None,
            or_export: false,
            phase: Phase::Version,
            version: None,
            granted: false,
            left: Vec::new(),
            given: Vec::new(),
            failed: None,
        }
    }

    fn has(&self, gate: (u32, u32)) -> bool {
        self.version.is_some_and(|version| since(version, gate))
    }

    fn versioned(&mut self, answer: &[u8]) -> Next {
        read_rows(answer, |row| {
            self.version = row.get(b"version").and_then(Version::parse);
        });
        match self.backup {
            false if self.has(PRINTS) => self.print(),
            _ => Next::Ask,
        }
    }

    fn print(&mut self) -> Next {
        self.phase = Phase::Printing;
        ask(&["/execute", "=script=/export", "=as-string="])
    }

    /// An export by way of a file.
    fn export_to_file(&mut self) -> Next {
        if !self.granted {
            return Next::Ask;
        }
        self.phase = Phase::Exporting;
        let file = format!("=file={EXPORT}");
        match self.has((7, 0)) {
            true => write(&["/export", &file]),
            // Version 6 shows secrets unless it is told not to.
            false => write(&["/export", &file, "=hide-sensitive="]),
        }
    }

    /// The export, in the way that the version has.
    fn next_export(&mut self) -> Next {
        match self.has(PRINTS) {
            true => self.print(),
            false => self.export_to_file(),
        }
    }

    fn fail(&mut self, why: impl Into<String>) -> Next {
        let error = DeviceError::new(ErrorClass::NotAsWanted, why);
        self.failed = Some(Next::stop(Outcome::Failed, error));
        self.clear()
    }

    /// Clears away what it left, and ends.
    fn clear(&mut self) -> Next {
        match self.left.pop() {
            Some(id) => {
                self.phase = Phase::Removing;
                Next::Exchange(Exchange::write(vec![
                    b"/file/remove".to_vec(),
                    [b"=.id=", &id[..]].concat(),
                ]))
            }
            None => match self.failed.take() {
                Some(failed) => failed,
                None => Next::done(told::kept(&self.given)),
            },
        }
    }

    /// What was asked for of a file was answered.
    fn fetched(&mut self, mut fetch: Fetch, answer: &[u8]) -> Next {
        let parts = self.has(READS_PARTS);
        if !fetch.listed {
            let mut found = None;
            let name = fetch.name();
            read_rows(answer, |row| {
                // Whatever it made of the filter, other files are not asked for.
                if row.get(b"name").is_some_and(|other| other != name.as_bytes()) {
                    return;
                }
                let length = row.get(b"size").and_then(size::parse);
                found = row.get(b".id").map(<[u8]>::to_vec).zip(length);
            });
            let Some((id, length)) = found else {
                fetch.looks += 1;
                if fetch.looks >= LOOKS {
                    let why = format!(
                        "the device was to write {} and there is no such file",
                        fetch.name()
                    );
                    return self.fail(why);
                }
                self.phase = Phase::Fetching(fetch);
                return Next::Wait(BETWEEN);
            };
            self.left.push(id.clone());
            (fetch.id, fetch.listed) = (id, true);
            fetch.size = usize::try_from(length).unwrap_or(usize::MAX);
            return match fetch.size {
                0 => self.fail(format!(
                    "the {} that the device made is empty",
                    fetch.kind.as_str()
                )),
                size if size > MOST_BYTES.min(around_room(&self.given)) => self.fail(format!(
                    "the {} that the device made has {size} bytes; at most {MOST_BYTES} are brought back",
                    fetch.kind.as_str()
                )),
                _ => {
                    let next = fetch.read(parts);
                    self.phase = Phase::Fetching(fetch);
                    next
                }
            };
        }
        let before = fetch.bytes.len();
        let name: &[u8] = if parts { b"data" } else { b"contents" };
        // A part may come in a row or in the last sentence.
        let _ = decode_all(answer, Limits::default(), |sentence| {
            if matches!(sentence.kind(), Kind::Re | Kind::Done) {
                fetch
                    .bytes
                    .extend_from_slice(sentence.get(name).unwrap_or_default());
            }
        });
        let left = fetch.size.saturating_sub(before);
        let asked = if parts { left.min(PART) } else { left };
        if let Some(part) = bytes_of_characters(&fetch.bytes[before..], asked) {
            fetch.bytes.truncate(before);
            fetch.bytes.extend(part);
        }
        let got = fetch.bytes.len();
        if got < fetch.size && parts && got > before {
            let next = fetch.read(parts);
            self.phase = Phase::Fetching(fetch);
            return next;
        }
        if got != fetch.size && !parts && fetch.kind == Kept::Backup && self.or_export {
            self.backup = false;
            return self.next_export();
        }
        if got != fetch.size {
            let why = match parts {
                true => format!(
                    "{} has {} bytes and the device gave {got}",
                    fetch.name(),
                    fetch.size
                ),
                false => format!(
                    "{} has {} bytes and the device gave {got}: before 7.13, RouterOS gives only small files over its API",
                    fetch.name(),
                    fetch.size
                ),
            };
            return self.fail(why);
        }
        match fetch.kind {
            Kept::Backup => {
                self.given
                    .push(Given::new(Kept::Backup, fetch.bytes, self.version));
                self.next_export()
            }
            Kept::Export => match normalise(&fetch.bytes) {
                Ok(text) => {
                    self.given.push(Given::new(Kept::Export, text, self.version));
                    self.clear()
                }
                Err(why) => self.fail(why),
            },
        }
    }

    /// An export came, or something else did.
    fn printed(&mut self, answer: &[u8]) -> Next {
        let mut text = Vec::new();
        let _ = decode_all(answer, Limits::default(), |sentence| {
            if sentence.kind() == Kind::Done {
                text = sentence.get(b"ret").unwrap_or_default().to_vec();
            }
        });
        match normalise(&text) {
            Ok(text) => {
                self.given.push(Given::new(Kept::Export, text, self.version));
                self.clear()
            }
            Err(_) => self.export_to_file(),
        }
    }
}

/// The bytes of a part that came as one character for each, as JSON has them that writes a byte as `\u00e9`. `None` for one
/// that has `length` bytes as it is.
fn bytes_of_characters(part: &[u8], length: usize) -> Option<Vec<u8>> {
    if part.len() <= length {
        return None;
    }
    let characters = std::str::from_utf8(part).ok()?.chars();
    let bytes = characters.map(|character| u8::try_from(u32::from(character)).ok());
    bytes
        .collect::<Option<Vec<_>>>()
        .filter(|bytes| bytes.len() == length)
}

/// What may still be brought back beside what there is: one report has to hold it.
fn around_room(given: &[Given]) -> usize {
    (2 * MOST_BYTES).saturating_sub(given.iter().map(|given| given.bytes.len()).sum())
}

impl Run for Apply {
    fn begin(&mut self, around: &Around<'_>) -> Next {
        if let (Some(max), Some(age)) = (self.max_age, around.backup_age)
            && age <= max
        {
            return Next::done(told::kept(&[]));
        }
        ask(&["/system/resource/print", "=.proplist=version"])
    }

    fn granted(&mut self, _: &Around<'_>) -> Next {
        self.granted = true;
        if !self.backup || matches!(self.phase, Phase::Printing) {
            return self.export_to_file();
        }
        self.phase = Phase::Saving;
        let name = format!("=name={BACKUP}");
        write(&["/system/backup/save", &name, "=dont-encrypt=yes"])
    }

    fn waited(&mut self, _: &Around<'_>) -> Next {
        match &self.phase {
            Phase::Fetching(fetch) => fetch.list(),
            _ => self.clear(),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        let phase = std::mem::replace(&mut self.phase, Phase::Removing);
        match (phase, end) {
            (Phase::Version, StepEnd::Completed) => {
                self.phase = Phase::Version;
                self.versioned(&answer)
            }
            (Phase::Saving | Phase::Exporting, StepEnd::Completed) => {
                let kind = match self.given.is_empty() && self.backup {
                    true => Kept::Backup,
                    false => Kept::Export,
                };
                let fetch = Fetch::new(kind);
                let next = fetch.list();
                self.phase = Phase::Fetching(fetch);
                next
            }
            (Phase::Fetching(fetch), StepEnd::Completed) => self.fetched(fetch, &answer),
            (Phase::Printing, StepEnd::Completed) => {
                self.phase = Phase::Printing;
                self.printed(&answer)
            }
            (Phase::Printing, StepEnd::Trapped(error)) if refusal(&error.message) == Refusal::Permanent => {
                self.phase = Phase::Printing;
                self.export_to_file()
            }
            // Whether it is gone or not: what is to be brought back has been.
            (Phase::Removing, StepEnd::Completed | StepEnd::Trapped(_)) => self.clear(),
            (Phase::Version, end) => question_failed(end).telling(answer),
            // It adds files and nothing else.
            (_, StepEnd::NotSent(error)) => Next::stop(Outcome::Unreached, error),
            (_, StepEnd::Cancelled) => question_failed(StepEnd::Cancelled),
            (_, StepEnd::Trapped(error)) => {
                self.failed = Some(Next::stop(Outcome::Failed, error).telling(answer));
                self.clear()
            }
            // What was lost on the way is made anew, over what is left of it.
            (_, StepEnd::NoAnswer(error)) if error.class == ErrorClass::Reset => {
                Next::stop(Outcome::Interrupted, error)
            }
            (_, StepEnd::NoAnswer(error) | StepEnd::Refused(error)) => Next::stop(Outcome::Failed, error),
        }
    }

    fn given(&mut self) -> Vec<Given> {
        std::mem::take(&mut self.given)
    }

    fn is_in_the_middle(&self) -> bool {
        matches!(self.phase, Phase::Removing)
    }
}

fn ask(words: &[&str]) -> Next {
    Next::Exchange(Exchange::question(super::words(words.iter().copied())))
}

fn write(words: &[&str]) -> Next {
    Next::Exchange(Exchange::write(super::words(words.iter().copied())))
}

/// A step that is only told of: whether the version is one that may not give what is wanted.
#[derive(Debug)]
pub(super) struct Preview {
    /// None for an export alone.
    backup: Option<Backup>,
}

impl Preview {
    pub(super) fn new(backup: Option<&Backup>) -> Self {
        Self {
            backup: backup.cloned(),
        }
    }

    fn note(&self, version: Version) -> Option<&'static str> {
        let (gate, old) = match self.backup {
            Some(_) => (READS_PARTS, !since(version, READS_PARTS)),
            None => (PRINTS, !since(version, PRINTS)),
        };
        let or_export = self.backup.as_ref().is_some_and(|backup| backup.or_export);
        match (old, since(version, (7, 0)), or_export) {
            (false, ..) => None,
            (true, true, true) => Some(
                "before 7.13, RouterOS gives at most 60 KB of a file over its API: of a larger backup only the export is kept",
            ),
            (true, true, false) if gate == READS_PARTS => Some(
                "before 7.13, RouterOS gives at most 60 KB of a file over its API: a larger backup fails here",
            ),
            (true, true, false) => Some(
                "before 7.9, RouterOS gives at most 60 KB of a file over its API: a larger export fails here",
            ),
            (true, false, true) => Some(
                "RouterOS 6 gives at most 4 KB of a file over its API: of a larger backup only the export is kept, and that has the same limit",
            ),
            (true, false, false) => {
                Some("RouterOS 6 gives at most 4 KB of a file over its API: what is larger fails here")
            }
        }
    }
}

impl Run for Preview {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(&["/system/resource/print", "=.proplist=version"])
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        if end != StepEnd::Completed {
            return question_failed(end).telling(answer);
        }
        let mut version = None;
        read_rows(&answer, |row| {
            version = version.or(row.get(b"version").and_then(Version::parse));
        });
        match version.and_then(|version| self.note(version)) {
            Some(note) => Next::done(told::row("backup", [("note", note)])),
            None => Next::done(told::kept(&[])),
        }
    }
}

#[cfg(test)]
mod tests;
