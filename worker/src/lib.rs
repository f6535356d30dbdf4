//! The worker: holds connections to routers and runs commands over them for an engine.
//!
//! ```text
//!  engine ◀─ gRPC session ─▶ link ─▶ run (one task per execution) ─▶ devices ─▶ session (one task per device) ─▶ router
//!            assignments      │        asks for intents, tells         one per     connection machine, socket,
//!            reports, acks    │        how it ended                    device      in-flight limit
//!                             └─ reports are kept here until the engine has them on disk
//! ```
//!
//! What may be decided without a socket is decided in [`muster_worker_core`] and [`routeros_conn`]; this crate
//! moves bytes and time.

mod connect;
mod devices;
mod facts;
mod held;
mod link;
mod run;
mod session;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// URL of the engine, for example `http://127.0.0.1:7600`.
    pub engine: String,
    /// The token in the engine's `DATA/worker.token`.
    pub token: String,
    /// For people; the host's name by habit.
    pub name: String,
    /// Zones it serves by name; empty for every zone that has no worker of its own.
    pub zones: Vec<String>,
    /// Executions it holds at once.
    pub slots: u32,
    /// Device sessions it keeps open at most; the least recently used idle one makes room.
    pub sessions: usize,
    /// Set for a worker inside an engine's process: the engine's boot id.
    pub engine_boot: String,
    /// How routers are treated.
    pub device: DeviceLimits,
}

/// How routers are treated.
#[derive(Clone, Copy, Debug)]
pub struct DeviceLimits {
    /// TCP connect and login together may take this long. Default 10 s: small routers are slow.
    pub connect_timeout: Duration,
    /// A session without work is closed after this. Default 60 s: each login writes a line in the router's log.
    pub idle: Duration,
    /// Commands in flight on one connection. Default 4 (facts §6.5).
    pub in_flight: usize,
    /// Bytes of one answer. Default 16 MiB; more ends the command as a protocol error.
    pub answer_bytes: usize,
    /// New connections a second, over all devices. Default 2,000.
    pub connects_per_second: u32,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            in_flight: 4,
            answer_bytes: 16 << 20,
            connects_per_second: 2000,
        }
    }
}

/// Executions a worker holds at once unless told otherwise: enough to hide the slowest devices, few enough that the
/// engine keeps the say in what runs next.
pub const DEFAULT_SLOTS: u32 = 4000;

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Worker {
    /// Starts a worker. It keeps trying to reach its engine until it is stopped.
    pub fn start(config: WorkerConfig) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(link::run(config, stop.clone(), tasks.clone()));
        Self { stop, tasks }
    }

    /// Stops: drops what it holds, which the engine takes back, and closes every connection.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
