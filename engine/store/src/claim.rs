//! Handing executions to workers.

use std::collections::BTreeSet;

use muster_engine_core::Ledger;
use muster_model::{Effect, ExecutionState, Marks};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};

use crate::limit::{self, Caps};
use crate::rollout::local::{self, Local};
use crate::transition::{Moves, effect_number};
use crate::{Store, StoreError, Write, json_ids, sql, wave};

mod holder;
mod lease;

pub use holder::{Holder, NoteHolders, ShareDevices};
pub(crate) use lease::unhex;
pub use lease::{Expected, Lease};
use lease::{Ready, leases, ready};

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
    /// Which worker it is for, where the devices' connections matter.
    pub holder: Option<Holder>,
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

impl Write for Claim {
    type Out = Claimed;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Claimed, StoreError> {
        let mut moves = Moves::default();
        let mut taken = self.take_resolving(tx, &mut moves).await?;
        self.take_soaked(tx, &mut moves, &mut taken).await?;
        let mut jobs = self.live(tx).await?;
        // A class of jobs gets what the classes before it leave (D1).
        let mut caps = Caps::load(tx).await?;
        for class in jobs.chunk_by_mut(|a, b| a.priority == b.priority) {
            self.share(tx, class, &mut caps, &mut taken, &mut moves).await?;
        }
        moves.write(tx, self.now).await?;
        // Whoever got all it asked for asks again.
        let next_ready = match taken.len() < self.limit {
            true => {
                let query = sqlx::query_scalar(sql::NEXT_READY).bind(self.now);
                query.fetch_one(&mut *tx).await?
            }
            false => None,
        };
        Ok(Claimed {
            leases: leases(tx, taken).await?,
            next_ready,
            capped: !caps.is_empty() || jobs.iter().any(|job| job.caps.is_some()),
        })
    }
}

/// Executions with workers that have not touched their device, beyond those a job's budget has units for: they connect
/// and log in while others hold the units, and keep no more slots than this from other jobs.
pub(crate) const PREPARING: u64 = 64;

/// A job that has something to hand out, as far as claims need it.
struct Live {
    id: i64,
    effect: i64,
    priority: i64,
    concurrency: Option<i64>,
    budget: Option<i64>,
    /// The letter of its plan's first step: see [`Marks`].
    first_step: String,
    in_flight: i64,
    leased: i64,
    /// Its open waves that have something ready, in order.
    waves: Vec<u32>,
    /// How its budgets stand, when its plan begins with a change.
    ledger: Option<Ledger>,
    /// Its own limits of label values, as they are kept.
    caps: Option<String>,
    /// How the zones of its devices stand.
    local: Option<Local>,
    /// Whether executions of it wait for others of it.
    has_order: bool,
    /// Whether it is outside its windows, and only stages.
    stages: bool,
}

impl FromRow<'_, SqliteRow> for Live {
    /// With one wave.
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            effect: row.try_get(1)?,
            priority: row.try_get(2)?,
            concurrency: row.try_get(3)?,
            budget: row.try_get(4)?,
            first_step: row.try_get(5)?,
            in_flight: row.try_get(6)?,
            leased: row.try_get(7)?,
            waves: vec![row.try_get(8)?],
            ledger: None,
            caps: row.try_get(9)?,
            has_order: row.try_get(10)?,
            stages: row.try_get(11)?,
            local: match row.try_get::<Option<String>, _>(12)? {
                None => None,
                // Written by us: it is always such an object.
                Some(text) => Some(local::parse(&text).map_err(|error| sqlx::Error::Decode(error.into()))?),
            },
        })
    }
}

impl Live {
    /// How many more executions it may have with workers.
    fn room(&self) -> usize {
        let room = |cap: i64| usize::try_from(cap - self.in_flight).unwrap_or(0);
        self.concurrency.map_or(usize::MAX, room)
    }

    /// How many more untouched executions of a wave are worth handing out: while no unit of the budget is left, none.
    /// What stages or reads first is not bound by the budget.
    fn room_in(&self, wave: u32) -> usize {
        let room = |left: u64| match left {
            0 => 0,
            left => (left + PREPARING).saturating_sub(self.leased.unsigned_abs()),
        };
        let left = self.ledger.as_ref().and_then(|ledger| ledger.left(wave));
        left.map_or(usize::MAX, |left| {
            usize::try_from(room(left)).unwrap_or(usize::MAX)
        })
    }
}

