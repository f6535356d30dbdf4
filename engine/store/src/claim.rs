//! Handing executions to workers.

use std::collections::BTreeMap;

use muster_model::{Effect, ExecutionState};
use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::limit::Caps;
use crate::transition::{Moves, effect_from, effect_number};
use crate::{Store, StoreError, Write, json_ids, sql};

/// Which zones a worker serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zones {
    /// These.
    Named(Vec<String>),
    /// Every zone that no worker has served by name.
    Rest,
}

/// Takes up to `limit` ready executions for a session.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The session that will hold them.
    pub session: u64,
    /// Where it reaches.
    pub zones: Zones,
    /// How many it takes.
    pub limit: usize,
    /// Unix milliseconds.
    pub now: i64,
}

/// What a claim took.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The executions, with what the worker needs to know.
    pub leases: Vec<Lease>,
    /// When the next execution that waits for its time will be ready, Unix milliseconds.
    pub next_ready: Option<i64>,
    /// Whether label values have limits, so that what ends may let something begin.
    pub capped: bool,
}

/// An execution in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The execution.
    pub execution: u64,
    /// Its newest epoch.
    pub epoch: u64,
    /// The device's number.
    pub device: u64,
    /// The device's name.
    pub device_name: String,
    /// IP address or host name.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// How it is spoken to, as in the inventory.
    pub transport: String,
    /// What its certificate has to satisfy, as in the inventory.
    pub tls: Option<String>,
    /// SHA-256 of its certificate or key, hex.
    pub pin: Option<String>,
    /// Ports for `auto`, as in the inventory.
    pub ports: String,
    /// What `auto` found, and when, Unix milliseconds.
    pub worked: Option<(String, i64)>,
    /// The serial number it is known by.
    pub serial: Option<String>,
    /// Another one that it gave last.
    pub offered_serial: Option<String>,
    /// What its job can do to it.
    pub effect: Effect,
    /// Name of the credential.
    pub credential: String,
    /// When the device last said what it is, Unix milliseconds.
    pub facts_at: Option<i64>,
    /// SHA-256 of the plan.
    pub plan_digest: Vec<u8>,
    /// Deadline of a command, milliseconds.
    pub timeout_ms: u64,
    /// When the job gives up on devices it cannot reach, Unix milliseconds.
    pub expires_at: i64,
    /// The step to begin with: those before it are done.
    pub first_step: u32,
    /// The step whose intent is open: it is to be looked after, and nothing else is to be done.
    pub resolve: Option<u32>,
    /// The job's number.
    pub job: u64,
    /// The device's zone.
    pub zone: String,
    /// The device's labels.
    pub labels: BTreeMap<String, String>,
}

impl FromRow<'_, SqliteRow> for Lease {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let number = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let effect: i64 = row.try_get(21)?;
        Ok(Self {
            execution: number(0)?,
            epoch: number(1)?,
            device: number(2)?,
            address: row.try_get(3)?,
            port: row.try_get(4)?,
            transport: row.try_get(5)?,
            credential: row.try_get(6)?,
            facts_at: row.try_get(7)?,
            plan_digest: row.try_get(8)?,
            timeout_ms: number(9)?,
            expires_at: row.try_get(10)?,
            device_name: row.try_get(11)?,
            first_step: row.try_get(12)?,
            resolve: row.try_get(13)?,
            tls: row.try_get(14)?,
            pin: row.try_get(15)?,
            ports: row.try_get(16)?,
            worked: row.try_get::<Option<_>, _>(17)?.zip(row.try_get(18)?),
            serial: row.try_get(19)?,
            offered_serial: row.try_get(20)?,
            effect: effect_from(effect)
                .ok_or_else(|| sqlx::Error::Decode(format!("{effect} is no effect").into()))?,
            job: number(22)?,
            zone: row.try_get(23)?,
            labels: serde_json::from_str(row.try_get(24)?)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
        })
    }
}

impl Write for Claim {
    type Out = Claimed;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Claimed, StoreError> {
        let mut moves = Moves::default();
        let mut taken = self.take_resolving(tx, &mut moves).await?;
        let rows: Vec<LiveRow> = sqlx::query_as(sql::JOB_LIVE)
            .bind(self.now)
            .fetch_all(&mut *tx)
            .await?;
        let mut jobs = rows
            .chunk_by(|a, b| a.0 == b.0)
            .map(Live::new)
            .collect::<Vec<_>>();
        // A class of jobs gets what the classes before it leave (D1).
        let mut caps = Caps::load(tx).await?;
        for class in jobs.chunk_by_mut(|a, b| a.priority == b.priority) {
            self.share(tx, class, &mut caps, &mut taken, &mut moves).await?;
        }
        moves.write(tx, self.now).await?;
        let leases = sqlx::query_as(sql::ASSIGNED)
            .bind(json_ids(taken))
            .fetch_all(&mut *tx)
            .await?;
        let next_ready = sqlx::query_scalar(sql::NEXT_READY)
            .bind(self.now)
            .fetch_one(tx)
            .await?;
        Ok(Claimed {
            leases,
            next_ready,
            capped: !caps.is_empty(),
        })
    }
}

