//! Moving executions: read them, let the core decide, write them back, and let counters and events follow in the
//! same transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use muster_engine_core::job::{self, Counts};
use muster_engine_core::{Event, Execution, Illegal, Ledger, Resolution, Tally, Transition};
use muster_model::{DeviceError, Effect, ErrorClass, ExecutionState, JobState};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::loaded::Loaded;
use crate::rollout::{self, Ending};
use crate::{StoreError, quarantine, rescue, sql, wave};

pub(crate) fn effect_number(effect: Effect) -> i64 {
    match effect {
        Effect::Read => 1,
        Effect::Stage => 2,
        Effect::Change => 3,
        Effect::Disrupt => 4,
    }
}

pub(crate) fn effect_from(number: i64) -> Option<Effect> {
    [Effect::Read, Effect::Stage, Effect::Change, Effect::Disrupt]
        .into_iter()
        .find(|e| effect_number(*e) == number)
}

pub(crate) fn device_error(
    class: Option<i32>,
    message: Option<String>,
    category: Option<u8>,
) -> Option<DeviceError> {
    let class = class.and_then(ErrorClass::from_number)?;
    Some(DeviceError {
        class,
        message: message.unwrap_or_default(),
        category,
    })
}

pub(crate) fn resolution(done: Option<bool>, epoch: Option<i64>, at: Option<i64>) -> Option<Resolution> {
    Some(Resolution {
        done: done?,
        epoch: epoch?.unsigned_abs(),
        at: at?,
    })
}

pub(crate) fn bad(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("unknown number in {what}").into())
}

/// What executions become that move alike: everything but who it is and when the attempt began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    state: i32,
    attempts: u32,
    touched: bool,
    touched_from: Option<u32>,
    silent_since: Option<i64>,
    locked: bool,
    next_step: u32,
    open_intent: Option<u32>,
    intent_epoch: Option<u64>,
    intent_at: Option<i64>,
    ready_at: Option<i64>,
    error_class: Option<i32>,
    error_message: Option<String>,
    error_category: Option<u8>,
    finished_at: Option<i64>,
}

/// From so many executions on, a statement for those alike costs less than their part in one for all.
const ALIKE: usize = 8;

/// Moves of one transaction, written back together.
#[derive(Default)]
pub(crate) struct Moves {
    /// Who becomes what, and when the attempt began.
    rows: BTreeMap<Alike, Vec<(u64, Option<i64>)>>,
    counts: BTreeMap<(i64, ExecutionState), i64>,
    tallies: BTreeMap<(i64, u32), Tally>,
    /// How jobs stand, where intents are decided by it.
    ledgers: BTreeMap<i64, Ledger>,
    ended: BTreeMap<i64, Vec<u64>>,
    /// The same, for rules.
    endings: BTreeMap<i64, Vec<Ending>>,
    /// Executions that had ended without an answer, and what late evidence says of them.
    resolved: Vec<Value>,
    /// Jobs of theirs.
    resolved_jobs: BTreeSet<i64>,
    /// Devices with executions that ended badly here.
    harmed: Vec<Value>,
    /// Executions that lost their device here.
    lost: Vec<u64>,
}

