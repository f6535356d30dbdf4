//! Deleting what is over. A job that is deleted is gone for everybody at once; its rows go in small batches, so that
//! nobody waits for them, and a kill in between leaves nothing behind that the next batch does not find.

use std::collections::BTreeSet;

use muster_model::JobState;
use sqlx::SqliteConnection;

use crate::blob::{self, Digest, fixed};
use crate::{Deed, Store, StoreError, Write, history, json_ids, set, sql};

/// How long a request id is kept, whatever becomes of its job: 24 h, in milliseconds.
pub const REQUEST_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// Rows that one batch deletes. A batch of so many takes a few milliseconds.
const ROWS: usize = 1000;
/// Bytes of answers, as stored, that one batch deletes.
const BYTES: usize = 8 << 20;
/// Events that one batch deletes. One may list thousands of executions.
const EVENTS: i64 = 100;

/// Deletes a job that is over.
#[derive(Debug)]
pub struct DeleteJob {
    /// Its id.
    pub uuid: String,
    /// Who, as stated.
    pub claimed_by: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// What became of a job that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Nobody sees it any more; [`Sweep`] does the rest.
    Gone,
    /// There is no such job.
    NotFound,
    /// It is not over.
    Live,
}

impl Write for DeleteJob {
    type Out = Deleted;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Deleted, StoreError> {
        let query = sqlx::query_as(sql::JOB_TO_REMOVE).bind(&self.uuid);
        let found: Option<(i64, i32)> = query.fetch_optional(&mut *tx).await?;
        let Some((job, state)) = found else {
            return Ok(Deleted::NotFound);
        };
        if !JobState::from_number(state).is_some_and(JobState::is_terminal) {
            return Ok(Deleted::Live);
        }
        let query = sqlx::query(sql::REQUEST_KEEP)
            .bind(job)
            .bind(self.now - REQUEST_KEPT_MS);
        query.execute(&mut *tx).await?;
        sqlx::query(sql::JOB_REMOVED).bind(job).execute(&mut *tx).await?;
        let deed = Deed {
            claimed_by: self.claimed_by.clone(),
            action: "job.delete",
            subject: self.uuid.clone(),
            ..Deed::default()
        };
        history::add(tx, &deed, self.now).await?;
        Ok(Deleted::Gone)
    }
}

/// Deletes jobs that ended long ago, the oldest first.
#[derive(Debug)]
pub struct DeleteOld {
    /// Those that ended before this, Unix milliseconds: at least [`REQUEST_KEPT_MS`] ago.
    pub before: i64,
}

/// Jobs that one batch deletes.
const JOBS: i64 = 500;

impl Write for DeleteOld {
    /// How many; fewer than there are, if there are many.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::JOBS_OLD).bind(self.before).bind(JOBS);
        Ok(query.execute(tx).await?.rows_affected())
    }
}

/// Deletes a batch of rows of jobs that are gone.
#[derive(Clone, Copy, Debug)]
pub struct Sweep;

/// What a batch deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Executions, with their steps.
    pub executions: u64,
    /// Answers that no step named any more.
    pub answers: u64,
    /// Events.
    pub events: u64,
    /// Jobs whose last row this was.
    pub jobs: u64,
}

impl Swept {
    /// Whether nothing was left to delete.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, more: Self) {
        self.executions += more.executions;
        self.answers += more.answers;
        self.events += more.events;
        self.jobs += more.jobs;
    }
}

impl Write for Sweep {
    type Out = Swept;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Swept, StoreError> {
        let found: Option<i64> = sqlx::query_scalar(sql::SWEEP_JOB)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(job) = found else {
            return Ok(Swept::default());
        };
        let batch = batch(tx, job).await?;
        if !batch.is_empty() {
            return executions(tx, &batch).await;
        }
        let query = sqlx::query(sql::SWEEP_EVENTS).bind(job).bind(EVENTS);
        let events = query.execute(&mut *tx).await?.rows_affected();
        if events > 0 {
            return Ok(Swept {
                events,
                ..Swept::default()
            });
        }
        let rest = [
            sql::SWEEP_COUNTS,
            sql::SWEEP_WAVES,
            sql::SWEEP_BUDGETS,
            sql::SWEEP_ROLLOUT,
            sql::SWEEP_APPROVALS,
            sql::SWEEP_VERDICTS,
            sql::SWEEP_AFTER,
            sql::JOB_UNDO,
            sql::SWEEP_REMOVED,
        ];
        for statement in rest {
            sqlx::query(statement).bind(job).execute(&mut *tx).await?;
        }
        Ok(Swept {
            jobs: 1,
            ..Swept::default()
        })
    }
}