impl Claim {
    /// Jobs that have something to hand out, those that go first first.
    async fn live(&self, tx: &mut SqliteConnection) -> Result<Vec<Live>, StoreError> {
        let rows: Vec<Live> = sqlx::query_as(sql::JOB_LIVE)
            .bind(self.now)
            .fetch_all(&mut *tx)
            .await?;
        let mut jobs = Vec::<Live>::new();
        for row in rows {
            match jobs.last_mut().filter(|job| job.id == row.id) {
                Some(job) => job.waves.extend(row.waves),
                None => jobs.push(row),
            }
        }
        // Staging uses nothing of a budget.
        let changes = |job: &&Live| !job.stages && Marks::new(&job.first_step).effect(0) >= Effect::Change;
        let budgets = jobs
            .iter()
            .filter(changes)
            .map(|job| (job.id, job.budget.map(i64::unsigned_abs)));
        let mut ledgers = wave::ledgers(tx, budgets).await?;
        for job in &mut jobs {
            job.ledger = ledgers.remove(&job.id);
        }
        Ok(jobs)
    }

    /// Each job may take an equal share of what is left; what a job leaves goes to those after it, and the second
    /// round gives what is still left to whoever has more.
    async fn share(
        &self,
        tx: &mut SqliteConnection,
        jobs: &mut [Live],
        caps: &mut Caps,
        taken: &mut Vec<Ready>,
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
                let ready = self.take(tx, job, caps, share.min(job.room())).await?;
                job.in_flight += ready.len() as i64;
                job.leased += ready.len() as i64;
                moves.count(job.id, ExecutionState::Pending, -(ready.len() as i64));
                moves.count(job.id, ExecutionState::Leased, ready.len() as i64);
                taken.extend(ready);
            }
        }
        Ok(())
    }

    /// Open questions come first, of whatever job: until they are answered nothing else happens to their devices.
    async fn take_resolving(
        &self,
        tx: &mut SqliteConnection,
        moves: &mut Moves,
    ) -> Result<Vec<Ready>, StoreError> {
        let (statement, zones) = match &self.zones {
            Zones::Named(names) => (sql::RESOLVING_NAMED, serde_json::json!(names).to_string()),
            Zones::Rest => (sql::RESOLVING_REST, "[]".to_owned()),
        };
        let query = sqlx::query_scalar::<_, String>(statement)
            .bind(self.now)
            .bind(self.limit as i64)
            .bind(zones);
        let ready = ready(&query.fetch_one(&mut *tx).await?)?;
        for ready in &ready {
            moves.count(ready.job, ExecutionState::Pending, -1);
            moves.count(ready.job, ExecutionState::Leased, 1);
        }
        self.claim(tx, &ready, None).await?;
        Ok(ready)
    }

    /// What has soaked holds units of budgets until somebody looks at it, whatever its job waits for.
    async fn take_soaked(
        &self,
        tx: &mut SqliteConnection,
        moves: &mut Moves,
        taken: &mut Vec<Ready>,
    ) -> Result<(), StoreError> {
        let jobs: Vec<i64> = sqlx::query_scalar(sql::JOBS_SOAKING).fetch_all(&mut *tx).await?;
        let (statement, zones) = match &self.zones {
            Zones::Named(names) => (sql::SOAKED_NAMED, serde_json::json!(names).to_string()),
            Zones::Rest => (sql::SOAKED_REST, "[]".to_owned()),
        };
        for job in jobs {
            let left = self.limit.saturating_sub(taken.len());
            let query = sqlx::query_scalar::<_, String>(statement)
                .bind(self.now)
                .bind(left as i64)
                .bind(&zones)
                .bind(job);
            let soaked = ready(&query.fetch_one(&mut *tx).await?)?;
            moves.count(job, ExecutionState::Pending, -(soaked.len() as i64));
            moves.count(job, ExecutionState::Leased, soaked.len() as i64);
            self.claim(tx, &soaked, None).await?;
            taken.extend(soaked);
        }
        Ok(())
    }

    /// What is ready of a job: first what holds units of its budget, then wave by wave.
    async fn take(
        &self,
        tx: &mut SqliteConnection,
        job: &Live,
        caps: &mut Caps,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError> {
        let (statement, touched, zones) = match &self.zones {
            Zones::Named(names) => (
                sql::READY_NAMED,
                sql::TOUCHED_NAMED,
                serde_json::json!(names).to_string(),
            ),
            Zones::Rest => (sql::READY_REST, sql::TOUCHED_REST, "[]".to_owned()),
        };
        let mut taken = Vec::new();
        let in_flight = |ledger: &Ledger| ledger.tally().in_flight > 0;
        if limit > 0 && job.ledger.as_ref().is_some_and(in_flight) {
            let query = sqlx::query_scalar::<_, String>(touched)
                .bind(self.now)
                .bind(limit as i64);
            let query = query.bind(&zones).bind(job.id);
            taken = ready(&query.fetch_one(&mut *tx).await?)?;
            self.claim(tx, &taken, None).await?;
        }
        let mut own = match &job.caps {
            Some(own) => Caps::of_job(tx, job.id, own).await?,
            None => Caps::default(),
        };
        let locks = job.effect > effect_number(Effect::Read);
        // What only stages waits for no window.
        let local = job.local.iter().filter(|_| !job.stages);
        let shut = local.flat_map(|local| local.closed(self.now));
        let shut = shut.collect::<Vec<_>>();
        let beside = match &self.holder {
            Some(holder) => serde_json::json!(holder.beside).to_string(),
            None => "[]".to_owned(),
        };
        for wave in &job.waves {
            loop {
                let left = limit.min(job.room_in(*wave)).saturating_sub(taken.len());
                if left == 0 {
                    break;
                }
                let full = caps.full().chain(own.full()).chain(&shut).collect::<Vec<_>>();
                let query = sqlx::query_scalar::<_, String>(statement)
                    .bind(self.now)
                    .bind(left as i64)
                    .bind(&zones)
                    .bind(job.id)
                    .bind(wave)
                    .bind(i64::from(locks))
                    .bind(serde_json::json!(full).to_string())
                    .bind(&beside)
                    .bind(i64::from(job.has_order))
                    .bind(job.stages);
                let found = ready(&query.fetch_one(&mut *tx).await?)?;
                let (kept, all) = self.keep(tx, (caps, &mut own), found, locks).await?;
                self.claim(tx, &kept, Some(locks)).await?;
                taken.extend(kept);
                if all {
                    break;
                }
                // A label value is full now; behind those that wait for it there may be others.
            }
        }
        Ok(taken)
    }

    /// Of these, those that can be had together, with room in the limits of their devices' label values, and whether that
    /// is all of them.
    async fn keep(
        &self,
        tx: &mut SqliteConnection,
        (fleet, job): (&mut Caps, &mut Caps),
        found: Vec<Ready>,
        locks: bool,
    ) -> Result<(Vec<Ready>, bool), StoreError> {
        let devices = found.iter().map(|ready| ready.device).collect::<Vec<_>>();
        let fit = limit::fit(tx, fleet, job, &devices).await?;
        let taken = found.len();
        let kept = found.into_iter().zip(fit).filter(|(_, fits)| *fits);
        let mut kept = kept.map(|(ready, _)| ready).collect::<Vec<_>>();
        if locks {
            // Of rows that are one router, only the first: the others wait for it from now on.
            let mut routers = BTreeSet::new();
            kept.retain(|ready| {
                let serial = ready.reach.as_ref().and_then(|reach| reach.serial.as_ref());
                serial.is_none_or(|serial| routers.insert(serial.clone()))
            });
        }
        let all = kept.len() == taken;
        Ok((kept, all))
    }

    /// `locks` is whether they hold their devices from now on.
    async fn claim(
        &self,
        tx: &mut SqliteConnection,
        ready: &[Ready],
        locks: Option<bool>,
    ) -> Result<(), StoreError> {
        if ready.is_empty() {
            return Ok(());
        }
        let ids = json_ids(ready.iter().map(|ready| ready.id));
        let query = sqlx::query(sql::CLAIM).bind(self.session as i64).bind(ids);
        query.bind(locks.map(i64::from)).execute(&mut *tx).await?;
        if let Some(holder) = &self.holder {
            let devices = json_ids(ready.iter().map(|ready| ready.device));
            let query = sqlx::query(sql::HOLDERS_NOTE).bind(holder.worker).bind(devices);
            query.execute(tx).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Zones that a worker has served by name.
    pub async fn zones(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(sql::ZONES).fetch_all(self.readers()).await?)
    }
}
