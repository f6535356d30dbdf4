//! `muster serve`: the engine, and unless told otherwise a worker beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_engine::{Engine, EngineConfig, TlsFiles};
use muster_proto::dial::Dial;
use muster_worker::{DEFAULT_SLOTS, DeviceLimits, Worker, WorkerConfig};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{self, reachable};
use crate::config::{self, Config};
use crate::exit::{Done, Exit, Failure};
use crate::worker::{check_roots, selector};
use crate::{duration, limits, logging};

/// The engine waits for its own worker: what it drops is looked after when the engine starts again.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Where everything is kept unless told otherwise.
const DATA: &str = "muster-data";

pub(crate) async fn run(args: args::Serve) -> Done {
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    logging::start();
    let fits = limits::raise();
    let data = args.data.or(config.data).unwrap_or_else(|| PathBuf::from(DATA));
    let mut engine_config = EngineConfig::new(data);
    if let Some(listen) = args.listen.or(config.listen) {
        engine_config.listen = listen;
    }
    if let Some(lease) = args.lease.or(config.lease) {
        engine_config.lease = lease;
    }
    if let Some(duration::Keep(keep)) = args.keep.or(config.keep) {
        engine_config.keep = keep;
    }
    engine_config.tls = tls_files(&args.tls_cert, &args.tls_key, &args.tls_client_ca, config.tls)?;
    check_roots(config.worker.device_roots.as_deref(), "worker.device-roots")?;
    let mut stop = Stop::new()?;
    let secure = engine_config.tls.is_some();
    let engine = start(engine_config).await?;
    if !engine.address().ip().is_loopback() && !secure {
        tracing::warn!("without TLS only callers on this machine are served, whatever the address");
    }
    config.worker.hold = selector(args.hold)?.or(config.worker.hold);
    let with_worker = !args.no_worker && config.worker.enabled.unwrap_or(true);
    let worker = with_worker.then(|| worker_beside(&engine, &config.worker, fits));
    let worker = worker.transpose()?;
    tracing::info!(device_sessions = fits, worker = with_worker, "ready");
    stop.wait().await;
    tracing::info!("stopping");
    if let Some(worker) = worker {
        worker.stop().await;
    }
    engine.stop().await;
    Ok(Exit::Ok)
}

/// Files for TLS: flags win over the configuration file.
fn tls_files(
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
    client_ca: &Option<PathBuf>,
    config: config::Tls,
) -> Result<Option<TlsFiles>, Failure> {
    let certificate = certificate.clone().or(config.certificate);
    let key = key.clone().or(config.key);
    let client_ca = client_ca.clone().or(config.client_ca);
    match (certificate, key, client_ca) {
        (Some(certificate), Some(key), client_ca) => Ok(Some(TlsFiles {
            certificate,
            key,
            client_ca,
        })),
        (None, None, None) => Ok(None),
        _ => Err(Failure::usage(
            "for TLS both --tls-cert and --tls-key are needed (in a file: certificate and key in [tls]); \
             `muster admin certs` makes them",
        )),
    }
}

/// Starts an engine, or says why not.
pub(crate) async fn start(config: EngineConfig) -> Result<Engine, Failure> {
    Engine::start(config)
        .await
        .map_err(|error| Failure::new(Exit::Usage, "START", error))
}

/// Starts the worker that shares the engine's process.
pub(crate) fn worker_beside(
    engine: &Engine,
    config: &config::Worker,
    sessions: usize,
) -> Result<Worker, Failure> {
    let defaults = DeviceLimits::default();
    Ok(Worker::start(WorkerConfig {
        engine: Dial::here(&url(engine.address()))?,
        token: engine.worker_token().to_owned(),
        name: "beside the engine".into(),
        zones: Vec::new(),
        slots: config.slots.unwrap_or(DEFAULT_SLOTS),
        sessions,
        engine_boot: engine.boot().to_owned(),
        device: DeviceLimits {
            connect_timeout: config.connect_timeout.unwrap_or(defaults.connect_timeout),
            idle: config.idle.unwrap_or(defaults.idle),
            in_flight: config.in_flight.unwrap_or(defaults.in_flight).max(1),
            connects_per_second: config.connects_per_second.unwrap_or(defaults.connects_per_second),
            ..defaults
        },
        device_roots: config.device_roots.clone(),
        hold: config.hold.clone(),
        drain: DRAIN_WITHIN,
    }))
}

/// The URL of an engine on this machine.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// The signals that ask for an end.
pub(crate) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
