//! Limits that are changed while everything runs: what workers are told of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use muster_model::limit::Limits;
use muster_proto::v1;
use muster_proto::v1::session_response::Message as Down;
use muster_store::Lease;

use crate::Shared;

/// The limits as they are now; the store has them.
#[derive(Debug, Default)]
pub(crate) struct Current(RwLock<Arc<Limits>>);

impl Current {
    pub(crate) fn get(&self) -> Arc<Limits> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, limits: Limits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }
}

/// Takes new limits, and tells every worker.
pub(crate) fn changed(shared: &Shared, limits: Limits) {
    let told = for_workers(&limits);
    shared.limits.set(limits);
    for outbox in shared.sessions.outboxes() {
        let message = v1::SessionResponse {
            message: Some(Down::Limits(told.clone())),
        };
        // One that does not read is told on its next session.
        let _ = outbox.try_send(Ok(message));
    }
    shared.inventory_changed();
    shared.work_appeared();
}

/// As workers are told.
pub(crate) fn for_workers(limits: &Limits) -> v1::WorkerLimits {
    let general = |kind| limits.general(kind).map(narrow);
    let zones = limits.zones("zone.connects");
    let bytes = limits
        .iter()
        .filter(|(limit, _)| limit.kind.name == "label.bytes");
    v1::WorkerLimits {
        device_commands: general("device.commands"),
        device_burst: general("device.burst"),
        zone_connects: general("zone.connects"),
        zones: zones
            .map(|(zone, value)| (zone.to_owned(), narrow(value)))
            .collect(),
        handshakes: general("worker.handshakes"),
        logins: general("worker.logins"),
        commands: general("worker.commands"),
        bytes: bytes
            .map(|(limit, value)| (limit.scope.to_string(), narrow(value)))
            .collect(),
    }
}

/// What a lease says of how its device is to be treated.
pub(crate) fn care(limits: &Limits, lease: &Lease) -> (u32, Vec<String>) {
    match limits.iter().next() {
        None => (lease.in_flight.unwrap_or(0), Vec::new()),
        Some(_) => care_of(limits, lease.in_flight, &lease.labels()),
    }
}

/// How a device with these labels is to be treated, and what is said of it alone.
pub(crate) fn care_of(
    limits: &Limits,
    own: Option<u32>,
    labels: &BTreeMap<String, String>,
) -> (u32, Vec<String>) {
    let of_limits = || limits.of_device("device.in-flight", labels).map_or(0, narrow);
    // What is said of one device is meant for it, whatever its labels are.
    let in_flight = own.unwrap_or_else(of_limits);
    let paced = |key: &str| {
        let value = labels.get(key)?;
        limits.of_value("label.bytes", key, value)?;
        Some(format!("{key}={value}"))
    };
    let mut paced = limits.keys("label.bytes").filter_map(paced).collect::<Vec<_>>();
    paced.sort_unstable();
    paced.dedup();
    (in_flight, paced)
}

fn narrow(value: u64) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}
