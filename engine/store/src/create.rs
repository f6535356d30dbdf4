//! Making jobs. The first commit writes the job as a draft with its first executions; the others follow in parts, so
//! that a million devices never hold up the one writer; the last one makes the job run.
//!
//! Between the parts the inventory must not change, or the selection would not be frozen: that is for the caller to
//! see to.

use muster_engine_core::budget::Asked;
use muster_model::{Effect, ExecutionState, JobState, Plan, PlanDigest, Priority, Selector};
use sqlx::{AssertSqlSafe, SqliteConnection};
use thiserror::Error;

use crate::history::{self, Deed};
use crate::rollout::{self, NewRollout};
use crate::transition::{self, Moves, effect_from, effect_number};
use crate::{Store, StoreError, Write, json_ids, select, sql, wave};

/// Executions laid out by one commit.
pub const PART: u32 = 10_000;

/// Makes a job and lays out the first part of its executions.
#[derive(Clone, Debug)]
pub struct CreateJob {
    /// Its id.
    pub uuid: String,
    /// The caller's, for repeating the call.
    pub request_id: Option<String>,
    /// Of the request's body.
    pub request_hash: [u8; 32],
    /// For people.
    pub name: String,
    /// What it does.
    pub plan: Plan,
    /// Which devices.
    pub selector: Selector,
    /// Only devices with such outcomes in another job.
    pub retry: Option<Retry>,
    /// Whether it does its plan, and where.
    pub mode: Mode,
    /// Deadline of a command, milliseconds.
    pub timeout_ms: u64,
    /// Who goes first.
    pub priority: Priority,
    /// Executions with workers at once; `None` for no limit.
    pub concurrency: Option<u32>,
    /// How many devices it may harm (C3), if its plan can harm any.
    pub budget: Asked,
    /// For each wave its own budget, or none. Empty for a job of one wave. Executions are laid out in the first one:
    /// see [`crate::AssignWaves`].
    pub waves: Vec<Option<u64>>,
    /// The state it goes to when it is laid out: running, or one in which it waits for [`crate::StartJob`].
    pub start: JobState,
    /// How it goes over its devices, if it has a policy.
    pub rollout: Option<NewRollout>,
    /// By how much a unit of the budget that comes free puts off `expires_at` when others waited for it, milliseconds;
    /// `None` for a job that ends at its time in any case.
    pub stretch_ms: Option<u64>,
    /// Over how long its executions become ready; `None` for all at once.
    pub spread: Option<Spread>,
    /// Unix milliseconds.
    pub now: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
    /// Who, as stated.
    pub claimed_by: String,
    /// For the history: what is worth noting.
    pub deeds: Vec<Deed>,
}

/// Executions become ready one after the other over a time, each at a place of its own that a hash of its device gives (G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Over how long, milliseconds; at most 24 h.
    pub ms: u32,
    /// What makes the places of one job others than those of another.
    pub seed: u32,
}

impl Spread {
    /// How much later a device is ready, milliseconds. Numbers that follow each other are far from each other, so that the
    /// time is filled evenly, however many devices there are. `create.rs` has the same in SQL.
    pub fn delay(self, device: u64) -> i64 {
        let hash = device.wrapping_mul(2_654_435_761).wrapping_add(self.seed.into()) & 0xFFFF_FFFF;
        ((hash * u64::from(self.ms)) >> 32) as i64
    }
}

/// Outcomes of a job that another job tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The job's id.
    pub job: String,
    /// Executions in these states. Those that turned out to be done are left out whatever their state (A5).
    pub states: Vec<ExecutionState>,
    /// Of one of its waves alone, from 0.
    pub wave: Option<u32>,
}

/// Whether a job does its plan, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// On every device it is given.
    #[default]
    Apply,
    /// Nowhere: it tells what would change.
    Preview,
    /// Where a device is as a preview found it.
    AsPreviewed {
        /// The preview's id; `None` when that was deleted meanwhile. What it found is kept with the executions.
        preview: Option<String>,
        /// Also where the preview did not look.
        unseen: bool,
    },
}

impl Mode {
    fn number(&self) -> i64 {
        match self {
            Self::Apply => 0,
            Self::Preview => 1,
            Self::AsPreviewed { unseen: false, .. } => 2,
            Self::AsPreviewed { unseen: true, .. } => 3,
        }
    }

    pub(crate) fn from_row(number: i64, preview: Option<String>) -> Option<Self> {
        match number {
            0 => Some(Self::Apply),
            1 => Some(Self::Preview),
            2 | 3 => Some(Self::AsPreviewed {
                preview,
                unseen: number == 3,
            }),
            _ => None,
        }
    }

