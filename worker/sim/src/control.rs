//! The control API: the journal, the counters, the devices and their faults over HTTP on loopback.
//!
//! It has no authentication and is described in this crate's README.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::counters::Counters;
use crate::drift::Planted;
use crate::fault::Fault;
use crate::journal::JournalEntry;
use crate::world::World;

type Refused = (StatusCode, Json<Refusal>);

pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/counters", get(counters))
        .route("/devices", get(devices))
        .route("/devices/{index}/fault", post(set_fault))
        .route("/journal", get(journal).delete(clear_journal))
        .route("/devices/{index}/certificate", get(certificate))
        .with_state(world)
}

/// `?device=` and `?since=` of `GET /journal`.
#[derive(Debug, Deserialize)]
struct JournalFilter {
    device: Option<usize>,
    /// The number of the last entry that is known already.
    #[serde(default)]
    since: u64,
}

#[derive(Debug, Serialize)]
struct DeviceInfo {
    index: usize,
    address: Ipv4Addr,
    identity: String,
    version: String,
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<Planted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFault {
    // Named explicitly, so that null has to be said and is not what a misspelt key means.
    #[serde(deserialize_with = "Option::deserialize")]
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct Refusal {
    error: String,
}

async fn journal(
    State(world): State<Arc<World>>,
    Query(filter): Query<JournalFilter>,
) -> Json<Vec<JournalEntry>> {
    Json(world.journal.entries(filter.device, filter.since))
}

async fn clear_journal(State(world): State<Arc<World>>) -> StatusCode {
    world.journal.clear();
    StatusCode::NO_CONTENT
}

async fn counters(State(world): State<Arc<World>>) -> Json<Counters> {
    Json(world.counters())
}

async fn devices(State(world): State<Arc<World>>) -> Json<Vec<DeviceInfo>> {
    Json((0..world.len()).map(|index| info(&world, index)).collect())
}

async fn set_fault(
    State(world): State<Arc<World>>,
    Path(index): Path<usize>,
    body: Result<Json<SetFault>, JsonRejection>,
) -> Result<Json<DeviceInfo>, Refused> {
    let refuse = |status, error| (status, Json(Refusal { error }));
    let Json(body) = body.map_err(|error| refuse(error.status(), error.body_text()))?;
    if index >= world.len() {
        let error = format!("no device {index}; there are {}", world.len());
        return Err(refuse(StatusCode::NOT_FOUND, error));
    }
    let fault = body.fault.as_deref().map(str::parse::<Fault>).transpose();
    let fault = fault.map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
    world.set_fault(index, fault);
    Ok(Json(info(&world, index)))
}

/// What a device presents over TLS now, as SHA-256 in hex.
#[derive(Debug, Serialize)]
struct Fingerprints {
    certificate: String,
    key: String,
}

async fn certificate(
    State(world): State<Arc<World>>,
    Path(index): Path<usize>,
) -> Result<Json<Fingerprints>, StatusCode> {
    if index >= world.len() {
        return Err(StatusCode::NOT_FOUND);
    }
    let identity = world
        .certificate(index)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let hex = |bytes: &[u8]| {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    Ok(Json(Fingerprints {
        certificate: hex(&identity.certificate),
        key: hex(&identity.public_key),
    }))
}

fn info(world: &World, index: usize) -> DeviceInfo {
    DeviceInfo {
        index,
        address: world.address(index),
        identity: world.identity(index),
        version: world.version(index),
        fault: world.fault(index).map(Fault::name),
        drift: world.planted(index),
    }
}
