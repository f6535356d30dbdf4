//! The store by itself, in a process of its own, so that its durable writes are those of a
//! [`Place`](crate::sync::Place).
//!
//! The process is the scoreboard itself with a hidden command: it measures one thing and prints it as JSON.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::queue::{self, Answers, BATCH, Queue};
use crate::{cpu, fill, limit, sync};

/// The hidden command: `scoreboard __alone WHAT …`.
pub const COMMAND: &str = "__alone";

/// What a session is and does at once: as many loops as there are workers in the rows with an engine.
const LOOPS: usize = 4;

/// What is measured.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a durable write takes.
    Sync { data: PathBuf },
    /// A job on all devices through the store.
    Job { data: PathBuf },
    /// The same without the store.
    BareJob { data: PathBuf },
    /// Laying a job out without the store.
    BareCreate { data: PathBuf },
    /// Commits of one row without the store.
    BareCommits { data: PathBuf, count: usize },
    /// Claims and completions in two databases, in turns.
    Turns {
        one: PathBuf,
        other: PathBuf,
        devices: u64,
        rounds: usize,
    },
}

/// Runs something in a child whose command is `command`, and reads what it prints.
pub fn run<T: DeserializeOwned>(command: &mut Command, words: &[&str]) -> anyhow::Result<T> {
    let output = command
        .arg(COMMAND)
        .args(words)
        .stderr(Stdio::inherit())
        .output()
        .context("the store's process cannot be started")?;
    ensure!(output.status.success(), "the store's process failed");
    let told = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&told).with_context(|| format!("the store's process said {told:?}"))
}

/// What the child process does.
pub fn serve(words: impl Iterator<Item = std::ffi::OsString>) -> anyhow::Result<()> {
    let program = std::ffi::OsString::from(COMMAND);
    let runtime = tokio::runtime::Runtime::new()?;
    match Args::parse_from(std::iter::once(program).chain(words)).what {
        What::Sync { data } => tell(&nanos(sync::time(&data)?)),
        What::Job { data } => tell(&nanos(runtime.block_on(job(&data))?)),
        What::BareJob { data } => tell(&nanos(limit::job(&data, BATCH, Answers::Own)?)),
        What::BareCreate { data } => tell(&nanos(limit::create(&data)?)),
        What::BareCommits { data, count } => {
            let times = limit::commits(&data, count)?;
            tell(&times.into_iter().map(nanos).collect::<Vec<_>>())
        }
        What::Turns {
            one,
            other,
            devices,
            rounds,
        } => tell(&runtime.block_on(turns(&one, &other, devices, rounds))?),
    }
}

fn tell<T: Serialize>(told: &T) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string(told)?)?)
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// From a job's creation to the end of its last execution.
async fn job(data: &Path) -> anyhow::Result<Duration> {
    let queue = Queue::over(data).await?;
    let began = Instant::now();
    let total = queue.create().await?;
    let loops = (0..LOOPS).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut done = 0;
            loop {
                let leases = queue.claim().await?;
                if leases.is_empty() {
                    return anyhow::Ok(done);
                }
                done += leases.len() as u64;
                queue.complete(queue::reports(&leases, Answers::Own)?).await?;
            }
        })
    });
    let mut done = 0;
    for task in loops.collect::<Vec<_>>() {
        done += task.await??;
    }
    let took = began.elapsed();
    ensure!(done == total, "{done} of {total} executions were done");
    queue.close().await;
    Ok(took)
}

/// For each round the nanoseconds of an execution, claimed and completed: processor time in the one database and in
/// the other, wall-clock time in the one and in the other.
async fn turns(one: &Path, other: &Path, devices: u64, rounds: usize) -> anyhow::Result<Vec<[f64; 4]>> {
    let queues = [Queue::over(one).await?, Queue::over(other).await?];
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let mut round = [0.0; 4];
        for (at, queue) in queues.iter().enumerate() {
            let total = queue.create().await?;
            ensure!(
                total == devices,
                "a job of {total} executions on {devices} devices"
            );
            let (began, used) = (Instant::now(), cpu::process_time());
            loop {
                let leases = queue.claim().await?;
                if leases.is_empty() {
                    break;
                }
                queue.complete(queue::reports(&leases, Answers::Own)?).await?;
            }
            round[at] = (cpu::process_time() - used).as_nanos() as f64 / devices as f64;
            round[at + 2] = began.elapsed().as_nanos() as f64 / devices as f64;
        }
        times.push(round);
    }
    for queue in queues {
        queue.close().await;
    }
    fill::recount(one, devices)?;
    fill::recount(other, devices)?;
    Ok(times)
}
