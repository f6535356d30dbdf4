//! The workers that are connected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_engine_core::explain::Workers;
use muster_proto::v1;
use muster_store::{Holder, Zones};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tonic::Status;

/// Sessions by their number.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<u64, Session>>);

/// A connected worker.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) worker: String,
    pub(crate) instance: String,
    /// Whether it keeps connections without work.
    pub(crate) is_keeping: bool,
    /// Whether it lives in the engine's process.
    pub(crate) is_inside: bool,
    pub(crate) zones: Zones,
    pub(crate) slots: u32,
    /// Executions it holds: what it says, and what it was given and told since.
    pub(crate) held: u32,
    /// The last one.
    pub(crate) heartbeat: v1::Heartbeat,
    /// How many more executions it takes.
    pub(crate) credit: usize,
    pub(crate) draining: bool,
    /// Whether a batch is on its way to it: batches go one after the other, so that a plan is there before it is
    /// named.
    pub(crate) handing_out: bool,
    pub(crate) outbox: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    /// Plans it has been sent.
    pub(crate) plans: HashSet<Vec<u8>>,
    /// Credentials it has been sent, with the version of each.
    pub(crate) credentials: HashMap<String, i64>,
    /// When it last had credit.
    pub(crate) had_credit: Instant,
}

/// A worker without credit for so long has something that keeps it: others may have its devices.
const STUCK_AFTER: Duration = Duration::from_secs(1);

impl Session {
    fn is_open(&self) -> bool {
        self.credit > 0 && !self.draining && !self.handing_out
    }

    /// The process as a number.
    fn holder(&self) -> i64 {
        holder(&self.instance)
    }

    /// Whether devices whose connections it has are left to it.
    fn keeps(&self) -> bool {
        !self.draining && (self.credit > 0 || self.had_credit.elapsed() < STUCK_AFTER)
    }
}

/// A worker's process as a number: the same whenever it comes back.
fn holder(instance: &str) -> i64 {
    let digest = Sha256::digest(instance);
    let first = digest.iter().take(8);
    first.fold(0, |number, byte| (number << 8) | i64::from(*byte))
}

/// The zones that two sessions both serve: none when there are none, `None` in it for all of them.
fn shared_zones(one: &Zones, other: &Zones) -> Vec<Option<String>> {
    match (one, other) {
        (Zones::Rest, Zones::Rest) => vec![None],
        (Zones::Named(one), Zones::Named(other)) => {
            let shared = one.iter().filter(|zone| other.contains(zone));
            shared.cloned().map(Some).collect()
        }
        // What is served by name is not of the rest.
        (Zones::Named(_), Zones::Rest) | (Zones::Rest, Zones::Named(_)) => Vec::new(),
    }
}

/// A worker, and those that keep connections in the same zones.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) worker: i64,
    /// Each with a zone that both serve, or for all zones.
    pub(crate) others: Vec<(i64, Option<String>)>,
}

/// A session that can take work.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) id: u64,
    pub(crate) zones: Zones,
    pub(crate) credit: usize,
    pub(crate) holder: Option<Holder>,
}

