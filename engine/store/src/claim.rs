//! Handing executions to workers.

use std::collections::{BTreeMap, BTreeSet};

use muster_engine_core::Ledger;
use muster_model::{Effect, ExecutionState, Marks};
use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};

use crate::create::Mode;
use crate::limit::{self, Caps};
use crate::rollout::local::{self, Local};
use crate::transition::{Moves, effect_from, effect_number};
use crate::{Store, StoreError, Write, json_ids, sql, wave};

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

/// A worker, and those beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The worker. It is noted as who has the connections of what is claimed.
    pub worker: i64,
    /// Workers that are to get the devices whose connections they have themselves, each with the zone for which that is so,
    /// or for all zones.
    pub beside: Vec<(i64, Option<String>)>,
}

/// Notes who keeps the connections of devices.
#[derive(Clone, Debug)]
pub struct NoteHolders {
    /// The worker.
    pub worker: i64,
    /// The devices.
    pub devices: Vec<u64>,
}

impl Write for NoteHolders {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let devices = json_ids(self.devices.iter().copied());
        let query = sqlx::query(sql::HOLDERS_NOTE).bind(self.worker).bind(devices);
        query.execute(tx).await?;
        Ok(())
    }
}

/// Gives a worker that is new a share of the devices of others, so that it has something to do from the beginning.
#[derive(Clone, Debug)]
pub struct ShareDevices {
    /// The new worker, and those that it shares with.
    pub holder: Holder,
    /// How many share, with the new one.
    pub among: u32,
}

impl Write for ShareDevices {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let Holder { worker, beside } = &self.holder;
        let known: bool = sqlx::query_scalar(sql::HOLDERS_KNOWN)
            .bind(worker)
            .fetch_one(&mut *tx)
            .await?;
        if !known {
            let query = sqlx::query(sql::HOLDERS_SHARE).bind(worker);
            let query = query
                .bind(self.among.max(1))
                .bind(serde_json::json!(beside).to_string());
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }
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
    /// What is to be done with its plan, and where.
    pub mode: Mode,
    /// What a preview found, where nothing was changed since.
    pub expected: Expected,
    /// Facts that are to be measured before the first step and after the last.
    pub measures: Vec<String>,
    /// The job's number.
    pub job: u64,
    /// The device's zone.
    pub zone: String,
    /// Commands in flight on one connection to it, where the inventory says so.
    pub in_flight: Option<u32>,
    /// The device's labels, a JSON object.
    pub(crate) labels: String,
    /// When the open intent was granted, Unix milliseconds.
    pub intent_at: Option<i64>,
    /// What the worker before wanted to be known.
    pub memo: Vec<u8>,
}

impl Lease {
    /// The device's labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        // Written by us: it is always such an object.
        serde_json::from_str(&self.labels).unwrap_or_default()
    }
}

/// What a device has to be like for a plan to be done on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Anything,
    /// As a preview found it: this is its fingerprint.
    AsFound(Vec<u8>),
    /// A preview should have found it and did not.
    Unseen,
}

/// An execution that is ready, as the database tells it: the columns of `sql::ready`, in their order.
#[derive(Deserialize)]
struct Ready {
    id: u64,
    job: i64,
    epoch: u64,
    device: u64,
    next_step: u32,
    name: String,
    address: String,
    port: u16,
    transport: String,
    ports: String,
    credential: String,
    facts_at: Option<i64>,
    zone: String,
    labels: String,
    /// What is known of how its device is reached, where anything is.
    reach: Option<Reach>,
    /// What executions have that were begun, or previewed.
    more: Option<More>,
}

#[derive(Default, Deserialize)]
struct Reach {
    serial: Option<String>,
    tls: Option<String>,
    pin: Option<String>,
    worked: Option<String>,
    worked_at: Option<i64>,
    offered_serial: Option<String>,
    in_flight: Option<u32>,
}

#[derive(Default, Deserialize)]
struct More {
    touched: u8,
    open_intent: Option<u32>,
    intent_at: Option<i64>,
    /// In hex.
    fingerprint: Option<String>,
    /// In hex.
    memo: Option<String>,
}

/// What a worker needs to know of a job.
struct Assigned {
    plan_digest: Vec<u8>,
    timeout_ms: u64,
    expires_at: i64,
    effect: Effect,
    mode: Mode,
    measures: Vec<String>,
}

