//! Handing out work: whoever has credit gets what is ready, in batches that are on disk before they are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_engine_core::Outcome;
use muster_model::limit::Limits;
use muster_model::{DeviceError, ErrorClass};
use muster_proto::v1;
use muster_proto::v1::session_response::Message as Down;
use muster_store::{ApplyReports, Claim, Expected, Lease, Mode, Report, StoreError};
use thiserror::Error;
use tonic::Status;

use crate::sessions::Open;
use crate::{Shared, context, limits, reconcile};

/// Executions in one claim and one message.
const BATCH: usize = 500;
/// How long to wait when nothing is known to become ready: a safety net, not a pace.
const AT_MOST: Duration = Duration::from_secs(1);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Facts older than this are asked for again.
const FACTS_AGE_MS: i64 = 60 * 60 * 1000;

/// For how long `auto` is told what worked before; later it looks anew, so that TLS is found where there is some now.
const WORKED_FOR_MS: i64 = 24 * 60 * 60 * 1000;

/// How long one try to look after an open intent may take to reach the device.
const LOOK_WITHIN_MS: i64 = 30_000;

#[derive(Debug, Error)]
enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a job's plan is missing")]
    NoPlan,
    #[error("the worker is gone, or does not read")]
    Gone,
}

/// Runs until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let (at, began) = (shared.clock.now(), Instant::now());
        let mut handed_out = 0;
        let (wait, did) = loop {
            match round(&shared, &mut handed_out).await {
                Ok(Round::More) => {}
                Ok(Round::Until(at)) => {
                    let left =
                        at.map(|at| Duration::from_millis((at - shared.clock.now()).max(1).unsigned_abs()));
                    let did = match handed_out {
                        0 => String::new(),
                        some => format!("{some} executions handed out"),
                    };
                    break (left.unwrap_or(AT_MOST).min(AT_MOST), Ok(did));
                }
                Err(error) => {
                    tracing::error!(%error, "dispatch");
                    break (AFTER_FAILURE, Err(error.to_string()));
                }
            }
        };
        shared.reconcilers.dispatch.ran(at, began, did, wait);
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