/// Who has the connections of what a session takes, and whose devices it leaves alone. `None` for a worker inside the engine
/// that is alone: then there is nobody to tell it from.
fn beside(sessions: &BTreeMap<u64, Session>, id: u64, session: &Session) -> Option<Holder> {
    let others = sessions.iter().filter(|(other, _)| **other != id);
    let mut beside = Vec::new();
    for (_, other) in others.filter(|(_, other)| other.keeps() && other.instance != session.instance) {
        let zones = shared_zones(&session.zones, &other.zones);
        beside.extend(zones.into_iter().map(|zone| (other.holder(), zone)));
    }
    if sessions.len() == 1 && session.is_inside {
        return None;
    }
    Some(Holder {
        worker: session.holder(),
        beside,
    })
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self, id: u64, session: Session) {
        self.lock().insert(id, session);
    }

    pub(crate) fn close(&self, id: u64) -> Option<Session> {
        self.lock().remove(&id)
    }

    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.lock().contains_key(&id)
    }

    /// Does something with a session that is still open.
    pub(crate) fn with<T>(&self, id: u64, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.lock().get_mut(&id).map(act)
    }

    /// Sessions of a worker's process before this one. One after it has more say: this one was begun and given up.
    pub(crate) fn before(&self, instance: &str, id: u64) -> Vec<u64> {
        let sessions = self.lock();
        let others = sessions
            .iter()
            .filter(|(other, session)| **other < id && session.instance == instance);
        others.map(|(other, _)| *other).collect()
    }

    /// Sessions that can take work, the one that can take most first.
    pub(crate) fn with_credit(&self) -> Vec<Open> {
        let sessions = self.lock();
        let open = sessions.iter().filter(|(_, session)| session.is_open());
        let mut open = open
            .map(|(id, session)| Open {
                id: *id,
                zones: session.zones.clone(),
                credit: session.credit,
                holder: beside(&sessions, *id, session),
            })
            .collect::<Vec<_>>();
        open.sort_by_key(|session| std::cmp::Reverse(session.credit));
        open
    }

    /// Who shares with a session the connections that are kept. `None` when it is gone.
    pub(crate) fn part(&self, id: u64) -> Option<Part> {
        let sessions = self.lock();
        let session = sessions.get(&id)?;
        let others = sessions.iter().filter(|(other, _)| **other != id);
        let others = others.filter(|(_, other)| other.is_keeping && !other.draining);
        let shared = others.flat_map(|(_, other)| {
            let zones = shared_zones(&session.zones, &other.zones).into_iter();
            zones.map(|zone| (other.holder(), zone))
        });
        Some(Part {
            worker: session.holder(),
            others: shared.collect(),
        })
    }

    /// Those that a session shares zones with, and how many they are with it. `None` when there are none.
    pub(crate) fn sharing(&self, id: u64) -> Option<(Holder, u32)> {
        let sessions = self.lock();
        let holder = beside(&sessions, id, sessions.get(&id)?)?;
        let others = holder
            .beside
            .iter()
            .map(|(worker, _)| worker)
            .collect::<HashSet<_>>();
        let among = others.len() as u32 + 1;
        (among > 1).then_some((holder, among))
    }

    /// Workers that serve a zone and take work. `named` are the zones that a worker has served by name.
    pub(crate) fn serving(&self, zone: &str, named: &[String]) -> Workers {
        let serves = |session: &&Session| match &session.zones {
            Zones::Named(zones) => zones.iter().any(|served| served == zone),
            Zones::Rest => !named.iter().any(|named| named == zone),
        };
        let mut workers = Workers::default();
        for session in self
            .lock()
            .values()
            .filter(|session| !session.draining)
            .filter(serves)
        {
            workers.serving.push(session.worker.clone());
            workers.credit += session.credit;
        }
        workers
    }

    /// The way to each worker.
    pub(crate) fn outboxes(&self) -> Vec<mpsc::Sender<Result<v1::SessionResponse, Status>>> {
        self.lock()
            .values()
            .map(|session| session.outbox.clone())
            .collect()
    }

    /// Whether a session could not be asked to take anything.
    pub(crate) fn any_not_open(&self) -> bool {
        self.lock().values().any(|session| !session.is_open())
    }

    pub(crate) fn status(&self) -> Vec<v1::WorkerStatus> {
        let status = |session: &Session| v1::WorkerStatus {
            name: session.worker.clone(),
            zones: match &session.zones {
                Zones::Named(zones) => zones.clone(),
                Zones::Rest => Vec::new(),
            },
            slots: session.slots,
            held: session.held,
            waiting: session.heartbeat.waiting,
            sessions: session.heartbeat.sessions,
            most_sessions: session.heartbeat.most_sessions,
            answer_bytes: session.heartbeat.answer_bytes,
            session_bytes: session.heartbeat.session_bytes,
            kept: session.heartbeat.kept,
            kept_open: session.heartbeat.kept_open,
        };
        self.lock().values().map(status).collect()
    }
}
