//! What a job left undone is done by another.

use muster_engine_core::budget::Asked;
use muster_model::{Effect, ExecutionState, JobState, Selector, Step};
use muster_proto::{Violation, v1};
use muster_store::{CreateJob, Deed, Retry};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::{check_request_id, claimed, millis, states, stretch};
use crate::error;
use crate::services::spec::lifted_budget;
use crate::services::{Service, rollout};

/// What is tried again unless told otherwise: executions that left their device as it was.
const RETRIED: &[ExecutionState] = &[
    ExecutionState::Failed,
    ExecutionState::Rejected,
    ExecutionState::Cancelled,
    ExecutionState::Expired,
    ExecutionState::Skipped,
];

impl Service {
    /// Makes a job of what another one left, as it was asked for.
    pub(super) async fn retry_of(&self, request: v1::RetryJobRequest) -> Result<v1::Job, Status> {
        let record = self.job(&request.id).await?;
        if !record.state.is_terminal() {
            let message = format!(
                "job {} is {}; what it leaves can be tried again when it is over",
                request.id, record.state
            );
            return Err(error::precondition("JOB_NOT_OVER", &request.id, message));
        }
        if record
            .plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Revert(_)))
        {
            let message = format!(
                "job {} takes back what another did; job revert of that one tries again what is left",
                record.uuid
            );
            return Err(error::precondition("IS_REVERT", &request.id, message));
        }
        let mut violations = Vec::from_iter(check_request_id(&request.request_id));
        let wanted = states(&request.states)?;
        violations.extend(wanted.iter().filter(|state| !state.is_terminal()).map(|state| {
            Violation::new(
                "states",
                format!("{state} is not final; only what is over can be tried again"),
            )
        }));
        if !violations.is_empty() {
            return Err(error::invalid(violations));
        }
        let wanted = if wanted.is_empty() {
            RETRIED.to_vec()
        } else {
            wanted
        };
        let now = self.0.clock.now();
        let uuid = uuid::Uuid::now_v7().to_string();
        let claimed_by = claimed(&request.claimed_by);
        let named = wanted
            .iter()
            .map(|state| state.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        // Under the same budget as before, counted anew over what is tried again.
        let budget = record.budget_asked.unwrap_or(Asked::RUN);
        let mut deeds = vec![Deed {
            claimed_by: claimed_by.clone(),
            action: "job.retry",
            subject: record.uuid.clone(),
            reason: String::new(),
            detail: format!("{named} again, as job {uuid}"),
        }];
        if budget == Asked::All && record.effect >= Effect::Change {
            deeds.push(lifted_budget(&uuid, &claimed_by));
        }
        // A rollout goes in its waves and under its rules again, with approvals of its own.
        let policy = record.rollout.as_deref().map(|(rollout, _)| &rollout.policy);
        let (waves, start, lives, stretch_ms) = match policy {
            None => {
                let lives = record.timeout_ms.saturating_add(record.plan.looks_ms());
                let stretch = stretch(record.timeout_ms);
                (Vec::new(), JobState::Running, lives, Some(stretch))
            }
            Some(policy) => {
                let waves = vec![None; policy.waves.len()];
                (waves, JobState::Scheduled, millis(policy.expires), None)
            }
        };
        let create = CreateJob {
            deeds,
            uuid,
            request_id: Some(request.request_id.clone()).filter(|id| !id.is_empty()),
            request_hash: Sha256::digest(format!("retry {} {named}", record.uuid)).into(),
            name: record.name.clone(),
            plan: record.plan.clone(),
            selector: Selector::default(),
            retry: Some(Retry {
                job: record.uuid.clone(),
                states: wanted,
                wave: None,
            }),
            mode: record.mode.clone(),
            timeout_ms: record.timeout_ms,
            priority: record.priority,
            concurrency: record.concurrency,
            budget,
            waves,
            start,
            rollout: policy.map(|policy| rollout::again(&record.plan, policy)),
            stretch_ms,
            spread: None,
            now,
            expires_at: now.saturating_add_unsigned(lives),
            claimed_by,
        };
        let nothing = || {
            let text = format!(
                "job {} has no execution that is {named} and not known to be done",
                record.uuid
            );
            error::invalid_field("states", text)
        };
        let frozen = self.0.inventory.clone().read_owned().await;
        self.create(create, &request.request_id, frozen, nothing).await
    }
}
