//! The engine: gRPC services over a store, dispatch to workers, and the reconcilers that keep jobs moving.
//!
//! What is decided is decided in [`muster_engine_core`]; what is remembered is in [`muster_store`]. The engine may
//! be killed at any instant: everything a client or a worker was told is on disk before it is told.

mod aggregate;
mod answer;
mod audit;
mod auth;
mod clock;
mod context;
mod data;
mod dispatch;
mod error;
mod export;
mod hold;
mod limits;
mod listen;
mod live;
mod names;
mod page;
mod reconcile;
mod rollout;
mod schedule;
mod seal;
mod services;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use muster_store::Store;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, RwLock, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use data::{DataDirectory, DataError};
pub use listen::TlsFiles;

use clock::EngineClock;
use context::Templates;
use live::Live;
use reconcile::{Ended, Reconcilers};
use seal::Seal;
use sessions::Sessions;

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where it keeps everything: database, key, worker token.
    pub data: PathBuf,
    /// Where it serves gRPC. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// A worker that is silent for this long has lost its leases. Default 15 s.
    pub lease: Duration,
    /// Jobs are deleted this long after their end; never when it is none. At least [`KEEP_AT_LEAST`]; default 90 days.
    pub keep: Option<Duration>,
    /// Serves TLS, on the same port; without it callers on this machine only. Default none.
    pub tls: Option<TlsFiles>,
}

/// Jobs are kept at least this long after their end, so that a request that is repeated is not done again.
pub const KEEP_AT_LEAST: Duration = Duration::from_millis(muster_store::REQUEST_KEPT_MS.unsigned_abs());

impl EngineConfig {
    /// The defaults for a data directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7600)),
            lease: Duration::from_secs(15),
            keep: Some(Duration::from_secs(90 * 24 * 3600)),
            tls: None,
        }
    }
}