impl Ready {
    /// The lease that a claim makes of it.
    fn lease(self, jobs: &BTreeMap<i64, Assigned>) -> Result<Lease, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("execution {} has no job", self.id));
        let job = jobs.get(&self.job).ok_or_else(corrupt)?;
        let (reach, more) = (self.reach.unwrap_or_default(), self.more.unwrap_or_default());
        Ok(Lease {
            execution: self.id,
            epoch: self.epoch + 1,
            device: self.device,
            device_name: self.name,
            address: self.address,
            port: self.port,
            transport: self.transport,
            tls: reach.tls,
            pin: reach.pin,
            ports: self.ports,
            worked: reach.worked.zip(reach.worked_at),
            serial: reach.serial,
            offered_serial: reach.offered_serial,
            effect: job.effect,
            credential: self.credential,
            facts_at: self.facts_at,
            plan_digest: job.plan_digest.clone(),
            timeout_ms: job.timeout_ms,
            expires_at: job.expires_at,
            first_step: self.next_step,
            resolve: more.open_intent,
            expected: expected(&job.mode, more.fingerprint.as_deref(), more.touched != 0),
            mode: job.mode.clone(),
            measures: job.measures.clone(),
            job: self.job.unsigned_abs(),
            zone: self.zone,
            in_flight: reach.in_flight,
            labels: self.labels,
            intent_at: more.intent_at,
            memo: more.memo.as_deref().map(unhex).unwrap_or_default(),
        })
    }
}

/// Past its first intent a device is no longer as it was found, and we know why.
fn expected(mode: &Mode, found: Option<&str>, touched: bool) -> Expected {
    match (mode, found.map(unhex)) {
        (Mode::AsPreviewed { .. }, _) if touched => Expected::Anything,
        (Mode::AsPreviewed { .. }, Some(found)) => Expected::AsFound(found),
        (Mode::AsPreviewed { unseen: false, .. }, None) => Expected::Unseen,
        _ => Expected::Anything,
    }
}

/// The bytes of an even number of hexadecimal digits, as SQLite writes them.
pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default();
    let bytes = digits.as_bytes().chunks_exact(2);
    // Two digits make a byte.
    bytes
        .map(|pair| (digit(pair[0]) * 16 + digit(pair[1])) as u8)
        .collect()
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

async fn leases(tx: &mut SqliteConnection, taken: Vec<Ready>) -> Result<Vec<Lease>, StoreError> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = taken.iter().map(|ready| ready.job.unsigned_abs());
    let query = sqlx::query_as(sql::JOBS_ASSIGNED).bind(json_ids(jobs.collect::<BTreeSet<_>>()));
    type Row = (i64, Vec<u8>, i64, i64, i64, i64, Option<String>);
    let rows: Vec<Row> = query.fetch_all(tx).await?;
    let mut jobs = BTreeMap::new();
    for (id, plan_digest, timeout, expires_at, effect, mode, measures) in rows {
        let assigned = Assigned {
            plan_digest,
            timeout_ms: timeout.unsigned_abs(),
            expires_at,
            effect: effect_from(effect)
                .ok_or_else(|| StoreError::Corrupt(format!("job {id}: {effect} is no effect")))?,
            mode: Mode::from_row(mode, None)
                .ok_or_else(|| StoreError::Corrupt(format!("job {id}: {mode} is no mode")))?,
            // Written by us: it is always such a list.
            measures: measures
                .and_then(|names| serde_json::from_str(&names).ok())
                .unwrap_or_default(),
        };
        jobs.insert(id, assigned);
    }
    taken.into_iter().map(|ready| ready.lease(&jobs)).collect()
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

fn ready(text: &str) -> Result<Vec<Ready>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

impl Store {
    /// Workers that have the connections of these devices, by device.
    pub async fn holders(&self, devices: &[u64]) -> Result<BTreeMap<u64, i64>, StoreError> {
        let query = sqlx::query_as(sql::HOLDERS_OF).bind(json_ids(devices.iter().copied()));
        let rows: Vec<(i64, i64)> = query.fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(device, worker)| (device.unsigned_abs(), worker))
            .collect())
    }

    /// Zones that a worker has served by name.
    pub async fn zones(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(sql::ZONES).fetch_all(self.readers()).await?)
    }
}
