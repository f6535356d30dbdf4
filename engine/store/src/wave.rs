//! Waves of a job, and what may be harmed in it (fleet-semantics B, C3).

use std::collections::BTreeMap;

use muster_engine_core::budget::{self, Change, Full, WaveLedger};
use muster_engine_core::{Ledger, Tally, job};
use muster_model::{Effect, JobState};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection, SqliteExecutor};
use thiserror::Error;

use crate::history::{self, Deed};
use crate::transition::{self, effect_from};
use crate::{StoreError, Write, quarantine, sql};

/// A wave as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaveRecord {
    /// From 0.
    pub number: u32,
    /// Executions.
    pub total: u64,
    /// Its own budget; `None` for the job's alone.
    pub budget: Option<u64>,
    /// Since when it is handed out, Unix milliseconds.
    pub opened_at: Option<i64>,
    /// When it ended, Unix milliseconds.
    pub ended_at: Option<i64>,
    /// How its executions stand.
    pub tally: Tally,
}

/// A wave and the job it belongs to.
pub(crate) struct WaveRow {
    pub(crate) job: i64,
    pub(crate) wave: WaveRecord,
}

impl FromRow<'_, SqliteRow> for WaveRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let mut numbers = [0_i64; 9];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = row.try_get(6 + at)?;
        }
        Ok(Self {
            job: row.try_get(0)?,
            wave: WaveRecord {
                number: row.try_get(1)?,
                total: row.try_get::<i64, _>(2)?.unsigned_abs(),
                budget: row.try_get::<Option<i64>, _>(3)?.map(i64::unsigned_abs),
                opened_at: row.try_get(4)?,
                ended_at: row.try_get(5)?,
                tally: Tally::from_numbers(numbers),
            },
        })
    }
}

/// The waves of jobs, in order.
pub(crate) async fn waves_of(
    executor: impl SqliteExecutor<'_>,
    jobs: impl IntoIterator<Item = i64>,
) -> Result<BTreeMap<i64, Vec<WaveRecord>>, StoreError> {
    let ids = crate::json_ids(jobs.into_iter().map(i64::unsigned_abs));
    let rows: Vec<WaveRow> = sqlx::query_as(sql::WAVES_OF)
        .bind(ids)
        .fetch_all(executor)
        .await?;
    let mut waves = BTreeMap::<i64, Vec<WaveRecord>>::new();
    for WaveRow { job, wave } in rows {
        waves.entry(job).or_default().push(wave);
    }
    Ok(waves)
}

/// What budgets are decided from.
pub(crate) fn ledger(budget: Option<u64>, waves: &[WaveRecord]) -> Ledger {
    let wave = |wave: &WaveRecord| {
        let ledger = WaveLedger {
            budget: wave.budget,
            tally: wave.tally,
        };
        (wave.number, ledger)
    };
    Ledger {
        budget,
        waves: waves.iter().map(wave).collect(),
    }
}

/// The ledgers of jobs whose executions may harm something.
pub(crate) async fn ledgers(
    tx: &mut SqliteConnection,
    jobs: impl IntoIterator<Item = (i64, Option<u64>)>,
) -> Result<BTreeMap<i64, Ledger>, StoreError> {
    let budgets = jobs.into_iter().collect::<BTreeMap<_, _>>();
    if budgets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let waves = waves_of(tx, budgets.keys().copied()).await?;
    let one = |(job, waves): (i64, Vec<WaveRecord>)| {
        let budget = budgets.get(&job).copied().flatten();
        (job, ledger(budget, &waves))
    };
    Ok(waves.into_iter().map(one).collect())
}

