//! Devices that come to match a rollout's selector after it has begun (B3).

use muster_model::{ExecutionState, Selector};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::judge::goes_on;
use crate::transition::{self, Moves};
use crate::{Store, StoreError, Write, json_ids, quarantine, select, sql};

/// Takes devices into the last open wave of a rollout. A wave that had ended is open again.
#[derive(Clone, Debug)]
pub struct JoinWave {
    /// The job's id.
    pub uuid: String,
    /// Their numbers. Those that it has are left as they are.
    pub devices: Vec<u64>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for JoinWave {
    /// How many joined.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(0);
        };
        // Not one that somebody or something has stopped, nor one that is over.
        if !goes_on(state) {
            return Ok(0);
        }
        let joined = sqlx::query(sql::ROLLOUT_JOIN)
            .bind(job)
            .bind(json_ids(self.devices.iter().copied()))
            .bind(self.now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if joined == 0 {
            return Ok(0);
        }
        let count = i64::try_from(joined).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        for statement in [sql::JOB_GROW, sql::WAVE_JOINED] {
            let query = sqlx::query(statement).bind(job).bind(count);
            query.execute(&mut *tx).await?;
        }
        let mut moves = Moves::default();
        moves.count(job, ExecutionState::Pending, count);
        moves.write(tx, self.now).await?;
        transition::note(tx, job, "joined", self.now).await?;
        let devices = quarantine::devices(tx, self.now).await?;
        quarantine::skip(tx, &devices, self.now).await?;
        Ok(joined)
    }
}

impl Store {
    /// Devices that a selector means and a job does not have, by number; at most so many.
    pub async fn newcomers(&self, job: i64, selector: &Selector, limit: u32) -> Result<Vec<u64>, StoreError> {
        let filter = select::filter(selector);
        let text = format!(
            "SELECT d.id FROM device d WHERE {} AND NOT EXISTS \
             (SELECT 1 FROM execution x WHERE x.job_id = ? AND x.device_id = d.id) ORDER BY d.id LIMIT ?",
            filter.sql
        );
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(text));
        for value in filter.values {
            query = query.bind(value);
        }
        let ids = query.bind(job).bind(limit).fetch_all(self.readers()).await?;
        Ok(ids.into_iter().map(i64::unsigned_abs).collect())
    }
}
