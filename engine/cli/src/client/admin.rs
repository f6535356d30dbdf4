//! `muster admin`.

use muster_proto::v1;
use serde_json::{Value, json};

use super::connect::Engine;
use super::fleet_limit;
use super::result::{table, timestamp};
use crate::args::Admin;
use crate::exit::{Done, Exit};
use crate::terminal::{number, safe};

pub(crate) async fn run(command: Admin, engine: &str, json: bool) -> Done {
    let engine = Engine::connect(engine).await?;
    match command {
        // It needs no engine and is made elsewhere.
        Admin::Certs(_) => Ok(Exit::Ok),
        Admin::Status => status(&engine, json).await,
        Admin::Limits { set, reset, reason } => fleet_limit::run(&engine, set, reset, reason, json).await,
    }
}

async fn status(engine: &Engine, json: bool) -> Done {
    let status = engine
        .admin()
        .get_status(v1::GetStatusRequest {})
        .await?
        .into_inner();
    if json {
        let worker = |worker: &v1::WorkerStatus| {
            json!({ "name": worker.name, "zones": worker.zones, "slots": worker.slots, "held": worker.held, "waiting": worker.waiting,
            "sessions": worker.sessions, "most_sessions": worker.most_sessions, "answer_bytes": worker.answer_bytes,
            "session_bytes": worker.session_bytes, "kept": worker.kept, "kept_open": worker.kept_open })
        };
        let waiting = |zone: &v1::ZoneStatus| json!({ "zone": zone.zone, "pending": zone.pending });
        let line = json!({
            "version": status.version,
            "devices": status.devices,
            "running_jobs": status.running_jobs,
            "workers": status.workers.iter().map(worker).collect::<Vec<_>>(),
            "waiting": status.waiting.iter().map(waiting).collect::<Vec<_>>(),
            "reconcilers": status.reconcilers.iter().map(reconciler_json).collect::<Vec<_>>(),
            "store": store_json(&status.store.unwrap_or_default()),
        });
        crate::terminal::out(&line);
        return Ok(Exit::Ok);
    }
    crate::terminal::out(format_args!("engine {} at {}", status.version, engine.url()));
    crate::terminal::out(format_args!(
        "{} devices, {} live jobs",
        number(status.devices),
        number(status.running_jobs)
    ));
    for worker in &status.workers {
        let zones = if worker.zones.is_empty() {
            "every other zone".into()
        } else {
            worker.zones.join(", ")
        };
        let (held, slots) = (number(worker.held.into()), number(worker.slots.into()));
        let waiting = match worker.waiting {
            0 => String::new(),
            waiting => format!(", {} more wait without one", number(waiting.into())),
        };
        crate::terminal::out(format_args!(
            "worker {}: {zones}; {held} of {slots} slots in use{waiting}; {} of {} device sessions open, about {} bytes each when idle, without TLS; \
             {:.1} MiB of open answers",
            worker.name,
            number(worker.sessions),
            number(worker.most_sessions),
            number(worker.session_bytes),
            worker.answer_bytes as f64 / f64::from(1 << 20),
        ));
    }
    for worker in status.workers.iter().filter(|worker| worker.kept > 0) {
        crate::terminal::out(format_args!(
            "worker {} keeps {} connections without work, {} of them are open",
            worker.name,
            number(worker.kept),
            number(worker.kept_open)
        ));
    }
    if status.workers.is_empty() {
        crate::terminal::out(format_args!("no worker is connected"));
    }
    for zone in &status.waiting {
        crate::terminal::out(format_args!(
            "zone {}: {} executions wait, and no worker serves it",
            zone.zone,
            number(zone.pending)
        ));
    }
    let mut loops = table([
        "RECONCILER",
        "RUNS",
        "LAST RUN",
        "TOOK",
        "NEXT RUN",
        "LAST DID",
        "LAST ERROR",
    ]);
    for reconciler in &status.reconcilers {
        let what = |text: &str, at: Option<&prost_types::Timestamp>| match timestamp(at) {
            Some(at) => format!("{} ({at})", safe(text)),
            None => String::new(),
        };
        loops.add_row([
            reconciler.name.clone(),
            number(reconciler.runs),
            timestamp(reconciler.last_run.as_ref()).unwrap_or_default(),
            millis(reconciler.took.as_ref())
                .map(|took| format!("{took:.1} ms"))
                .unwrap_or_default(),
            timestamp(reconciler.next_run.as_ref()).unwrap_or_default(),
            what(&reconciler.did, reconciler.did_at.as_ref()),
            what(&reconciler.error, reconciler.error_at.as_ref()),
        ]);
    }
    crate::terminal::out(&loops);
    store_text(&status.store.unwrap_or_default());
    Ok(Exit::Ok)
}

fn store_text(store: &v1::StoreStatus) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    crate::terminal::out(format_args!(
        "database {}, {} of it free; log {}; {} operations wait for the writer",
        mib(store.database_bytes),
        mib(store.free_bytes),
        mib(store.wal_bytes),
        number(store.queued)
    ));
    if let Some(took) = millis(store.sync_time.as_ref()) {
        crate::terminal::out(format_args!(
            "a small durable write took {took:.2} ms at the start"
        ));
    }
    match millis(store.keep.as_ref()) {
        Some(keep) => crate::terminal::out(format_args!(
            "jobs are deleted {:.1} days after their end",
            keep / 86_400_000.0
        )),
        None => crate::terminal::out("jobs are kept for ever"),
    }
}

fn reconciler_json(reconciler: &v1::ReconcilerStatus) -> Value {
    json!({
        "name": reconciler.name,
        "runs": reconciler.runs,
        "last_run": timestamp(reconciler.last_run.as_ref()),
        "took_ms": millis(reconciler.took.as_ref()),
        "did": reconciler.did,
        "did_at": timestamp(reconciler.did_at.as_ref()),
        "error": reconciler.error,
        "error_at": timestamp(reconciler.error_at.as_ref()),
        "next_run": timestamp(reconciler.next_run.as_ref()),
    })
}

fn store_json(store: &v1::StoreStatus) -> Value {
    json!({
        "database_bytes": store.database_bytes,
        "free_bytes": store.free_bytes,
        "wal_bytes": store.wal_bytes,
        "sync_ms": millis(store.sync_time.as_ref()),
        "queued": store.queued,
        "keep_ms": millis(store.keep.as_ref()),
    })
}

fn millis(duration: Option<&prost_types::Duration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 * 1e3 + f64::from(duration.nanos) / 1e6)
}
