use std::pin::Pin;
use std::time::Duration;

use muster_model::ExecutionState;
use muster_model::policy::{Changed, InFlight};
use muster_proto::v1::job_service_server::JobService;
use muster_proto::{Violation, v1};
use muster_store::{
    AbortJob, Aborted, DeleteJob, Deleted, JobRecord, PAGE_BYTES, PauseJob, Paused, ResultPage, ResultRecord,
    WantRevert,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{Service, explain, group, limits, revert, rollout, watch};
use crate::{Shared, aggregate, answer, error, export, page, services};

mod create;
mod retry;

pub(crate) use create::lay_out;
pub(super) use create::stretch;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl JobService for Service {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let job = self.create_job_of(request.into_inner()).await?;
        Ok(Response::new(v1::CreateJobResponse { job: Some(job) }))
    }

    async fn preview_job(
        &self,
        request: Request<v1::PreviewJobRequest>,
    ) -> Result<Response<v1::PreviewJobResponse>, Status> {
        let spec = request.into_inner().spec.unwrap_or_default();
        Ok(Response::new(self.preview_of(spec).await?))
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
        let job = self.retry_of(request.into_inner()).await?;
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

/// A job by its id.
pub(super) async fn job(shared: &Shared, id: &str) -> Result<JobRecord, Status> {
    let record = shared.store.job(id).await.map_err(error::store)?;
    record.ok_or_else(|| error::not_found("job", id))
}

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
