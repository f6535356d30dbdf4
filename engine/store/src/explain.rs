//! What keeps executions from moving, as far as the store knows (K3).

use muster_model::{DeviceError, ExecutionState};

use crate::job::JobRecord;
use crate::transition::device_error;
use crate::{Store, StoreError, sql};

/// Waiting executions looked at for a job as a whole: an answer for people, who wait for it.
pub const LOOKED_AT: u32 = 20_000;

/// Why executions wait, apart from workers and caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// What became of an open intent is to be found out.
    Resolving,
    /// Another job's execution with effects holds the device.
    Lock,
    /// The device could not be reached.
    Offline,
    /// Before the next try, for another reason.
    Backoff,
    /// Nothing here: a worker may take it.
    Ready,
    /// Its wave is not open.
    Wave,
    /// Other devices of its job go first.
    Dependency,
    /// It was handed back while the budget had no unit for it.
    Away,
    /// It was changed, and is left alone until it is looked at again.
    Soaking,
}

/// Executions of a job that wait for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub wait: Wait,
    /// Their zone.
    pub zone: String,
    /// How many.
    pub executions: u64,
    /// When the first of them may be claimed, Unix milliseconds.
    pub ready_at: i64,
    /// The job that holds the device, for [`Wait::Lock`].
    pub holder: Option<String>,
    /// Their wave, from 0.
    pub wave: u32,
    /// Whether they have touched their device.
    pub touched: bool,
}

/// Executions of a job that a session holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithWorker {
    /// The session.
    pub session: u64,
    /// Its worker's name.
    pub worker: String,
    /// How many.
    pub executions: u64,
    /// Of them, those that look after an open intent.
    pub resolving: u64,
}

/// One execution of a job.
#[derive(Clone, Debug)]
pub struct OneExecution {
    /// Where it is in its life.
    pub state: ExecutionState,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Why the last attempt did not do it.
    pub error: Option<DeviceError>,
    /// Its device's row, for the other questions.
    pub device: i64,
    /// Its wave, from 0.
    pub wave: u32,
}

impl Store {
    /// Why executions of a job wait: of all of them (the first [`LOOKED_AT`]), or of the one on a device.
    pub async fn waiting(
        &self,
        job: &JobRecord,
        device: Option<i64>,
        now: i64,
    ) -> Result<Vec<Waiting>, StoreError> {
        type Row = (i64, String, i64, i64, Option<String>, u32, bool);
        let rows: Vec<Row> = sqlx::query_as(sql::EXPLAIN_WAITING)
            .bind(job.id)
            .bind(now)
            .bind(device)
            .bind(!job.effect.is_read())
            .bind(LOOKED_AT)
            .bind(job.open_wave)
            .fetch_all(self.readers())
            .await?;
        let waiting = |(wait, zone, executions, ready_at, holder, wave, touched): Row| {
            let wait = match wait {
                0 => Wait::Resolving,
                1 => Wait::Lock,
                2 => Wait::Offline,
                3 => Wait::Backoff,
                5 => Wait::Wave,
                6 => Wait::Away,
                7 => Wait::Dependency,
                8 => Wait::Soaking,
                _ => Wait::Ready,
            };
            Waiting {
                wait,
                zone,
                executions: executions.unsigned_abs(),
                ready_at,
                holder,
                wave,
                touched,
            }
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// Who holds executions of a job: all of them, or the one on a device.
    pub async fn with_workers(&self, job: i64, device: Option<i64>) -> Result<Vec<WithWorker>, StoreError> {
        let query = sqlx::query_as(sql::EXPLAIN_WITH_WORKERS).bind(job).bind(device);
        let rows: Vec<(i64, String, i64, i64)> = query.fetch_all(self.readers()).await?;
        let held = |(session, worker, executions, resolving): (i64, String, i64, i64)| WithWorker {
            session: session.unsigned_abs(),
            worker,
            executions: executions.unsigned_abs(),
            resolving: resolving.unsigned_abs(),
        };
        Ok(rows.into_iter().map(held).collect())
    }

    /// Executions with workers that have not touched their device, by wave: all of a job, or the one on a device.
    pub async fn asking(&self, job: i64, device: Option<i64>) -> Result<Vec<(u32, u64)>, StoreError> {
        let query = sqlx::query_as(sql::EXPLAIN_ASKING).bind(job).bind(device);
        let rows: Vec<(u32, i64)> = query.fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(wave, count)| (wave, count.unsigned_abs()))
            .collect())
    }

    /// Some devices that hold a unit of a job's budget, or of a wave's.
    pub async fn touched(&self, job: i64, wave: Option<u32>, limit: u32) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar(sql::EXPLAIN_TOUCHED).bind(job).bind(wave);
        Ok(query.bind(limit).fetch_all(self.readers()).await?)
    }

    /// Some executions of a job that sessions hold, up to `limit`: session, execution.
    pub async fn some_with_workers(
        &self,
        job: i64,
        device: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let query = sqlx::query_as(sql::EXPLAIN_WHICH)
            .bind(job)
            .bind(device)
            .bind(limit);
        let rows: Vec<(i64, i64)> = query.fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(session, id)| (session.unsigned_abs(), id.unsigned_abs()))
            .collect())
    }

    /// A job's execution on the device of this name.
    pub async fn execution_on(&self, job: i64, device: &str) -> Result<Option<OneExecution>, StoreError> {
        type Row = (i32, u32, Option<i32>, Option<String>, Option<u8>, i64, u32);
        let query = sqlx::query_as(sql::EXPLAIN_ONE).bind(job).bind(device);
        let found: Option<Row> = query.fetch_optional(self.readers()).await?;
        let Some((state, attempts, class, message, category, device, wave)) = found else {
            return Ok(None);
        };
        Ok(Some(OneExecution {
            state: ExecutionState::from_number(state)
                .ok_or_else(|| StoreError::Corrupt(format!("an execution is in state {state}")))?,
            attempts,
            error: device_error(class, message, category),
            device,
            wave,
        }))
    }
}