/// Writes what changed in waves of jobs.
pub(crate) async fn count(
    tx: &mut SqliteConnection,
    changes: &BTreeMap<(i64, u32), Tally>,
) -> Result<(), StoreError> {
    let row = |((job, wave), tally): (&(i64, u32), &Tally)| {
        let mut row = vec![json!(job), json!(wave)];
        row.extend(tally.numbers().map(Value::from));
        Value::Array(row)
    };
    let changed = changes.iter().filter(|(_, tally)| !tally.is_zero());
    let rows = changed.map(row).collect::<Vec<_>>();
    if !rows.is_empty() {
        sqlx::query(sql::BUDGET_MOVE)
            .bind(Value::Array(rows).to_string())
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Puts off the end of jobs whose executions waited for the units that came free here: that their turn did not come
/// sooner is the budget's doing and not their devices'.
pub(crate) async fn stretch(
    tx: &mut SqliteConnection,
    changes: &BTreeMap<(i64, u32), Tally>,
    now: i64,
) -> Result<(), StoreError> {
    let freed = changes.iter().filter(|(_, change)| change.touched > 0);
    let freed = freed.map(|((job, _), change)| {
        let free = -(change.in_flight + change.harmed + change.rescued);
        json!([job, free])
    });
    let freed = freed.collect::<Vec<_>>();
    if !freed.is_empty() {
        let query = sqlx::query(sql::JOB_STRETCH).bind(Value::Array(freed).to_string());
        query.bind(now).execute(tx).await?;
    }
    Ok(())
}

/// The end of a job is near so long before it, milliseconds: several looks at what is over.
pub(crate) const NEAR_MS: u64 = 1_000;

/// Puts off the end of jobs that are near it, as long as one of their devices is being worked on: a download or a restart
/// lasts longer than devices are waited for, and others wait for the unit or the place that it holds. Devices that say
/// nothing any more hold up nobody's end.
pub(crate) async fn hold_time(tx: &mut SqliteConnection, now: i64) -> Result<(), StoreError> {
    let query = sqlx::query(sql::JOBS_HOLD_TIME).bind(now).bind(number(NEAR_MS));
    query.execute(tx).await?;
    Ok(())
}

/// Halts jobs whose budget this commit has spent (C3). A job that has nothing left ends instead: there is nothing to
/// hold back.
pub(crate) async fn halt_spent(
    tx: &mut SqliteConnection,
    jobs: impl IntoIterator<Item = i64>,
    now: i64,
) -> Result<(), StoreError> {
    for job in jobs {
        let (ledger, _) = ledger_of(tx, job).await?;
        if let Some(full) = ledger.exhausted()
            && has_rest(tx, job).await?
        {
            halt(tx, job, budget::RULE, &full.to_string(), now).await?;
        }
    }
    Ok(())
}

/// Whether executions of a job are not over.
pub(crate) async fn has_rest(tx: &mut SqliteConnection, job: i64) -> Result<bool, StoreError> {
    let counts: Vec<(i32, i64)> = sqlx::query_as(sql::COUNTS).bind(job).fetch_all(tx).await?;
    Ok(transition::counts_of(counts).sum(|state| !state.is_terminal()) > 0)
}

async fn ledger_of(tx: &mut SqliteConnection, job: i64) -> Result<(Ledger, Vec<WaveRecord>), StoreError> {
    let budget: Option<i64> = sqlx::query_scalar(sql::JOB_BUDGET)
        .bind(job)
        .fetch_one(&mut *tx)
        .await?;
    let waves = waves_of(tx, [job]).await?.remove(&job).unwrap_or_default();
    Ok((ledger(budget.map(i64::unsigned_abs), &waves), waves))
}

/// Stops a job by a rule, with its evidence, unless it is stopped or ending already. Whether it did.
pub(crate) async fn halt(
    tx: &mut SqliteConnection,
    job: i64,
    rule: &str,
    detail: &str,
    now: i64,
) -> Result<bool, StoreError> {
    let (state, _): (i32, String) = sqlx::query_as(sql::JOB_STATE)
        .bind(job)
        .fetch_one(&mut *tx)
        .await?;
    let Some(to) = JobState::from_number(state).and_then(job::halt) else {
        return Ok(false);
    };
    sqlx::query(sql::JOB_HALT)
        .bind(job)
        .bind(to.number())
        .bind(rule)
        .bind(now)
        .bind(detail)
        .execute(&mut *tx)
        .await?;
    transition::note(tx, job, "halted", now).await?;
    Ok(true)
}

/// The budget that keeps a halted job from going on, if it is still spent.
pub(crate) async fn still_spent(tx: &mut SqliteConnection, job: i64) -> Result<Option<Full>, StoreError> {
    let (ledger, _) = ledger_of(tx, job).await?;
    Ok(ledger.exhausted())
}

/// Puts executions of a job that has not begun into waves.
#[derive(Clone, Debug)]
pub struct AssignWaves {
    /// The job's id.
    pub uuid: String,
    /// Device and wave, from 0; the job has to have that wave. Devices that are not named stay where they are.
    pub waves: Vec<(u64, u32)>,
}

impl Write for AssignWaves {
    /// Whether there is such a job and it has not begun.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(false);
        };
        if !job::has_not_begun(state) {
            return Ok(false);
        }
        let waves = json!(self.waves).to_string();
        for statement in [sql::WAVES_SHIFT, sql::WAVES_ASSIGN] {
            sqlx::query(statement)
                .bind(job)
                .bind(&waves)
                .execute(&mut *tx)
                .await?;
        }
        Ok(true)
    }
}

