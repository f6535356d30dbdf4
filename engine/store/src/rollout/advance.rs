//! Steps of a rollout that a reconciler takes: each is right at any time, and any number of times.

use muster_engine_core::rollout::advance::GateVerdict;
use muster_model::JobState;
use serde_json::json;
use sqlx::SqliteConnection;

use super::judge::goes_on;
use super::local::Local;
use super::read::{HoldRecord, verdict_number};
use crate::{StoreError, Write, sql, transition, wave};

/// Notes that a wave has ended.
#[derive(Clone, Debug)]
pub struct EndWave {
    /// The job's id.
    pub uuid: String,
    /// The wave, from 0.
    pub wave: u32,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for EndWave {
    /// Whether that was not noted before.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let Some((job, _)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(false);
        };
        let query = sqlx::query(sql::WAVE_END)
            .bind(job)
            .bind(self.wave)
            .bind(self.now);
        if query.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        transition::note(tx, job, "wave ended", self.now).await?;
        Ok(true)
    }
}

/// Puts a rollout that goes on by itself into the state that follows from its gates and windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleRollout {
    /// The job's id.
    pub uuid: String,
    /// Running, gated or waiting for a window.
    pub state: JobState,
    /// Nothing new starts from this time on, Unix milliseconds.
    pub admit_until: Option<i64>,
    /// What is in flight stops before its next step from this time on, Unix milliseconds.
    pub stop_at: Option<i64>,
    /// The same in each zone of its devices, if its windows are in those.
    pub local: Option<Local>,
    /// What keeps the next wave shut.
    pub hold: Option<HoldRecord>,
    /// Executions with workers at once for now.
    pub pace: Option<u32>,
    /// Since when, Unix milliseconds.
    pub pace_since: Option<i64>,
    /// A rule's name and evidence, when a gate says no: the job halts.
    pub halt: Option<(String, String)>,
    /// Unix milliseconds.
    pub now: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is so now.
    Done,
    /// Somebody or something stopped or ended it meanwhile.
    Elsewhere,
}

impl Write for SettleRollout {
    type Out = Settled;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Settled, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(Settled::Elsewhere);
        };
        if !goes_on(state) || !goes_on(self.state) {
            return Ok(Settled::Elsewhere);
        }
        self.note_hold(tx, job).await?;
        sqlx::query(sql::JOB_SET_TIMES)
            .bind(job)
            .bind(self.state.number())
            .bind(self.admit_until)
            .bind(self.pace)
            .bind(self.stop_at)
            .bind(self.local.as_ref().map(|local| json!(local).to_string()))
            .execute(&mut *tx)
            .await?;
        if let Some((rule, evidence)) = &self.halt {
            wave::halt(tx, job, rule, evidence, self.now).await?;
        } else {
            transition::note(tx, job, "state", self.now).await?;
        }
        Ok(Settled::Done)
    }
}

impl SettleRollout {
    async fn note_hold(&self, tx: &mut SqliteConnection, job: i64) -> Result<(), StoreError> {
        let hold = self.hold.as_ref();
        sqlx::query(sql::ROLLOUT_HOLD)
            .bind(job)
            .bind(hold.map(|hold| hold.by.as_str()))
            .bind(hold.map(|hold| hold.evidence.as_str()))
            .bind(hold.and_then(|hold| hold.until))
            .bind(hold.is_some_and(|hold| hold.needs_person))
            .bind(self.pace_since)
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// Notes whom a gate asks that takes long, so that what it says is waited for, also by another process.
#[derive(Clone, Debug)]
pub struct NoteAsked {
    /// The job's row number.
    pub job: i64,
    /// The wave, from 0.
    pub wave: u32,
    /// The gate's place in the wave.
    pub gate: usize,
    /// The id of the run.
    pub run: String,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for NoteAsked {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(sql::VERDICT_STORE)
            .bind(self.job)
            .bind(self.wave)
            .bind(self.gate as i64)
            .bind(self.now)
            .bind(0)
            .bind(&self.run)
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// Notes what a server said of a gate.
#[derive(Clone, Debug)]
pub struct NoteVerdict {
    /// The job's row number.
    pub job: i64,
    /// The wave, from 0.
    pub wave: u32,
    /// The gate's place in the wave.
    pub gate: usize,
    /// What it said.
    pub verdict: GateVerdict,
    /// Why.
    pub reason: String,
    /// The run that said so: nothing is noted when the gate asks another one by now, or none.
    pub run: Option<String>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for NoteVerdict {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.run.is_some() {
            let asks: Option<String> = sqlx::query_scalar(sql::GATE_ASKS)
                .bind(self.job)
                .bind(self.wave)
                .bind(self.gate as i64)
                .fetch_optional(&mut *tx)
                .await?;
            if asks != self.run {
                return Ok(());
            }
        }
        sqlx::query(sql::VERDICT_STORE)
            .bind(self.job)
            .bind(self.wave)
            .bind(self.gate as i64)
            .bind(self.now)
            .bind(verdict_number(self.verdict))
            .bind(&self.reason)
            .execute(&mut *tx)
            .await?;
        transition::note(tx, self.job, "gate", self.now).await
    }
}
