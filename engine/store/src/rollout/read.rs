//! Reading rollouts.

use std::time::Duration;

use muster_engine_core::rollout::advance::{Answer, GateVerdict, Told};
use muster_engine_core::rollout::digest::{Approved, Member};
use muster_engine_core::rollout::rule::Runs;
use muster_engine_core::{Ledger, Tally};
use muster_model::{JobState, Policy};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};

use super::local::Local;
use crate::{DeviceRecord, Store, StoreError, WaveRecord, sql, wave};

/// A rollout that is not over.
#[derive(Clone, Debug)]
pub struct RolloutRecord {
    /// Its job's row number.
    pub job: i64,
    /// Its job's id.
    pub uuid: String,
    /// Its job's state.
    pub state: JobState,
    /// Who made it, as stated.
    pub author: String,
    /// How it goes over its devices.
    pub policy: Policy,
    /// Decides who goes first.
    pub seed: u64,
    /// Whether every execution is in its wave.
    pub assigned: bool,
    /// Hex, of what approvals sign.
    pub digest: Option<String>,
    /// Waves up to this one are open.
    pub open_wave: u32,
    /// Steps of its plan.
    pub steps: u32,
    /// Deadline of a command.
    pub timeout: Duration,
    /// What its steps may take beyond that, together.
    pub lasts: Duration,
    /// What the way back from a step may take.
    pub back: Duration,
    /// SHA-256 of its plan.
    pub plan_digest: Vec<u8>,
    /// B; none for no limit.
    pub budget: Option<u64>,
    /// Its cap; none for no limit.
    pub concurrency: Option<u32>,
    /// Its cap for now; none for no ramp.
    pub pace: Option<u32>,
    /// Since when it has this pace, Unix milliseconds.
    pub pace_since: Option<i64>,
    /// When a rule last warned, Unix milliseconds.
    pub warned_at: Option<i64>,
    /// Nothing new starts from this time on, Unix milliseconds.
    pub admit_until: Option<i64>,
    /// How the zones of its devices stand, if its windows are in those.
    pub local: Option<Local>,
    /// Which devices it is for; empty for all.
    pub selector: String,
    /// Why it passes approvals, windows and freezes by.
    pub break_glass: Option<String>,
    /// What keeps its next wave shut.
    pub hold: Option<HoldRecord>,
    /// Tallies by wave at the last acknowledgement.
    pub acknowledged: Vec<(u32, Tally)>,
    /// Failures in a row.
    pub runs: Runs,
}

/// What keeps the next wave shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// `bake`, `min-good`, `evidence`, or a gate's name.
    pub by: String,
    /// In one sentence.
    pub evidence: String,
    /// When it passes by itself, Unix milliseconds.
    pub until: Option<i64>,
    /// Whether a person has to decide.
    pub needs_person: bool,
}

/// What a gate said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictRecord {
    /// The wave, from 0.
    pub wave: u32,
    /// The gate's place in its wave.
    pub gate: usize,
    /// What it said.
    pub verdict: GateVerdict,
    /// Why, in a sentence.
    pub reason: String,
    /// Unix milliseconds.
    pub at: i64,
}

