//! Connections that a worker keeps open whether or not there is work: which devices each worker is told to keep.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use muster_model::Selector;
use muster_proto::v1;
use muster_proto::v1::session_response::Message as Down;
use muster_store::{DeviceRecord, NoteHolders, StoreError, Zones};
use prost::Message as _;
use thiserror::Error;
use tokio::sync::mpsc;
use tonic::Status;

use crate::sessions::Part;
use crate::{Shared, limits};

/// Devices read, and told, at once.
const PAGE: u32 = 500;
/// How long a change of the inventory may stay unnoticed that nobody told of.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Changes come in bursts: whoever looks after the last of them sees all.
const SETTLE: Duration = Duration::from_millis(200);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
enum HoldError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the worker is gone")]
    Gone,
}

/// Whom to tell.
pub(crate) struct Keeper {
    pub(crate) session: u64,
    pub(crate) zones: Zones,
    pub(crate) selector: Selector,
    pub(crate) outbox: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

/// Tells a worker which devices it keeps connections to, and what changes of that, until it is gone.
pub(crate) async fn run(shared: Arc<Shared>, keeper: Keeper) {
    let mut news = shared.inventory_news.subscribe();
    let mut told = HashMap::new();
    let mut first = true;
    loop {
        news.mark_unchanged();
        let wait = match round(&shared, &keeper, &mut told, first).await {
            Ok(()) => {
                first = false;
                LOOK_AGAIN
            }
            Err(HoldError::Gone) => return,
            Err(error) => {
                tracing::error!(%error, session = keeper.session, "which connections to keep");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            _ = news.changed() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks through the inventory once, and tells what is new. `told` has a hash of what was told of each device.
async fn round(
    shared: &Shared,
    keeper: &Keeper,
    told: &mut HashMap<u64, u64>,
    first: bool,
) -> Result<(), HoldError> {
    let named = shared.store.zones().await?;
    let part = shared.sessions.part(keeper.session).ok_or(HoldError::Gone)?;
    let serves = |zone: &String| match &keeper.zones {
        Zones::Named(zones) => zones.contains(zone),
        Zones::Rest => !named.contains(zone),
    };
    let mut seen = HashSet::new();
    let mut after = String::new();
    let mut begins = first;
    loop {
        let page = shared.store.devices(&keeper.selector, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.device.name);
        let numbers = page.iter().map(|record| record.id).collect::<Vec<_>>();
        let holders = shared.store.holders(&numbers).await?;
        let mine = page.into_iter().filter(|record| {
            serves(&record.device.zone) && is_mine(record, holders.get(&record.id).copied(), &part)
        });
        let mine = mine.collect::<Vec<_>>();
        seen.extend(mine.iter().map(|record| record.id));
        let devices = mine.iter().map(|record| record.id).collect();
        let worker = part.worker;
        shared.store.write(NoteHolders { worker, devices }).await?;
        tell(shared, keeper, mine, told, begins).await?;
        begins = false;
    }
    let gone = told
        .keys()
        .filter(|device| !seen.contains(device))
        .copied()
        .collect::<Vec<_>>();
    gone.iter().for_each(|device| {
        told.remove(device);
    });
    if first || !gone.is_empty() {
        let message = v1::Keep {
            begins,
            ends: first,
            gone,
            ..Default::default()
        };
        send(keeper, message).await?;
    }
    Ok(())
}

/// Of workers that keep connections in the same zone each device has one: that which has it, or, when nobody has, one that
/// follows from its number.
fn is_mine(record: &DeviceRecord, holder: Option<i64>, part: &Part) -> bool {
    let of_zone =
        |(_, zone): &&(i64, Option<String>)| zone.as_ref().is_none_or(|zone| *zone == record.device.zone);
    let has = |worker: i64| {
        part.others
            .iter()
            .filter(of_zone)
            .any(|(other, _)| *other == worker)
    };
    match holder {
        Some(holder) if holder == part.worker => true,
        Some(holder) if has(holder) => false,
        _ => {
            let others = part.others.iter().filter(of_zone).map(|(other, _)| *other);
            let all = others.chain([part.worker]).collect::<BTreeSet<_>>();
            let whose = record.id as usize % all.len();
            all.iter().nth(whose) == Some(&part.worker)
        }
    }
}

async fn tell(
    shared: &Shared,
    keeper: &Keeper,
    mine: Vec<DeviceRecord>,
    told: &mut HashMap<u64, u64>,
    begins: bool,
) -> Result<(), HoldError> {
    let limits = shared.limits.get();
    let mut credentials = HashMap::new();
    let mut devices = Vec::new();
    for record in mine {
        let name = record.device.credential.clone();
        if !credentials.contains_key(&name) {
            credentials.insert(name.clone(), credential(shared, &name).await?);
        }
        let Some(Some((_, version))) = credentials.get(&name) else {
            continue;
        };
        let id = record.id;
        let device = assignment(record, &limits);
        let mut hasher = DefaultHasher::new();
        v1::Assignment {
            want_facts: false,
            worked: String::new(),
            ..device.clone()
        }
        .encode_to_vec()
        .hash(&mut hasher);
        version.hash(&mut hasher);
        let digest = hasher.finish();
        if told.insert(id, digest) != Some(digest) {
            devices.push(device);
        }
    }
    if devices.is_empty() && !begins {
        return Ok(());
    }
    let used = devices
        .iter()
        .map(|device| device.credential.clone())
        .collect::<HashSet<_>>();
    let credentials = credentials.into_iter().filter(|(name, _)| used.contains(name));
    let message = v1::Keep {
        credentials: credentials.filter_map(|(_, known)| Some(known?.0)).collect(),
        devices,
        begins,
        ..Default::default()
    };
    send(keeper, message).await
}

/// With its version; nothing when it is not there or cannot be unsealed, which its devices' executions tell.
async fn credential(shared: &Shared, name: &str) -> Result<Option<(v1::AssignedCredential, i64)>, HoldError> {
    let Some(record) = shared.store.credential(name).await? else {
        return Ok(None);
    };
    let Ok(password) = shared.seal.unseal(name, &record.sealed) else {
        return Ok(None);
    };
    let credential = v1::AssignedCredential {
        name: name.to_owned(),
        username: record.username,
        password: password.to_string(),
    };
    Ok(Some((credential, record.version)))
}

/// The part of an assignment that says how a device is reached.
fn assignment(record: DeviceRecord, limits: &muster_model::limit::Limits) -> v1::Assignment {
    let DeviceRecord {
        id,
        device,
        facts,
        reach,
        ..
    } = record;
    let labels = device
        .labels
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let (in_flight, paced) = limits::care_of(limits, device.in_flight, &labels);
    v1::Assignment {
        device: id,
        address: device.address,
        port: device.port.into(),
        credential: device.credential,
        transport: device.transport.to_string(),
        tls: device.tls.map(|tls| tls.to_string()).unwrap_or_default(),
        pin: device.pin.map(|pin| pin.to_string()).unwrap_or_default(),
        ports: device.ports.to_string(),
        worked: reach.worked.map(|(worked, _)| worked).unwrap_or_default(),
        want_facts: facts.is_none(),
        zone: device.zone,
        in_flight,
        paced,
        device_name: device.name,
        ..Default::default()
    }
}

async fn send(keeper: &Keeper, message: v1::Keep) -> Result<(), HoldError> {
    let message = v1::SessionResponse {
        message: Some(Down::Keep(message)),
    };
    keeper.outbox.send(Ok(message)).await.map_err(|_| HoldError::Gone)
}
