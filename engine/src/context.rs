//! What the templates of a plan know of a device.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use muster_model::{Guard, Step};
use muster_proto::v1;
use muster_store::{DeviceRecord, Lease, PreState, StoreError};

use crate::Shared;

/// What plans, by their digest, want to know of devices: remembered, because every batch asks.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<HashMap<Vec<u8>, Wants>>);

/// What a plan wants to know of a device.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    /// What its templates may name.
    context: bool,
    /// How old its newest backup is.
    backup: bool,
    /// What was recorded before the steps that it takes back.
    before: bool,
}

/// Plans remembered; beyond them all are forgotten and looked up again.
const REMEMBERED: usize = 4096;

/// By device, for those whose plan has templates.
pub(crate) async fn of(
    shared: &Shared,
    leases: &[Lease],
) -> Result<BTreeMap<u64, v1::DeviceContext>, StoreError> {
    let mut devices = Vec::new();
    for lease in leases {
        if shared.templates.of(shared, &lease.plan_digest).await?.context {
            devices.push(lease.device);
        }
    }
    if devices.is_empty() {
        return Ok(BTreeMap::new());
    }
    let records = shared.store.devices_by_number(&devices).await?;
    Ok(records
        .into_iter()
        .map(|record| (record.id, context(record)))
        .collect())
}

/// When the newest backup of each device came, Unix milliseconds, for those whose plan asks.
pub(crate) async fn backups(shared: &Shared, leases: &[Lease]) -> Result<BTreeMap<u64, i64>, StoreError> {
    let mut devices = Vec::new();
    for lease in leases {
        if shared.templates.of(shared, &lease.plan_digest).await?.backup {
            devices.push(lease.device);
        }
    }
    match devices.is_empty() {
        true => Ok(BTreeMap::new()),
        false => shared.store.newest_backups(devices).await,
    }
}

/// What was recorded before earlier steps, by execution, for those that were begun before.
pub(crate) async fn states(
    shared: &Shared,
    leases: &[Lease],
) -> Result<BTreeMap<u64, Vec<v1::PreState>>, StoreError> {
    let begun = leases
        .iter()
        .filter(|lease| lease.resolve.is_some() || lease.first_step > 0);
    let begun = begun.map(|lease| lease.execution).collect::<Vec<_>>();
    let mut states = BTreeMap::<_, Vec<_>>::new();
    if begun.is_empty() {
        return Ok(states);
    }
    for state in shared.store.pre_states(begun).await? {
        let execution = state.execution;
        states.entry(execution).or_default().push(message(state));
    }
    Ok(states)
}

/// What was recorded before the steps that are taken back, by execution, for plans that do so.
pub(crate) async fn before(
    shared: &Shared,
    leases: &[Lease],
) -> Result<BTreeMap<u64, Vec<v1::PreState>>, StoreError> {
    let mut executions = Vec::new();
    for lease in leases {
        if shared.templates.of(shared, &lease.plan_digest).await?.before {
            executions.push(lease.execution);
        }
    }
    let mut states = BTreeMap::<_, Vec<_>>::new();
    if executions.is_empty() {
        return Ok(states);
    }
    for state in shared.store.states_before(executions).await? {
        states.entry(state.execution).or_default().push(message(state));
    }
    Ok(states)
}

fn message(state: PreState) -> v1::PreState {
    v1::PreState {
        execution: state.execution,
        step: state.step,
        pre: state.pre,
        facts: state.facts,
        guard: state.guard.map_or(0, Guard::number),
        guard_ms: state.guard_ms,
    }
}

impl Templates {
    async fn of(&self, shared: &Shared, digest: &[u8]) -> Result<Wants, StoreError> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let plan = shared.store.plan(digest).await?;
        let found = plan.map_or_else(Wants::default, |plan| Wants {
            context: plan.is_template(),
            backup: plan.steps.iter().any(|step| matches!(step, Step::Backup(_))),
            before: plan.steps.iter().any(|step| matches!(step, Step::Revert(_))),
        });
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= REMEMBERED {
            plans.clear();
        }
        plans.insert(digest.to_vec(), found);
        Ok(found)
    }
}

fn context(record: DeviceRecord) -> v1::DeviceContext {
    let DeviceRecord { device, facts, .. } = record;
    let facts = facts.map_or_else(Vec::new, |facts| {
        vec![
            ("version", facts.version),
            ("board", facts.board),
            ("architecture", facts.architecture),
            ("identity", facts.identity),
        ]
    });
    let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
    let map = |(name, value): (&str, String)| (name.to_owned(), value);
    v1::DeviceContext {
        labels: device
            .labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        facts: known.map(map).collect(),
        device: [
            ("name", device.name),
            ("address", device.address),
            ("zone", device.zone),
        ]
        .into_iter()
        .map(map)
        .collect(),
    }
}
