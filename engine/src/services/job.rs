use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::budget::Asked;
use muster_model::policy::{Changed, InFlight};
use muster_model::{Effect, ExecutionState, JobState, Selector, Step};
use muster_proto::v1::job_service_server::JobService;
use muster_proto::{Violation, v1};
use muster_store::{
    AbortJob, Aborted, CreateJob, CreateRefused, Created, Deed, DeleteJob, Deleted, JobRecord, LayOut, Mode,
    PAGE_BYTES, PauseJob, Paused, ResultPage, ResultRecord, Retry, StoreError, WantRevert,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedRwLockReadGuard;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::spec::{check, lifted_budget};
use super::{Service, explain, group, limits, revert, rollout, watch};
use crate::{Shared, aggregate, answer, error, export, page, services};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl JobService for Service {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let request = request.into_inner();
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
                let stretch = stretch(millis(spec.timeout));
                (Vec::new(), JobState::Running, spec.timeout, Some(stretch))
            }
            // A rollout ends at its time, however much of it waits for the budget.
            Some(policy) => {
                let waves = vec![None; policy.waves.len()];
                (waves, JobState::Scheduled, policy.expires, None)
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
                .saturating_add_unsigned(millis(lives))
                .saturating_add(spec.spread.map_or(0, |spread| spread.ms.into())),
            claimed_by,
        };
        let job = self
            .create(create, &request.request_id, frozen, || empty_selection(&asked))
            .await?;
        Ok(Response::new(v1::CreateJobResponse { job: Some(job) }))
    }

    async fn preview_job(
        &self,
        request: Request<v1::PreviewJobRequest>,
    ) -> Result<Response<v1::PreviewJobResponse>, Status> {
        let spec = request.into_inner().spec.unwrap_or_default();
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
        Ok(Response::new(answer))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let record = self.job(&request.into_inner().id).await?;
        let reverts = self.0.store.reverts_of(record.id).await.map_err(error::store)?;
        let full = rollout::full(&self.0, &record).await?;
        Ok(Response::new(v1::GetJobResponse {
            job: Some(v1::Job {
                reverts: reverts.into_iter().map(|(uuid, _)| uuid).collect(),
                ..full
            }),
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size, 50, 500)?;
        let before = page::cursor("jobs", &request.page_token)?.and_then(|cursor| cursor.parse().ok());
        let mut records = self
            .0
            .store
            .jobs(before.unwrap_or(i64::MAX), size + 1)
            .await
            .map_err(error::store)?;
        let more = records.len() > size as usize;
        records.truncate(size as usize);
        let next = records
            .last()
            .filter(|_| more)
            .map(|last| page::token("jobs", &last.id.to_string()));
        let jobs = records.iter().map(answer::job).collect();
        Ok(Response::new(v1::ListJobsResponse {
            jobs,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type WatchJobStream = Streamed<v1::WatchJobResponse>;

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let request = request.into_inner();
        let record = self.job(&request.id).await?;
        let stream = watch::stream(
            self.0.clone(),
            record,
            request.from_seq,
            request.results,
            request.live,
        );
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_results(
        &self,
        request: Request<v1::ListResultsRequest>,
    ) -> Result<Response<v1::ListResultsResponse>, Status> {
        let request = request.into_inner();
        let record = self.job(&request.id).await?;
        let size = page::size(request.page_size, 500, 5000)?;
        let states = states(&request.states)?;
        let query = format!("results/{}/{states:?}", record.uuid);
        let after = page::cursor(&query, &request.page_token)?.and_then(|cursor| cursor.parse().ok());
        let wanted = ResultPage {
            job: record.id,
            after: after.unwrap_or(0),
            limit: size + 1,
            states,
        };
        let records = self.0.store.results(&wanted).await.map_err(error::store)?;
        let bytes = records.iter().map(ResultRecord::reply_bytes).sum::<usize>();
        // Without a record over the page's size, the store may still have cut it by bytes.
        let more = records.len() > size as usize || bytes > PAGE_BYTES;
        let found = records.into_iter().take(size as usize).collect();
        let results = answer::results(&record.uuid, found);
        let next = results
            .last()
            .filter(|_| more)
            .map(|last| page::token(&query, &last.execution));
        Ok(Response::new(v1::ListResultsResponse {
            results,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn group_results(
        &self,
        request: Request<v1::GroupResultsRequest>,
    ) -> Result<Response<v1::GroupResultsResponse>, Status> {
        let request = request.into_inner();
        let record = self.job(&request.id).await?;
        let answer = group::groups(&self.0, record.id, request.max_groups).await?;
        Ok(Response::new(answer))
    }

    async fn abort_job(
        &self,
        request: Request<v1::AbortJobRequest>,
    ) -> Result<Response<v1::AbortJobResponse>, Status> {
        let request = request.into_inner();
        let record = self.job(&request.id).await?;
        let (finish, reverts) = finishes(&request, &record)?;
        if reverts && !record.state.is_terminal() {
            // Before it is over, so that it does not end without.
            let want = WantRevert {
                uuid: record.uuid.clone(),
                claimed_by: claimed(&request.claimed_by),
            };
            self.0.store.write(want).await.map_err(error::store)?;
        }
        let abort = AbortJob {
            finish,
            uuid: request.id.clone(),
            claimed_by: claimed(&request.claimed_by),
            reason: reason(&request.reason)?,
            now: self.0.clock.now(),
        };
        match self.0.store.write(abort).await.map_err(error::store)? {
            Aborted::NotFound => return Err(error::not_found("job", &request.id)),
            Aborted::Over => {
                let message = format!("job {} is over already", request.id);
                return Err(error::precondition("JOB_OVER", &request.id, message));
            }
            Aborted::Aborting(held) => services::worker::cancel(&self.0, held).await,
        }
        self.0.committed();
        let record = self.job(&request.id).await?;
        Ok(Response::new(v1::AbortJobResponse {
            job: Some(answer::job(&record)),
        }))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let request = request.into_inner();
        let delete = DeleteJob {
            uuid: request.id.clone(),
            claimed_by: claimed(&request.claimed_by),
            now: self.0.clock.now(),
        };
        match self.0.store.write(delete).await.map_err(error::store)? {
            Deleted::NotFound => Err(error::not_found("job", &request.id)),
            Deleted::Live => {
                let message = format!(
                    "job {} is not over; end it first: muster job abort {}",
                    request.id, request.id
                );
                Err(error::precondition("JOB_LIVE", &request.id, message))
            }
            Deleted::Gone => {
                tracing::info!(job = request.id, by = request.claimed_by, "job deleted");
                // Watchers of it are told that there is no such job.
                self.0.committed();
                self.0.reconcilers.retention.wake();
                Ok(Response::new(v1::DeleteJobResponse {}))
            }
        }
    }

    async fn explain_job(
        &self,
        request: Request<v1::ExplainJobRequest>,
    ) -> Result<Response<v1::ExplainJobResponse>, Status> {
        let request = request.into_inner();
        let record = self.job(&request.id).await?;
        explain::answer(&self.0, record, &request.device)
            .await
            .map(Response::new)
    }

    async fn pause_job(
        &self,
        request: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        let v1::PauseJobRequest {
            id,
            reason,
            claimed_by,
        } = request.into_inner();
        let job = self.pause(id, true, &reason, &claimed_by).await?;
        Ok(Response::new(v1::PauseJobResponse { job: Some(job) }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let v1::ResumeJobRequest {
            id,
            reason,
            claimed_by,
        } = request.into_inner();
        let job = self.pause(id, false, &reason, &claimed_by).await?;
        self.0.work_appeared();
        Ok(Response::new(v1::ResumeJobResponse { job: Some(job) }))
    }

    async fn retry_job(
        &self,
        request: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::RetryJobResponse>, Status> {
        let request = request.into_inner();
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
                let stretch = stretch(record.timeout_ms);
                (Vec::new(), JobState::Running, record.timeout_ms, Some(stretch))
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
        let job = self.create(create, &request.request_id, frozen, nothing).await?;
        Ok(Response::new(v1::RetryJobResponse { job: Some(job) }))
    }

    async fn change_limits(
        &self,
        request: Request<v1::ChangeLimitsRequest>,
    ) -> Result<Response<v1::ChangeLimitsResponse>, Status> {
        let answer = limits::change(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn approve_job(
        &self,
        request: Request<v1::ApproveJobRequest>,
    ) -> Result<Response<v1::ApproveJobResponse>, Status> {
        let answer = rollout::approve(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn revert_job(
        &self,
        request: Request<v1::RevertJobRequest>,
    ) -> Result<Response<v1::RevertJobResponse>, Status> {
        let answer = revert::revert(self, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn set_freeze(
        &self,
        request: Request<v1::SetFreezeRequest>,
    ) -> Result<Response<v1::SetFreezeResponse>, Status> {
        let answer = rollout::set_freeze(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn get_freeze(
        &self,
        _: Request<v1::GetFreezeRequest>,
    ) -> Result<Response<v1::GetFreezeResponse>, Status> {
        Ok(Response::new(rollout::get_freeze(&self.0).await?))
    }

    type AggregateJobStream = Streamed<v1::AggregateJobResponse>;

    async fn aggregate_job(
        &self,
        request: Request<v1::AggregateJobRequest>,
    ) -> Result<Response<Self::AggregateJobStream>, Status> {
        let request = request.into_inner();
        let query = aggregate::Query::parse(&request).map_err(error::invalid)?;
        let record = self.job(&request.id).await?;
        let stream = aggregate::stream(self.0.clone(), record, query, request.follow);
        Ok(Response::new(Box::pin(stream)))
    }

    type ExportJobStream = Streamed<v1::ExportJobResponse>;

    async fn export_job(
        &self,
        request: Request<v1::ExportJobRequest>,
    ) -> Result<Response<Self::ExportJobStream>, Status> {
        let request = request.into_inner();
        let export = export::job::Export::parse(&request)?;
        let record = self.job(&request.id).await?;
        let stream = export::job::stream(self.0.clone(), record, export);
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Service {
    /// Stores a job and lays it out. Whoever asked may go away meanwhile: the job is laid out to its end.
    pub(super) async fn create(
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

    async fn pause(&self, uuid: String, pause: bool, why: &str, by: &str) -> Result<v1::Job, Status> {
        let store = &self.0.store;
        let change = PauseJob {
            uuid: uuid.clone(),
            pause,
            claimed_by: claimed(by),
            reason: reason(why)?,
            now: self.0.clock.now(),
        };
        match store.write(change).await.map_err(error::store)? {
            Paused::NotFound => return Err(error::not_found("job", &uuid)),
            Paused::Refused(state) => {
                let (only, reason) = match pause {
                    true => ("running job can be paused", "JOB_NOT_RUNNING"),
                    false => ("paused or halted job can be resumed", "JOB_NOT_PAUSED"),
                };
                let message = format!("job {uuid} is {state}; only a {only}");
                return Err(error::precondition(reason, &uuid, message));
            }
            Paused::Spent(full) => {
                let message =
                    format!("{full}; raise it first: muster job limits {uuid} --budget N --approver NAME");
                return Err(error::precondition("BUDGET_SPENT", &uuid, message));
            }
            Paused::Done => {}
        }
        self.0.committed();
        Ok(answer::job(&self.job(&uuid).await?))
    }

    pub(super) async fn job(&self, id: &str) -> Result<JobRecord, Status> {
        job(&self.0, id).await
    }
}

/// By how much a unit of the budget that comes free puts off the end of a job: a whole command, and as long as a device
/// is waited for.
pub(super) fn stretch(timeout_ms: u64) -> u64 {
    timeout_ms.saturating_mul(2)
}

/// A job by its id.
pub(super) async fn job(shared: &Shared, id: &str) -> Result<JobRecord, Status> {
    let record = shared.store.job(id).await.map_err(error::store)?;
    record.ok_or_else(|| error::not_found("job", id))
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

/// What is tried again unless told otherwise: executions that left their device as it was.
const RETRIED: &[ExecutionState] = &[
    ExecutionState::Failed,
    ExecutionState::Rejected,
    ExecutionState::Cancelled,
    ExecutionState::Expired,
    ExecutionState::Skipped,
];

pub(crate) fn claimed(claimed_by: &str) -> String {
    claimed_by.chars().take(256).collect()
}

/// Reasons are for people who read the history: a sentence or two.
pub(super) fn reason(text: &str) -> Result<String, Status> {
    match text.len() {
        0..=4096 => Ok(text.to_owned()),
        bytes => Err(error::invalid_field(
            "reason",
            format!("it has {bytes} bytes; at most 4096 are kept"),
        )),
    }
}

pub(crate) fn check_request_id(id: &str) -> Option<Violation> {
    (id.len() > 36 || !id.is_ascii()).then(|| {
        Violation::new(
            "request_id",
            "it has over 36 characters, or some that are not ASCII",
        )
    })
}

/// Whether an abort lets what is in flight finish, and whether what was changed is taken back (A7).
fn finishes(request: &v1::AbortJobRequest, record: &JobRecord) -> Result<(bool, bool), Status> {
    let abort = record.rollout.as_deref().map(|(rollout, _)| rollout.policy.abort);
    let reverts = match request.changed() {
        v1::AbortChanged::Unspecified => abort.is_some_and(|abort| abort.changed == Changed::Revert),
        v1::AbortChanged::Keep => false,
        v1::AbortChanged::Revert => true,
    };
    if reverts {
        revert::invertible(record)?;
    }
    let finish = match request.in_flight() {
        v1::AbortInFlight::Unspecified => abort.is_some_and(|abort| abort.in_flight == InFlight::Finish),
        v1::AbortInFlight::Finish => true,
        v1::AbortInFlight::StopAtStep => false,
    };
    Ok((finish, reverts))
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

fn states(given: &[i32]) -> Result<Vec<ExecutionState>, Status> {
    let state = |number: &i32| {
        let unknown = || error::invalid_field("states", format!("{number} is no state of an execution"));
        ExecutionState::from_number(*number).ok_or_else(unknown)
    };
    given.iter().map(state).collect()
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
