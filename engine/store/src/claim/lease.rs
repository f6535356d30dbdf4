//! What a claim hands out, and how the database tells it.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::Effect;
use serde::Deserialize;
use sqlx::SqliteConnection;

use crate::create::Mode;
use crate::transition::effect_from;
use crate::{StoreError, json_ids, sql};

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
pub(super) struct Ready {
    pub(super) id: u64,
    pub(super) job: i64,
    epoch: u64,
    pub(super) device: u64,
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
    pub(super) reach: Option<Reach>,
    /// What executions have that were begun, or previewed.
    more: Option<More>,
}

#[derive(Default, Deserialize)]
pub(super) struct Reach {
    pub(super) serial: Option<String>,
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

pub(super) fn ready(text: &str) -> Result<Vec<Ready>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) async fn leases(tx: &mut SqliteConnection, taken: Vec<Ready>) -> Result<Vec<Lease>, StoreError> {
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
