//! An engine in a process of its own, as `muster serve` builds it but for the worker: what it uses is its own, and its
//! durable writes are those of a [`Place`].
//!
//! The process is the scoreboard itself with a hidden command. It prints where it serves and what a durable write
//! takes, and lives until its standard input ends.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muster_engine::{Engine, EngineConfig};
use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};

use crate::sync::{self, Place};

/// The hidden command: `scoreboard __engine DATA`.
pub const COMMAND: &str = "__engine";

/// An engine in a child process; ends when dropped.
#[derive(Debug)]
pub struct EngineProcess {
    child: Child,
    data: PathBuf,
    /// Where it serves.
    pub url: String,
    /// What its workers present.
    pub token: String,
    /// What a durable write takes it.
    pub sync: Duration,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Processor time of all its threads.
    pub cpu: Duration,
    /// Bytes of memory it holds.
    pub memory: u64,
    /// Bytes of memory it held at most.
    pub peak: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Hello {
    url: String,
    token: String,
    sync_ns: u64,
}

impl EngineProcess {
    /// Starts `program`, a scoreboard, as an engine over a data directory of `place`.
    pub fn start(program: &Path, place: &Place, data: &Path) -> anyhow::Result<Self> {
        let mut child = place
            .command(program)
            .arg(COMMAND)
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // From here on the child ends with this value.
        let mut engine = Self {
            child,
            data: data.to_owned(),
            url: String::new(),
            token: String::new(),
            sync: Duration::ZERO,
        };
        let hello = serde_json::from_str::<Hello>(&line);
        let hello = hello.with_context(|| format!("the engine said {line:?} and not where it serves"))?;
        engine.url = hello.url;
        engine.token = hello.token;
        engine.sync = Duration::from_nanos(hello.sync_ns);
        place.check(engine.sync)?;
        Ok(engine)
    }

    /// A connection to it.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(self.url.clone())?
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .tcp_nodelay(true);
        Ok(endpoint.connect().await?)
    }

    /// What it has used so far.
    pub fn used(&self) -> anyhow::Result<Used> {
        used(self.child.id())
    }

    /// Ends it and waits for its end. Returns its data directory.
    pub fn stop(mut self) -> anyhow::Result<PathBuf> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the engine ended with {status}");
        Ok(std::mem::take(&mut self.data))
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        // Stopped already, or of no use any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has used, as the kernel counts it: processor time in hundredths of a second.
pub(crate) fn used(process: u32) -> anyhow::Result<Used> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before may have spaces: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    let fields = stat.rsplit_once(')').context("no name in /proc/PID/stat")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib << 10)
            .with_context(|| format!("no {key} in /proc/PID/status"))
    };
    Ok(Used {
        cpu: Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
        memory: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}

/// What the child process does.
pub fn serve(data: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let sync = sync::time(data)?;
    let engine = runtime.block_on(Engine::start(EngineConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..EngineConfig::new(data)
    }))?;
    let hello = Hello {
        url: format!("http://{}", engine.address()),
        token: engine.worker_token().to_owned(),
        sync_ns: sync.as_nanos() as u64,
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&hello)?)?;
    // The runtime's own threads serve meanwhile.
    io::stdin().read_to_end(&mut Vec::new())?;
    runtime.block_on(engine.stop());
    Ok(())
}