impl Moves {
    /// With the budgets of the jobs of these executions, so that intents can be granted.
    pub(crate) async fn under_budget<'a>(
        tx: &mut SqliteConnection,
        loaded: impl Iterator<Item = &'a Loaded>,
    ) -> Result<Self, StoreError> {
        let jobs = loaded.filter(|loaded| loaded.may_harm());
        let ledgers = wave::ledgers(tx, jobs.map(|loaded| (loaded.job, loaded.budget()))).await?;
        Ok(Self {
            ledgers,
            ..Self::default()
        })
    }

    /// Lets the core decide what the event makes of the execution, and notes it. `started_at` is when the attempt
    /// that ends here began.
    pub(crate) fn decide(
        &mut self,
        loaded: &mut Loaded,
        event: &Event,
        now: i64,
        started_at: Option<i64>,
    ) -> Result<(), Illegal> {
        let context = loaded.context(now, self.ledgers.get(&loaded.job));
        let Transition { to, ready_at } = loaded.execution.next(event, &context)?;
        let ended = to.state.is_terminal();
        if loaded.execution.state.is_terminal() {
            self.resolve(loaded, to);
            return Ok(());
        }
        // A device stays held while an execution that touched it is not over (A9, A10).
        let locked = !ended && loaded.locked && (to.touched || to.state != ExecutionState::Pending);
        // The look at the end of a soak is part of the attempt that made the change.
        let began = loaded
            .started_at
            .filter(|_| loaded.execution.is_soaking(&context));
        let started_at = began.or(started_at).or(loaded.started_at);
        let error = to.error.as_ref();
        let alike = Alike {
            state: to.state.number(),
            attempts: to.attempts,
            touched: to.touched,
            touched_from: to.touched_from,
            silent_since: to.silent_since,
            locked,
            next_step: to.next_step,
            open_intent: to.open_intent.map(|intent| intent.step),
            intent_epoch: to.open_intent.map(|intent| intent.epoch),
            intent_at: to.open_intent.map(|intent| intent.at),
            ready_at,
            error_class: error.map(|error| error.class.number()),
            error_message: error.map(|error| error.message.clone()),
            error_category: error.and_then(|error| error.category),
            finished_at: ended.then_some(now),
        };
        self.rows.entry(alike).or_default().push((to.id, started_at));
        self.count(loaded.job, loaded.execution.state, -1);
        self.count(loaded.job, to.state, 1);
        self.tally(
            loaded.job,
            loaded.wave,
            Tally::of(&to) - Tally::of(&loaded.execution),
        );
        if ended {
            self.ended.entry(loaded.job).or_default().push(to.id);
            self.endings.entry(loaded.job).or_default().push(Ending {
                wave: loaded.wave,
                state: to.state,
                touched: to.touched,
            });
        }
        if to.state.is_harmed() {
            self.harmed.push(json!([loaded.device, to.id]));
        }
        if to.state == ExecutionState::Lost {
            self.lost.push(to.id);
        }
        loaded.execution = to;
        loaded.started_at = started_at;
        loaded.locked = locked;
        Ok(())
    }

    fn resolve(&mut self, loaded: &mut Loaded, to: Execution) {
        if let Some(Resolution { done, epoch, at }) = to.resolution {
            self.resolved.push(json!([to.id, u8::from(done), epoch, at]));
        }
        self.resolved_jobs.insert(loaded.job);
        loaded.execution = to;
    }

    /// Notes that executions of a job went from one state to another, where the statement itself moved them.
    pub(crate) fn count(&mut self, job: i64, state: ExecutionState, by: i64) {
        *self.counts.entry((job, state)).or_default() += by;
    }

    fn tally(&mut self, job: i64, wave: u32, change: Tally) {
        *self.tallies.entry((job, wave)).or_default() += change;
        if let Some(ledger) = self.ledgers.get_mut(&job) {
            ledger.add(wave, change);
        }
    }

    /// Writes everything: the executions, the counters, the events, and the jobs that this brings to their end.
    pub(crate) async fn write(self, tx: &mut SqliteConnection, now: i64) -> Result<(), StoreError> {
        write_rows(tx, self.rows).await?;
        let counts = self.counts.iter().filter(|(_, by)| **by != 0);
        let counts = counts
            .map(|((job, state), by)| json!([job, state.number(), by]))
            .collect::<Vec<_>>();
        if !counts.is_empty() {
            sqlx::query(sql::COUNTS_MOVE)
                .bind(Value::Array(counts).to_string())
                .execute(&mut *tx)
                .await?;
        }
        wave::count(tx, &self.tallies).await?;
        if !self.resolved.is_empty() {
            let resolved = Value::Array(self.resolved).to_string();
            sqlx::query(sql::RESOLVE).bind(resolved).execute(&mut *tx).await?;
        }
        for job in self.resolved_jobs {
            note(tx, job, "resolved", now).await?;
        }
        if self.ended.is_empty() {
            return Ok(());
        }
        let harmed = Value::Array(self.harmed).to_string();
        let events = self
            .ended
            .iter()
            .map(|(job, ids)| json!([job, "ended", ids]))
            .collect::<Vec<_>>();
        sqlx::query(sql::EVENT_STORE)
            .bind(Value::Array(events).to_string())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        let spent = self.tallies.iter().filter(|(_, tally)| tally.spent() > 0);
        let spent = spent.map(|((job, _), _)| *job).collect::<BTreeSet<_>>();
        wave::halt_spent(tx, spent, now).await?;
        rollout::judge(tx, &self.endings, now).await?;
        wave::stretch(tx, &self.tallies, now).await?;
        for job in self.ended.into_keys() {
            settle(tx, job, now).await?;
        }
        if !self.lost.is_empty() {
            rescue::lost(tx, &self.lost, now).await?;
        }
        if harmed != "[]" {
            Box::pin(quarantine::harmed(tx, &harmed, now)).await?;
        }
        Ok(())
    }
}

