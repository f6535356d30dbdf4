//! Handing out work: whoever has credit gets what is ready, in batches that are on disk before they are sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use muster_proto::v1;
use muster_proto::v1::session_response::Message as Down;
use muster_store::{Claim, Lease, StoreError};
use thiserror::Error;

use crate::seal::SealError;
use crate::sessions::Open;
use crate::{Shared, reconcile};

/// Executions in one claim and one message.
const BATCH: usize = 250;
/// How long to wait when nothing is known to become ready: a safety net, not a pace.
const AT_MOST: Duration = Duration::from_secs(1);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Facts older than this are asked for again.
const FACTS_AGE_MS: i64 = 60 * 60 * 1000;

#[derive(Debug, Error)]
enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("plan or credential of a lease is missing: {0}")]
    Missing(String),
}

/// Runs until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let wait = match round(&shared).await {
            Ok(Round::More) => continue,
            Ok(Round::Until(at)) => {
                let left =
                    at.map(|at| Duration::from_millis((at - shared.clock.now()).max(1).unsigned_abs()));
                left.unwrap_or(AT_MOST).min(AT_MOST)
            }
            Err(error) => {
                tracing::error!(%error, "dispatch");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = shared.work.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

enum Round {
    /// Something was handed out; there may be more.
    More,
    /// Nothing to hand out before this time is known to come.
    Until(Option<i64>),
}

async fn round(shared: &Arc<Shared>) -> Result<Round, DispatchError> {
    let sessions = shared.sessions.with_credit();
    let mut next = None;
    let mut more = false;
    for Open { id, zones, credit } in sessions {
        let limit = credit.min(BATCH);
        let claim = Claim {
            session: id,
            zones,
            limit,
            now: shared.clock.now(),
        };
        let claimed = shared.store.write(claim).await?;
        next = next.into_iter().chain(claimed.next_ready).min();
        more |= claimed.leases.len() == limit;
        if claimed.leases.is_empty() {
            continue;
        }
        shared.sessions.with(id, |session| {
            session.credit = session.credit.saturating_sub(claimed.leases.len());
        });
        shared.committed();
        hand_out(shared, id, claimed.leases).await;
    }
    // A session that took less than it could has left nothing that it may take; one without credit was not asked.
    shared
        .starved
        .store(more || shared.sessions.any_without_credit(), Ordering::Relaxed);
    Ok(if more { Round::More } else { Round::Until(next) })
}

/// Sends leases to their session. If that cannot be done, they are taken back as if the session were lost: they
/// have no intent, so that costs nothing.
async fn hand_out(shared: &Arc<Shared>, session: u64, leases: Vec<Lease>) {
    let count = leases.len();
    let message = match assignments(shared, session, leases).await {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, session, "leases cannot be handed out; the session is ended");
            return reconcile::end_session(shared, session, Duration::ZERO);
        }
    };
    let outbox = shared.sessions.with(session, |session| session.outbox.clone());
    let message = v1::SessionResponse {
        message: Some(Down::Assignments(message)),
    };
    let sent = match outbox {
        Some(outbox) => outbox.send(Ok(message)).await.is_ok(),
        None => false,
    };
    if !sent {
        tracing::debug!(session, count, "the session ended while leases were handed out");
        reconcile::end_session(shared, session, Duration::ZERO);
    }
}

async fn assignments(
    shared: &Shared,
    session: u64,
    leases: Vec<Lease>,
) -> Result<v1::Assignments, DispatchError> {
    let mut message = v1::Assignments::default();
    let digests = leases
        .iter()
        .map(|lease| lease.plan_digest.clone())
        .collect::<BTreeSet<_>>();
    for digest in digests {
        let known = shared
            .sessions
            .with(session, |session| session.plans.contains(&digest))
            .unwrap_or(true);
        if !known {
            let plan = shared.store.plan(&digest).await?;
            let plan = plan.ok_or_else(|| DispatchError::Missing("plan".into()))?;
            shared
                .sessions
                .with(session, |session| session.plans.insert(digest.clone()));
            message.plans.push(v1::AssignedPlan {
                digest,
                plan: Some((&plan).into()),
            });
        }
    }
    let names = leases
        .iter()
        .map(|lease| lease.credential.as_str())
        .collect::<BTreeSet<_>>();
    for name in names {
        let record = shared.store.credential(name).await?;
        let record = record.ok_or_else(|| DispatchError::Missing(format!("credential {name:?}")))?;
        let sent = shared.sessions.with(session, |session| {
            session.credentials.insert(name.to_owned(), record.version)
        });
        if sent.flatten() != Some(record.version) {
            let password = shared.seal.unseal(name, &record.sealed)?;
            message.credentials.push(v1::AssignedCredential {
                name: name.to_owned(),
                username: record.username,
                password: password.to_string(),
            });
        }
    }
    let now = shared.clock.now();
    message.assignments = leases.into_iter().map(|lease| assignment(lease, now)).collect();
    Ok(message)
}

fn assignment(lease: Lease, now: i64) -> v1::Assignment {
    v1::Assignment {
        execution: lease.execution,
        epoch: lease.epoch,
        plan_digest: lease.plan_digest,
        device: lease.device,
        address: lease.address,
        port: lease.port.into(),
        credential: lease.credential,
        timeout_ms: lease.timeout_ms,
        expires_in_ms: (lease.expires_at - now).max(1).unsigned_abs(),
        want_facts: lease.facts_at.is_none_or(|at| now - at > FACTS_AGE_MS),
        transport: lease.transport,
    }
}
