//! Jobs come into being: what is asked is checked, stored, and laid out.

use std::sync::Arc;

use muster_model::{Effect, JobState};
use muster_proto::v1;
use muster_store::{CreateJob, CreateRefused, Created, Deed, LayOut, Mode, StoreError};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedRwLockReadGuard;
use tonic::Status;

use super::{check_request_id, claimed, millis};
use crate::services::spec::check;
use crate::services::{Service, group, rollout};
use crate::{Shared, error};

impl Service {
    /// Makes a job of what is asked for, which is checked whole before anything is stored.
    pub(super) async fn create_job_of(&self, request: v1::CreateJobRequest) -> Result<v1::Job, Status> {
        let asked = request.spec.unwrap_or_default();
        let request_hash = Sha256::digest(asked.encode_to_vec()).into();
        let (checked, mut violations) = match check(&asked) {
            Ok(checked) => (Some(checked), Vec::new()),
            Err(violations) => (None, violations),
        };
        violations.extend(check_request_id(&request.request_id));
        let Some(mut spec) = checked.filter(|_| violations.is_empty()) else {
            return Err(error::invalid(violations));
        };
        let frozen = self.0.inventory.clone().read_owned().await;
        let rollout = match spec.policy.clone() {
            None => None,
            Some(policy) => {
                rollout::prepare(&self.0, &mut spec, &policy, &request.approve_digest).await?;
                Some(rollout::new(&spec, &policy, &asked.break_glass))
            }
        };
        let now = self.0.clock.now();
        if let Mode::AsPreviewed {
            preview: Some(preview),
            ..
        } = &spec.mode
        {
            group::check_preview(&self.0, preview, &spec.plan, now).await?;
        }
        let uuid = uuid::Uuid::now_v7().to_string();
        let claimed_by = claimed(&request.claimed_by);
        let (waves, start, lives, stretch_ms) = match &spec.policy {
            None => {
                let timeout = millis(spec.timeout);
                let lives = timeout.saturating_add(spec.plan.looks_ms());
                (Vec::new(), JobState::Running, lives, Some(stretch(timeout)))
            }
            // A rollout ends at its time, however much of it waits for the budget.
            Some(policy) => {
                let waves = vec![None; policy.waves.len()];
                (waves, JobState::Scheduled, millis(policy.expires), None)
            }
        };
        let mut deeds = spec.deeds(&uuid, &claimed_by);
        deeds.extend(
            rollout
                .as_ref()
                .and_then(|rollout| rollout.break_glass.clone())
                .map(|why| Deed {
                    claimed_by: claimed_by.clone(),
                    action: "job.break_glass",
                    subject: uuid.clone(),
                    reason: why,
                    detail: "passes approvals, windows and freezes by".into(),
                }),
        );
        let create = CreateJob {
            deeds,
            uuid,
            request_id: Some(request.request_id.clone()).filter(|id| !id.is_empty()),
            request_hash,
            name: spec.name,
            plan: spec.plan,
            selector: spec.selector,
            retry: None,
            mode: spec.mode,
            timeout_ms: millis(spec.timeout),
            priority: spec.priority,
            concurrency: spec.concurrency,
            budget: spec.budget,
            waves,
            start,
            rollout,
            stretch_ms,
            spread: spec.spread,
            now,
            expires_at: now
                .saturating_add_unsigned(lives)
                .saturating_add(spec.spread.map_or(0, |spread| spread.ms.into())),
            claimed_by,
        };
        let nothing = || empty_selection(&asked);
        self.create(create, &request.request_id, frozen, nothing).await
    }