impl FromRow<'_, SqliteRow> for RolloutRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let json = |error: serde_json::Error| sqlx::Error::Decode(error.into());
        let text = |column: usize| row.try_get::<String, _>(column);
        let acknowledged: Vec<(u32, [i64; 9])> = serde_json::from_str(&text(17)?).map_err(json)?;
        let by: Option<String> = row.try_get(19)?;
        let state = JobState::from_number(row.try_get(2)?);
        Ok(Self {
            job: row.try_get(0)?,
            uuid: row.try_get(1)?,
            state: state.ok_or_else(|| sqlx::Error::Decode("job: unknown state".into()))?,
            author: row.try_get(3)?,
            policy: serde_json::from_str(&text(4)?).map_err(json)?,
            seed: row.try_get::<i64, _>(5)?.cast_unsigned(),
            assigned: row.try_get(6)?,
            digest: row.try_get(7)?,
            open_wave: row.try_get(8)?,
            steps: u32::try_from(text(9)?.len()).unwrap_or(u32::MAX),
            timeout: Duration::from_millis(row.try_get::<i64, _>(10)?.unsigned_abs()),
            plan_digest: row.try_get(11)?,
            budget: row.try_get::<Option<i64>, _>(12)?.map(i64::unsigned_abs),
            concurrency: row.try_get(13)?,
            pace: row.try_get(14)?,
            pace_since: row.try_get(15)?,
            warned_at: row.try_get(16)?,
            acknowledged: acknowledged
                .into_iter()
                .map(|(wave, numbers)| (wave, Tally::from_numbers(numbers)))
                .collect(),
            runs: serde_json::from_str(&text(18)?).map_err(json)?,
            hold: match by {
                None => None,
                Some(by) => Some(HoldRecord {
                    by,
                    evidence: row.try_get::<Option<String>, _>(20)?.unwrap_or_default(),
                    until: row.try_get(21)?,
                    needs_person: row.try_get(22)?,
                }),
            },
            admit_until: row.try_get(23)?,
            break_glass: row.try_get(24)?,
            selector: row.try_get(27)?,
            local: match row.try_get::<Option<String>, _>(28)? {
                None => None,
                Some(local) => Some(serde_json::from_str(&local).map_err(json)?),
            },
            lasts: Duration::from_millis(row.try_get::<i64, _>(25)?.unsigned_abs()),
            back: Duration::from_millis(row.try_get::<i64, _>(26)?.unsigned_abs()),
        })
    }
}

impl RolloutRecord {
    /// What rules count: tallies by wave, less what was acknowledged.
    pub fn counted(&self, waves: &[WaveRecord]) -> Vec<(u32, Tally)> {
        let before = |number: u32| {
            let found = self.acknowledged.iter().find(|(wave, _)| *wave == number);
            found.map_or_else(Tally::default, |(_, tally)| *tally)
        };
        waves
            .iter()
            .map(|wave| (wave.number, wave.tally - before(wave.number)))
            .collect()
    }

    /// Budgets of the job and its waves.
    pub fn ledger(&self, waves: &[WaveRecord]) -> Ledger {
        wave::ledger(self.budget, waves)
    }
}

pub(super) async fn load(tx: &mut SqliteConnection, job: i64) -> Result<Option<RolloutRecord>, StoreError> {
    Ok(sqlx::query_as(sql::ROLLOUT_OF)
        .bind(job)
        .fetch_optional(tx)
        .await?)
}

/// Durations looked at for a forecast.
const SAMPLES: i64 = 500;

impl Store {
    /// Rollouts that are not over, the oldest first.
    pub async fn rollouts(&self) -> Result<Vec<RolloutRecord>, StoreError> {
        Ok(sqlx::query_as(sql::ROLLOUTS).fetch_all(self.readers()).await?)
    }

    /// A rollout by its job's id, over or not.
    pub async fn rollout(&self, uuid: &str) -> Result<Option<RolloutRecord>, StoreError> {
        Ok(sqlx::query_as(sql::ROLLOUT_BY_UUID)
            .bind(uuid)
            .fetch_optional(self.readers())
            .await?)
    }

    /// The waves of a job.
    pub async fn waves(&self, job: i64) -> Result<Vec<WaveRecord>, StoreError> {
        Ok(wave::waves_of(self.readers(), [job])
            .await?
            .remove(&job)
            .unwrap_or_default())
    }

    /// How many executions of waves up to one are not over and do more than wait for a device that cannot be reached.
    pub async fn busy(&self, job: i64, wave: u32) -> Result<u64, StoreError> {
        let busy: i64 = sqlx::query_scalar(sql::ROLLOUT_BUSY)
            .bind(job)
            .bind(wave)
            .fetch_one(self.readers())
            .await?;
        Ok(busy.unsigned_abs())
    }

    /// What gates of a wave were told.
    pub async fn gate_answers(&self, job: i64, wave: u32) -> Result<Vec<Answer>, StoreError> {
        let approvals: Vec<(i64, String)> = sqlx::query_as(sql::APPROVALS_OF_WAVE)
            .bind(job)
            .bind(wave)
            .fetch_all(self.readers())
            .await?;
        let verdicts: Vec<(i64, i64, String)> = sqlx::query_as(sql::VERDICTS_OF_WAVE)
            .bind(job)
            .bind(wave)
            .fetch_all(self.readers())
            .await?;
        let approvals = approvals.into_iter().map(|(gate, who)| Answer {
            gate: gate as usize,
            told: Told::Approved(who),
        });
        let verdicts = verdicts.into_iter().map(|(gate, verdict, why)| Answer {
            gate: gate as usize,
            told: Told::Verdict(verdict_from(verdict), why),
        });
        Ok(approvals.chain(verdicts).collect())
    }