/// Lets a job that is laid out and waits begin.
#[derive(Clone, Debug)]
pub struct StartJob {
    /// The job's id.
    pub uuid: String,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for StartJob {
    /// Whether there is such a job and it was waiting.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(false);
        };
        if state == JobState::Draft || !job::has_not_begun(state) {
            return Ok(false);
        }
        start(tx, job, self.now).await?;
        Ok(true)
    }
}

/// Makes a job run: its first wave is open, and devices that are quarantined are left out.
pub(crate) async fn start(tx: &mut SqliteConnection, job: i64, now: i64) -> Result<(), StoreError> {
    sqlx::query(sql::JOB_SETTLE)
        .bind(job)
        .bind(JobState::Running.number())
        .bind(None::<i64>)
        .execute(&mut *tx)
        .await?;
    sqlx::query(sql::WAVE_OPEN)
        .bind(job)
        .bind(0)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    transition::note(tx, job, "state", now).await?;
    let effect: i64 = sqlx::query_scalar(sql::JOB_EFFECT)
        .bind(job)
        .fetch_one(&mut *tx)
        .await?;
    if effect_from(effect).is_none_or(|effect| effect >= Effect::Change) {
        let devices = quarantine::devices(tx, now).await?;
        quarantine::skip(tx, &devices, now).await?;
    }
    Ok(())
}

/// Lets executions of the waves up to one be handed out.
#[derive(Clone, Debug)]
pub struct OpenWave {
    /// The job's id.
    pub uuid: String,
    /// The wave, from 0.
    pub wave: u32,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for OpenWave {
    /// Whether it was not open before.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let Some((job, _)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(false);
        };
        let query = sqlx::query(sql::JOB_OPEN_WAVE).bind(job).bind(self.wave);
        if query.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let query = sqlx::query(sql::WAVE_OPEN).bind(job).bind(self.wave);
        query.bind(self.now).execute(&mut *tx).await?;
        transition::note(tx, job, "wave", self.now).await?;
        Ok(true)
    }
}

/// Changes the limits of a job that is not over: stricter ones at once, looser ones with the name of somebody who
/// approves (A6). All of them or none.
#[derive(Clone, Debug)]
pub struct ChangeLimits {
    /// The job's id.
    pub uuid: String,
    /// Its budget: so many, or no limit. `None` leaves it.
    pub budget: Option<Option<u64>>,
    /// Budgets of waves, by number from 0.
    pub waves: Vec<(u32, Option<u64>)>,
    /// Executions with workers at once. `None` leaves it.
    pub concurrency: Option<Option<u32>>,
    /// Who approves; empty for nobody.
    pub approver: String,
    /// Who, as stated.
    pub claimed_by: String,
    /// Why, in their words.
    pub reason: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// Limits that are not changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LimitsRefused {
    /// There is no such job.
    #[error("there is no such job")]
    NotFound,
    /// It is over, or ending.
    #[error("the job is {0}")]
    Over(JobState),
    /// It has no such wave.
    #[error("the job has {waves} waves, and no wave {}", u64::from(*number) + 1)]
    NoWave {
        /// The one asked for, from 0.
        number: u32,
        /// How many it has.
        waves: usize,
    },
    /// Looser limits need a name.
    #[error("{0}: looser limits need somebody who approves")]
    NeedsApprover(String),
}

/// Limits that are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What may be harmed or rescued at most from here on, whatever happens; `None` for no limit.
    pub promised: Option<u64>,
}

/// A limit for people.
fn limit(value: Option<u64>) -> String {
    value.map_or_else(|| "all".to_owned(), |value| value.to_string())
}

