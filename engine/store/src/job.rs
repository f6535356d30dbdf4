//! Jobs: made, looked at, ended early.

use std::collections::BTreeMap;

use muster_engine_core::{Event, job};
use muster_model::{Effect, ExecutionState, JobState, Plan, PlanDigest, Selector};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, Row as _, SqliteConnection};
use thiserror::Error;

use crate::transition::{self, Loaded, Moves, counts_of, effect_from, effect_number};
use crate::{Store, StoreError, Write, json_ids, select, sql};

/// A job as stored.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// Its row, for the store's own use.
    pub id: i64,
    /// Its id.
    pub uuid: String,
    /// For people.
    pub name: String,
    /// What it does.
    pub plan: Plan,
    /// SHA-256 of the plan.
    pub plan_digest: Vec<u8>,
    /// Which devices; empty for all.
    pub selector: String,
    /// Deadline of a command, milliseconds.
    pub timeout_ms: u64,
    /// The strongest effect of the plan.
    pub effect: Effect,
    /// Where it is in its life.
    pub state: JobState,
    /// Devices of its selection.
    pub total: u64,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
    /// Unix milliseconds.
    pub finished_at: Option<i64>,
    /// Who made it, as stated.
    pub claimed_by: String,
    /// How many executions are in each state.
    pub counts: Vec<(ExecutionState, u64)>,
}

impl FromRow<'_, SqliteRow> for JobRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let decode = |what: &str| sqlx::Error::Decode(format!("job: unknown {what}").into());
        let body: String = row.try_get(3)?;
        Ok(Self {
            id: row.try_get(0)?,
            uuid: row.try_get(1)?,
            name: row.try_get(2)?,
            plan: serde_json::from_str(&body).map_err(|error| sqlx::Error::Decode(error.into()))?,
            plan_digest: row.try_get(13)?,
            selector: row.try_get(4)?,
            timeout_ms: row.try_get::<i64, _>(5)?.unsigned_abs(),
            effect: effect_from(row.try_get(6)?).ok_or_else(|| decode("effect"))?,
            state: JobState::from_number(row.try_get(7)?).ok_or_else(|| decode("state"))?,
            total: row.try_get::<i64, _>(8)?.unsigned_abs(),
            created_at: row.try_get(9)?,
            expires_at: row.try_get(10)?,
            finished_at: row.try_get(11)?,
            claimed_by: row.try_get(12)?,
            counts: Vec::new(),
        })
    }
}

/// Makes a job and lays out its executions.
#[derive(Debug)]
pub struct CreateJob {
    /// Its id.
    pub uuid: String,
    /// The caller's, for repeating the call.
    pub request_id: Option<String>,
    /// Of the request's body.
    pub request_hash: [u8; 32],
    /// For people.
    pub name: String,
    /// What it does.
    pub plan: Plan,
    /// Which devices.
    pub selector: Selector,
    /// Deadline of a command, milliseconds.
    pub timeout_ms: u64,
    /// Unix milliseconds.
    pub now: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
    /// Who, as stated.
    pub claimed_by: String,
}

/// A job that is not made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CreateRefused {
    /// No device is meant.
    #[error("the selection is empty")]
    EmptySelection,
    /// The request id was used with another body.
    #[error("the request id was used before, with another body, for job {0}")]
    RequestIdReused(String),
}

impl Write for CreateJob {
    /// The job's id: a new one, or that of the same request before.
    type Out = Result<String, CreateRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        if let Some(request_id) = &self.request_id {
            let query = sqlx::query_as(sql::JOB_BY_REQUEST).bind(request_id);
            let before: Option<(String, Vec<u8>)> = query.fetch_optional(&mut *tx).await?;
            match before {
                Some((uuid, hash)) if hash == self.request_hash => return Ok(Ok(uuid)),
                Some((uuid, _)) => return Ok(Err(CreateRefused::RequestIdReused(uuid))),
                None => {}
            }
        }
        let PlanDigest(digest) = self.plan.digest();
        let digest = digest.to_vec();
        sqlx::query(sql::PLAN_STORE)
            .bind(&digest)
            .bind(self.plan.canonical())
            .execute(&mut *tx)
            .await?;
        let created = sqlx::query(sql::JOB_CREATE)
            .bind(&self.uuid)
            .bind(&self.request_id)
            .bind(self.request_hash.to_vec())
            .bind(&self.name)
            .bind(&digest)
            .bind(self.selector.to_string())
            .bind(self.timeout_ms as i64)
            .bind(effect_number(self.plan.effect()))
            .bind(JobState::Running.number())
            .bind(self.now)
            .bind(self.expires_at)
            .bind(&self.claimed_by)
            .execute(&mut *tx)
            .await?;
        let job = created.last_insert_rowid();
        let total = self.lay_out(tx, job).await?;
        if total == 0 {
            sqlx::query(sql::JOB_UNDO).bind(job).execute(&mut *tx).await?;
            return Ok(Err(CreateRefused::EmptySelection));
        }
        sqlx::query(sql::JOB_TOTAL)
            .bind(job)
            .bind(total as i64)
            .execute(&mut *tx)
            .await?;
        let mut moves = Moves::default();
        moves.count(job, ExecutionState::Pending, total as i64);
        moves.write(tx, self.now).await?;
        transition::note(tx, job, "created", self.now).await?;
        Ok(Ok(self.uuid.clone()))
    }
}

