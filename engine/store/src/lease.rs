//! Sessions of workers and the leases they hold.

use std::time::Duration;

use muster_engine_core::{Event, execution};
use sqlx::SqliteConnection;

use crate::loaded::{self, Loaded};
use crate::transition::Moves;
use crate::{Store, StoreError, Write, sql, wave};

/// Opens a session. Zones served by name are remembered, so that a worker for the rest leaves them alone.
#[derive(Debug)]
pub struct OpenSession {
    /// For people.
    pub worker: String,
    /// Names the worker's process.
    pub instance: String,
    /// Set for a worker inside the engine's process.
    pub engine_boot: String,
    /// Zones it serves by name.
    pub zones: Vec<String>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for OpenSession {
    /// The session's number, higher than any before.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let zones = serde_json::json!(self.zones).to_string();
        sqlx::query(sql::ZONES_NOTE).bind(zones).execute(&mut *tx).await?;
        let query = sqlx::query_scalar(sql::SESSION_OPEN)
            .bind(&self.worker)
            .bind(&self.instance);
        let id: i64 = query.bind(&self.engine_boot).bind(self.now).fetch_one(tx).await?;
        Ok(id.unsigned_abs())
    }
}

/// Gives a worker's new session what the worker still holds from its sessions before; what it does not hold is
/// taken from it.
#[derive(Debug)]
pub struct AdoptLeases {
    /// The new session.
    pub session: u64,
    /// The worker's process.
    pub instance: String,
    /// Execution and epoch of what it holds.
    pub held: Vec<(u64, u64)>,
    /// Unix milliseconds.
    pub now: i64,
}

/// What became of what a worker said it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Its own no longer.
    pub revoked: Vec<(u64, u64)>,
}

impl Write for AdoptLeases {
    type Out = Adopted;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Adopted, StoreError> {
        let held = serde_json::json!(self.held).to_string();
        let query = sqlx::query_as(sql::ADOPT)
            .bind(self.session as i64)
            .bind(held)
            .bind(&self.instance);
        let kept: Vec<(i64, i64)> = query.fetch_all(&mut *tx).await?;
        let kept = kept
            .into_iter()
            .map(|(id, epoch)| (id.unsigned_abs(), epoch.unsigned_abs()))
            .collect::<Vec<_>>();
        let query = sqlx::query_scalar(sql::SESSIONS_OF)
            .bind(&self.instance)
            .bind(self.session as i64);
        let before: Vec<i64> = query.fetch_all(&mut *tx).await?;
        for session in before {
            lose(tx, session, self.now).await?;
        }
        let revoked = self
            .held
            .iter()
            .filter(|lease| !kept.contains(lease))
            .copied()
            .collect();
        Ok(Adopted { revoked })
    }
}

/// Opens a session and gives it what its worker still holds, in one go: a worker that comes back within its term loses
/// nothing, however long the store takes for it.
#[derive(Debug)]
pub struct BeginSession {
    /// The session.
    pub open: OpenSession,
    /// Execution and epoch of what the worker holds.
    pub held: Vec<(u64, u64)>,
}

impl Write for BeginSession {
    /// The session's number, and what became of what the worker holds.
    type Out = (u64, Adopted);

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(u64, Adopted), StoreError> {
        let session = self.open.apply(tx).await?;
        let adopt = AdoptLeases {
            session,
            instance: self.open.instance.clone(),
            held: self.held.clone(),
            now: self.open.now,
        };
        Ok((session, adopt.apply(tx).await?))
    }
}

/// Takes every lease from sessions that are over.
#[derive(Debug)]
pub struct LoseLeases {
    /// The sessions.
    pub sessions: Vec<u64>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for LoseLeases {
    /// How many leases were taken.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let mut lost = 0;
        for session in &self.sessions {
            lost += lose(tx, *session as i64, self.now).await?;
        }
        Ok(lost)
    }
}

/// Executions moved by one statement.
const CHUNK: i64 = 5000;

async fn lose(tx: &mut SqliteConnection, session: i64, now: i64) -> Result<u64, StoreError> {
    let mut lost = 0;
    loop {
        let query = sqlx::query_scalar(sql::LOAD_SESSION).bind(session).bind(CHUNK);
        let held: String = query.fetch_one(&mut *tx).await?;
        let mut held = loaded::loaded(tx, &held).await?;
        if held.is_empty() {
            return Ok(lost);
        }
        lost += held.len() as u64;
        let mut moves = Moves::default();
        for loaded in &mut held {
            let event = Event::LeaseLost {
                epoch: loaded.execution.epoch,
            };
            let moved = moves.decide(loaded, &event, now, None);
            moved.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        }
        moves.write(tx, now).await?;
    }
}

/// Gives up on devices of jobs whose time is up.
#[derive(Debug)]
pub struct ExpireJobs {
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for ExpireJobs {
    /// How many executions were given up.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        wave::hold_time(tx, self.now).await?;
        let due: Vec<i64> = sqlx::query_scalar(sql::JOB_DUE)
            .bind(self.now)
            .fetch_all(&mut *tx)
            .await?;
        let mut expired = 0;
        for job in due {
            let query = sqlx::query_scalar(sql::LOAD_PENDING).bind(job).bind(CHUNK);
            let waiting: String = query.fetch_one(&mut *tx).await?;
            let waiting = loaded::loaded(tx, &waiting).await?;
            expired += self.expire(tx, waiting).await?;
        }
        // Questions that nobody could answer have a deadline of their own.
        let granted_before = self.now - millis(execution::resolved_within());
        let query = sqlx::query_scalar(sql::LOAD_RESOLVING)
            .bind(granted_before)
            .bind(CHUNK);
        let overdue: String = query.fetch_one(&mut *tx).await?;
        let overdue = loaded::loaded(tx, &overdue).await?;
        expired += self.expire(tx, overdue).await?;
        Ok(expired)
    }
}

impl ExpireJobs {
    async fn expire(&self, tx: &mut SqliteConnection, mut waiting: Vec<Loaded>) -> Result<u64, StoreError> {
        let mut moves = Moves::default();
        for loaded in &mut waiting {
            // One whose question may be asked for longer, because of what is armed on its device, stays.
            let _ = moves.decide(loaded, &Event::JobExpired, self.now, None);
        }
        moves.write(tx, self.now).await?;
        Ok(waiting.len() as u64)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// Sessions that hold leases, each with the boot id of the engine it lived in, if it lived in one.
    pub async fn sessions_holding(&self) -> Result<Vec<(u64, String)>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(sql::SESSIONS_HOLDING)
            .fetch_all(self.readers())
            .await?;
        Ok(rows
            .into_iter()
            .map(|(id, boot)| (id.unsigned_abs(), boot))
            .collect())
    }
}
