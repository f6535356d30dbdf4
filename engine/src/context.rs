//! What the templates of a plan know of a device.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use muster_proto::v1;
use muster_store::{DeviceRecord, Lease, StoreError};

use crate::Shared;

/// Which plans, by their digest, have templates: remembered, because every batch asks.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<HashMap<Vec<u8>, bool>>);

/// Plans remembered; beyond them all are forgotten and looked up again.
const REMEMBERED: usize = 4096;

/// By device, for those whose plan has templates.
pub(crate) async fn of(
    shared: &Shared,
    leases: &[Lease],
) -> Result<BTreeMap<u64, v1::DeviceContext>, StoreError> {
    let mut devices = Vec::new();
    for lease in leases {
        if shared.templates.has(shared, &lease.plan_digest).await? {
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

impl Templates {
    async fn has(&self, shared: &Shared, digest: &[u8]) -> Result<bool, StoreError> {
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
        let found = plan.is_some_and(|plan| plan.is_template());
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
