//! Jobs as people look at them.

use std::collections::BTreeMap;

use muster_engine_core::Ledger;
use muster_engine_core::budget::Asked;
use muster_model::{Effect, ExecutionState, JobState, Plan, Priority, Selector};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::create::Mode;
use crate::transition::{counts_of, effect_from};
use crate::wave::{self, WaveRecord};
use crate::{Approval, RolloutRecord, Store, StoreError, json_ids, sql};

/// A job as stored.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// Its row, for the store's own use.
    pub id: i64,
    /// Its id.
    pub uuid: String,
    /// For people.
    pub name: String,
    /// What it does.
    pub plan: Plan,
    /// SHA-256 of the plan.
    pub plan_digest: Vec<u8>,
    /// Which devices; empty for all.
    pub selector: String,
    /// Deadline of a command, milliseconds.
    pub timeout_ms: u64,
    /// The strongest effect of the plan.
    pub effect: Effect,
    /// Where it is in its life.
    pub state: JobState,
    /// Devices of its selection.
    pub total: u64,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
    /// Unix milliseconds.
    pub finished_at: Option<i64>,
    /// Who made it, as stated.
    pub claimed_by: String,
    /// Who goes first.
    pub priority: Priority,
    /// Executions with workers at once; `None` for no limit.
    pub concurrency: Option<u32>,
    /// Since when it is paused, Unix milliseconds.
    pub paused_at: Option<i64>,
    /// The job whose outcomes it tries again.
    pub retry_of: Option<String>,
    /// How it goes over its devices, with the approvals so far, if it has a policy. Not in lists.
    pub rollout: Option<Box<(RolloutRecord, Vec<Approval>)>>,
    /// Whether it does its plan, and where.
    pub mode: Mode,
    /// How many executions are in each state.
    pub counts: Vec<(ExecutionState, u64)>,
    /// How many devices it may harm; `None` for no limit, or when its plan can harm none.
    pub budget: Option<u64>,
    /// What was asked for; `None` in jobs of versions that had no budgets.
    pub budget_asked: Option<Asked>,
    /// Executions of waves up to this one may be handed out.
    pub open_wave: u32,
    /// The rule that stopped it, while it is stopped.
    pub halted: Option<Halted>,
    /// Its waves in order; at least one.
    pub waves: Vec<WaveRecord>,
}

/// What stopped a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    /// The rule's id.
    pub rule: String,
    /// Its evidence, for people.
    pub detail: String,
    /// Unix milliseconds.
    pub at: i64,
}

impl JobRecord {
    /// How its budgets stand.
    pub fn ledger(&self) -> Ledger {
        wave::ledger(self.budget, &self.waves)
    }
}

fn halted(rule: Option<String>, at: Option<i64>, detail: Option<String>) -> Option<Halted> {
    Some(Halted {
        rule: rule?,
        detail: detail.unwrap_or_default(),
        at: at?,
    })
}

impl FromRow<'_, SqliteRow> for JobRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let decode = |what: &str| sqlx::Error::Decode(format!("job: unknown {what}").into());
        let body: String = row.try_get(3)?;
        Ok(Self {
            id: row.try_get(0)?,
            uuid: row.try_get(1)?,
            name: row.try_get(2)?,
            plan: serde_json::from_str(&body).map_err(|error| sqlx::Error::Decode(error.into()))?,
            plan_digest: row.try_get(13)?,
            selector: row.try_get(4)?,
            timeout_ms: row.try_get::<i64, _>(5)?.unsigned_abs(),
            effect: effect_from(row.try_get(6)?).ok_or_else(|| decode("effect"))?,
            state: JobState::from_number(row.try_get(7)?).ok_or_else(|| decode("state"))?,
            total: row.try_get::<i64, _>(8)?.unsigned_abs(),
            created_at: row.try_get(9)?,
            expires_at: row.try_get(10)?,
            finished_at: row.try_get(11)?,
            claimed_by: row.try_get(12)?,
            priority: Priority::from_number(row.try_get(14)?).ok_or_else(|| decode("priority"))?,
            concurrency: row.try_get(15)?,
            paused_at: row.try_get(16)?,
            retry_of: row.try_get(17)?,
            rollout: None,
            counts: Vec::new(),
            budget: row.try_get::<Option<i64>, _>(18)?.map(i64::unsigned_abs),
            budget_asked: row
                .try_get::<Option<String>, _>(19)?
                .map(|asked| asked.parse().map_err(|_| decode("budget")))
                .transpose()?,
            open_wave: row.try_get(20)?,
            halted: halted(row.try_get(21)?, row.try_get(22)?, row.try_get(23)?),
            mode: Mode::from_row(row.try_get(24)?, row.try_get(25)?).ok_or_else(|| decode("mode"))?,
            waves: Vec::new(),
        })
    }
}

