//! The beginning of a rollout: its policy is stored with its job; when the job is laid out, its executions are spread
//! over its waves in parts; then it waits for approvals, or runs.

use std::collections::BTreeMap;

use muster_engine_core::rollout::digest;
use muster_model::{JobState, Plan, Policy};
use serde_json::json;
use sqlx::SqliteConnection;

use super::local::Local;
use super::read::load;
use crate::{StoreError, Write, sql, transition, wave};

/// What a job with a policy is made with.
#[derive(Clone, Debug)]
pub struct NewRollout {
    /// How it goes over its devices.
    pub policy: Policy,
    /// Decides who goes first.
    pub seed: u64,
    /// Why it passes approvals, windows and freezes by, if it does.
    pub break_glass: Option<String>,
}

pub(crate) async fn insert(
    tx: &mut SqliteConnection,
    job: i64,
    plan: &Plan,
    new: &NewRollout,
) -> Result<(), StoreError> {
    let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    // Plain values: nothing in a policy can fail to be JSON.
    let policy = serde_json::to_string(&new.policy).unwrap_or_default();
    sqlx::query(sql::ROLLOUT_ADD)
        .bind(job)
        .bind(policy)
        .bind(new.seed.cast_signed())
        .bind(&new.break_glass)
        .bind(millis(plan.lasts_ms()))
        .bind(millis(plan.back_ms()))
        .execute(tx)
        .await?;
    Ok(())
}

/// Puts executions of a rollout that has not begun into waves, and in the order in which they go.
#[derive(Clone, Debug)]
pub struct SpreadWaves {
    /// The job's id.
    pub uuid: String,
    /// Device, wave from 0, and place in the order.
    pub places: Vec<(u64, u32, u64)>,
    /// Unix milliseconds: when the first may be handed out.
    pub from: i64,
}

impl Write for SpreadWaves {
    /// Whether there is such a job and it has not begun.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let waves = self.places.iter().map(|(device, wave, _)| (*device, *wave));
        let assign = wave::AssignWaves {
            uuid: self.uuid.clone(),
            waves: waves.collect(),
        };
        if !assign.apply(tx).await? {
            return Ok(false);
        }
        let Some((job, _)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(false);
        };
        let order = self
            .places
            .iter()
            .map(|(device, _, place)| (*device, *place))
            .collect::<Vec<_>>();
        sqlx::query(sql::ROLLOUT_ORDER)
            .bind(job)
            .bind(json!(order).to_string())
            .bind(self.from)
            .execute(tx)
            .await?;
        Ok(true)
    }
}

/// Lets devices of a rollout wait for others of it (D4).
#[derive(Clone, Debug)]
pub struct AfterChildren {
    /// The job's id.
    pub uuid: String,
    /// A device, and one that goes before it.
    pub pairs: Vec<(u64, u64)>,
}

impl Write for AfterChildren {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        if let Some((job, _)) = transition::job_by_uuid(tx, &self.uuid).await? {
            let pairs = json!(self.pairs).to_string();
            sqlx::query(sql::AFTER_ADD)
                .bind(job)
                .bind(pairs)
                .execute(tx)
                .await?;
        }
        Ok(())
    }
}

/// Says that every execution of a rollout is in its wave, and lets it begin, or wait for approvals.
#[derive(Clone, Debug)]
pub struct BeginRollout {
    /// The job's id.
    pub uuid: String,
    /// Hex, of what approvals sign.
    pub digest: String,
    /// B; none for no limit.
    pub budget: Option<u64>,
    /// Budgets of waves, by number from 0.
    pub waves: Vec<(u32, Option<u64>)>,
    /// How many executions may be with workers at once at first.
    pub pace: Option<u32>,
    /// Approvals are to be waited for.
    pub wait: bool,
    /// It has windows: nothing starts before one is found to be open.
    pub shut: bool,
    /// The zones of its devices, if its windows are in those.
    pub local: Option<Local>,
    /// Unix milliseconds.
    pub now: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It runs.
    Running,
    /// It waits for approvals.
    Waiting,
    /// It has begun before, or was ended.
    No,
}

