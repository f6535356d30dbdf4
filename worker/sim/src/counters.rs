//! How much a fleet has been asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::route::Route;

/// A snapshot of the counters of a fleet, all since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Commands by path, `/login` included; those that lead nowhere under `unknown`. Commands before login and
    /// commands that a fault swallows are counted too.
    pub commands: BTreeMap<String, u64>,
    /// Connections accepted on a device's address.
    pub connections_accepted: u64,
    /// Connections refused because no device has the address.
    pub connections_refused: u64,
    /// Logins refused.
    pub failed_logins: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Mutating commands executed: as many as the journal has had entries.
    pub mutating_commands: u64,
    /// Connections open now.
    pub open: u64,
    /// The most connections that were open at once.
    pub peak_open: u64,
    /// Sentences read, the empty ones left out.
    pub sentences: u64,
}

#[derive(Debug)]
pub(crate) struct LiveCounters {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    commands: [AtomicU64; Route::SLOTS],
    commands_unknown: AtomicU64,
    connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) failed_logins: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) mutating_commands: AtomicU64,
    open: AtomicU64,
    peak_open: AtomicU64,
    pub(crate) sentences: AtomicU64,
}

/// Adds to a counter. Nothing is ordered by counters, so they are relaxed.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

impl LiveCounters {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            bytes_in: zero(),
            bytes_out: zero(),
            commands: [const { AtomicU64::new(0) }; Route::SLOTS],
            commands_unknown: zero(),
            connections_accepted: zero(),
            connections_refused: zero(),
            failed_logins: zero(),
            logins: zero(),
            mutating_commands: zero(),
            open: zero(),
            peak_open: zero(),
            sentences: zero(),
        }
    }

    pub(crate) fn opened(&self) {
        add(&self.connections_accepted, 1);
        let open = self.open.fetch_add(1, Relaxed) + 1;
        self.peak_open.fetch_max(open, Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(crate) fn command(&self, route: Option<Route>) {
        match route {
            Some(route) => add(&self.commands[route.slot()], 1),
            None => add(&self.commands_unknown, 1),
        }
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let known = self.commands.iter().enumerate();
        let known = known.map(|(slot, count)| (Route::path_of(slot), count.load(Relaxed)));
        let unknown = ("unknown".to_owned(), self.commands_unknown.load(Relaxed));
        Counters {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            commands: known.chain([unknown]).filter(|(_, count)| *count > 0).collect(),
            connections_accepted: self.connections_accepted.load(Relaxed),
            connections_refused: self.connections_refused.load(Relaxed),
            failed_logins: self.failed_logins.load(Relaxed),
            logins: self.logins.load(Relaxed),
            mutating_commands: self.mutating_commands.load(Relaxed),
            open: self.open.load(Relaxed),
            peak_open: self.peak_open.load(Relaxed),
            sentences: self.sentences.load(Relaxed),
        }
    }
}