    fn preview(&self) -> Option<&str> {
        match self {
            Self::AsPreviewed { preview, .. } => preview.as_deref(),
            Self::Apply | Self::Preview => None,
        }
    }
}

/// A job that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id: a new one, or that of the same request before.
    pub uuid: String,
    /// Whether more of it is to be laid out.
    pub draft: bool,
}

/// A job that is not made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CreateRefused {
    /// No device is meant.
    #[error("the selection is empty")]
    EmptySelection,
    /// The request id was used with another body.
    #[error("the request id was used before, with another body, for job {0}")]
    RequestIdReused(String),
}

impl Write for CreateJob {
    type Out = Result<Created, CreateRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        if let Some(request_id) = &self.request_id {
            let query = sqlx::query_as(sql::JOB_BY_REQUEST).bind(request_id);
            let before: Option<(String, Vec<u8>)> = query.fetch_optional(&mut *tx).await?;
            match before {
                Some((uuid, hash)) if hash == self.request_hash => {
                    return Ok(Ok(Created { uuid, draft: false }));
                }
                Some((uuid, _)) => return Ok(Err(CreateRefused::RequestIdReused(uuid))),
                None => {}
            }
        }
        let job = self.insert(tx).await?;
        transition::note(tx, job, "created", self.now).await?;
        let draft = Draft {
            job,
            selector: self.selector.clone(),
            retry: match &self.retry {
                Some(retry) => Some(Again {
                    job: self.source(tx, retry).await?,
                    states: numbers(&retry.states),
                    wave: retry.wave,
                }),
                None => None,
            },
            previewed: self.previewed(tx, job).await?,
            ready_at: self.now,
            spread: self.spread,
        };
        let laid = draft.lay_out(tx, self.now).await?;
        if laid == 0 {
            let made = [
                sql::SWEEP_WAVES,
                sql::SWEEP_ROLLOUT,
                sql::EVENTS_UNDO,
                sql::JOB_UNDO,
            ];
            for statement in made {
                sqlx::query(statement).bind(job).execute(&mut *tx).await?;
            }
            return Ok(Err(CreateRefused::EmptySelection));
        }
        for deed in &self.deeds {
            history::add(tx, deed, self.now).await?;
        }
        Ok(Ok(Created {
            uuid: self.uuid.clone(),
            draft: laid == PART,
        }))
    }
}

impl CreateJob {
    async fn insert(&self, tx: &mut SqliteConnection) -> Result<i64, StoreError> {
        let PlanDigest(digest) = self.plan.digest();
        let digest = digest.to_vec();
        sqlx::query(sql::PLAN_STORE)
            .bind(&digest)
            .bind(self.plan.canonical())
            .execute(&mut *tx)
            .await?;
        let source = match &self.retry {
            Some(retry) => Some(self.source(tx, retry).await?),
            None => None,
        };
        let created = sqlx::query(sql::JOB_CREATE)
            .bind(&self.uuid)
            .bind(&self.request_id)
            .bind(self.request_hash.to_vec())
            .bind(&self.name)
            .bind(&digest)
            .bind(self.selector.to_string())
            .bind(self.timeout_ms as i64)
            .bind(effect_number(self.effect()))
            .bind(JobState::Draft.number())
            .bind(self.now)
            .bind(self.expires_at)
            .bind(&self.claimed_by)
            .bind(self.marks())
            .bind(self.priority.number())
            .bind(self.concurrency)
            .bind(source)
            .bind(self.retry.as_ref().map(|retry| numbers(&retry.states)))
            .bind(self.budget.to_string())
            .bind(self.start.number())
            .bind(self.stretch_ms.map(wave::number))
            .bind(self.mode.number())
            .bind(self.mode.preview())
            .bind(self.spread.map(|spread| spread.ms))
            .bind(self.spread.map(|spread| spread.seed))
            .bind(i64::try_from(self.plan.longest_ms()).unwrap_or(i64::MAX))
            .bind(self.retry.as_ref().and_then(|retry| retry.wave))
            .execute(&mut *tx)
            .await?;
        let job = created.last_insert_rowid();
        if let Some(new) = &self.rollout {
            rollout::insert(tx, job, &self.plan, new).await?;
        }
        let one = [None];
        let waves = if self.waves.is_empty() {
            &one[..]
        } else {
            &self.waves
        };
        for (number, budget) in waves.iter().enumerate() {
            let query = sqlx::query(sql::WAVE_ADD).bind(job).bind(number as i64);
            query.bind(budget.map(wave::number)).execute(&mut *tx).await?;
        }
        Ok(job)
    }

