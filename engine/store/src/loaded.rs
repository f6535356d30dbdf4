//! Executions as decisions need them: each in a short text of its own, and what their job says once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::retry::Backoff;
use muster_engine_core::{Context, Execution, Intent, Ledger, job};
use muster_model::{Effect, ExecutionState, JobState, Marks, Priority};
use serde::Deserialize;
use sqlx::SqliteConnection;

use crate::rollout::Local;
use crate::transition::{bad, device_error, resolution};
use crate::{StoreError, json_ids, sql};

/// An execution with what decisions need of its job.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) execution: Execution,
    pub(crate) device: i64,
    pub(crate) job: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) locked: bool,
    pub(crate) wave: u32,
    says: Arc<Says>,
    /// The window of its device's zone is shut, or has ended for what is in flight: see [`Self::local`].
    pub(crate) zone_is_shut: bool,
    pub(crate) zone_stops: bool,
    /// Too many of those beside its device are out of service (D3).
    pub(crate) unavailable: bool,
    /// How long its device may go on with a command that nobody waits for any more, milliseconds.
    lag_ms: i64,
    /// How long what is armed on its device may take to act.
    guard_ms: i64,
}

/// What a job says of its executions.
#[derive(Debug)]
struct Says {
    state: JobState,
    expires_at: i64,
    /// `None` for no limit.
    budget: Option<u64>,
    /// Nothing new of it starts from then on.
    admit_until: Option<i64>,
    /// What is in flight of it stops from then on.
    stop_at: Option<i64>,
    /// Nothing with effects starts.
    frozen: bool,
    /// By wave, milliseconds.
    soaks: BTreeMap<u32, i64>,
    steps: String,
    priority: Priority,
    timeout_ms: i64,
    /// How long the longest step of its plan may take beyond that.
    linger_ms: i64,
    /// Whether its executions name what others were answered, too.
    shares: bool,
    /// How the zones of its devices stand.
    local: Option<Local>,
}

impl Loaded {
    /// The budget of its job; `None` for no limit.
    pub(crate) fn budget(&self) -> Option<u64> {
        self.says.budget
    }

    /// Whether what it is answered is likely to have been answered before, all of it: it is of an audit.
    pub(crate) fn is_shared(&self) -> bool {
        self.says.shares
    }

    /// How the zones of its job's devices stand, if its windows are in those.
    pub(crate) fn local(&self) -> Option<Local> {
        self.says.local.clone()
    }

    /// Whether its plan can change a device.
    pub(crate) fn may_harm(&self) -> bool {
        let steps = Marks::new(&self.says.steps);
        steps.any_change_before(steps.len())
    }

    /// Whether a step of its plan takes the device out of service.
    pub(crate) fn disrupts(&self, step: u32) -> bool {
        Marks::new(&self.says.steps).effect(step) == Effect::Disrupt
    }

    /// Whether a window or a freeze lets nothing new of its job touch a device.
    fn is_shut(&self, now: i64) -> bool {
        self.says.frozen || self.zone_is_shut || self.says.admit_until.is_some_and(|until| until <= now)
    }

    /// Whether a worker holds it for the first time: nothing can have been answered before.
    pub(crate) fn is_in_its_first_lease(&self) -> bool {
        let held = matches!(
            self.execution.state,
            ExecutionState::Leased | ExecutionState::Running
        );
        held && self.execution.epoch == 1
    }

    /// `ledger` is how its job stands.
    pub(crate) fn context(&self, now: i64, ledger: Option<&Ledger>) -> Context<'_> {
        let says = &*self.says;
        let millis = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        Context {
            now,
            expires_at: says.expires_at,
            aborting: says.state == JobState::Aborting,
            held: job::held(says.state).or(self.is_shut(now).then_some(JobState::WaitingWindow)),
            shut: self.zone_is_shut || says.admit_until.is_some_and(|until| until <= now),
            stops: self.zone_stops || says.stop_at.is_some_and(|at| at <= now),
            full: ledger.and_then(|ledger| ledger.full(self.wave)),
            unavailable: self.unavailable,
            backoff: match says.priority {
                Priority::Emergency | Priority::Interactive => Backoff::INTERACTIVE,
                Priority::Rollout | Priority::Audit => Backoff::ROLLOUT,
            },
            command: millis(says.timeout_ms.max(self.lag_ms)),
            soak: millis(says.soaks.get(&self.wave).copied().unwrap_or(0)),
            guard: millis(self.guard_ms),
            linger: millis(says.linger_ms),
            steps: Marks::new(&says.steps),
        }
    }
}

fn intent(step: Option<u32>, epoch: Option<i64>, at: Option<i64>) -> Option<Intent> {
    Some(Intent {
        step: step?,
        epoch: epoch?.unsigned_abs(),
        at: at?,
    })
}

