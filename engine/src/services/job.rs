use std::pin::Pin;
use std::time::Duration;

use muster_model::{ExecutionState, Plan, Selector};
use muster_proto::v1::job_service_server::JobService;
use muster_proto::{Violation, duration, plan, v1};
use muster_store::{
    AbortJob, Aborted, CreateJob, CreateRefused, DeleteJob, Deleted, JobRecord, PAGE_BYTES, ResultPage,
    ResultRecord,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{Service, watch};
use crate::{answer, error, page, services};

/// The deadline of a command unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl JobService for Service {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let request = request.into_inner();
        let spec = request.spec.unwrap_or_default();
        let request_hash = Sha256::digest(spec.encode_to_vec()).into();
        let (checked, mut violations) = match check(&spec) {
            Ok(checked) => (Some(checked), Vec::new()),
            Err(violations) => (None, violations),
        };
        if request.request_id.len() > 36 || !request.request_id.is_ascii() {
            violations.push(Violation::new(
                "request_id",
                "it has over 36 characters, or some that are not ASCII",
            ));
        }
        let Some(Spec {
            name,
            plan,
            selector,
            timeout,
        }) = checked.filter(|_| violations.is_empty())
        else {
            return Err(error::invalid(violations));
        };
        let now = self.0.clock.now();
        let create = CreateJob {
            uuid: uuid::Uuid::now_v7().to_string(),
            request_id: Some(request.request_id.clone()).filter(|id| !id.is_empty()),
            request_hash,
            name,
            plan,
            selector,
            timeout_ms: millis(timeout),
            now,
            expires_at: now.saturating_add_unsigned(millis(timeout)),
            claimed_by: request.claimed_by.chars().take(256).collect(),
        };
        let created = self.0.store.write(create).await.map_err(error::store)?;
        self.0.committed();
        self.0.work_appeared();
        match created {
            Ok(uuid) => match self.0.store.job(&uuid).await.map_err(error::store)? {
                Some(record) => Ok(Response::new(v1::CreateJobResponse {
                    job: Some(answer::job(&record)),
                })),
                None => {
                    let message = format!("this request made job {uuid}, which was deleted since");
                    Err(error::precondition("JOB_DELETED", &uuid, message))
                }
            },
            Err(CreateRefused::EmptySelection) => Err(empty_selection(&spec)),
            Err(CreateRefused::RequestIdReused(job)) => {
                Err(error::request_id_reused(&request.request_id, &job))
            }
        }
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
        Ok(Response::new(v1::PreviewJobResponse {
            total: preview.total,
            effect: v1::Effect::from(checked.plan.effect()).into(),
            sample: preview.sample,
            plan_digest: checked.plan.digest().to_string(),
        }))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let record = self.job(&request.into_inner().id).await?;
        Ok(Response::new(v1::GetJobResponse {
            job: Some(answer::job(&record)),
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
        let stream = watch::stream(self.0.clone(), record, request.from_seq, request.results);
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
        let results = records
            .into_iter()
            .take(size as usize)
            .map(|found| answer::result(&record.uuid, found))
            .collect::<Vec<_>>();
        let next = results
            .last()
            .filter(|_| more)
            .map(|last| page::token(&query, &last.execution));
        Ok(Response::new(v1::ListResultsResponse {
            results,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn abort_job(
        &self,
        request: Request<v1::AbortJobRequest>,
    ) -> Result<Response<v1::AbortJobResponse>, Status> {
        let request = request.into_inner();
        let abort = AbortJob {
            uuid: request.id.clone(),
            now: self.0.clock.now(),
        };
        match self.0.store.write(abort).await.map_err(error::store)? {
            Aborted::NotFound => return Err(error::not_found("job", &request.id)),
            Aborted::Over => {
                let message = format!("job {} is over already", request.id);
                return Err(error::precondition("JOB_OVER", &request.id, message));
            }
            Aborted::Aborting(held) => {
                tracing::info!(
                    job = request.id,
                    by = request.claimed_by,
                    why = request.reason,
                    "abort"
                );
                services::worker::cancel(&self.0, held).await;
            }
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
        _: Request<v1::ExplainJobRequest>,
    ) -> Result<Response<v1::ExplainJobResponse>, Status> {
        Err(error::not_there_yet("ExplainJob"))
    }

    async fn pause_job(
        &self,
        _: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        Err(error::not_there_yet("PauseJob"))
    }

    async fn resume_job(
        &self,
        _: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        Err(error::not_there_yet("ResumeJob"))
    }

    async fn retry_job(
        &self,
        _: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::RetryJobResponse>, Status> {
        Err(error::not_there_yet("RetryJob"))
    }

    type AggregateJobStream = Streamed<v1::AggregateJobResponse>;

    async fn aggregate_job(
        &self,
        _: Request<v1::AggregateJobRequest>,
    ) -> Result<Response<Self::AggregateJobStream>, Status> {
        Err(error::not_there_yet("AggregateJob"))
    }
}

impl Service {
    async fn job(&self, id: &str) -> Result<JobRecord, Status> {
        let record = self.0.store.job(id).await.map_err(error::store)?;
        record.ok_or_else(|| error::not_found("job", id))
    }
}

struct Spec {
    name: String,
    plan: Plan,
    selector: Selector,
    timeout: Duration,
}

/// Checks a spec; all that is wrong with it is told.
fn check(spec: &v1::JobSpec) -> Result<Spec, Vec<Violation>> {
    let mut violations = Vec::new();
    let plan = plan(spec.plan.as_ref(), "spec.plan").unwrap_or_else(|bad| {
        violations.extend(bad);
        Plan { steps: Vec::new() }
    });
    let text = spec.selector.trim();
    let selector = match (text.is_empty(), spec.all) {
        (true, true) => Selector::default(),
        (true, false) => {
            let reason = "it is empty; give a selector, or set all for every device";
            violations.push(Violation::new("spec.selector", reason));
            Selector::default()
        }
        (false, true) => {
            violations.push(Violation::new(
                "spec.all",
                "a selector and all exclude each other",
            ));
            Selector::default()
        }
        (false, false) => text.parse().unwrap_or_else(|error: muster_model::SelectorError| {
            violations.push(Violation::new("spec.selector", error.to_string()));
            Selector::default()
        }),
    };
    let timeout = spec.timeout.as_ref().map_or(Some(Duration::ZERO), duration);
    let timeout = match timeout {
        Some(Duration::ZERO) => TIMEOUT,
        Some(timeout) if TIMEOUTS.contains(&timeout) => timeout,
        other => {
            let given = other.map_or_else(|| "it is negative".to_owned(), |given| format!("{given:?}"));
            violations.push(Violation::new(
                "spec.timeout",
                format!("{given}; 100 ms to 24 h are possible"),
            ));
            TIMEOUT
        }
    };
    if !violations.is_empty() {
        return Err(violations);
    }
    let first = plan
        .steps
        .first()
        .map(|muster_model::Step::Command(command)| command.words().join(" "));
    let name = Some(spec.name.clone())
        .filter(|name| !name.is_empty())
        .or(first)
        .unwrap_or_default();
    Ok(Spec {
        name: name.chars().take(200).collect(),
        plan,
        selector,
        timeout,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_with_a_spec_is_told() {
        let timeout = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        let spec = v1::JobSpec {
            timeout: Some(timeout),
            ..Default::default()
        };
        let violations = check(&spec).err().expect("all wrong");
        let fields = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect::<Vec<_>>();
        assert_eq!(fields, ["spec.plan.steps", "spec.selector", "spec.timeout"]);
    }

    #[test]
    fn a_job_is_named_after_its_first_command() {
        let command = v1::Command {
            words: vec!["/system/resource/print".into()],
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Command(command)),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan { steps: vec![step] }),
            all: true,
            ..Default::default()
        };
        let checked = check(&spec).expect("valid");
        assert_eq!(
            (checked.name.as_str(), checked.timeout),
            ("/system/resource/print", TIMEOUT)
        );
    }
}
