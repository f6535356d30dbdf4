//! What people do to jobs that are under way: end them early, pause them, let them go on.

use muster_engine_core::budget::Full;
use muster_engine_core::{Event, job};
use muster_model::JobState;
use sqlx::SqliteConnection;

use crate::history::{self, Deed};
use crate::transition::{self, Moves};
use crate::{StoreError, Write, loaded, rollout, sql, wave};

/// Ends a job early.
#[derive(Debug)]
pub struct AbortJob {
    /// Its id.
    pub uuid: String,
    /// Who, as stated.
    pub claimed_by: String,
    /// Why, in their words.
    pub reason: String,
    /// What touched its device already goes through all of its steps; else it stops before the next one.
    pub finish: bool,
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
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(Aborted::NotFound);
        };
        if job::abort(state).is_none() {
            return Ok(Aborted::Over);
        }
        let finish = self.finish;
        let mut deed = deed("job.abort", &self.uuid, &self.claimed_by, &self.reason);
        deed.detail = match finish {
            true => "what is in flight finishes".into(),
            false => "what is in flight stops at its next step".into(),
        };
        history::add(tx, &deed, self.now).await?;
        abort(tx, job, self.now).await?;
        let held: Vec<(i64, i64, i64)> = sqlx::query_as(sql::LEASED_OF_JOB)
            .bind(job)
            .bind(finish)
            .fetch_all(tx)
            .await?;
        let held = held
            .into_iter()
            .map(|(id, epoch, session)| (id.unsigned_abs(), epoch.unsigned_abs(), session.unsigned_abs()));
        Ok(Aborted::Aborting(held.collect()))
    }
}

/// Ends a job early: what waits is cancelled.
async fn abort(tx: &mut SqliteConnection, job: i64, now: i64) -> Result<(), StoreError> {
    let query = sqlx::query(sql::JOB_SETTLE)
        .bind(job)
        .bind(JobState::Aborting.number())
        .bind(None::<i64>);
    query.execute(&mut *tx).await?;
    transition::note(tx, job, "state", now).await?;
    loop {
        let query = sqlx::query_scalar(sql::LOAD_PENDING).bind(job).bind(CHUNK);
        let waiting: String = query.fetch_one(&mut *tx).await?;
        let mut waiting = loaded::loaded(tx, &waiting).await?;
        let mut moves = Moves::default();
        for loaded in &mut waiting {
            let moved = moves.decide(loaded, &Event::JobAborted, now, None);
            moved.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        }
        moves.write(tx, now).await?;
        if waiting.is_empty() {
            break;
        }
    }
    transition::settle(tx, job, now).await
}

/// Ends a job early because a rule says so. What is in flight finishes.
pub(crate) async fn abort_by_rule(
    tx: &mut SqliteConnection,
    job: i64,
    uuid: &str,
    reason: &str,
    now: i64,
) -> Result<(), StoreError> {
    history::add(tx, &deed("job.abort", uuid, "muster", reason), now).await?;
    abort(tx, job, now).await
}

/// Lets a job admit nothing new (A6), or lets one that a person or a rule has stopped go on. What is in flight is not
/// touched either way.
#[derive(Debug)]
pub struct PauseJob {
    /// Its id.
    pub uuid: String,
    /// To pause it, or to let it go on.
    pub pause: bool,
    /// Who, as stated.
    pub claimed_by: String,
    /// Why, in their words.
    pub reason: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// What pausing a job, or letting it go on, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// There is no such job.
    NotFound,
    /// It is neither running nor stopped; its state stays.
    Refused(JobState),
    /// Its budget is spent: it goes on when somebody who may approve raises it (C3).
    Spent(Full),
    /// It is as wanted now, or was already.
    Done,
}

impl Write for PauseJob {
    type Out = Paused;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Paused, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(Paused::NotFound);
        };
        let (to, wanted, statement, action) = match self.pause {
            true => (job::pause(state), JobState::Paused, sql::JOB_PAUSE, "job.pause"),
            false => (
                job::resume(state),
                JobState::Running,
                sql::JOB_RESUME,
                "job.resume",
            ),
        };
        if state == wanted {
            return Ok(Paused::Done);
        }
        if to != Some(wanted) {
            return Ok(Paused::Refused(state));
        }
        if !self.pause
            && let Some(full) = wave::still_spent(tx, job).await?
        {
            return Ok(Paused::Spent(full));
        }
        sqlx::query(statement)
            .bind(job)
            .bind(self.now)
            .execute(&mut *tx)
            .await?;
        transition::note(tx, job, "state", self.now).await?;
        if !self.pause {
            rollout::acknowledge(tx, job).await?;
            // What was in flight when a rule halted it may have been the rest.
            transition::settle(tx, job, self.now).await?;
        }
        let deed = deed(action, &self.uuid, &self.claimed_by, &self.reason);
        history::add(tx, &deed, self.now).await?;
        Ok(Paused::Done)
    }
}

fn deed(action: &'static str, job: &str, claimed_by: &str, reason: &str) -> Deed {
    Deed {
        claimed_by: claimed_by.to_owned(),
        action,
        subject: job.to_owned(),
        reason: reason.to_owned(),
        detail: String::new(),
    }
}
