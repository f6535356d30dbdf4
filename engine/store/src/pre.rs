//! What was there before steps changed it: recorded before the intent is granted, so that it survives whoever asked.

use bytes::Bytes;
use muster_model::{Guard, JobState};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, Write, json_ids, sql, transition};

/// What a worker says of a step before it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreState {
    /// The execution.
    pub execution: u64,
    /// The step.
    pub step: u32,
    /// The differences that it makes, with what was there before, in wire format; empty for a step that cannot say.
    pub pre: Bytes,
    /// What the device said before the first step; empty where nobody asked.
    pub facts: String,
    /// What is armed on the device meanwhile.
    pub guard: Option<Guard>,
    /// How long that may take to act, from the grant, milliseconds.
    pub guard_ms: u64,
}

/// Records them. Who says it again says it anew: nothing was written in between.
#[derive(Debug)]
pub struct StorePreStates(pub Vec<PreState>);

impl Write for StorePreStates {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        for state in &self.0 {
            let pre = match state.pre.is_empty() {
                true => Vec::new(),
                false => lz4_flex::compress_prepend_size(&state.pre),
            };
            let query = sqlx::query(sql::PRE_STORE)
                .bind(state.execution as i64)
                .bind(state.step)
                .bind(pre)
                .bind(&state.facts);
            let query = query.bind(state.guard.map_or(0, Guard::number));
            query
                .bind(i64::try_from(state.guard_ms).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
        }
        Ok(())
    }
}

/// What a job changes is to be taken back once it is aborted. To be told before it is.
#[derive(Debug)]
pub struct WantRevert {
    /// The job's id.
    pub uuid: String,
    /// Who, as stated.
    pub claimed_by: String,
}

impl Write for WantRevert {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let query = sqlx::query(sql::REVERT_WANTED).bind(&self.uuid);
        query.bind(&self.claimed_by).execute(tx).await?;
        Ok(())
    }
}

/// A job whose changes are taken back is reverted: the job that did so is over, or there is nothing to take back.
#[derive(Debug)]
pub struct EndReverts {
    /// Its row.
    pub job: i64,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for EndReverts {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let query = sqlx::query(sql::JOB_SETTLE).bind(self.job);
        let query = query.bind(JobState::Reverted.number()).bind(self.now);
        query.execute(&mut *tx).await?;
        transition::note(tx, self.job, "state", self.now).await
    }
}

impl Store {
    /// What was recorded of these executions, by execution and step.
    pub async fn pre_states(
        &self,
        executions: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<PreState>, StoreError> {
        self.recorded(sql::PRE_OF, executions).await
    }

    /// Of executions that take back what others did: what was recorded of those, by the execution that takes it back.
    pub async fn states_before(
        &self,
        executions: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<PreState>, StoreError> {
        self.recorded(sql::PRE_BEFORE, executions).await
    }

    /// Jobs that take back what a job has changed, by its row: the newest last.
    pub async fn reverts_of(&self, job: i64) -> Result<Vec<(String, JobState)>, StoreError> {
        let query = sqlx::query_as(sql::REVERTS_OF).bind(job);
        let rows: Vec<(String, i32)> = query.fetch_all(self.readers()).await?;
        let known = rows
            .into_iter()
            .filter_map(|(uuid, state)| Some((uuid, JobState::from_number(state)?)));
        Ok(known.collect())
    }

    /// Aborted jobs whose changes are to be taken back: row, id, who wants it.
    pub async fn reverting(&self) -> Result<Vec<(i64, String, String)>, StoreError> {
        Ok(sqlx::query_as(sql::REVERTING).fetch_all(self.readers()).await?)
    }

    async fn recorded(
        &self,
        statement: &'static str,
        executions: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<PreState>, StoreError> {
        let query = sqlx::query_as(statement).bind(json_ids(executions));
        let rows: Vec<(i64, u32, Vec<u8>, String, i32)> = query.fetch_all(self.readers()).await?;
        let state = |(execution, step, pre, facts, guard): (i64, u32, Vec<u8>, String, i32)| {
            let pre = match pre.is_empty() {
                true => Vec::new(),
                false => lz4_flex::decompress_size_prepended(&pre)
                    .map_err(|error| StoreError::Corrupt(format!("a recorded state: {error}")))?,
            };
            Ok(PreState {
                execution: execution.unsigned_abs(),
                step,
                pre: pre.into(),
                facts,
                guard: Guard::from_number(guard),
                guard_ms: 0,
            })
        };
        rows.into_iter().map(state).collect()
    }
}
