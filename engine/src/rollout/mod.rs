//! Rollouts: laying their waves, asking at gates. What a rollout does next is taken care of by a reconciler.

mod control;
pub(crate) mod gate;
pub(crate) mod join;
mod lay;
pub(crate) mod probe;
mod question;
mod webhook;

pub(crate) use lay::{Laid, LayError, lay, seed};

use std::sync::Arc;

use muster_engine_core::rollout::ramp;
use muster_store::{AfterChildren, BeginRollout, Begun, RolloutRecord, SpreadWaves, StoreError};
use thiserror::Error;

use crate::Shared;

/// Rows of one commit.
const PART: usize = 10_000;

/// Why a rollout does not begin.
#[derive(Debug, Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lay(#[from] LayError),
    #[error("its plan is gone")]
    NoPlan,
}

/// Spreads the executions of a job that is laid out over its waves, and lets it begin, or wait for approvals. Right at
/// any time, and any number of times: what was done in part before is done again.
pub(crate) async fn begin(shared: &Arc<Shared>, rollout: &RolloutRecord) -> Result<Begun, BeginError> {
    let store = &shared.store;
    let mut records = Vec::new();
    loop {
        let after = records
            .last()
            .map_or(0, |record: &muster_store::DeviceRecord| record.id);
        let page = store.members(rollout.job, after, PART as u32).await?;
        let full = page.len() == PART;
        records.extend(page);
        if !full {
            break;
        }
    }
    let plan = store
        .plan(&rollout.plan_digest)
        .await?
        .ok_or(BeginError::NoPlan)?;
    let found = store.fingerprints(rollout.job).await?;
    let laid = lay(records, &plan, &rollout.policy, rollout.seed, &found)?;
    let uuid = &rollout.uuid;
    let now = shared.clock.now();
    let places = laid.places();
    for part in places.chunks(PART) {
        let spread = SpreadWaves {
            uuid: uuid.clone(),
            places: part.to_vec(),
            from: now,
        };
        store.write(spread).await?;
    }
    for part in laid.pairs().chunks(PART) {
        let after = AfterChildren {
            uuid: uuid.clone(),
            pairs: part.to_vec(),
        };
        store.write(after).await?;
    }
    let pace = rollout
        .policy
        .ramp
        .as_ref()
        .map(|ramp| ramp::begin(ramp, now).concurrency);
    let waves = laid.wave_budgets.iter().enumerate();
    let begin = BeginRollout {
        uuid: uuid.clone(),
        digest: laid.approved.digest(),
        budget: laid.budget,
        waves: waves.map(|(number, budget)| (number as u32, *budget)).collect(),
        pace,
        shut: rollout.break_glass.is_none()
            && !(rollout.policy.windows.is_empty() && rollout.policy.freezes.is_empty()),
        local: laid.local(&rollout.policy),
        wait: rollout.policy.approval.needed > 0 && rollout.break_glass.is_none(),
        now,
    };
    let begun = store.write(begin).await?;
    shared.committed();
    shared.work_appeared();
    shared.reconcilers.rollouts.wake();
    Ok(begun)
}
