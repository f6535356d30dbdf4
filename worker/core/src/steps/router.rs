//! What the steps that interrupt a router ask of it.

use std::time::Duration;

use muster_model::check::number;
use routeros_wire::value::{duration, size};
use routeros_wire::{Kind, Limits, decode_all};

use super::Next;
use super::restart::SETTLES;
use crate::action::Exchange;
use crate::diff::read_rows;

/// The question that [`Router`] is read from.
pub(super) const RESOURCE: &[&str] = &[
    "/system/resource/print",
    "=.proplist=version,uptime,free-hdd-space,architecture-name,board-name,factory-software",
];

/// A router as it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// Without its channel: `7.16.2`.
    pub(super) version: String,
    pub(super) uptime: Duration,
    pub(super) architecture: String,
    pub(super) free_disk: Option<u64>,
    /// The version it was made with.
    pub(super) factory: Option<String>,
}

impl Router {
    /// Out of the answer to [`RESOURCE`]; `None` when that is not one of a router that has come up (facts §2, boot race).
    pub(super) fn read(answer: &[u8]) -> Option<Self> {
        let mut router = None;
        read_rows(answer, |row| {
            let text = |name: &[u8]| {
                let value = row.get(name).filter(|value| !value.is_empty())?;
                Some(String::from_utf8_lossy(value).into_owned())
            };
            let version = text(b"version").and_then(|version| plain(&version));
            let uptime = row.get(b"uptime").and_then(duration::parse);
            router = version
                .zip(uptime)
                .zip(text(b"board-name"))
                .map(|((version, uptime), _)| Self {
                    version,
                    uptime,
                    architecture: text(b"architecture-name").unwrap_or_default(),
                    free_disk: row.get(b"free-hdd-space").and_then(size::parse),
                    factory: text(b"factory-software").and_then(|version| plain(&version)),
                });
        });
        router
    }

    /// Whether it came up so lately that what it does not have yet may come.
    pub(super) fn settles(&self) -> bool {
        self.uptime < SETTLES
    }

    /// Whether it is no RouterBOARD for certain: those have other processors.
    pub(super) fn is_a_computer(&self) -> bool {
        self.architecture.starts_with("x86")
    }

    /// Whether it runs this version.
    pub(super) fn runs(&self, version: &str) -> bool {
        number(&self.version) == number(version)
    }

    /// Whether it runs an older one.
    pub(super) fn is_older_than(&self, version: &str) -> bool {
        number(&self.version) < number(version)
    }
}

/// A version without its channel, if it is one.
fn plain(text: &str) -> Option<String> {
    let version = text.split_whitespace().next()?;
    number(version).map(|_| version.to_owned())
}

pub(super) fn ask(words: &[&str]) -> Next {
    Next::Exchange(Exchange::question(super::words(words.iter().copied())))
}

pub(super) fn prove(words: &[&str]) -> Next {
    Next::Exchange(Exchange::proof(super::words(words.iter().copied())))
}

pub(super) fn write(words: &[&str]) -> Next {
    Next::Exchange(Exchange::write(super::words(words.iter().copied())))
}

/// The value of a property in the answer's last row that has it.
pub(super) fn value(answer: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    read_rows(answer, |row| {
        if let Some(value) = row.get(name.as_bytes()) {
            found = Some(String::from_utf8_lossy(value).into_owned());
        }
    });
    found
}

/// The same in any row or in the last sentence, as bytes.
pub(super) fn bytes(answer: &[u8], name: &str) -> Vec<u8> {
    let mut found = Vec::new();
    // Written by the session, sentence by sentence, within the same limits: it decodes.
    let _ = decode_all(answer, Limits::default(), |sentence| {
        if matches!(sentence.kind(), Kind::Re | Kind::Done) {
            found.extend_from_slice(sentence.get(name.as_bytes()).unwrap_or_default());
        }
    });
    found
}

/// Whether a value says yes.
pub(super) fn is_yes(value: Option<&str>) -> bool {
    value.is_some_and(|value| routeros_wire::value::boolean(value.as_bytes()) == Some(true))
}
