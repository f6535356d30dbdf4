//! Jobs that ended long ago are deleted, and those that somebody deletes; and the space goes back to the file system.
//!
//! Everything goes in small batches with pauses of the same length, so that at most half of the writer's time goes
//! into it while others want it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_store::{
    DeleteOld, DeleteOldAudits, ForgetFindings, ForgetOutcomes, ForgetPlans, ForgetRequests, ReturnSpace,
    StoreError, Sweep, SweepAudits, Swept, Write as Operation,
};

use super::{Pass, Reconcile, Reconciler};
use crate::Shared;

/// How often it is looked what has become too old. Deleting a job wakes it at once.
const PERIOD: Duration = Duration::from_secs(60);
/// Free bytes that stay in the file: they would only be taken again.
const SLACK: u64 = 1 << 20;

pub(super) struct Retention;

impl Reconcile for Retention {
    fn told(shared: &Shared) -> &Reconciler {
        &shared.reconcilers.retention
    }

    async fn pass(shared: &Arc<Shared>) -> Result<Pass, StoreError> {
        let mut swept = Swept::default();
        let mut audits = Audits::default();
        if let Some(keep) = shared.keep {
            let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            let before = shared.clock.now().saturating_sub(keep);
            while gently(shared, DeleteOld { before }).await? > 0 {
                sweep(shared, &mut swept).await?;
            }
            audits = Audits::delete_old(shared, before).await?;
        }
        sweep(shared, &mut swept).await?;
        let now = shared.clock.now();
        while gently(shared, ForgetRequests { now }).await? > 0 {}
        let mut plans = 0;
        loop {
            let digests = shared.store.unused_plans().await?;
            if digests.is_empty() {
                break;
            }
            plans += gently(shared, ForgetPlans { digests }).await?;
        }
        let returned = return_space(shared).await?;
        let did = match (swept.jobs, plans, returned, audits.runs + audits.findings) {
            (0, 0, 0, 0) => String::new(),
            (jobs, plans, returned, _) => format!(
                "{jobs} jobs with {} executions, {} answers, {plans} plans, {} audits and {} findings deleted; {returned} bytes \
                 returned",
                swept.executions, swept.answers, audits.runs, audits.findings
            ),
        };
        if !did.is_empty() {
            tracing::info!("{did}");
        }
        Ok(Pass { did, next: PERIOD })
    }
}

/// What was deleted of audits.
#[derive(Default)]
struct Audits {
    runs: u64,
    findings: u64,
}

impl Audits {
    /// Runs that ended before a time, and findings that were closed before it.
    async fn delete_old(shared: &Shared, before: i64) -> Result<Self, StoreError> {
        let mut all = Self::default();
        let mut swept = 0;
        loop {
            let runs = gently(shared, DeleteOldAudits { before }).await?;
            all.runs += runs;
            loop {
                match gently(shared, SweepAudits).await? {
                    0 => break,
                    rows => swept += rows,
                }
            }
            if runs == 0 {
                break;
            }
        }
        if swept > 0 {
            while let Some(unused) = shared.store.unused_outcomes().await? {
                if gently(shared, ForgetOutcomes(unused)).await? == 0 {
                    break;
                }
            }
        }
        loop {
            match gently(shared, ForgetFindings { before }).await? {
                0 => return Ok(all),
                findings => all.findings += findings,
            }
        }
    }
}

async fn sweep(shared: &Shared, all: &mut Swept) -> Result<(), StoreError> {
    loop {
        let swept = gently(shared, Sweep).await?;
        if swept.is_nothing() {
            return Ok(());
        }
        *all += swept;
    }
}

/// Gives free space back, but for a little. Returns how many bytes.
async fn return_space(shared: &Shared) -> Result<u64, StoreError> {
    let mut space = shared.store.space().await?;
    let before = space.database;
    while space.free > SLACK {
        gently(shared, ReturnSpace).await?;
        let now = shared.store.space().await?;
        if now.database == space.database {
            // A database that was made before it could: the next one to open it says what to do.
            break;
        }
        space = now;
    }
    let returned = before.saturating_sub(space.database);
    if returned > 0 {
        shared.store.checkpoint().await?;
    }
    Ok(returned)
}

/// Writes, and waits as long as that took.
async fn gently<W: Operation>(shared: &Shared, operation: W) -> Result<W::Out, StoreError> {
    let began = Instant::now();
    let out = shared.store.write(operation).await?;
    tokio::time::sleep(began.elapsed()).await;
    Ok(out)
}