    /// Devices that a gate after a wave may compare (E2): name, kind, and whether it was changed.
    pub async fn control_candidates(
        &self,
        job: i64,
        wave: u32,
    ) -> Result<Vec<(String, String, bool)>, StoreError> {
        let query = sqlx::query_as(sql::CONTROL_CANDIDATES).bind(job).bind(wave);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The run that a gate asks, if it waits for one.
    pub async fn gate_asks(&self, job: i64, wave: u32, gate: usize) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar(sql::GATE_ASKS).bind(job).bind(wave);
        Ok(query.bind(gate as i64).fetch_optional(self.readers()).await?)
    }

    /// What gates of a job said, in their order.
    pub async fn verdicts(&self, job: i64) -> Result<Vec<VerdictRecord>, StoreError> {
        let rows: Vec<(u32, i64, i64, String, i64)> = sqlx::query_as(sql::VERDICTS_OF_JOB)
            .bind(job)
            .fetch_all(self.readers())
            .await?;
        let verdict = |(wave, gate, verdict, reason, at): (u32, i64, i64, String, i64)| VerdictRecord {
            wave,
            gate: gate as usize,
            verdict: verdict_from(verdict),
            reason,
            at,
        };
        Ok(rows.into_iter().map(verdict).collect())
    }

    /// The devices of a job, by their numbers after one; at most so many.
    pub async fn members(&self, job: i64, after: u64, limit: u32) -> Result<Vec<DeviceRecord>, StoreError> {
        let query = sqlx::query_as(sql::ROLLOUT_MEMBERS)
            .bind(job)
            .bind(after as i64)
            .bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// How long executions took that went well under this plan, or under any plan that changes devices when there are
    /// none: the youngest ones.
    pub async fn durations(&self, plan: &[u8]) -> Result<Vec<Duration>, StoreError> {
        let own: Vec<i64> = sqlx::query_scalar(sql::DURATIONS_OF_PLAN)
            .bind(plan.to_vec())
            .bind(SAMPLES)
            .fetch_all(self.readers())
            .await?;
        Ok(own
            .into_iter()
            .map(|millis| Duration::from_millis(millis.max(0).unsigned_abs()))
            .collect())
    }

    /// What was previewed under a digest, and when, Unix milliseconds; if that is kept.
    pub async fn previewed(&self, digest: &str) -> Result<Option<(Approved, i64)>, StoreError> {
        let found: Option<(String, i64)> = sqlx::query_as(sql::PREVIEW_OF)
            .bind(digest)
            .fetch_optional(self.readers())
            .await?;
        let parse = |(body, at): (String, i64)| {
            let approved: Result<Approved, _> = serde_json::from_str(&body);
            approved
                .map(|approved| (approved, at))
                .map_err(|error| StoreError::Corrupt(error.to_string()))
        };
        found.map(parse).transpose()
    }

    /// What approvals of a job sign now (F3).
    pub async fn approved(&self, rollout: &RolloutRecord) -> Result<Option<Approved>, StoreError> {
        let Some(plan) = self.plan(&rollout.plan_digest).await? else {
            return Ok(None);
        };
        let rows: Vec<(String, u32, Option<String>)> = sqlx::query_as(sql::ROLLOUT_APPROVED)
            .bind(rollout.job)
            .fetch_all(self.readers())
            .await?;
        let member = |(name, wave, fingerprint)| Member {
            name,
            wave,
            fingerprint,
        };
        let members = rows.into_iter().map(member).collect();
        Ok(Some(Approved::new(&plan, &rollout.policy, members)))
    }
}

pub(super) fn verdict_number(verdict: GateVerdict) -> i64 {
    match verdict {
        GateVerdict::Pass => 1,
        GateVerdict::Fail => 2,
        GateVerdict::Inconclusive => 3,
    }
}

fn verdict_from(number: i64) -> GateVerdict {
    match number {
        1 => GateVerdict::Pass,
        2 => GateVerdict::Fail,
        _ => GateVerdict::Inconclusive,
    }
}
