//! What the devices of a fleet really did: every mutating command that one executed, in order.
//!
//! The journal is the witness of tests that ask how often something was done. A command that a fault swallowed is
//! not in it; a command whose answer a fault swallowed is.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use routeros_wire::Sentence;
use serde::{Deserialize, Serialize};

use crate::escape::escape;

/// Entries kept; the oldest go first. A million entries of a usual size are some 300 MB.
pub const JOURNAL_ENTRIES: usize = 1_000_000;

/// One executed mutating command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Position in the journal, from 1; not reused after a clearing.
    pub seq: u64,
    /// Milliseconds since the fleet was started.
    pub at_ms: u64,
    /// Index of the device.
    pub device: usize,
    /// Address of the device.
    pub address: Ipv4Addr,
    /// The device's name before the command.
    pub identity: String,
    /// The words of the command in their order, the `.tag` left out, escaped with [`escape`](crate::escape).
    pub words: Vec<String>,
    /// How it ended.
    pub result: CommandResult,
    /// What the trap said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandResult {
    /// It was done.
    Done,
    /// It was refused, and the device is as it was.
    Trap,
}

#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    entries: VecDeque<JournalEntry>,
    last_seq: u64,
}

impl Journal {
    /// Appends an entry and gives it its number.
    pub(crate) fn append(&self, entry: JournalEntry) {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        journal.last_seq += 1;
        let seq = journal.last_seq;
        if journal.entries.len() == JOURNAL_ENTRIES {
            journal.entries.pop_front();
        }
        journal.entries.push_back(JournalEntry { seq, ..entry });
    }

    /// The entries of one device or of all, after the entry `since`.
    pub(crate) fn entries(&self, device: Option<usize>, since: u64) -> Vec<JournalEntry> {
        let journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            |entry: &&JournalEntry| entry.seq > since && device.is_none_or(|device| entry.device == device);
        journal.entries.iter().filter(wanted).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        journal.entries.clear();
    }
}

/// The words of a command as the journal shows them.
pub(crate) fn words(request: Sentence<'_>) -> Vec<String> {
    let words = request.words().filter(|word| !word.starts_with(b".tag="));
    words.map(escape).collect()
}