impl CreateJob {
    /// One execution for each device meant: the selection is frozen here.
    async fn lay_out(&self, tx: &mut SqliteConnection, job: i64) -> Result<u64, StoreError> {
        let filter = select::filter(&self.selector);
        let text = format!(
            "INSERT INTO execution (job_id, device_id, device_name, zone, state, ready_at)
             SELECT ?, d.id, d.name, d.zone, 1, ? FROM device d WHERE {} ORDER BY d.id",
            filter.sql
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(job).bind(self.now);
        for value in filter.values {
            query = query.bind(value);
        }
        Ok(query.execute(tx).await?.rows_affected())
    }
}

/// Ends a job early.
#[derive(Debug)]
pub struct AbortJob {
    /// Its id.
    pub uuid: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// What ending a job early found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// There is no such job.
    NotFound,
    /// It was over already.
    Over,
    /// What waited is cancelled; these are still with workers: execution, epoch, session.
    Aborting(Vec<(u64, u64, u64)>),
}

/// Executions moved by one statement.
const CHUNK: i64 = 5000;

impl Write for AbortJob {
    type Out = Aborted;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Aborted, StoreError> {
        let query = sqlx::query_as(sql::JOB_STATE_BY_UUID).bind(&self.uuid);
        let found: Option<(i64, i32)> = query.fetch_optional(&mut *tx).await?;
        let Some((job, state)) = found else {
            return Ok(Aborted::NotFound);
        };
        let Some(to) = JobState::from_number(state).and_then(job::abort) else {
            return Ok(Aborted::Over);
        };
        let query = sqlx::query(sql::JOB_SETTLE)
            .bind(job)
            .bind(to.number())
            .bind(None::<i64>);
        query.execute(&mut *tx).await?;
        transition::note(tx, job, "state", self.now).await?;
        loop {
            let query = sqlx::query_as(sql::LOAD_PENDING).bind(job).bind(CHUNK);
            let mut waiting: Vec<Loaded> = query.fetch_all(&mut *tx).await?;
            let mut moves = Moves::default();
            for loaded in &mut waiting {
                let moved = moves.decide(loaded, &Event::JobAborted, self.now, None);
                moved.map_err(|error| StoreError::Corrupt(error.to_string()))?;
            }
            moves.write(tx, self.now).await?;
            if waiting.is_empty() {
                break;
            }
        }
        transition::settle(tx, job, self.now).await?;
        let held: Vec<(i64, i64, i64)> = sqlx::query_as(sql::LEASED_OF_JOB).bind(job).fetch_all(tx).await?;
        let held = held
            .into_iter()
            .map(|(id, epoch, session)| (id.unsigned_abs(), epoch.unsigned_abs(), session.unsigned_abs()));
        Ok(Aborted::Aborting(held.collect()))
    }
}

/// What a selection would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Devices meant.
    pub total: u64,
    /// The first few by name.
    pub sample: Vec<String>,
}

/// Names shown in a preview.
const SAMPLE: u32 = 10;

impl Store {
    /// What a selection would be now.
    pub async fn preview(&self, selector: &Selector) -> Result<Preview, StoreError> {
        let total = self.count_devices(selector).await?;
        let sample = self.devices(selector, "", SAMPLE).await?;
        Ok(Preview {
            total,
            sample: sample.into_iter().map(|record| record.device.name).collect(),
        })
    }

    /// One job by its id.
    pub async fn job(&self, uuid: &str) -> Result<Option<JobRecord>, StoreError> {
        // One snapshot for the job and its counts.
        let mut tx = self.readers().begin().await?;
        let job: Option<JobRecord> = sqlx::query_as(sql::JOB_GET)
            .bind(uuid)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(mut job) = job else { return Ok(None) };
        let counts: Vec<(i32, i64)> = sqlx::query_as(sql::COUNTS)
            .bind(job.id)
            .fetch_all(&mut *tx)
            .await?;
        job.counts = counts_of(counts).iter().collect();
        Ok(Some(job))
    }

    /// Jobs before the row `before`, the newest first.
    pub async fn jobs(&self, before: i64, limit: u32) -> Result<Vec<JobRecord>, StoreError> {
        let mut tx = self.readers().begin().await?;
        let query = sqlx::query_as(sql::JOB_PAGE).bind(before).bind(i64::from(limit));
        let mut jobs: Vec<JobRecord> = query.fetch_all(&mut *tx).await?;
        let ids = json_ids(jobs.iter().map(|job| job.id.unsigned_abs()));
        let rows: Vec<(i64, i32, i64)> = sqlx::query_as(sql::COUNTS_OF)
            .bind(ids)
            .fetch_all(&mut *tx)
            .await?;
        let mut counts = BTreeMap::<i64, Vec<(i32, i64)>>::new();
        for (job, state, count) in rows {
            counts.entry(job).or_default().push((state, count));
        }
        for job in &mut jobs {
            job.counts = counts_of(counts.remove(&job.id).unwrap_or_default())
                .iter()
                .collect();
        }
        Ok(jobs)
    }

    /// A plan by its digest.
    pub async fn plan(&self, digest: &[u8]) -> Result<Option<Plan>, StoreError> {
        let query = sqlx::query_scalar(sql::PLAN_OF).bind(digest.to_vec());
        let body: Option<String> = query.fetch_optional(self.readers()).await?;
        let parse =
            |body: String| serde_json::from_str(&body).map_err(|e| StoreError::Corrupt(e.to_string()));
        body.map(parse).transpose()
    }
}
