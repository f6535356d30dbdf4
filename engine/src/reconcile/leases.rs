//! Leases belong to sessions: those of a session that is over are taken back after a term, unless a new session of
//! the same worker has taken them over by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_store::{LoseLeases, StoreError};

use super::{Pass, Reconcile, Reconciler};
use crate::{Shared, services};

/// How often the store is looked through for sessions that hold leases and are not there. None should be: they are
/// noted as they end.
const PERIOD: Duration = Duration::from_secs(5);

/// Sessions that are over, and when their leases are taken from them.
#[derive(Debug, Default)]
pub(crate) struct Ended(Mutex<BTreeMap<u64, Instant>>);

impl Ended {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> Vec<u64> {
        let now = Instant::now();
        let ended = self.lock();
        let due = ended.iter().filter(|(_, at)| **at <= now);
        due.map(|(session, _)| *session).collect()
    }

    fn next(&self) -> Option<Duration> {
        let first = self.lock().values().min().copied();
        first.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// A session is over: it gets nothing more, and after `term` its leases are taken from it.
pub(crate) fn end_session(shared: &Shared, session: u64, term: Duration) {
    shared.sessions.close(session);
    note(shared, session, term);
    shared.reconcilers.leases.wake();
}

fn note(shared: &Shared, session: u64, term: Duration) {
    let at = Instant::now() + term;
    let mut ended = shared.ended.lock();
    let noted = ended.entry(session).or_insert(at);
    *noted = at.min(*noted);
}

/// After a start: leases of workers that lived inside an engine ended with it. Other workers have a full term to
/// come back and say what they hold.
pub(crate) async fn recover(shared: &Shared) -> Result<(), StoreError> {
    for (session, boot) in shared.store.sessions_holding().await? {
        let term = if boot.is_empty() {
            shared.lease
        } else {
            Duration::ZERO
        };
        note(shared, session, term);
    }
    take_back(shared).await?;
    // Jobs whose laying out was cut off. Nobody can change the inventory before this is done.
    for uuid in shared.store.drafts().await? {
        tracing::warn!(job = uuid, "laying out what is left of a job");
        services::job::lay_out(shared, &uuid).await?;
    }
    Ok(())
}

/// Takes the leases of sessions whose term is over; returns how many.
async fn take_back(shared: &Shared) -> Result<u64, StoreError> {
    let due = shared.ended.due();
    if due.is_empty() {
        return Ok(0);
    }
    let lost = shared
        .store
        .write(LoseLeases {
            sessions: due.clone(),
            now: shared.clock.now(),
        })
        .await;
    let mut ended = shared.ended.lock();
    match &lost {
        Ok(_) => ended.retain(|session, _| !due.contains(session)),
        // While the store could not write, the worker could not come back either: it has a term from now on.
        Err(_) => ended.extend(
            due.into_iter()
                .map(|session| (session, Instant::now() + shared.lease)),
        ),
    }
    lost
}

pub(super) struct Leases;

impl Reconcile for Leases {
    fn told(shared: &Shared) -> &Reconciler {
        &shared.reconcilers.leases
    }

    async fn pass(shared: &Arc<Shared>) -> Result<Pass, StoreError> {
        for (session, _) in shared.store.sessions_holding().await? {
            // One that is just being opened is not there yet either: it is by the time its term is over.
            if !shared.sessions.is_open(session) {
                let known = shared.ended.lock().contains_key(&session);
                if !known {
                    note(shared, session, shared.lease.max(PERIOD));
                }
            }
        }
        shared
            .ended
            .lock()
            .retain(|session, _| !shared.sessions.is_open(*session));
        let lost = take_back(shared).await?;
        if lost > 0 {
            tracing::warn!(lost, "executions taken back from workers that are gone");
            shared.committed();
            shared.work_appeared();
        }
        let did = match lost {
            0 => String::new(),
            lost => format!("{lost} executions taken back"),
        };
        let next = shared.ended.next().map_or(PERIOD, |next| next.min(PERIOD));
        Ok(Pass { did, next })
    }
}