/// Executions of a job that together stay within a batch's bounds; at least one, if there is any.
async fn batch(tx: &mut SqliteConnection, job: i64) -> Result<Vec<u64>, StoreError> {
    let query = sqlx::query_as(sql::SWEEP_ROWS).bind(job).bind(ROWS as i64);
    let rows: Vec<(i64, Option<Vec<u8>>, i64)> = query.fetch_all(tx).await?;
    let (mut batch, mut count, mut bytes) = (Vec::new(), 0, 0);
    let mut seen = BTreeSet::<Digest>::new();
    for steps in rows.chunk_by(|one, next| one.0 == next.0) {
        for (_, digest, length) in steps {
            if let Some(digest) = digest
                && (digest.is_empty() || seen.insert(fixed(digest)?))
            {
                bytes += usize::try_from(*length).unwrap_or_default();
            }
        }
        // The execution's own row, and one for each step.
        count += 1 + steps.iter().filter(|(_, digest, _)| digest.is_some()).count();
        if !batch.is_empty() && (count > ROWS || bytes > BYTES) {
            break;
        }
        batch.push(steps[0].0.unsigned_abs());
    }
    Ok(batch)
}

async fn executions(tx: &mut SqliteConnection, batch: &[u64]) -> Result<Swept, StoreError> {
    let mut named = blob::forget_steps(tx, batch.iter().map(|execution| (*execution, 0))).await?;
    for (digest, count) in set::forget(tx, batch).await? {
        *named.entry(digest).or_default() += count;
    }
    let answers = blob::release(tx, &named).await?;
    let ids = json_ids(batch.iter().copied());
    for statement in [
        sql::SWEEP_MEASUREMENTS,
        sql::SWEEP_PRE,
        sql::SWEEP_YOUNGEST,
        sql::SWEEP_EXECUTIONS,
    ] {
        sqlx::query(statement).bind(&ids).execute(&mut *tx).await?;
    }
    sqlx::query(sql::SWEEP_NUMBERS).execute(tx).await?;
    Ok(Swept {
        executions: batch.len() as u64,
        answers,
        ..Swept::default()
    })
}

/// Deletes plans that no job uses.
#[derive(Debug)]
pub struct ForgetPlans {
    /// Their digests, as [`Store::unused_plans`] found them.
    pub digests: Vec<[u8; 32]>,
}

impl Write for ForgetPlans {
    /// How many; a job may have taken one up in the meantime.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::PLANS_REMOVE).bind(blob::digests(&self.digests));
        Ok(query.execute(tx).await?.rows_affected())
    }
}

/// Forgets request ids of deleted jobs that were made [`REQUEST_KEPT_MS`] ago.
#[derive(Debug)]
pub struct ForgetRequests {
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for ForgetRequests {
    /// How many; fewer than there are, if there are many.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::REQUESTS_FORGET)
            .bind(self.now - REQUEST_KEPT_MS)
            .bind(ROWS as i64);
        Ok(query.execute(tx).await?.rows_affected())
    }
}

impl Store {
    /// Some plans that no job uses.
    pub async fn unused_plans(&self) -> Result<Vec<[u8; 32]>, StoreError> {
        let query = sqlx::query_scalar(sql::PLANS_UNUSED).bind(ROWS as i64);
        let digests: Vec<Vec<u8>> = query.fetch_all(self.readers()).await?;
        digests.iter().map(|digest| fixed(digest)).collect()
    }
}