    pub(crate) fn effect(&self) -> Effect {
        match self.mode {
            Mode::Preview => Effect::Read,
            Mode::Apply | Mode::AsPreviewed { .. } => self.plan.effect(),
        }
    }

    /// Of a preview every step is a read: no intent is granted for it.
    pub(crate) fn marks(&self) -> String {
        match self.mode {
            Mode::Preview => "r".repeat(self.plan.steps.len()),
            Mode::Apply | Mode::AsPreviewed { .. } => self.plan.marks(),
        }
    }

    async fn previewed(&self, tx: &mut SqliteConnection, job: i64) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar(sql::JOB_PREVIEWED)
            .bind(job)
            .fetch_one(tx)
            .await?)
    }

    async fn source(&self, tx: &mut SqliteConnection, retry: &Retry) -> Result<i64, StoreError> {
        let query = sqlx::query_as(sql::JOB_STATE_BY_UUID).bind(&retry.job);
        let found: Option<(i64, i32)> = query.fetch_optional(tx).await?;
        found
            .map(|(job, _)| job)
            .ok_or_else(|| StoreError::Corrupt(format!("job {} is gone", retry.job)))
    }
}

fn numbers(states: &[ExecutionState]) -> String {
    json_ids(
        states
            .iter()
            .map(|state| u64::from(state.number().unsigned_abs())),
    )
}

/// Lays out the next part of a draft.
#[derive(Clone, Debug)]
pub struct LayOut {
    /// The job's id.
    pub uuid: String,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for LayOut {
    /// Whether there is more.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        type Row = (
            i64,
            String,
            String,
            i64,
            Option<i64>,
            Option<String>,
            Option<i64>,
            Option<u32>,
            Option<u32>,
            Option<u32>,
        );
        let query = sqlx::query_as(sql::JOB_DRAFT).bind(&self.uuid);
        let found: Option<Row> = query.fetch_optional(&mut *tx).await?;
        // Ended early meanwhile, or done already.
        let Some((job, _, selector, ready_at, source, states, previewed, spread_ms, seed, wave)) = found
        else {
            return Ok(false);
        };
        let corrupt = |what: String| StoreError::Corrupt(format!("job {}: {what}", self.uuid));
        let draft = Draft {
            job,
            selector: match selector.is_empty() {
                true => Selector::default(),
                false => selector
                    .parse()
                    .map_err(|error: muster_model::SelectorError| corrupt(error.to_string()))?,
            },
            retry: source
                .zip(states)
                .map(|(job, states)| Again { job, states, wave }),
            previewed,
            ready_at,
            spread: spread_ms.zip(seed).map(|(ms, seed)| Spread { ms, seed }),
        };
        Ok(draft.lay_out(tx, self.now).await? == PART)
    }
}

/// Outcomes of a job whose devices are meant.
struct Again {
    job: i64,
    /// As JSON.
    states: String,
    wave: Option<u32>,
}

/// What laying out needs to know of a job.
struct Draft {
    job: i64,
    selector: Selector,
    retry: Option<Again>,
    /// The preview whose fingerprints are expected.
    previewed: Option<i64>,
    ready_at: i64,
    spread: Option<Spread>,
}

impl Draft {
    /// One execution for each device meant, up to a part of them, after those that are there already. The job runs
    /// when this was the last part.
    async fn lay_out(&self, tx: &mut SqliteConnection, now: i64) -> Result<u32, StoreError> {
        let after: i64 = sqlx::query_scalar(sql::LAID_OUT_TO)
            .bind(self.job)
            .fetch_one(&mut *tx)
            .await?;
        let laid = self.insert(tx, after).await?;
        for statement in [sql::JOB_GROW, sql::WAVE_GROW] {
            let query = sqlx::query(statement).bind(self.job).bind(laid);
            query.execute(&mut *tx).await?;
        }
        let mut moves = Moves::default();
        moves.count(self.job, ExecutionState::Pending, laid.into());
        moves.write(tx, now).await?;
        if laid < PART && after + i64::from(laid) > 0 {
            self.laid_out(tx, now).await?;
        }
        Ok(laid)
    }