/// A job that has something to hand out, as far as claims need it.
struct Live {
    id: i64,
    effect: i64,
    priority: i64,
    concurrency: Option<i64>,
    in_flight: i64,
    /// Its open waves that have something ready, in order.
    waves: Vec<u32>,
}

/// The columns of [`Live`], with one wave.
type LiveRow = (i64, i64, i64, Option<i64>, i64, u32);

impl Live {
    /// From the rows of one job.
    fn new(rows: &[LiveRow]) -> Self {
        let (id, effect, priority, concurrency, in_flight, _) = rows[0];
        Self {
            id,
            effect,
            priority,
            concurrency,
            in_flight,
            waves: rows.iter().map(|row| row.5).collect(),
        }
    }

    /// How many more executions it may have with workers.
    fn room(&self) -> usize {
        let room = |cap: i64| usize::try_from(cap - self.in_flight).unwrap_or(0);
        self.concurrency.map_or(usize::MAX, room)
    }
}

impl Claim {
    /// Each job may take an equal share of what is left; what a job leaves goes to those after it, and the second
    /// round gives what is still left to whoever has more.
    async fn share(
        &self,
        tx: &mut SqliteConnection,
        jobs: &mut [Live],
        caps: &mut Caps,
        taken: &mut Vec<u64>,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let among = jobs.len();
        for round in 0..among.min(2) {
            for (at, job) in jobs.iter_mut().enumerate() {
                let left = self.limit.saturating_sub(taken.len());
                let share = if round == 0 {
                    left.div_ceil(among - at)
                } else {
                    left
                };
                let ids = self.take(tx, job, caps, share.min(job.room())).await?;
                job.in_flight += ids.len() as i64;
                moves.count(job.id, ExecutionState::Pending, -(ids.len() as i64));
                moves.count(job.id, ExecutionState::Leased, ids.len() as i64);
                taken.extend(ids);
            }
        }
        Ok(())
    }

    /// Open questions come first, of whatever job: until they are answered nothing else happens to their devices.
    async fn take_resolving(
        &self,
        tx: &mut SqliteConnection,
        moves: &mut Moves,
    ) -> Result<Vec<u64>, StoreError> {
        let (statement, zones) = match &self.zones {
            Zones::Named(names) => (sql::CLAIM_RESOLVING_NAMED, serde_json::json!(names).to_string()),
            Zones::Rest => (sql::CLAIM_RESOLVING_REST, "[]".to_owned()),
        };
        let rows: Vec<(i64, i64)> = sqlx::query_as(statement)
            .bind(self.session as i64)
            .bind(self.now)
            .bind(self.limit as i64)
            .bind(zones)
            .fetch_all(tx)
            .await?;
        for (_, job) in &rows {
            moves.count(*job, ExecutionState::Pending, -1);
            moves.count(*job, ExecutionState::Leased, 1);
        }
        Ok(rows.into_iter().map(|(id, _)| id.unsigned_abs()).collect())
    }

    /// What is ready of a job, the first wave first.
    async fn take(
        &self,
        tx: &mut SqliteConnection,
        job: &Live,
        caps: &mut Caps,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let (statement, zones) = match &self.zones {
            Zones::Named(names) => (sql::CLAIM_NAMED, serde_json::json!(names).to_string()),
            Zones::Rest => (sql::CLAIM_REST, "[]".to_owned()),
        };
        let locks = job.effect > effect_number(Effect::Read);
        let mut taken = Vec::new();
        for wave in &job.waves {
            while taken.len() < limit {
                let ids: Vec<i64> = sqlx::query_scalar(statement)
                    .bind(self.session as i64)
                    .bind(job.id)
                    .bind(self.now)
                    .bind((limit - taken.len()) as i64)
                    .bind(&zones)
                    .bind(i64::from(locks))
                    .bind(wave)
                    .bind(caps.full())
                    .fetch_all(&mut *tx)
                    .await?;
                let found = ids.len();
                let kept = caps
                    .keep(tx, ids.into_iter().map(i64::unsigned_abs).collect())
                    .await?;
                let all = kept.len() == found;
                taken.extend(kept);
                if all {
                    break;
                }
                // A label value is full now; behind those that wait for it there may be others.
            }
        }
        Ok(taken)
    }
}

impl Store {
    /// Zones that a worker has served by name.
    pub async fn zones(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(sql::ZONES).fetch_all(self.readers()).await?)
    }
}
