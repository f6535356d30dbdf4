//! S1, S2 and S4: what a worker's sessions cost, without an engine, against a client that is as bare as can be.
//!
//! ```text
//! driver (own process)                              echo (own process)
//!   a worker's sessions, a task asks on each ─ TCP ─▶ one epoll, one answer
//!   one epoll and a buffer                   ─ TCP ─▶ another of the same
//! ```
//!
//! Each client has a server to itself, the two take turns, and one that does not run sleeps. The number is commands a
//! second of one against commands a second of the other in the same run.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::drive::{Driver, Ran};
use crate::echo::Echo;

/// Small commands on many connections.
#[derive(Debug)]
pub(super) struct Commands {
    id: &'static str,
    what: &'static str,
    connections: usize,
    depth: usize,
    floor: f64,
    goal: f64,
}

pub(super) const S1A: Commands = Commands {
    id: "S1a",
    what: "small commands one after the other on each of 1,000 connections, sessions with all they need, no engine: \
           commands per second relative to the baseline",
    connections: 1_000,
    depth: 1,
    floor: 0.85,
    goal: 0.97,
};

pub(super) const S1B: Commands = Commands {
    id: "S1b",
    what: "small commands one after the other on each of 10,000 connections, sessions with all they need, no engine: \
           commands per second relative to the baseline",
    connections: 10_000,
    depth: 1,
    floor: 0.85,
    goal: 0.97,
};

pub(super) const S2: Commands = Commands {
    id: "S2",
    what: "small commands, 8 under way on each of 1,000 connections, sessions with all they need, no engine: commands \
           per second relative to the baseline, which has as many under way",
    connections: 1_000,
    depth: 8,
    floor: 0.6,
    goal: 0.9,
};

impl Row for Commands {
    fn spec(&self) -> Spec {
        Spec {
            id: self.id,
            what: self.what,
            unit: "x commands/s",
            better: Better::Higher,
            floor: self.floor,
            goal: self.goal,
            baseline: "one thread with one epoll on the same server: no tags, no deadlines, no limits, no owned answers",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let mut clients = [
            Client::start(&run.program, "worker", self.connections, self.depth)?,
            Client::start(&run.program, "bare", self.connections, self.depth)?,
        ];
        let [ours, bare] = take_turns(run, &mut clients)?;
        let notes = vec![format!(
            "{:.0} commands/s with {:.2} us of processor time each, bare {:.0} with {:.2}: {:.2} x the processor time",
            ours.rate,
            ours.cpu,
            bare.rate,
            bare.cpu,
            ours.cpu / bare.cpu
        )];
        Ok(Outcome::Noted {
            measured: ours.rate / bare.rate,
            // A ratio to the baseline: the baseline's own is one.
            baseline: 1.0,
            notes,
        })
    }
}

/// A client with a server to itself.
#[derive(Debug)]
pub(super) struct Client {
    driver: Driver,
    _server: Echo,
}

impl Client {
    /// A client that is not ours: its program, and what comes before the numbers.
    pub(super) fn other(
        program: &Path,
        command: Command,
        connections: usize,
        depth: usize,
    ) -> anyhow::Result<Self> {
        let server = Echo::start(program)?;
        Ok(Self {
            driver: Driver::spawn(command, server.port, connections, depth)?,
            _server: server,
        })
    }

    pub(super) fn start(
        program: &Path,
        client: &str,
        connections: usize,
        depth: usize,
    ) -> anyhow::Result<Self> {
        let server = Echo::start(program)?;
        Ok(Self {
            driver: Driver::start(program, client, server.port, connections, depth)?,
            _server: server,
        })
    }
}

/// Runs clients in turns. Returns the medians of each; the first turn warms up.
pub(super) fn take_turns<const N: usize>(run: &Run, clients: &mut [Client; N]) -> anyhow::Result<[Ran; N]> {
    let time = Duration::from_millis(run.pick(500, 2_000) as u64);
    let mut runs = [const { Vec::new() }; N];
    for turn in 0..=run.pick(3, 9) {
        for (client, runs) in clients.iter_mut().zip(&mut runs) {
            let ran = client.driver.run(time)?;
            if turn > 0 {
                runs.push(ran);
            }
        }
    }
    Ok(runs.map(|runs| {
        let of = |value: fn(&Ran) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
        Ran {
            rate: of(|ran| ran.rate),
            cpu: of(|ran| ran.cpu),
        }
    }))
}

/// Memory of an idle session.
#[derive(Debug)]
pub(super) struct S4;

impl Row for S4 {
    fn spec(&self) -> Spec {
        Spec {
            id: "S4",
            what: "memory of a worker for each of 10,000 idle sessions with everything they need, in the clear, without \
                   the kernel's part",
            unit: "bytes",
            better: Better::Lower,
            floor: 3072.0,
            goal: 1536.0,
            baseline: "one thread with one epoll: a socket and the beginning of an unfinished sentence",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        const CONNECTIONS: usize = 10_000;
        const PROCESSES: usize = 4;
        const EACH: usize = 12_500;
        let bytes = |client: &Client, connections: usize| client.driver.memory as f64 / connections as f64;
        let mut worker = Client::start(&run.program, "worker", CONNECTIONS, 1)?;
        let idle = bytes(&worker, CONNECTIONS);
        let after = worker.driver.memory_after(Duration::from_secs(1))? as f64 / CONNECTIONS as f64;
        drop(worker);
        let bare = bytes(&Client::start(&run.program, "bare", CONNECTIONS, 1)?, CONNECTIONS);
        let mut notes = vec![format!(
            "{after:.0} bytes after a second of commands on all of them"
        )];
        if !run.quick {
            let mut shards = Vec::new();
            for _ in 0..PROCESSES {
                shards.push(Client::start(&run.program, "worker", EACH, 1)?);
            }
            let all = shards.iter().map(|shard| bytes(shard, EACH)).sum::<f64>();
            notes.push(format!(
                "{:.0} bytes at {} sessions in {PROCESSES} processes",
                all / PROCESSES as f64,
                PROCESSES * EACH
            ));
        }
        Ok(Outcome::Noted {
            measured: idle,
            baseline: bare,
            notes,
        })
    }
}
