//! A file that the router fetches, and whether it is the right one.
//!
//! ```text
//! list ──there, and right──▶ done
//!   └──▶ (intent) ──▶ fetch ──▶ list ──▶ read back, part by part ──right──▶ done
//!                                              └──another──▶ remove ──▶ failed
//! ```

use std::time::Duration;

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Fetch, Follow};
use routeros_wire::value::{Version, size};
use sha2::{Digest as _, Sha256};

use super::router::{ask, bytes, value};
use super::{Around, Next, Run, backup, question_failed, told, write_failed};
use crate::action::{Exchange, Outcome, StepEnd};
use crate::diff::read_rows;

/// Bytes that are read back at a time.
const PART: u64 = 32_768;

/// The first version that reads files in parts.
const READS_PARTS: (u32, u32) = (7, 13);

/// What a router does with a file; more than one in a row for packages.
#[derive(Debug)]
pub(super) struct Fetching {
    file: Fetch,
    phase: Phase,
    /// Whether it can be read back.
    reads: bool,
    /// Whether it was fetched here.
    fetched: bool,
    size: u64,
    id: Vec<u8>,
    read: u64,
    hash: Sha256,
    /// What is to be said of a wrong one.
    wrong: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Listing,
    Asking,
    Fetching,
    Reading,
    Removing,
}

/// What has come of it.
#[derive(Debug)]
pub(super) enum Got {
    Next(Next),
    /// The file is there: whether it was fetched now, and its size.
    There {
        fetched: bool,
        size: u64,
    },
}

impl Fetching {
    /// A file for a router of this version.
    pub(super) fn new(file: Fetch, version: &str) -> Self {
        let reads =
            Version::parse(version.as_bytes()).is_some_and(|version| backup::since(version, READS_PARTS));
        Self {
            file,
            phase: Phase::Listing,
            reads,
            fetched: false,
            size: 0,
            id: Vec::new(),
            read: 0,
            hash: Sha256::new(),
            wrong: String::new(),
        }
    }

    /// Whether what it has to be can be compared.
    pub(super) fn reads(&self) -> bool {
        self.reads
    }

    pub(super) fn begin(&mut self) -> Next {
        self.phase = Phase::Listing;
        let named = format!("?name={}", self.file.file);
        ask(&["/file/print", "=.proplist=.id,name,size", &named])
    }

    pub(super) fn granted(&mut self) -> Next {
        self.phase = Phase::Fetching;
        let (url, path) = (
            format!("=url={}", self.file.url),
            format!("=dst-path={}", self.file.file),
        );
        let follow = Follow {
            lasts_ms: self.file.within_ms,
            rows: None,
        };
        Next::Exchange(Exchange {
            // Its rows are its progress.
            follow: Some(follow),
            ..Exchange::write(super::words(["/tool/fetch", &url, &path].into_iter()))
        })
    }

