//! `muster admin`.

use muster_proto::v1;
use serde_json::json;

use super::connect::Engine;
use crate::args::Admin;
use crate::exit::{Done, Exit};
use crate::terminal::number;

pub(crate) async fn run(command: Admin, engine: &str, json: bool) -> Done {
    let Admin::Status = command;
    let engine = Engine::connect(engine).await?;
    let status = engine
        .admin()
        .get_status(v1::GetStatusRequest {})
        .await?
        .into_inner();
    if json {
        let worker = |worker: &v1::WorkerStatus| json!({ "name": worker.name, "zones": worker.zones, "slots": worker.slots, "held": worker.held });
        let waiting = |zone: &v1::ZoneStatus| json!({ "zone": zone.zone, "pending": zone.pending });
        let line = json!({
            "version": status.version,
            "devices": status.devices,
            "running_jobs": status.running_jobs,
            "workers": status.workers.iter().map(worker).collect::<Vec<_>>(),
            "waiting": status.waiting.iter().map(waiting).collect::<Vec<_>>(),
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
        crate::terminal::out(format_args!(
            "worker {}: {zones}; {held} of {slots} slots in use",
            worker.name
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
    Ok(Exit::Ok)
}