/// An engine that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database.
    #[error(transparent)]
    Store(#[from] muster_store::OpenError),
    /// The database, after it was opened.
    #[error(transparent)]
    Query(#[from] muster_store::StoreError),
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The files for TLS.
    #[error("TLS: {0}")]
    Tls(#[from] muster_proto::dial::DialError),
}

/// What the parts of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) seal: Seal,
    pub(crate) clock: EngineClock,
    pub(crate) sessions: Sessions,
    pub(crate) lease: Duration,
    pub(crate) keep: Option<Duration>,
    /// How long a small durable write took at the start; not known at first.
    pub(crate) sync_time: OnceLock<Duration>,
    pub(crate) reconcilers: Reconcilers,
    /// Gates whose servers are being asked: job, wave, gate.
    pub(crate) asking: Mutex<BTreeSet<(i64, u32, usize)>>,
    /// When it was last looked for devices that join a rollout, by its row.
    pub(crate) joined: Mutex<BTreeMap<i64, Instant>>,
    /// Who was asked last whether they are there, by the rollout's row.
    pub(crate) probed: Mutex<BTreeMap<i64, rollout::probe::Probed>>,
    pub(crate) ended: Ended,
    /// Limits that were set.
    pub(crate) limits: limits::Current,
    /// Questions that workers have not answered yet.
    pub(crate) asked: services::Asked,
    pub(crate) live: Live,
    pub(crate) templates: Templates,
    pub(crate) judges: audit::Judges,
    /// Names this run of the engine.
    pub(crate) boot: String,
    pub(crate) worker_token: String,
    pub(crate) client_token: String,
    /// Held by whoever lays out a job, and alone by whoever changes the inventory: a selection is frozen while it is
    /// written down part by part.
    pub(crate) inventory: Arc<RwLock<()>>,
    /// Counts changes of the inventory and of who is connected: workers that keep connections are told anew.
    pub(crate) inventory_news: watch::Sender<u64>,
    /// Something may be ready to be handed out.
    pub(crate) work: Notify,
    /// Whether the last look left work behind for want of credit.
    pub(crate) starved: AtomicBool,
    /// Counts commits that may have moved a job; watchers wait on it.
    pub(crate) news: watch::Sender<u64>,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// Tells watchers that something was committed.
    pub(crate) fn committed(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// Tells that devices, what is known of how to reach them, or who is there may be others than before.
    pub(crate) fn inventory_changed(&self) {
        self.inventory_news.send_modify(|count| *count += 1);
    }

    /// Tells dispatch that there may be something to hand out.
    pub(crate) fn work_appeared(&self) {
        self.work.notify_one();
    }

    /// Tells dispatch that a worker takes more: worth a look only if something was left behind.
    pub(crate) fn credit_appeared(&self) {
        if self.starved.load(Ordering::Relaxed) {
            self.work.notify_one();
        }
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    // Held for as long as the engine runs, so that a second one refuses to start.
    data: DataDirectory,
}

/// How long open calls may take to end when the engine stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);

impl Engine {
    /// Opens the data directory and serves.
    pub async fn start(config: EngineConfig) -> Result<Self, StartError> {
        let tls = config
            .tls
            .as_ref()
            .map(listen::Tls::read)
            .transpose()?
            .map(Arc::new);
        let data = DataDirectory::open(&config.data)?;
        let store = Store::open(&data.database()).await?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen {
                address: config.listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let shared = Arc::new(Shared {
            seal: Seal::new(data.key()),
            worker_token: data.worker_token().to_owned(),
            client_token: data.client_token().to_owned(),
            clock: EngineClock::start(store.newest_time().await?),
            store,
            sessions: Sessions::default(),
            lease: config.lease,
            keep: config.keep.map(|keep| keep.max(KEEP_AT_LEAST)),
            sync_time: OnceLock::new(),
            reconcilers: Reconcilers::default(),
            asking: Mutex::default(),
            joined: Mutex::default(),
            probed: Mutex::default(),
            ended: Ended::default(),
            limits: limits::Current::default(),
            asked: services::Asked::default(),
            live: Live::default(),
            templates: Templates::default(),
            judges: audit::Judges::default(),
            boot: uuid::Uuid::new_v4().to_string(),
            inventory: Arc::default(),
            inventory_news: watch::channel(0).0,
            work: Notify::new(),
            starved: AtomicBool::new(true),
            news: watch::channel(0).0,
            stop: CancellationToken::new(),
        });
        shared.limits.set(shared.store.limits().await?);
        reconcile::recover(&shared).await?;
        let tasks = vec![
            tokio::spawn(dispatch::run(shared.clone())),
            tokio::spawn(reconcile::run(shared.clone())),
            tokio::spawn(services::serve(shared.clone(), listener, tls)),
            tokio::spawn(time_disk(shared.clone())),
        ];
        tracing::info!(%address, tls = config.tls.is_some(), data = %config.data.display(), "engine started");
        Ok(Self {
            address,
            shared,
            tasks,
            data,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token its workers need.
    pub fn worker_token(&self) -> &str {
        self.data.worker_token()
    }

    /// Names this run of the engine; for a worker in the same process.
    pub fn boot(&self) -> &str {
        &self.shared.boot
    }

    /// Ends open calls, writes what waits to be written and closes the database.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        for mut task in self.tasks {
            if tokio::time::timeout(STOP_WITHIN, &mut task).await.is_err() {
                task.abort();
            }
        }
        self.shared.store.clone().close().await;
    }
}

/// How fast the disk is bounds everything that is durable: it is told at the start.
async fn time_disk(shared: Arc<Shared>) {
    match shared.store.sync_time().await {
        Ok(took) => {
            let commits = (1.0 / took.as_secs_f64()) as u64;
            tracing::info!(
                micros = took.as_micros() as u64,
                commits_per_second = commits,
                "a durable write takes"
            );
            let _ = shared.sync_time.set(took);
        }
        Err(error) => tracing::warn!(%error, "the disk cannot be timed"),
    }
}
