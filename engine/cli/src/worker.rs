//! `muster worker`: a worker for an engine elsewhere.

use std::net::IpAddr;
use std::path::Path;

use muster_worker::{DeviceLimits, Worker, WorkerConfig};

use crate::args;
use crate::exit::{Done, Exit, Failure};
use crate::serve::Stop;
use crate::{limits, logging};

pub(crate) async fn run(args: args::Worker, engine: &str) -> Done {
    check_engine(engine)?;
    check_roots(args.device_roots.as_deref(), "--device-roots")?;
    let token = read_token(&args.token_file)?;
    logging::start();
    let mut stop = Stop::new()?;
    let sessions = limits::raise();
    let worker = Worker::start(WorkerConfig {
        engine: engine.to_owned(),
        token,
        name: args.name.unwrap_or_else(host_name),
        zones: args.zones,
        slots: args.slots.max(1),
        sessions,
        engine_boot: String::new(),
        device: DeviceLimits::default(),
        device_roots: args.device_roots,
    });
    let refused = tokio::select! {
        () = stop.wait() => None,
        refusal = worker.refused() => Some(refusal),
    };
    worker.stop().await;
    match refused {
        None => Ok(Exit::Ok),
        Some(refusal) => Err(Failure::new(Exit::NotAllowed, "BAD_WORKER_TOKEN", refusal)
            .hint("give the engine's own with --token-file")),
    }
}

/// Passwords travel from engine to worker: until there is TLS between them, they stay on one machine.
fn check_engine(engine: &str) -> Result<(), Failure> {
    let uri: tonic::transport::Uri = engine.parse().map_err(|error| {
        Failure::usage(format!(
            "--engine {engine:?} is no URL ({error}); write for example http://127.0.0.1:7600"
        ))
    })?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() == Some("http") && loopback {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "--engine {engine:?}: this version has no TLS yet and serves loopback only; write for example \
             http://127.0.0.1:7600"
        ))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_elsewhere_needs_tls_which_is_not_there_yet() {
        for good in ["http://127.0.0.1:7600", "http://localhost:1", "http://[::1]:7600"] {
            assert!(check_engine(good).is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1:7600",
            "https://127.0.0.1:7600",
            "127.0.0.1:7600",
            "nonsense ",
        ] {
            assert!(check_engine(bad).is_err(), "{bad}");
        }
    }
}
