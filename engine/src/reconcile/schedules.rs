//! What begins by the clock. Which occurrence begins is decided by the core and on disk before it begins.

use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::schedule::decide;
use muster_store::{MoveSchedule, ScheduleRecord, StoreError};

use super::rollouts::wall_clock;
use super::{Pass, Reconcile, Reconciler};
use crate::Shared;
use crate::schedule::{self, Schedule};

/// While there are schedules. Bounds how late an occurrence is.
const PERIOD: Duration = Duration::from_millis(500);
/// While there are none: one that is added wakes it.
const IDLE: Duration = Duration::from_secs(30);
/// Schedules read at once.
const PAGE: u32 = 500;

pub(super) struct Schedules;

impl Reconcile for Schedules {
    fn told(shared: &Shared) -> &Reconciler {
        &shared.reconcilers.schedules
    }

    async fn pass(shared: &Arc<Shared>) -> Result<Pass, StoreError> {
        let mut did = Vec::new();
        // What was to begin before the engine was last killed, first.
        begin(shared, &mut did).await?;
        let (mut after, mut any) = (String::new(), false);
        loop {
            let page = shared.store.schedules(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.name);
            any = true;
            for record in &page {
                did.extend(step(shared, record).await?);
            }
        }
        begin(shared, &mut did).await?;
        Ok(Pass {
            did: did.join("; "),
            next: if any { PERIOD } else { IDLE },
        })
    }
}

async fn begin(shared: &Arc<Shared>, did: &mut Vec<String>) -> Result<(), StoreError> {
    for start in shared.store.starting().await? {
        let told = schedule::begin(shared, &start, wall_clock()).await?;
        did.extend(Some(told).filter(|told| !told.is_empty()));
    }
    Ok(())
}

/// Decides on what is due.
async fn step(shared: &Arc<Shared>, record: &ScheduleRecord) -> Result<Option<String>, StoreError> {
    let schedule = match Schedule::stored(record) {
        Ok(schedule) => schedule,
        Err(error) => {
            // Others are not held up by it.
            tracing::error!(schedule = record.name, %error, "a schedule cannot be read");
            return Ok(None);
        }
    };
    let now = wall_clock();
    let decision = decide(&schedule.standing(record), now);
    if decision.cancel {
        schedule::cancel(shared, record).await?;
    }
    if decision.after == record.after && decision.start.is_none() && decision.waiting == record.waiting {
        return Ok(None);
    }
    let skipped = decision.skips.iter().map(|skip| skip.count).sum::<u64>();
    for skip in &decision.skips {
        tracing::info!(
            schedule = record.name,
            count = skip.count,
            why = skip.why.as_str(),
            "skipped"
        );
    }
    let change = MoveSchedule {
        schedule: record.id,
        from: record.after,
        after: decision.after,
        waiting: decision.waiting,
        skips: decision.skips,
        start: decision.start.map(|at| (at, String::new())),
        now,
    };
    shared.store.write(change).await?;
    Ok((skipped > 0).then(|| format!("{}: {skipped} skipped", record.name)))
}
