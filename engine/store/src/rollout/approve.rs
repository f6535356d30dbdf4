//! Approvals (H2): of a rollout's beginning, and of what keeps its next wave shut.

use muster_engine_core::rollout::advance::{EVIDENCE, MIN_GOOD};
use muster_engine_core::rollout::approval::{self, Refused};
use muster_model::JobState;
use muster_model::policy::GateKind;
use sqlx::SqliteConnection;
use thiserror::Error;

use super::read::{RolloutRecord, load};
use crate::history::{self, Deed};
use crate::{Store, StoreError, Write, sql, transition, wave};

/// Approves of what a rollout waits for.
#[derive(Clone, Debug)]
pub struct Approve {
    /// The job's id.
    pub uuid: String,
    /// The digest that is approved; empty for whatever is current.
    pub digest: String,
    /// Who, as stated.
    pub claimed_by: String,
    /// Why, in their words.
    pub reason: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// An approval that is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// Of what: `start`, or what keeps the next wave shut.
    pub of: String,
    /// How many more are needed.
    pub missing: u32,
}

/// An approval that is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApproveRefused {
    /// There is no such job.
    #[error("there is no such job")]
    NotFound,
    /// It waits for nobody.
    #[error("the job is {0} and waits for no approval")]
    NotWaiting(JobState),
    /// This person cannot.
    #[error("{0}")]
    Person(Refused),
    /// It is not what the job is about.
    #[error("the digest {given} is not that of the job, which is {current}")]
    Digest {
        /// As given.
        given: String,
        /// The job's.
        current: String,
    },
}

/// An approval as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The wave, from 0; none for the beginning.
    pub wave: Option<u32>,
    /// Who, as stated.
    pub who: String,
    /// Unix milliseconds.
    pub at: i64,
    /// Why, in their words.
    pub reason: String,
}

/// The wave of approvals of a beginning.
const START: i64 = -1;

/// What an approval would be of.
struct Asked<'r> {
    of: String,
    wave: i64,
    gate: i64,
    needed: u32,
    from: &'r [String],
}

fn asked(rollout: &RolloutRecord) -> Option<Asked<'_>> {
    if rollout.state == JobState::AwaitingApproval {
        let approval = &rollout.policy.approval;
        return Some(Asked {
            of: "start".into(),
            wave: START,
            gate: 0,
            needed: approval.needed,
            from: &approval.from,
        });
    }
    let hold = rollout.hold.as_ref().filter(|hold| hold.by != "bake")?;
    let wave = rollout.policy.waves.get(rollout.open_wave as usize)?;
    let gate = wave.gates.iter().position(|gate| gate.id == hold.by);
    let (needed, from) = match gate.map(|at| &wave.gates[at].kind) {
        Some(GateKind::Approval { needed, from }) => (*needed, from.as_slice()),
        _ => (1, &[][..]),
    };
    let place = match (gate, hold.by.as_str()) {
        (Some(gate), _) => gate,
        (None, "evidence") => EVIDENCE,
        (None, _) => MIN_GOOD,
    };
    Some(Asked {
        of: hold.by.clone(),
        wave: rollout.open_wave.into(),
        gate: place as i64,
        needed,
        from,
    })
}

impl Write for Approve {
    type Out = Result<Approved, ApproveRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let Some((job, state)) = transition::job_by_uuid(tx, &self.uuid).await? else {
            return Ok(Err(ApproveRefused::NotFound));
        };
        let Some(rollout) = load(tx, job).await? else {
            return Ok(Err(ApproveRefused::NotWaiting(state)));
        };
        let Some(asked) = asked(&rollout) else {
            return Ok(Err(ApproveRefused::NotWaiting(state)));
        };
        let current = rollout.digest.clone().unwrap_or_default();
        if !self.digest.is_empty() && self.digest != current {
            return Ok(Err(ApproveRefused::Digest {
                given: self.digest.clone(),
                current,
            }));
        }
        if let Err(refused) = approval::may(&self.claimed_by, &rollout.author, asked.from) {
            return Ok(Err(ApproveRefused::Person(refused)));
        }
        sqlx::query(sql::APPROVAL_ADD)
            .bind(job)
            .bind(asked.wave)
            .bind(asked.gate)
            .bind(self.claimed_by.trim())
            .bind(self.now)
            .bind(&self.reason)
            .execute(&mut *tx)
            .await?;
        let names: Vec<String> = sqlx::query_scalar(sql::APPROVERS)
            .bind(job)
            .bind(asked.wave)
            .bind(asked.gate)
            .fetch_all(&mut *tx)
            .await?;
        let missing = approval::missing(asked.needed, names.iter().map(String::as_str));
        let deed = Deed {
            claimed_by: self.claimed_by.clone(),
            action: "job.approve",
            subject: self.uuid.clone(),
            reason: self.reason.clone(),
            detail: format!("{} ({current}), {missing} more needed", asked.of),
        };
        history::add(tx, &deed, self.now).await?;
        transition::note(tx, job, "approved", self.now).await?;
        if missing == 0 && asked.wave == START {
            wave::start(tx, job, self.now).await?;
        }
        Ok(Ok(Approved {
            of: asked.of,
            missing,
        }))
    }
}

impl Store {
    /// The approvals of a job, in their order.
    pub async fn approvals(&self, job: i64) -> Result<Vec<Approval>, StoreError> {
        let rows: Vec<(i64, String, i64, String)> = sqlx::query_as(sql::APPROVALS)
            .bind(job)
            .fetch_all(self.readers())
            .await?;
        let approval = |(wave, who, at, reason)| Approval {
            wave: u32::try_from(wave).ok(),
            who,
            at,
            reason,
        };
        Ok(rows.into_iter().map(approval).collect())
    }
}
