//! Asking devices whether they are there, before others with the same value of a label are taken out of service (D3).

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use muster_model::{Command, Step};
use muster_store::{RolloutRecord, StoreError};

use super::question::{self, Question, select};
use crate::Shared;

/// At most so many devices are asked by one job.
const MOST: u32 = 1000;
/// A device that does not answer for so long is not there.
const WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at who has to be asked.
const LOOK: Duration = Duration::from_millis(500);
/// Devices that nobody could ask, for want of a worker, are not asked again before.
const AGAIN: Duration = Duration::from_secs(30);

/// What was asked for a rollout last.
#[derive(Debug)]
pub(crate) struct Probed {
    looked: Instant,
    /// The job that asks, and when it was made.
    job: Option<(String, Instant)>,
}

/// Asks the devices that have to be asked, unless that is under way. What it did, in words.
pub(crate) async fn probe(
    shared: &Arc<Shared>,
    rollout: &RolloutRecord,
) -> Result<Option<String>, StoreError> {
    if rollout.policy.limits.availability.is_empty() {
        return Ok(None);
    }
    let now = Instant::now();
    let last = {
        let mut all = shared.probed.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, probed| now - probed.looked < AGAIN * 2);
        let probed = all.entry(rollout.job).or_insert(Probed {
            looked: now - LOOK,
            job: None,
        });
        if now - probed.looked < LOOK {
            return Ok(None);
        }
        probed.looked = now;
        probed.job.clone()
    };
    if let Some((uuid, at)) = last {
        let record = shared.store.job(&uuid).await?;
        let under_way = record.is_some_and(|record| !record.state.is_terminal());
        // One that ended late had devices that nobody could ask.
        if under_way || (at.elapsed() < AGAIN && at.elapsed() > WITHIN) {
            return Ok(None);
        }
    }
    let names = shared
        .store
        .unasked(rollout.job, shared.clock.now(), MOST)
        .await?;
    ask(shared, rollout, names).await
}

async fn ask(
    shared: &Arc<Shared>,
    rollout: &RolloutRecord,
    names: Vec<String>,
) -> Result<Option<String>, StoreError> {
    let Some(selector) = select(&names) else {
        return Ok(None);
    };
    let corrupt = |error: String| StoreError::Corrupt(error);
    let command = Command::parse(["/system/identity/print"]).map_err(|error| corrupt(error.to_string()))?;
    // Whoever changes the inventory has it alone: it is asked again later.
    let Ok(frozen) = shared.inventory.clone().try_read_owned() else {
        return Ok(None);
    };
    let uuid = uuid::Uuid::now_v7().to_string();
    let question = Question {
        uuid: uuid.clone(),
        name: format!("whether they are there, for rollout {}", rollout.uuid),
        selector,
        step: Step::Command(command),
        timeout: WITHIN,
    };
    if !question::make(shared, question, frozen).await? {
        return Ok(None);
    }
    if let Some(probed) = shared
        .probed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_mut(&rollout.job)
    {
        probed.job = Some((uuid, Instant::now()));
    }
    Ok(Some(format!(
        "{} devices are asked whether they are there",
        names.len()
    )))
}
