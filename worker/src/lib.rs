//! The worker: holds connections to routers and runs commands over them for an engine.
//!
//! ```text
//!  engine ◀─ gRPC session ─▶ link ─▶ run (one task per execution) ─▶ devices ─▶ session (many in a task) ─▶ router
//!            assignments      │        asks for intents, tells         one per     connection machine, socket,
//!            reports, acks    │        how it ended                    device      in-flight limit
//!                             └─ reports are kept here until the engine has them on disk
//! ```
//!
//! What may be decided without a socket is decided in [`muster_worker_core`] and [`routeros_conn`]; this crate
//! moves bytes and time.

mod budget;
mod connect;
mod devices;
pub mod direct;
mod facts;
mod held;
mod keep;
mod link;
mod mailbox;
mod pace;
mod pacing;
mod phase;
mod reach;
mod rest;
mod room;
mod run;
mod session;
mod stream;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use muster_proto::dial::Dial;
pub use tls::check_roots;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The engine.
    pub engine: Dial,
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
    /// PEM file with the roots for devices whose `tls` is `roots`.
    pub device_roots: Option<PathBuf>,
    /// A selector of devices in its zones whose connections are kept open without work; empty for all of them.
    pub hold: Option<String>,
    /// How long what is in flight may take to end when the worker stops. Default [`DRAIN_WITHIN`].
    pub drain: Duration,
}

/// How long what is in flight may take to end when a worker stops, unless told otherwise: as long as a command may take by
/// default.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// How routers are treated.
#[derive(Clone, Copy, Debug)]
pub struct DeviceLimits {
    /// TCP connect and login together may take this long. Default 10 s: small routers are slow.
    pub connect_timeout: Duration,
    /// A session without work is closed after this. Default 10 min: each login writes a line in the router's log.
    pub idle: Duration,
    /// A device that was not heard for this long is asked whether it is there. Default 60 s.
    pub keepalive: Duration,
    /// Commands in flight on one connection. Default 4 (facts §6.5).
    pub in_flight: usize,
    /// Bytes of one answer. Default 16 MiB; more ends the command as a protocol error.
    pub answer_bytes: usize,
    /// Bytes of all answers that are being read or told. Default 256 MiB; beyond it devices are read one at a time.
    pub open_answer_bytes: usize,
    /// New connections a second in each zone. Default 2,000; 0: no limit.
    pub connects_per_second: u32,
    /// Logins a second, over all devices. Default 0: no limit beside that of connections.
    pub logins_per_second: u32,
    /// Connections that are being made at once. Default 256.
    pub handshakes: u32,
    /// Commands a second on one device. Default 20; 0: no limit.
    pub commands_per_second: u32,
    /// Commands on one device at once, after a while without. Default 40: routers take a burst, then slow down.
    pub command_burst: u32,
    /// Commands a second on all devices. Default 0: no limit.
    pub worker_commands_per_second: u32,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            keepalive: Duration::from_secs(60),
            in_flight: 4,
            answer_bytes: 16 << 20,
            open_answer_bytes: 256 << 20,
            connects_per_second: 2000,
            logins_per_second: 0,
            handshakes: 256,
            commands_per_second: 20,
            command_burst: 40,
            worker_commands_per_second: 0,
        }
    }
}

/// Executions a worker holds at once unless told otherwise: enough to hide the slowest devices, few enough that the
/// engine keeps the say in what runs next.
pub const DEFAULT_SLOTS: u32 = 4000;

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    leave: Leave,
    stop: CancellationToken,
    within: Duration,
    tasks: TaskTracker,
    held: held::Held,
    refused: watch::Receiver<Option<Refusal>>,
}

/// How a worker goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leave {
    /// Nothing is taken up, and whatever is not with its device goes back.
    pub(crate) soon: CancellationToken,
    /// Questions in flight are cut short and go back. Changes are not.
    pub(crate) now: CancellationToken,
}

/// Why an engine does not take a worker, or a worker not its engine: it stays so until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The engine does not know the worker's token. What it said.
    Token(String),
    /// No connection to be trusted comes about.
    Connection(String),
}

/// So long before the end of its time a question in flight is cut short, so that it can still be told.
const CUT_BEFORE: Duration = Duration::from_secs(2);
/// How often it is looked whether anything still runs.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

impl Worker {
    /// Starts a worker. It keeps trying to reach its engine until it is stopped, unless it is refused before it was ever
    /// let in.
    pub fn start(config: WorkerConfig) -> Self {
        let (leave, stop, tasks) = (Leave::default(), CancellationToken::new(), TaskTracker::new());
        let within = config.drain;
        let (outbox, inbox) = tokio::sync::mpsc::unbounded_channel();
        let held = held::Held::new(outbox);
        let (refusal, refused) = watch::channel(None);
        let signals = link::Signals {
            leave: leave.clone(),
            stop: stop.clone(),
            refusal,
        };
        tasks.spawn(link::run(config, held.clone(), inbox, signals, tasks.clone()));
        Self {
            leave,
            stop,
            within,
            tasks,
            held,
            refused,
        }
    }

    /// Waits until the worker is refused and gives up. One that was let in before does not: its engine may be set up anew,
    /// and it says so with each try.
    pub async fn refused(&self) -> Refusal {
        let mut refused = self.refused.clone();
        let told = refused.wait_for(Option::is_some).await;
        match told.ok().and_then(|refusal| refusal.clone()) {
            Some(refusal) => refusal,
            None => std::future::pending().await,
        }
    }

    /// Stops: takes nothing more, gives back what is not with its device, lets what is end and be told for a while, drops
    /// the rest, which the engine takes back, and closes every connection.
    pub async fn stop(self) {
        self.leave.soon.cancel();
        let drained = async {
            while self.held.count() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        tokio::pin!(drained);
        let questions = self.within.saturating_sub(CUT_BEFORE).max(self.within / 2);
        if tokio::time::timeout(questions, &mut drained).await.is_err() {
            self.leave.now.cancel();
            let left = self.within - questions;
            if tokio::time::timeout(left, &mut drained).await.is_err() {
                tracing::warn!(held = self.held.count(), "stopping with work in hand");
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
