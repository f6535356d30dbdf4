//! Loops that keep jobs moving whatever happens. They take no input and may run at any time: what is due is read
//! from the store.

use std::sync::Arc;
use std::time::Duration;

use muster_store::{ExpireJobs, LoseLeases, StoreError};

use crate::{Shared, services};

/// How often time is looked at. Bounds how late an expiry is.
const PERIOD: Duration = Duration::from_millis(200);

/// Runs until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        if let Err(error) = expire(&shared).await {
            tracing::error!(%error, "expiring jobs");
        }
    }
}

/// Gives up on devices of jobs whose time is up.
async fn expire(shared: &Shared) -> Result<(), StoreError> {
    loop {
        let expired = shared
            .store
            .write(ExpireJobs {
                now: shared.clock.now(),
            })
            .await?;
        if expired == 0 {
            return Ok(());
        }
        tracing::info!(expired, "devices given up");
        shared.committed();
        shared.work_appeared();
    }
}

/// After a start: leases of workers that lived inside an engine ended with it. Other workers have a full term to
/// come back and say what they hold.
pub(crate) async fn recover(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let holding = shared.store.sessions_holding().await?;
    let (gone, absent): (Vec<_>, Vec<_>) = holding.into_iter().partition(|(_, boot)| !boot.is_empty());
    let gone = gone.into_iter().map(|(session, _)| session).collect::<Vec<_>>();
    if !gone.is_empty() {
        let lost = shared
            .store
            .write(LoseLeases {
                sessions: gone,
                now: shared.clock.now(),
            })
            .await?;
        tracing::warn!(
            lost,
            "executions taken back from the engine's own worker, which ended with it"
        );
    }
    // Jobs whose laying out was cut off. Nobody can change the inventory before this is done.
    for uuid in shared.store.drafts().await? {
        tracing::warn!(job = uuid, "laying out what is left of a job");
        services::job::lay_out(shared, &uuid).await?;
    }
    for (session, _) in absent {
        end_session(shared, session, shared.lease);
    }
    Ok(())
}

/// A session is over: it gets nothing more, and after `term` its leases are taken from it, unless a new session of
/// the same worker has taken them over by then.
pub(crate) fn end_session(shared: &Arc<Shared>, session: u64, term: Duration) {
    shared.sessions.close(session);
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(term) => {}
            // The next engine finds them and gives them a term of its own.
            () = shared.stop.cancelled() => return,
        }
        loop {
            match shared
                .store
                .write(LoseLeases {
                    sessions: vec![session],
                    now: shared.clock.now(),
                })
                .await
            {
                Ok(0) => return,
                Ok(lost) => {
                    tracing::warn!(session, lost, "executions taken back from a worker that is gone");
                    shared.committed();
                    return shared.work_appeared();
                }
                Err(StoreError::WriterGone) => return,
                Err(error) => tracing::error!(%error, session, "taking executions back"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    });
}
