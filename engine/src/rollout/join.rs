//! Devices that come to match a rollout's selector after it has begun join its last open wave (B3).

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use muster_model::policy::Membership;
use muster_model::{Selector, SelectorError};
use muster_store::{JoinWave, RolloutRecord, StoreError};

use crate::Shared;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Devices taken in by one commit.
const MOST: u32 = 1000;

/// Takes in who is new. What it did, in words.
pub(crate) async fn join(
    shared: &Arc<Shared>,
    rollout: &RolloutRecord,
) -> Result<Option<String>, StoreError> {
    if rollout.policy.membership != Membership::Continuous {
        return Ok(None);
    }
    {
        let now = Instant::now();
        let mut looked = shared.joined.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|_, at| now - *at < LOOK);
        if looked.contains_key(&rollout.job) {
            return Ok(None);
        }
        looked.insert(rollout.job, now);
    }
    let corrupt = |error: SelectorError| StoreError::Corrupt(format!("job {}: {error}", rollout.uuid));
    let selector = match rollout.selector.is_empty() {
        true => Selector::default(),
        false => rollout.selector.parse().map_err(corrupt)?,
    };
    let devices = shared.store.newcomers(rollout.job, &selector, MOST).await?;
    if devices.is_empty() {
        return Ok(None);
    }
    let join = JoinWave {
        uuid: rollout.uuid.clone(),
        devices,
        now: shared.clock.now(),
    };
    let joined = shared.store.write(join).await?;
    shared.committed();
    shared.work_appeared();
    Ok((joined > 0).then(|| format!("{joined} devices joined")))
}
