//! Schedules.

use muster_engine_core::schedule::occurrences;
use muster_proto::v1::schedule_service_server::ScheduleService;
use muster_proto::{time, v1};
use muster_store::{
    AddSchedule, Deed, NoteRunByHand, PauseSchedule, RemoveSchedule, ScheduleOutcome, ScheduleRecord,
    ScheduleRunRecord,
};
use tonic::{Request, Response, Status};

use super::Service;
use super::job::{check_request_id, claimed, reason};
use crate::reconcile::rollouts::wall_clock;
use crate::schedule::{self, Schedule};
use crate::{error, page};

/// Occurrences that are told in advance.
const NEXT: usize = 10;
/// Past ones.
const RUNS: u32 = 50;

#[tonic::async_trait]
impl ScheduleService for Service {
    async fn create_schedule(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::CreateScheduleResponse>, Status> {
        let request = request.into_inner();
        let asked = request.schedule.unwrap_or_default();
        let schedule = Schedule::parse(v1::Schedule {
            created_at: None,
            claimed_by: String::new(),
            paused_at: None,
            next_at: Vec::new(),
            effect: 0,
            running: String::new(),
            waiting: Vec::new(),
            ..asked
        })
        .map_err(error::invalid)?;
        if request.validate_only {
            let record = ScheduleRecord {
                id: 0,
                name: schedule.message.name.clone(),
                body: schedule.body(),
                after: wall_clock(),
                waiting: Vec::new(),
                paused_at: None,
                created_at: wall_clock(),
                claimed_by: claimed(&request.claimed_by),
                running: None,
            };
            return Ok(Response::new(v1::CreateScheduleResponse {
                schedule: Some(told(&record)?),
            }));
        }
        let name = schedule.message.name.clone();
        let add = AddSchedule {
            name: name.clone(),
            body: schedule.body(),
            now: wall_clock(),
            deed: deed("schedule.add", &name, "", &request.claimed_by)?,
        };
        let added = self.0.store.write(add).await.map_err(error::store)?;
        let record = self.schedule(&name).await?;
        if !added && record.body != schedule.body() {
            let message = format!("there is a schedule {name:?} that says something else; remove it first");
            return Err(error::exists("SCHEDULE_EXISTS", &name, message));
        }
        self.0.reconcilers.schedules.wake();
        Ok(Response::new(v1::CreateScheduleResponse {
            schedule: Some(told(&record)?),
        }))
    }

    async fn get_schedule(
        &self,
        request: Request<v1::GetScheduleRequest>,
    ) -> Result<Response<v1::GetScheduleResponse>, Status> {
        let record = self.schedule(&request.into_inner().name).await?;
        let runs = self.0.store.schedule_runs(record.id, RUNS);
        Ok(Response::new(v1::GetScheduleResponse {
            schedule: Some(told(&record)?),
            runs: runs.await.map_err(error::store)?.into_iter().map(run).collect(),
        }))
    }

    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size, 50, 500)?;
        let after = page::cursor("schedules", &request.page_token)?.unwrap_or_default();
        let records = self.0.store.schedules(&after, size + 1).await;
        let mut records = records.map_err(error::store)?;
        let more = records.len() > size as usize;
        records.truncate(size as usize);
        let next = records
            .last()
            .filter(|_| more)
            .map(|last| page::token("schedules", &last.name));
        Ok(Response::new(v1::ListSchedulesResponse {
            schedules: records.iter().map(told).collect::<Result<_, _>>()?,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn pause_schedule(
        &self,
        request: Request<v1::PauseScheduleRequest>,
    ) -> Result<Response<v1::PauseScheduleResponse>, Status> {
        let request = request.into_inner();
        let deed = deed(
            "schedule.pause",
            &request.name,
            &request.reason,
            &request.claimed_by,
        )?;
        let record = self.set_paused(request.name, true, deed).await?;
        Ok(Response::new(v1::PauseScheduleResponse {
            schedule: Some(told(&record)?),
        }))
    }

    async fn resume_schedule(
        &self,
        request: Request<v1::ResumeScheduleRequest>,
    ) -> Result<Response<v1::ResumeScheduleResponse>, Status> {
        let request = request.into_inner();
        let deed = deed(
            "schedule.resume",
            &request.name,
            &request.reason,
            &request.claimed_by,
        )?;
        let record = self.set_paused(request.name, false, deed).await?;
        Ok(Response::new(v1::ResumeScheduleResponse {
            schedule: Some(told(&record)?),
        }))
    }

    async fn run_schedule(
        &self,
        request: Request<v1::RunScheduleRequest>,
    ) -> Result<Response<v1::RunScheduleResponse>, Status> {
        let request = request.into_inner();
        if let Some(bad) = check_request_id(&request.request_id) {
            return Err(error::invalid(vec![bad]));
        }
        let record = self.schedule(&request.name).await?;
        // The same call again gets the same answer.
        let made = match request.request_id.is_empty() {
            true => None,
            false => self
                .0
                .store
                .made_by(&request.request_id)
                .await
                .map_err(error::store)?,
        };
        if let Some(job) = made {
            return Ok(Response::new(v1::RunScheduleResponse { job }));
        }
        if let Some(job) = &record.running {
            let message = match job.as_str() {
                "" => format!("schedule {} is just beginning", record.name),
                job => format!("the run before, {job}, is not over; end it first: muster job abort {job}"),
            };
            return Err(error::precondition("RUN_NOT_OVER", &record.name, message));
        }
        let by = claimed(&request.claimed_by);
        let job = schedule::run_now(&self.0, &record, request.request_id, &by).await?;
        let note = NoteRunByHand {
            schedule: record.id,
            job: job.clone(),
            reason: format!("by hand, by {by}"),
            now: wall_clock(),
        };
        self.0.store.write(note).await.map_err(error::store)?;
        Ok(Response::new(v1::RunScheduleResponse { job }))
    }

    async fn remove_schedule(
        &self,
        request: Request<v1::RemoveScheduleRequest>,
    ) -> Result<Response<v1::RemoveScheduleResponse>, Status> {
        let request = request.into_inner();
        let remove = RemoveSchedule {
            deed: deed(
                "schedule.remove",
                &request.name,
                &request.reason,
                &request.claimed_by,
            )?,
            now: wall_clock(),
            name: request.name.clone(),
        };
        match self.0.store.write(remove).await.map_err(error::store)? {
            true => Ok(Response::new(v1::RemoveScheduleResponse {})),
            false => Err(error::not_found("schedule", &request.name)),
        }
    }
}

impl Service {
    async fn schedule(&self, name: &str) -> Result<ScheduleRecord, Status> {
        let record = self.0.store.schedule(name).await.map_err(error::store)?;
        record.ok_or_else(|| error::not_found("schedule", name))
    }

    async fn set_paused(&self, name: String, pause: bool, deed: Deed) -> Result<ScheduleRecord, Status> {
        let change = PauseSchedule {
            name: name.clone(),
            pause,
            now: wall_clock(),
            deed,
        };
        if !self.0.store.write(change).await.map_err(error::store)? {
            return Err(error::not_found("schedule", &name));
        }
        self.0.reconcilers.schedules.wake();
        self.schedule(&name).await
    }
}

fn deed(action: &'static str, name: &str, why: &str, by: &str) -> Result<Deed, Status> {
    Ok(Deed {
        claimed_by: claimed(by),
        action,
        subject: name.to_owned(),
        reason: reason(why)?,
        detail: String::new(),
    })
}

/// A schedule as the API tells it.
fn told(record: &ScheduleRecord) -> Result<v1::Schedule, Status> {
    let schedule = Schedule::stored(record).map_err(error::store)?;
    let next = occurrences(&schedule.message.cron, &schedule.zone, wall_clock()).take(NEXT);
    Ok(v1::Schedule {
        created_at: Some(time(record.created_at)),
        claimed_by: record.claimed_by.clone(),
        paused_at: record.paused_at.map(time),
        next_at: next.map(time).collect(),
        effect: v1::Effect::from(schedule.effect).into(),
        running: record.running.clone().unwrap_or_default(),
        waiting: record.waiting.iter().map(|at| time(*at)).collect(),
        ..schedule.message
    })
}

fn run(record: ScheduleRunRecord) -> v1::ScheduleRun {
    v1::ScheduleRun {
        occurrence: Some(time(record.occurrence)),
        last: Some(time(record.last)),
        count: record.count,
        at: Some(time(record.at)),
        outcome: match record.outcome {
            ScheduleOutcome::Starting => v1::ScheduleOutcome::Starting,
            ScheduleOutcome::Started => v1::ScheduleOutcome::Started,
            ScheduleOutcome::Skipped => v1::ScheduleOutcome::Skipped,
        }
        .into(),
        job: record.job.unwrap_or_default(),
        reason: record.reason,
    }
}