    async fn insert(&self, tx: &mut SqliteConnection, after: i64) -> Result<u32, StoreError> {
        let filter = select::filter(&self.selector);
        let reverts: bool = sqlx::query_scalar(sql::JOB_IS_REVERT)
            .bind(self.job)
            .fetch_one(&mut *tx)
            .await?;
        let (from, wanted) = match &self.retry {
            None => ("device d", ""),
            // Those of which something is recorded, and is not known not to be done.
            Some(_) if reverts => (
                "execution s JOIN device d ON d.id = s.device_id",
                "s.job_id = ? AND s.device_id > ? AND s.state IN (SELECT value FROM json_each(?)) \
                 AND s.wave = coalesce(?, s.wave) AND s.touched = 1 AND s.resolution IS NOT 0 AND EXISTS (SELECT 1 FROM pre_state p \
                 WHERE p.execution_id = s.id AND length(p.pre) > 0) AND ",
            ),
            // Those that are known to be done are not done again.
            Some(_) => (
                "execution s JOIN device d ON d.id = s.device_id",
                "s.job_id = ? AND s.device_id > ? AND s.state IN (SELECT value FROM json_each(?)) \
                 AND s.wave = coalesce(?, s.wave) AND s.resolution IS NOT 1 AND ",
            ),
        };
        let audit: Option<i64> = sqlx::query_scalar(sql::audit::AUDIT_OF_JOB)
            .bind(self.job)
            .fetch_optional(&mut *tx)
            .await?;
        // Of an audit, devices whose answers are young enough are not asked again.
        let unasked = match audit {
            None => "",
            Some(_) => {
                "NOT EXISTS (SELECT 1 FROM audit_result r WHERE r.run_id = ? AND r.device_id = d.id) AND "
            }
        };
        let expected = match self.previewed {
            None => "NULL",
            // A device that was removed may have left its number to another.
            Some(_) => {
                "(SELECT f.fingerprint FROM execution f
                  WHERE f.job_id = ? AND f.device_id = d.id AND f.device_name = d.name)"
            }
        };
        // The last wave is ready first; whom the other job harmed, it counts.
        let (last_first, exempt) = match reverts {
            true => (" - s.wave", "s.state IN (18, 19, 20)"),
            false => ("", "0"),
        };
        let text = format!(
            "INSERT INTO execution (job_id, device_id, device_name, zone, state, ready_at, fingerprint, exempt) \
             SELECT ?, d.id, d.name, d.zone, 1, \
             ? + (((d.id * 2654435761 + ?) & 4294967295) * ? >> 32){last_first}, {expected}, {exempt} FROM {from} \
             WHERE {wanted}{unasked}d.id > ? AND {} ORDER BY d.id LIMIT {PART}",
            filter.sql
        );
        let mut query = sqlx::query(AssertSqlSafe(text))
            .bind(self.job)
            .bind(self.ready_at)
            .bind(self.spread.map_or(0, |spread| spread.seed))
            .bind(self.spread.map_or(0, |spread| spread.ms));
        if let Some(previewed) = self.previewed {
            query = query.bind(previewed);
        }
        if let Some(Again { job, states, wave }) = &self.retry {
            query = query.bind(job).bind(after).bind(states).bind(wave);
        }
        if let Some(audit) = audit {
            query = query.bind(audit);
        }
        query = query.bind(after);
        for value in filter.values {
            query = query.bind(value);
        }
        let laid = query.execute(tx).await?.rows_affected();
        u32::try_from(laid).map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    /// Now that it is known how many devices there are, so is the budget.
    async fn laid_out(&self, tx: &mut SqliteConnection, now: i64) -> Result<(), StoreError> {
        let query = sqlx::query_as(sql::JOB_LAID_OUT).bind(self.job);
        let (total, effect, asked, start): (i64, i64, Option<String>, i32) =
            query.fetch_one(&mut *tx).await?;
        let corrupt = |what: &str| StoreError::Corrupt(format!("job: unknown {what}"));
        if effect_from(effect).is_none_or(|effect| effect >= Effect::Change) {
            let asked: Asked = asked
                .as_deref()
                .unwrap_or("all")
                .parse()
                .map_err(|_| corrupt("budget"))?;
            let budget = asked.of(total.unsigned_abs()).map(wave::number);
            let query = sqlx::query(sql::JOB_SET_BUDGET).bind(self.job).bind(budget);
            query.execute(&mut *tx).await?;
        }
        let start = JobState::from_number(start).ok_or_else(|| corrupt("state"))?;
        if start == JobState::Running {
            return wave::start(tx, self.job, now).await;
        }
        let query = sqlx::query(sql::JOB_SETTLE).bind(self.job).bind(start.number());
        query.bind(None::<i64>).execute(&mut *tx).await?;
        transition::note(tx, self.job, "state", now).await
    }
}

impl Store {
    /// Ids of jobs that are not laid out yet.
    pub async fn drafts(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(sql::JOB_DRAFTS)
            .fetch_all(self.readers())
            .await?)
    }
}