/// What a selection would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Devices meant.
    pub total: u64,
    /// The first few by name.
    pub sample: Vec<String>,
}

/// Names shown in a preview.
const SAMPLE: u32 = 10;

impl Store {
    /// What a selection would be now.
    pub async fn preview(&self, selector: &Selector) -> Result<Preview, StoreError> {
        let total = self.count_devices(selector).await?;
        let sample = self.devices(selector, "", SAMPLE).await?;
        Ok(Preview {
            total,
            sample: sample.into_iter().map(|record| record.device.name).collect(),
        })
    }

    /// One job by its id.
    pub async fn job(&self, uuid: &str) -> Result<Option<JobRecord>, StoreError> {
        // One snapshot for the job and its counts.
        let mut tx = self.readers().begin().await?;
        let job: Option<JobRecord> = sqlx::query_as(sql::JOB_GET)
            .bind(uuid)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(mut job) = job else { return Ok(None) };
        let counts: Vec<(i32, i64)> = sqlx::query_as(sql::COUNTS)
            .bind(job.id)
            .fetch_all(&mut *tx)
            .await?;
        job.counts = counts_of(counts).iter().collect();
        let waves = wave::waves_of(&mut *tx, [job.id]).await?.remove(&job.id);
        job.waves = waves.unwrap_or_default();
        drop(tx);
        if let Some(rollout) = self.rollout(uuid).await? {
            let approvals = self.approvals(job.id).await?;
            job.rollout = Some(Box::new((rollout, approvals)));
        }
        Ok(Some(job))
    }

    /// Jobs before the row `before`, the newest first.
    pub async fn jobs(&self, before: i64, limit: u32) -> Result<Vec<JobRecord>, StoreError> {
        let mut tx = self.readers().begin().await?;
        let query = sqlx::query_as(sql::JOB_PAGE).bind(before).bind(i64::from(limit));
        let mut jobs: Vec<JobRecord> = query.fetch_all(&mut *tx).await?;
        let ids = json_ids(jobs.iter().map(|job| job.id.unsigned_abs()));
        let rows: Vec<(i64, i32, i64)> = sqlx::query_as(sql::COUNTS_OF)
            .bind(ids)
            .fetch_all(&mut *tx)
            .await?;
        let mut counts = BTreeMap::<i64, Vec<(i32, i64)>>::new();
        for (job, state, count) in rows {
            counts.entry(job).or_default().push((state, count));
        }
        let mut waves = wave::waves_of(&mut *tx, jobs.iter().map(|job| job.id)).await?;
        for job in &mut jobs {
            job.waves = waves.remove(&job.id).unwrap_or_default();
            job.counts = counts_of(counts.remove(&job.id).unwrap_or_default())
                .iter()
                .collect();
        }
        Ok(jobs)
    }

    /// A plan by its digest.
    pub async fn plan(&self, digest: &[u8]) -> Result<Option<Plan>, StoreError> {
        let query = sqlx::query_scalar(sql::PLAN_OF).bind(digest.to_vec());
        let body: Option<String> = query.fetch_optional(self.readers()).await?;
        let parse =
            |body: String| serde_json::from_str(&body).map_err(|e| StoreError::Corrupt(e.to_string()));
        body.map(parse).transpose()
    }
}