    pub(super) fn ended(&mut self, end: StepEnd, answer: &Bytes) -> Got {
        Got::Next(match (self.phase, end) {
            (Phase::Listing, StepEnd::Completed) => return self.listed(answer),
            (Phase::Fetching, StepEnd::Completed) => self.came(answer),
            (Phase::Reading, StepEnd::Completed) => return self.read_back(answer),
            (Phase::Removing, StepEnd::NoAnswer(error) | StepEnd::NotSent(error)) => {
                let text = format!("{}, and could not be removed: {}", self.wrong, error.message);
                Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::NotAsWanted, text))
            }
            (Phase::Removing, _) => {
                let text = format!("{}; it was removed", self.wrong);
                Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::NotAsWanted, text))
            }
            // Nothing but a file may have come of it.
            (Phase::Fetching, StepEnd::Trapped(error)) => {
                Next::stop(Outcome::Failed, error).telling(answer.clone())
            }
            (Phase::Fetching, end) => write_failed(end),
            (Phase::Listing | Phase::Asking | Phase::Reading, end) => {
                question_failed(end).telling(answer.clone())
            }
        })
    }

    fn listed(&mut self, answer: &[u8]) -> Got {
        let mut found = None;
        read_rows(answer, |row| {
            // Whatever it made of the filter, other files are not asked for.
            let other = |name: &[u8]| name != self.file.file.as_bytes();
            if row.get(b"name").is_some_and(other) {
                return;
            }
            found = Some(row.get(b"size").and_then(size::parse).unwrap_or(0));
            self.id = row.get(b".id").unwrap_or_default().to_vec();
        });
        self.size = found.unwrap_or(0);
        match (self.size, self.fetched, &self.file.sha256) {
            (1.., _, Some(_)) if self.reads => {
                (self.read, self.hash) = (0, Sha256::new());
                Got::Next(self.read_on())
            }
            (1.., true, _) => Got::There {
                fetched: true,
                size: self.size,
            },
            (0, true, _) => Got::Next(Next::stop(
                Outcome::Failed,
                DeviceError::new(
                    ErrorClass::NotAsWanted,
                    format!(
                        "the router says that it fetched {}, and has no such file",
                        self.file.file
                    ),
                ),
            )),
            // What it is cannot be told: it is fetched again.
            (_, false, _) => Got::Next(self.ask()),
        }
    }

    fn ask(&mut self) -> Next {
        self.phase = Phase::Asking;
        Next::Ask
    }

    fn read_on(&mut self) -> Next {
        self.phase = Phase::Reading;
        let (file, offset, part) = (
            format!("=file={}", self.file.file),
            format!("=offset={}", self.read),
            format!("=chunk-size={PART}"),
        );
        ask(&["/file/read", &file, &offset, &part])
    }

    fn read_back(&mut self, answer: &[u8]) -> Got {
        let part = bytes(answer, "data");
        self.hash.update(&part);
        self.read += part.len() as u64;
        if self.read < self.size && !part.is_empty() {
            return Got::Next(self.read_on());
        }
        let digest = std::mem::take(&mut self.hash).finalize();
        let digest = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        match self.file.sha256.as_deref() {
            Some(wanted) if wanted != digest && self.fetched => {
                self.wrong = format!(
                    "{} is another file: its SHA-256 is {digest}, not {wanted}",
                    self.file.file
                );
                self.phase = Phase::Removing;
                let id = [b"=.id=", &self.id[..]].concat();
                Got::Next(Next::Exchange(Exchange::write(vec![
                    b"/file/remove".to_vec(),
                    id,
                ])))
            }
            Some(wanted) if wanted != digest => Got::Next(self.ask()),
            _ => Got::There {
                fetched: self.fetched,
                size: self.size,
            },
        }
    }

    /// The fetch came to an end: its last row says which.
    fn came(&mut self, answer: &Bytes) -> Next {
        let status = value(answer, "status").unwrap_or_default();
        if status != "finished" {
            let within = Duration::from_millis(self.file.within_ms);
            let text = match status.as_str() {
                "" | "connecting" | "downloading" | "requesting" => {
                    format!("{} was not there within {within:?}: {status}", self.file.file)
                }
                status => format!("the router could not fetch {}: {status}", self.file.file),
            };
            let error = DeviceError::new(ErrorClass::Timeout, text);
            return Next::stop(Outcome::Failed, error).telling(answer.clone());
        }
        self.fetched = true;
        self.begin()
    }
}

/// A file that is to be fetched.
#[derive(Debug)]
pub(super) struct Apply {
    file: Fetch,
    fetching: Option<Fetching>,
}

impl Apply {
    pub(super) fn new(file: Fetch) -> Self {
        Self { file, fetching: None }
    }

    fn got(&self, got: Got) -> Next {
        match got {
            Got::Next(next) => next,
            Got::There { fetched: false, .. } => Next::done(told::done(Vec::new())),
            Got::There { size, .. } => {
                let size = size.to_string();
                let named = [("file", self.file.file.as_str()), ("bytes", &size)];
                Next::done(told::row("fetch", named))
            }
        }
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(&["/system/resource/print", "=.proplist=version"])
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        match &mut self.fetching {
            Some(fetching) => fetching.granted(),
            None => self.begin(around),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        if let Some(fetching) = &mut self.fetching {
            let got = fetching.ended(end, &answer);
            return self.got(got);
        }
        if end != StepEnd::Completed {
            return question_failed(end).telling(answer);
        }
        let version = value(&answer, "version").unwrap_or_default();
        let mut fetching = Fetching::new(self.file.clone(), &version);
        if self.file.sha256.is_some() && !fetching.reads() {
            let text = format!(
                "{} cannot be compared with its SHA-256: the router runs {version}, and files are read back from 7.13 on",
                self.file.file
            );
            return Next::stop(Outcome::Rejected, DeviceError::new(ErrorClass::Plan, text));
        }
        let next = fetching.begin();
        self.fetching = Some(fetching);
        next
    }
}