async fn round(shared: &Arc<Shared>, handed_out: &mut usize) -> Result<Round, DispatchError> {
    let sessions = shared.sessions.with_credit();
    let mut next = None;
    let mut more = false;
    let mut capped = false;
    let now = shared.clock.now();
    let claims = sessions.into_iter().map(|open| {
        let Open {
            id,
            zones,
            credit,
            holder,
        } = open;
        let limit = credit.min(BATCH);
        let claim = Claim {
            session: id,
            zones,
            limit,
            now,
            holder,
        };
        async move { (id, limit, shared.store.write(claim).await) }
    });
    let mut failed = None;
    // Side by side, so that they share a commit.
    for (id, limit, claimed) in join_all(claims).await {
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        next = next.into_iter().chain(claimed.next_ready).min();
        more |= claimed.leases.len() == limit;
        capped |= claimed.capped;
        *handed_out += claimed.leases.len();
        if claimed.leases.is_empty() {
            continue;
        }
        shared.sessions.with(id, |session| {
            session.credit = session.credit.saturating_sub(claimed.leases.len());
            session.had_credit = Instant::now();
            session.held = session.held.saturating_add(claimed.leases.len() as u32);
            session.handing_out = true;
        });
        shared.committed();
        // By itself: a worker that is slow to take its batch holds up no other.
        tokio::spawn(hand_out(shared.clone(), id, claimed.leases));
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    // A session that took less than it could has left nothing that it may take; one without credit was not asked.
    shared.starved.store(
        more || capped || shared.sessions.any_not_open(),
        Ordering::Relaxed,
    );
    Ok(if more { Round::More } else { Round::Until(next) })
}

/// Sends leases to their session. If that cannot be done the session is ended, and with it its leases: they have no
/// intent, so that costs nothing.
async fn hand_out(shared: Arc<Shared>, session: u64, leases: Vec<Lease>) {
    if let Err(error) = try_hand_out(&shared, session, leases).await {
        tracing::error!(%error, session, "leases cannot be handed out; the session is ended");
        if let Some(gone) = shared.sessions.close(session) {
            // So that the worker comes back and says what it holds. If it does not read, it finds out by itself.
            let _ = gone.outbox.try_send(Err(Status::unavailable(error.to_string())));
        }
        reconcile::end_session(&shared, session, Duration::ZERO);
    }
    shared
        .sessions
        .with(session, |session| session.handing_out = false);
    shared.work_appeared();
}

async fn try_hand_out(shared: &Shared, session: u64, leases: Vec<Lease>) -> Result<(), DispatchError> {
    let mut message = v1::Assignments {
        plans: plans(shared, session, &leases).await?,
        ..Default::default()
    };
    let mut contexts = context::of(shared, &leases).await?;
    let backups = context::backups(shared, &leases).await?;
    let mut states = context::states(shared, &leases).await?;
    let mut before = context::before(shared, &leases).await?;
    let (mut refused, now) = (Vec::new(), shared.clock.now());
    let limits = shared.limits.get();
    let mut known = BTreeMap::new();
    for lease in leases {
        if lease.expected == Expected::Unseen && lease.resolve.is_none() {
            let reason = "the preview did not read this device; nothing was written. Preview again";
            refused.push(refusal(&lease, ErrorClass::Drift, reason.to_owned(), now));
            continue;
        }
        let name = lease.credential.clone();
        if !known.contains_key(&name) {
            known.insert(name.clone(), credential(shared, session, &name).await?);
        }
        match known.get_mut(&name) {
            Some(Ok(_)) if let Some(reason) = another_router(&lease) => {
                refused.push(refusal(&lease, ErrorClass::Identity, reason, now));
            }
            Some(Ok(found)) => {
                message.credentials.extend(found.take());
                let context = contexts.remove(&lease.device);
                let backup_age_ms = backups
                    .get(&lease.device)
                    .map(|at| (now - at).max(0).unsigned_abs());
                message.assignments.push(v1::Assignment {
                    context,
                    backup_age_ms,
                    states: states.remove(&lease.execution).unwrap_or_default(),
                    before: before.remove(&lease.execution).unwrap_or_default(),
                    ..assignment(lease, &limits, now)
                });
            }
            Some(Err(reason)) => refused.push(refusal(&lease, ErrorClass::Auth, reason.clone(), now)),
            None => {}
        }
    }
    if !refused.is_empty() {
        // The worker hears nothing of them: there is room for as many others.
        let count = refused.len();
        shared.sessions.with(session, |session| {
            session.credit += count;
            session.held = session.held.saturating_sub(count as u32);
        });
        shared
            .store
            .write(ApplyReports {
                reports: refused,
                now,
            })
            .await?;
        shared.committed();
    }
    let outbox = shared
        .sessions
        .with(session, |session| session.outbox.clone())
        .ok_or(DispatchError::Gone)?;
    let message = v1::SessionResponse {
        message: Some(Down::Assignments(message)),
    };
    outbox
        .send_timeout(Ok(message), shared.lease)
        .await
        .map_err(|_| DispatchError::Gone)
}

/// Plans of these leases that the session has not been sent yet.
async fn plans(
    shared: &Shared,
    session: u64,
    leases: &[Lease],
) -> Result<Vec<v1::AssignedPlan>, DispatchError> {
    let digests = leases
        .iter()
        .map(|lease| lease.plan_digest.clone())
        .collect::<BTreeSet<_>>();
    let mut plans = Vec::new();
    for digest in digests {
        let new = shared
            .sessions
            .with(session, |session| session.plans.insert(digest.clone()));
        if new == Some(true) {
            let plan = shared.store.plan(&digest).await?.ok_or(DispatchError::NoPlan)?;
            plans.push(v1::AssignedPlan {
                digest,
                plan: Some((&plan).into()),
            });
        }
    }
    Ok(plans)
}

/// A credential as the session needs it: nothing when it has it already, a reason when it cannot be had. A password
/// that cannot be unsealed stops the devices that need it, and no others.
async fn credential(
    shared: &Shared,
    session: u64,
    name: &str,
) -> Result<Result<Option<v1::AssignedCredential>, String>, DispatchError> {
    let Some(record) = shared.store.credential(name).await? else {
        return Ok(Err(format!("there is no credential {name:?}")));
    };
    let sent = shared
        .sessions
        .with(session, |session| session.credentials.get(name).copied())
        .flatten();
    if sent == Some(record.version) {
        return Ok(Ok(None));
    }
    let password = match shared.seal.unseal(name, &record.sealed) {
        Ok(password) => password,
        Err(error) => return Ok(Err(error.to_string())),
    };
    shared.sessions.with(session, |session| {
        session.credentials.insert(name.to_owned(), record.version)
    });
    Ok(Ok(Some(v1::AssignedCredential {
        name: name.to_owned(),
        username: record.username,
        password: password.to_string(),
    })))
}

/// Why a device is not sent a change: another router answered at its address.
fn another_router(lease: &Lease) -> Option<String> {
    let offered = lease
        .offered_serial
        .as_deref()
        .filter(|_| !lease.effect.is_read())?;
    let known = lease.serial.as_deref().unwrap_or_default();
    let name = &lease.device_name;
    Some(format!(
        "another router answers: its serial number is {offered}, and the device was known by {known}; \
         muster device trust {name} accepts it"
    ))
}

fn refusal(lease: &Lease, class: ErrorClass, reason: String, now: i64) -> Report {
    Report {
        execution: lease.execution,
        epoch: lease.epoch,
        outcome: match class {
            ErrorClass::Drift => Outcome::Rejected,
            _ => Outcome::Failed,
        },
        error: Some(DeviceError::new(class, reason)),
        steps_done: lease.first_step,
        first_step: lease.first_step,
        replies: Vec::new(),
        fingerprint: None,
        started_at: now,
    }
}

fn assignment(lease: Lease, limits: &Limits, now: i64) -> v1::Assignment {
    let (in_flight, paced) = limits::care(limits, &lease);
    let left = match lease.resolve {
        // An open question has a deadline of its own; the job's may be over.
        Some(_) => LOOK_WITHIN_MS,
        None => lease.expires_at - now,
    };
    v1::Assignment {
        first_step: lease.resolve.unwrap_or(lease.first_step),
        resolve: lease.resolve.is_some(),
        execution: lease.execution,
        epoch: lease.epoch,
        plan_digest: lease.plan_digest,
        device: lease.device,
        address: lease.address,
        port: lease.port.into(),
        credential: lease.credential,
        timeout_ms: lease.timeout_ms,
        expires_in_ms: left.max(1).unsigned_abs(),
        want_facts: lease.facts_at.is_none_or(|at| now - at > FACTS_AGE_MS),
        transport: lease.transport,
        tls: lease.tls.unwrap_or_default(),
        pin: lease.pin.unwrap_or_default(),
        ports: lease.ports,
        worked: lease
            .worked
            .filter(|(_, at)| now - at < WORKED_FOR_MS)
            .map(|(worked, _)| worked)
            .unwrap_or_default(),
        serial: lease.serial.unwrap_or_default(),
        preview: lease.mode == Mode::Preview,
        measure: lease.measures,
        open_ms: lease.intent_at.map_or(0, |at| (now - at).max(1).unsigned_abs()),
        memo: lease.memo,
        fingerprint: match lease.expected {
            Expected::AsFound(found) => found,
            Expected::Anything | Expected::Unseen => Vec::new(),
        },
        zone: lease.zone,
        in_flight,
        paced,
        job: lease.job,
        device_name: lease.device_name,
        ..Default::default()
    }
}