/// The fields of `sql::loaded_columns`, in their order.
#[derive(Deserialize)]
struct Columns {
    id: u64,
    job: i64,
    state: i32,
    epoch: u64,
    attempts: u32,
    device: i64,
    started_at: Option<i64>,
    next_step: u32,
    wave: u32,
    /// 1 touched, 2 holds its device, 4 exempt.
    flags: u8,
    /// What most executions have nothing of.
    more: Option<More>,
}

#[derive(Default, Deserialize)]
struct More {
    touched_from: Option<u32>,
    open_intent: Option<u32>,
    intent_epoch: Option<i64>,
    intent_at: Option<i64>,
    error_class: Option<i32>,
    error_message: Option<String>,
    error_category: Option<u8>,
    resolution: Option<u8>,
    resolution_epoch: Option<i64>,
    resolution_at: Option<i64>,
    silent_since: Option<i64>,
    lag_ms: i64,
    guard_ms: i64,
}

impl Columns {
    fn loaded(self, says: &Arc<Says>) -> Result<Loaded, sqlx::Error> {
        let more = self.more.unwrap_or_default();
        let execution = Execution {
            id: self.id,
            state: ExecutionState::from_number(self.state).ok_or_else(|| bad("execution.state"))?,
            epoch: self.epoch,
            attempts: self.attempts,
            touched: self.flags & 1 != 0,
            touched_from: more.touched_from,
            exempt: self.flags & 4 != 0,
            silent_since: more.silent_since,
            next_step: self.next_step,
            open_intent: intent(more.open_intent, more.intent_epoch, more.intent_at),
            error: device_error(more.error_class, more.error_message, more.error_category),
            resolution: resolution(
                more.resolution.map(|done| done != 0),
                more.resolution_epoch,
                more.resolution_at,
            ),
        };
        Ok(Loaded {
            execution,
            device: self.device,
            job: self.job,
            started_at: self.started_at,
            locked: self.flags & 2 != 0,
            wave: self.wave,
            says: says.clone(),
            zone_is_shut: false,
            zone_stops: false,
            unavailable: false,
            lag_ms: more.lag_ms,
            guard_ms: more.guard_ms,
        })
    }
}

/// The fields of `sql::JOBS_DECIDING`, in their order.
#[derive(Deserialize)]
struct JobColumns {
    id: i64,
    state: i32,
    expires_at: i64,
    budget: Option<i64>,
    admit_until: Option<i64>,
    stop_at: Option<i64>,
    frozen: u8,
    soaks: BTreeMap<u32, i64>,
    steps: String,
    priority: i32,
    timeout_ms: i64,
    linger_ms: i64,
    shares: u8,
    local: Option<Local>,
}

impl JobColumns {
    fn says(self) -> Result<(i64, Arc<Says>), sqlx::Error> {
        let says = Says {
            state: JobState::from_number(self.state).ok_or_else(|| bad("job.state"))?,
            expires_at: self.expires_at,
            budget: self.budget.map(i64::unsigned_abs),
            admit_until: self.admit_until,
            stop_at: self.stop_at,
            frozen: self.frozen != 0,
            soaks: self.soaks,
            steps: self.steps,
            priority: Priority::from_number(self.priority).ok_or_else(|| bad("job.priority"))?,
            timeout_ms: self.timeout_ms,
            linger_ms: self.linger_ms,
            shares: self.shares != 0,
            local: self.local,
        };
        Ok((self.id, Arc::new(says)))
    }
}

/// Executions by their ids. They come as one text: a batch of rows from the database's thread costs five times as
/// much.
pub(crate) async fn load(
    tx: &mut SqliteConnection,
    ids: impl IntoIterator<Item = u64>,
) -> Result<Vec<Loaded>, StoreError> {
    let query = sqlx::query_scalar(sql::LOAD).bind(json_ids(ids));
    let text: String = query.fetch_one(&mut *tx).await?;
    loaded(tx, &text).await
}

/// What a statement made by `sql::loaded` gave. What has no job is none.
pub(crate) async fn loaded(tx: &mut SqliteConnection, text: &str) -> Result<Vec<Loaded>, StoreError> {
    let corrupt = |error: serde_json::Error| StoreError::Corrupt(error.to_string());
    let rows: Vec<Columns> = serde_json::from_str(text).map_err(corrupt)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = rows
        .iter()
        .map(|row| row.job.unsigned_abs())
        .collect::<BTreeSet<_>>();
    let query = sqlx::query_scalar(sql::JOBS_DECIDING).bind(json_ids(jobs));
    let text: String = query.fetch_one(tx).await?;
    let jobs: Vec<JobColumns> = serde_json::from_str(&text).map_err(corrupt)?;
    let jobs = jobs
        .into_iter()
        .map(JobColumns::says)
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let known = rows
        .into_iter()
        .filter_map(|row| Some((jobs.get(&row.job)?, row)));
    Ok(known
        .map(|(says, row)| row.loaded(says))
        .collect::<Result<_, _>>()?)
}