    /// What a job would be, and whom it would be for. Nothing is stored.
    pub(super) async fn preview_of(&self, spec: v1::JobSpec) -> Result<v1::PreviewJobResponse, Status> {
        let checked = check(&spec).map_err(error::invalid)?;
        let preview = self
            .0
            .store
            .preview(&checked.selector)
            .await
            .map_err(error::store)?;
        if preview.total == 0 {
            return Err(empty_selection(&spec));
        }
        let effect = match checked.mode {
            Mode::Preview => Effect::Read,
            Mode::Apply | Mode::AsPreviewed { .. } => checked.plan.effect(),
        };
        let changes = effect >= Effect::Change;
        let budget = checked.budget.of(preview.total).filter(|_| changes);
        let (at_once, at_once_by) = at_once(budget, checked.concurrency);
        let mut answer = v1::PreviewJobResponse {
            budget,
            at_once,
            at_once_by: at_once_by.to_owned(),
            total: preview.total,
            effect: v1::Effect::from(effect).into(),
            sample: preview.sample,
            plan_digest: checked.plan.digest().to_string(),
            ..Default::default()
        };
        if let Some(policy) = &checked.policy {
            rollout::preview(&self.0, &checked, policy, &mut answer).await?;
        }
        Ok(answer)
    }

    /// Stores a job and lays it out. Whoever asked may go away meanwhile: the job is laid out to its end.
    pub(in crate::services) async fn create(
        &self,
        create: CreateJob,
        request_id: &str,
        frozen: OwnedRwLockReadGuard<()>,
        nothing: impl FnOnce() -> Status,
    ) -> Result<v1::Job, Status> {
        let shared = self.0.clone();
        let created = tokio::spawn(async move {
            let _frozen = frozen;
            let created = shared.store.write(create).await?;
            if let Ok(Created { uuid, draft: true }) = &created {
                lay_out(&shared, uuid).await?;
            }
            if let Ok(Created { uuid, .. }) = &created {
                put_into_waves(&shared, uuid).await?;
            }
            shared.committed();
            shared.work_appeared();
            Ok(created)
        });
        match created.await.map_err(error::internal)?.map_err(error::store)? {
            Ok(Created { uuid, .. }) => match self.0.store.job(&uuid).await.map_err(error::store)? {
                Some(record) => rollout::full(&self.0, &record).await,
                None => {
                    let message = format!("this request made job {uuid}, which was deleted since");
                    Err(error::precondition("JOB_DELETED", &uuid, message))
                }
            },
            Err(CreateRefused::EmptySelection) => Err(nothing()),
            Err(CreateRefused::RequestIdReused(job)) => Err(error::request_id_reused(request_id, &job)),
        }
    }
}

/// By how much a unit of the budget that comes free puts off the end of a job: a whole command, and as long as a device
/// is waited for.
pub(in crate::services) fn stretch(timeout_ms: u64) -> u64 {
    timeout_ms.saturating_mul(2)
}

/// How many devices are changed at once at most, and by what (C3).
fn at_once(budget: Option<u64>, concurrency: Option<u32>) -> (Option<u64>, &'static str) {
    match (budget, concurrency.map(u64::from)) {
        (Some(budget), Some(cap)) if cap < budget => (Some(cap), "concurrency"),
        (Some(budget), _) => (Some(budget), "budget"),
        (None, Some(cap)) => (Some(cap), "concurrency"),
        (None, None) => (None, ""),
    }
}

/// Puts the executions of a job that is laid out into waves, if it is a rollout that waits for it.
async fn put_into_waves(shared: &Arc<Shared>, uuid: &str) -> Result<(), StoreError> {
    let Some(record) = shared.store.rollout(uuid).await? else {
        return Ok(());
    };
    if record.assigned || record.state != JobState::Scheduled {
        return Ok(());
    }
    match crate::rollout::begin(shared, &record).await {
        Ok(_) => Ok(()),
        Err(crate::rollout::BeginError::Store(error)) => Err(error),
        Err(error) => {
            // It was looked at before: what is wrong now came in between, and the reconciler tells it.
            tracing::error!(job = uuid, %error, "a rollout cannot begin");
            Ok(())
        }
    }
}

/// Lays out what is left of a draft, part by part.
pub(crate) async fn lay_out(shared: &Shared, uuid: &str) -> Result<(), StoreError> {
    loop {
        let part = LayOut {
            uuid: uuid.to_owned(),
            now: shared.clock.now(),
        };
        if !shared.store.write(part).await? {
            return Ok(());
        }
        shared.committed();
    }
}

fn empty_selection(spec: &v1::JobSpec) -> Status {
    let reason = match spec.all {
        true => "the inventory is empty; import devices first".to_owned(),
        false => format!("{:?} means no device", spec.selector),
    };
    error::invalid_field("spec.selector", reason)
}
