//! `muster worker`: a worker for an engine elsewhere.

use std::path::Path;

use muster_worker::{DeviceLimits, Refusal, Worker, WorkerConfig};

use crate::args;
use crate::client::connect;
use crate::exit::{Done, Exit, Failure};
use crate::serve::Stop;
use crate::{limits, logging};

pub(crate) async fn run(args: args::Worker, engine: &str) -> Done {
    let engine = connect::way(engine)?;
    check_roots(args.device_roots.as_deref(), "--device-roots")?;
    let token = read_token(&args.token_file)?;
    logging::start();
    let mut stop = Stop::new()?;
    let sessions = limits::raise();
    let worker = Worker::start(WorkerConfig {
        engine,
        token,
        name: args.name.unwrap_or_else(host_name),
        zones: args.zones,
        slots: args.slots.max(1),
        sessions,
        engine_boot: String::new(),
        device: DeviceLimits::default(),
        device_roots: args.device_roots,
        hold: selector(args.hold)?,
        drain: args.drain,
    });
    let refused = tokio::select! {
        () = stop.wait() => None,
        refusal = worker.refused() => Some(refusal),
    };
    tracing::info!("stopping");
    tokio::select! {
        () = worker.stop() => {}
        // Whoever asks twice does not want to wait.
        () = stop.wait() => {}
    }
    match refused {
        None => Ok(Exit::Ok),
        Some(Refusal::Token(said)) => Err(Failure::new(Exit::NotAllowed, "BAD_WORKER_TOKEN", said)
            .hint("give the engine's own with --token-file")),
        Some(Refusal::Connection(said)) => Err(Failure::new(Exit::NotAllowed, "ENGINE_REFUSED", said)),
    }
}

/// Checks a selector for connections to keep; empty means every device.
pub(crate) fn selector(text: Option<String>) -> Result<Option<String>, Failure> {
    if let Some(text) = text.as_deref().filter(|text| !text.trim().is_empty()) {
        text.parse::<muster_model::Selector>()
            .map_err(|error| Failure::usage(format!("--hold {text:?}: {error}")))?;
    }
    Ok(text)
}

/// Refuses a file that no device's certificate could be checked with.
pub(crate) fn check_roots(path: Option<&Path>, named: &str) -> Result<(), Failure> {
    let checked = path.map_or(Ok(()), muster_worker::check_roots);
    checked.map_err(|error| Failure::usage(format!("{named}: {error}")))
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("--token-file {}: {error}", path.display()))
            .hint("it is the file worker.token in the engine's data directory")
    })?;
    Ok(text.trim().to_owned())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "worker".into())
}