impl Write for ChangeLimits {
    type Out = Result<Limits, LimitsRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(Err(LimitsRefused::NotFound));
        };
        if state.is_terminal() || state == JobState::Aborting {
            return Ok(Err(LimitsRefused::Over(state)));
        }
        let (mut ledger, waves) = ledger_of(tx, job).await?;
        let concurrency: Option<i64> = sqlx::query_scalar(sql::JOB_CONCURRENCY)
            .bind(job)
            .fetch_one(&mut *tx)
            .await?;
        let concurrency = concurrency.map(i64::unsigned_abs);
        let changed = match self.checked(&ledger, concurrency, waves.len()) {
            Ok(changed) => changed,
            Err(refused) => return Ok(Err(refused)),
        };
        self.write(tx, job, &mut ledger).await?;
        if !changed.is_empty() {
            transition::note(tx, job, "limits", self.now).await?;
            history::add(tx, &self.deed(&changed, &ledger), self.now).await?;
        }
        halt_spent(tx, [job], self.now).await?;
        Ok(Ok(Limits {
            promised: ledger.promised(),
        }))
    }
}

impl ChangeLimits {
    /// What changes, in words; nothing when all limits are as they were.
    pub(crate) fn checked(
        &self,
        ledger: &Ledger,
        concurrency: Option<u64>,
        waves: usize,
    ) -> Result<String, LimitsRefused> {
        let changes = self.changes(ledger, concurrency, waves)?;
        let words = |wanted: fn(Change) -> bool| {
            let changes = changes.iter().filter(|(_, change)| wanted(*change));
            changes
                .map(|(text, _)| text.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let looser = words(|change| change == Change::Looser);
        if !looser.is_empty() && self.approver.trim().is_empty() {
            return Err(LimitsRefused::NeedsApprover(looser));
        }
        Ok(words(|change| change != Change::Same))
    }

    /// Each limit that is given, in words, and how it compares with the one before.
    fn changes(
        &self,
        ledger: &Ledger,
        concurrency: Option<u64>,
        waves: usize,
    ) -> Result<Vec<(String, Change)>, LimitsRefused> {
        let change = |what: String, before: Option<u64>, after: Option<u64>| {
            let text = format!("{what} {} to {}", limit(before), limit(after));
            (text, Change::between(before, after))
        };
        let mut changes = Vec::new();
        if let Some(after) = self.budget {
            changes.push(change("budget".into(), ledger.budget, after));
        }
        for &(number, after) in &self.waves {
            let Some(wave) = ledger.waves.get(&number) else {
                return Err(LimitsRefused::NoWave { number, waves });
            };
            let what = format!("budget of wave {}", u64::from(number) + 1);
            changes.push(change(what, wave.budget, after));
        }
        if let Some(after) = self.concurrency {
            changes.push(change("concurrency".into(), concurrency, after.map(u64::from)));
        }
        Ok(changes)
    }

    async fn write(
        &self,
        tx: &mut SqliteConnection,
        job: i64,
        ledger: &mut Ledger,
    ) -> Result<(), StoreError> {
        if let Some(budget) = self.budget {
            ledger.budget = budget;
            let query = sqlx::query(sql::JOB_SET_BUDGET)
                .bind(job)
                .bind(budget.map(number));
            query.execute(&mut *tx).await?;
        }
        for &(wave, budget) in &self.waves {
            ledger.waves.entry(wave).or_default().budget = budget;
            let query = sqlx::query(sql::WAVE_SET_BUDGET).bind(job).bind(wave);
            query.bind(budget.map(number)).execute(&mut *tx).await?;
        }
        if let Some(concurrency) = self.concurrency {
            let query = sqlx::query(sql::JOB_SET_CONCURRENCY).bind(job).bind(concurrency);
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }

    pub(crate) fn deed(&self, changed: &str, ledger: &Ledger) -> Deed {
        let approved = match self.approver.trim() {
            "" => String::new(),
            name => format!("; approved by {name}"),
        };
        Deed {
            claimed_by: self.claimed_by.clone(),
            action: "job.limits",
            subject: self.uuid.clone(),
            reason: self.reason.clone(),
            detail: format!("{changed}{approved}; promised: {}", limit(ledger.promised())),
        }
    }
}

pub(crate) fn number(budget: u64) -> i64 {
    i64::try_from(budget).unwrap_or(i64::MAX)
}