impl Write for BeginRollout {
    type Out = Begun;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Begun, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(Begun::No);
        };
        let rollout = load(tx, job).await?.filter(|rollout| !rollout.assigned);
        let Some(rollout) = rollout.filter(|_| state == JobState::Scheduled) else {
            return Ok(Begun::No);
        };
        limit(tx, job, &rollout.policy).await?;
        sqlx::query(sql::ROLLOUT_ASSIGNED)
            .bind(job)
            .bind(&self.digest)
            .bind(self.pace.map(|_| self.now))
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql::JOB_SET_PACE)
            .bind(job)
            .bind(self.pace)
            .bind(self.shut.then_some(0))
            .bind(self.local.as_ref().map(|local| json!(local).to_string()))
            .execute(&mut *tx)
            .await?;
        let budget = self.budget.map(wave::number);
        sqlx::query(sql::JOB_SET_BUDGET)
            .bind(job)
            .bind(budget)
            .execute(&mut *tx)
            .await?;
        for (number, budget) in &self.waves {
            let query = sqlx::query(sql::WAVE_SET_BUDGET).bind(job).bind(number);
            query.bind(budget.map(wave::number)).execute(&mut *tx).await?;
        }
        if !self.wait {
            wave::start(tx, job, self.now).await?;
            return Ok(Begun::Running);
        }
        let query = sqlx::query(sql::JOB_SETTLE)
            .bind(job)
            .bind(JobState::AwaitingApproval.number());
        query.bind(None::<i64>).execute(&mut *tx).await?;
        transition::note(tx, job, "state", self.now).await?;
        Ok(Begun::Waiting)
    }
}

/// Keeps what claims and reports have to know of a policy with its job: caps of label values, and soaks.
async fn limit(tx: &mut SqliteConnection, job: i64, policy: &Policy) -> Result<(), StoreError> {
    let caps = policy.limits.caps.iter().map(|cap| (&cap.label, cap.concurrency));
    let caps = caps.collect::<BTreeMap<_, _>>();
    let soaks = policy.waves.iter().any(|wave| !wave.soak.is_zero());
    let measures = policy.measures();
    let availability = policy.limits.availability.iter();
    let availability = availability
        .map(|limit| (&limit.label, limit.max_unavailable))
        .collect::<BTreeMap<_, _>>();
    sqlx::query(sql::JOB_SET_CAPS)
        .bind(job)
        .bind((!caps.is_empty()).then(|| json!(caps).to_string()))
        .bind(soaks)
        .bind((!measures.is_empty()).then(|| json!(measures).to_string()))
        .bind((!availability.is_empty()).then(|| json!(availability).to_string()))
        .execute(&mut *tx)
        .await?;
    for (number, wave) in policy.waves.iter().enumerate().filter(|_| soaks) {
        let soak = i64::try_from(wave.soak.as_millis()).unwrap_or(i64::MAX);
        let query = sqlx::query(sql::WAVE_SET_SOAK).bind(job).bind(number as i64);
        query.bind(soak).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Previews are kept so long, milliseconds; an approval of an older one cannot be told what changed.
const PREVIEWS_KEPT_MS: i64 = 7 * 24 * 3600 * 1000;

/// Keeps what was previewed, so that it can be told what changed since.
#[derive(Clone, Debug)]
pub struct StorePreview {
    /// What it was.
    pub approved: digest::Approved,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for StorePreview {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(sql::PREVIEWS_FORGET)
            .bind(self.now - PREVIEWS_KEPT_MS)
            .execute(&mut *tx)
            .await?;
        let body = serde_json::to_string(&self.approved).unwrap_or_default();
        sqlx::query(sql::PREVIEW_STORE)
            .bind(self.approved.digest())
            .bind(self.now)
            .bind(body)
            .execute(tx)
            .await?;
        Ok(())
    }
}
