//! Taking back what a job has changed, as a job of its own (A7, level L4).

use std::sync::Arc;

use muster_engine_core::budget::Asked;
use muster_model::{ExecutionState, JobState, Plan, Selector};
use muster_proto::v1;
use muster_store::{CreateJob, Deed, EndReverts, JobRecord, Mode, Retry, StoreError};
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use super::Service;
use super::job::{check_request_id, claimed, reason, stretch};
use crate::{Shared, error};

/// Executions that may have changed their device. `lost` ones may be there again.
const CHANGED: [ExecutionState; 4] = [
    ExecutionState::Succeeded,
    ExecutionState::Broken,
    ExecutionState::Unknown,
    ExecutionState::Lost,
];

/// The plan that takes a job back; FAILED_PRECONDITION says why there is none.
pub(super) fn invertible(record: &JobRecord) -> Result<Plan, Status> {
    muster_model::revert::plan(&record.plan).map_err(|why| {
        let text = format!("what job {} changed cannot be taken back: {why}", record.uuid);
        error::precondition("NOT_INVERTIBLE", &record.uuid, text)
    })
}

pub(super) async fn revert(
    service: &Service,
    request: v1::RevertJobRequest,
) -> Result<v1::RevertJobResponse, Status> {
    let record = service.job(&request.id).await?;
    if !record.state.is_terminal() {
        let text = format!(
            "job {} is {}; what it changes is taken back when it is over, or by job abort --revert",
            request.id, record.state
        );
        return Err(error::precondition("JOB_NOT_OVER", &request.id, text));
    }
    if let Some(violation) = check_request_id(&request.request_id) {
        return Err(error::invalid(vec![violation]));
    }
    let claimed_by = claimed(&request.claimed_by);
    let why = reason(&request.reason)?;
    let job = make(service, &record, &request.request_id, &claimed_by, why).await?;
    Ok(v1::RevertJobResponse { job: Some(job) })
}

async fn make(
    service: &Service,
    record: &JobRecord,
    request_id: &str,
    claimed_by: &str,
    reason: String,
) -> Result<v1::Job, Status> {
    let plan = invertible(record)?;
    let now = service.0.clock.now();
    let uuid = uuid::Uuid::now_v7().to_string();
    let create = CreateJob {
        deeds: vec![Deed {
            claimed_by: claimed_by.to_owned(),
            action: "job.revert",
            subject: record.uuid.clone(),
            reason,
            detail: format!("taken back by job {uuid}"),
        }],
        uuid,
        request_id: Some(request_id.to_owned()).filter(|id| !id.is_empty()),
        request_hash: Sha256::digest(format!("revert {}", record.uuid)).into(),
        name: format!("revert of {}", record.name).chars().take(200).collect(),
        plan,
        selector: Selector::default(),
        retry: Some(Retry {
            job: record.uuid.clone(),
            states: CHANGED.to_vec(),
            wave: None,
        }),
        mode: Mode::Apply,
        timeout_ms: record.timeout_ms,
        priority: record.priority,
        concurrency: record.concurrency,
        // Of the same size, and its own.
        budget: record
            .budget
            .map_or(Asked::All, |budget| Asked::Count(budget.max(1))),
        waves: Vec::new(),
        spread: None,
        start: JobState::Running,
        rollout: None,
        stretch_ms: Some(stretch(record.timeout_ms)),
        now,
        expires_at: now.saturating_add_unsigned(record.timeout_ms),
        claimed_by: claimed_by.to_owned(),
    };
    let nothing = || {
        let text = format!(
            "job {} has no execution that changed its device and of which it is recorded what was before",
            record.uuid
        );
        error::precondition("NOTHING_TO_REVERT", &record.uuid, text)
    };
    let frozen = service.0.inventory.clone().read_owned().await;
    service.create(create, request_id, frozen, nothing).await
}

/// Jobs that were aborted with what they changed to be taken back: makes the jobs that do so, and ends those whose are over.
pub(crate) async fn pass(shared: &Arc<Shared>) -> Result<u64, StoreError> {
    let mut moved = 0;
    for (job, uuid, claimed_by) in shared.store.reverting().await? {
        let over = match shared.store.reverts_of(job).await?.last() {
            Some((_, state)) => state.is_terminal(),
            None => {
                let service = Service(shared.clone());
                let record = match service.job(&uuid).await {
                    Ok(record) => record,
                    Err(status) => {
                        tracing::error!(job = uuid, %status, "what it changed cannot be taken back");
                        continue;
                    }
                };
                // The same id each time, so that a kill in between makes no second one.
                let made = make(&service, &record, &uuid, &claimed_by, "aborted".to_owned()).await;
                match made {
                    Ok(_) => false,
                    // Nothing was changed.
                    Err(status) if status.code() == Code::FailedPrecondition => true,
                    Err(status) => {
                        tracing::error!(job = uuid, %status, "what it changed cannot be taken back");
                        continue;
                    }
                }
            }
        };
        if over {
            let now = shared.clock.now();
            shared.store.write(EndReverts { job, now }).await?;
            shared.committed();
            moved += 1;
        }
    }
    Ok(moved)
}