async fn write_rows(
    tx: &mut SqliteConnection,
    rows: BTreeMap<Alike, Vec<(u64, Option<i64>)>>,
) -> Result<(), StoreError> {
    let mut others = Vec::new();
    for (alike, executions) in rows {
        if executions.len() < ALIKE {
            others.extend(
                executions
                    .iter()
                    .map(|&(id, started_at)| row(&alike, id, started_at)),
            );
            continue;
        }
        sqlx::query(sql::MOVE_ALIKE)
            .bind(started(&executions))
            .bind(alike.state)
            .bind(alike.attempts)
            .bind(i64::from(alike.touched))
            .bind(i64::from(alike.locked))
            .bind(alike.next_step)
            .bind(alike.open_intent)
            .bind(alike.intent_epoch.map(|epoch| epoch as i64))
            .bind(alike.intent_at)
            .bind(alike.ready_at)
            .bind(alike.error_class)
            .bind(alike.error_message)
            .bind(alike.error_category)
            .bind(alike.finished_at)
            .bind(alike.touched_from)
            .bind(alike.silent_since)
            .execute(&mut *tx)
            .await?;
    }
    if !others.is_empty() {
        let query = sqlx::query(sql::MOVE).bind(Value::Array(others).to_string());
        query.execute(tx).await?;
    }
    Ok(())
}

/// A row of `sql::MOVE`.
fn row(alike: &Alike, id: u64, started_at: Option<i64>) -> Value {
    json!([
        id,
        alike.state,
        alike.attempts,
        i64::from(alike.touched),
        i64::from(alike.locked),
        alike.open_intent,
        alike.ready_at,
        alike.error_class,
        alike.error_message,
        alike.error_category,
        started_at,
        alike.finished_at,
        alike.next_step,
        alike.intent_epoch,
        alike.intent_at,
        alike.touched_from,
        alike.silent_since,
    ])
}

/// `{id: started_at, …}`.
fn started(executions: &[(u64, Option<i64>)]) -> String {
    let mut json = String::with_capacity(executions.len() * 24 + 2);
    for (at, (id, started_at)) in executions.iter().enumerate() {
        let before = if at == 0 { "{" } else { "," };
        // Writing to a string does not fail.
        let _ = match started_at {
            Some(started_at) => write!(json, "{before}\"{id}\":{started_at}"),
            None => write!(json, "{before}\"{id}\":null"),
        };
    }
    json.push('}');
    json
}

/// Brings a job to its end if its executions are.
pub(crate) async fn settle(tx: &mut SqliteConnection, job: i64, now: i64) -> Result<(), StoreError> {
    let (state, _): (i32, String) = sqlx::query_as(sql::JOB_STATE)
        .bind(job)
        .fetch_one(&mut *tx)
        .await?;
    let state = JobState::from_number(state).ok_or_else(|| bad("job.state"))?;
    let counts: Vec<(i32, i64)> = sqlx::query_as(sql::COUNTS).bind(job).fetch_all(&mut *tx).await?;
    let mut settled = job::settle(state, &counts_of(counts));
    if settled == state {
        return Ok(());
    }
    if settled == JobState::Aborted
        && sqlx::query_scalar::<_, bool>(sql::IS_REVERT_WANTED)
            .bind(job)
            .fetch_one(&mut *tx)
            .await?
    {
        // What it has changed is taken back by a job of its own.
        settled = JobState::Reverting;
    }
    let finished_at = settled.is_terminal().then_some(now);
    if finished_at.is_some() {
        sqlx::query(sql::WAVES_END)
            .bind(job)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    }
    let query = sqlx::query(sql::JOB_SETTLE)
        .bind(job)
        .bind(settled.number())
        .bind(finished_at);
    query.execute(&mut *tx).await?;
    note(tx, job, "state", now).await
}

/// A job's row and state.
pub(crate) async fn job_by_uuid(
    tx: &mut SqliteConnection,
    uuid: &str,
) -> Result<Option<(i64, JobState)>, StoreError> {
    let query = sqlx::query_as(sql::JOB_STATE_BY_UUID).bind(uuid);
    let found: Option<(i64, i32)> = query.fetch_optional(tx).await?;
    let Some((job, state)) = found else {
        return Ok(None);
    };
    let state = JobState::from_number(state).ok_or_else(|| bad("job.state"))?;
    Ok(Some((job, state)))
}

/// Writes an event that names no executions.
pub(crate) async fn note(
    tx: &mut SqliteConnection,
    job: i64,
    kind: &str,
    now: i64,
) -> Result<(), StoreError> {
    let event = json!([[job, kind, []]]).to_string();
    sqlx::query(sql::EVENT_STORE)
        .bind(event)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) fn counts_of(rows: impl IntoIterator<Item = (i32, i64)>) -> Counts {
    Counts::new(rows.into_iter().filter_map(|(state, count)| {
        Some((ExecutionState::from_number(state)?, count.max(0).unsigned_abs()))
    }))
}
