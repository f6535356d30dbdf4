//! S3 and S8: a worker's sessions against other people's clients for the same devices.
//!
//! mikrotik-rs is built with the other peers (`benches/peers`, a workspace of its own); librouteros is installed from PyPI
//! into an environment of its own beside the scoreboard. Both have the manners of our own drivers (`drive`), a server of
//! their own, and take turns with ours.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;

use super::fleet::{self, DEVICES};
use super::sessions::{Client, take_turns};
use super::{Row, Run, peers};
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::drive::Driver;
use crate::sim::{self, Sim};

/// The version that is measured.
const LIBROUTEROS: &str = "librouteros==4.2.2";

/// Small commands, against another client that does the same.
#[derive(Debug)]
pub(super) struct Against {
    id: &'static str,
    what: &'static str,
    rival: Rival,
    depth: usize,
    floor: f64,
    goal: f64,
}

#[derive(Clone, Copy, Debug)]
enum Rival {
    MikrotikRs,
    Librouteros,
}

impl Rival {
    fn name(self) -> &'static str {
        match self {
            Self::MikrotikRs => "mikrotik-rs 0.10, a task for each command under way, one thread",
            Self::Librouteros => "Python with librouteros 4.2.2, 200 threads",
        }
    }
}

pub(super) const S3: Against = Against {
    id: "S3",
    what: "small commands, 8 under way on each of 1,000 connections, sessions with all they need, no engine: commands \
           per second relative to the baseline, which has as many under way",
    rival: Rival::MikrotikRs,
    depth: 8,
    floor: 10.0,
    goal: 15.0,
};

pub(super) const S8A: Against = Against {
    id: "S8a",
    what: "small commands one after the other on each of 1,000 connections, sessions with all they need, no engine: \
           commands per second relative to the baseline",
    rival: Rival::Librouteros,
    depth: 1,
    floor: 15.0,
    goal: 19.0,
};

pub(super) const S8B: Against = Against {
    id: "S8b",
    what: "small commands one after the other on each of 1,000 connections, sessions with all they need, no engine: \
           commands per second relative to the baseline",
    rival: Rival::MikrotikRs,
    depth: 1,
    floor: 1.5,
    goal: 2.2,
};

const CONNECTIONS: usize = 1_000;

impl Row for Against {
    fn spec(&self) -> Spec {
        Spec {
            id: self.id,
            what: self.what,
            unit: "x commands/s",
            better: Better::Higher,
            floor: self.floor,
            goal: self.goal,
            baseline: self.rival.name(),
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let command = match self.rival {
            Rival::MikrotikRs if !run.peers => return Ok(not_asked_for()),
            Rival::MikrotikRs => {
                let mut command = Command::new(peers::build(run)?);
                command.arg("commands");
                command
            }
            Rival::Librouteros => match librouteros(run)? {
                // As `echo::address` has them.
                Ok(python) => script(&python, Ipv4Addr::new(127, 0, 1, 1), 8),
                Err(skipped) => return Ok(skipped),
            },
        };
        let mut clients = [
            Client::start(&run.program, "worker", CONNECTIONS, self.depth)?,
            Client::other(&run.program, command, CONNECTIONS, self.depth)?,
        ];
        let [ours, theirs] = take_turns(run, &mut clients)?;
        let notes = vec![format!(
            "{:.0} commands/s with {:.2} us of processor time each, the other {:.0} with {:.2}",
            ours.rate, ours.cpu, theirs.rate, theirs.cpu
        )];
        Ok(Outcome::Noted {
            measured: ours.rate / theirs.rate,
            // A ratio to the baseline: the baseline's own is one.
            baseline: 1.0,
            notes,
        })
    }
}

/// S7 against a program that keeps nothing.
#[derive(Debug)]
pub(super) struct S8C;

impl Row for S8C {
    fn spec(&self) -> Spec {
        Spec {
            id: "S8c",
            what: "one print on 10,000 simulated devices whose sessions are open, end to end with the engine, durable: \
                   devices per second relative to the baseline on the same devices, whose answers are kept nowhere",
            unit: "x devices/s",
            better: Better::Higher,
            floor: 1.5,
            goal: 4.0,
            baseline: Rival::Librouteros.name(),
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let python = match librouteros(run)? {
            Ok(python) => python,
            Err(skipped) => return Ok(skipped),
        };
        let [_, mut held] = Runtime::new()?.block_on(fleet::held(run))?;
        let ours = median(&mut held);
        let sim = Sim::start(&run.program, DEVICES)?;
        let first = sim.devices().into_iter().next().context("a fleet has devices")?;
        let std::net::IpAddr::V4(base) = first.address.ip() else {
            anyhow::bail!("a simulated fleet has IPv4 addresses");
        };
        let command = script(&python, base, DEVICES);
        let mut driver = Driver::spawn(command, first.address.port(), DEVICES, 1)?;
        let mut theirs = Vec::new();
        for turn in 0..=run.pick(2, 5) {
            let ran = driver.run(Duration::from_secs(2))?;
            if turn > 0 {
                theirs.push(ran.rate);
            }
        }
        let theirs = median(&mut theirs);
        Ok(Outcome::Noted {
            measured: ours / theirs,
            baseline: 1.0,
            notes: vec![format!("{ours:.0} devices/s, the other {theirs:.0}")],
        })
    }
}

fn not_asked_for() -> Outcome {
    Outcome::Skipped("its peer is not built; add --peers, which fetches and builds it".to_owned())
}

/// An interpreter that has librouteros, or why there is none.
fn librouteros(run: &Run) -> anyhow::Result<Result<PathBuf, Outcome>> {
    if !run.peers {
        return Ok(Err(not_asked_for()));
    }
    let environment = run.program.with_file_name("peers-python");
    let python = environment.join("bin/python");
    let has_it = || works(Command::new(&python).args(["-c", "import librouteros"]));
    if has_it() {
        return Ok(Ok(python));
    }
    run.progress("installing librouteros");
    let made = works(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    let pip = ["-m", "pip", "install", "--quiet", LIBROUTEROS];
    let installed = made && works(Command::new(&python).args(pip)) && has_it();
    Ok(match installed {
        true => Ok(python),
        false => Err(Outcome::Skipped(format!(
            "{LIBROUTEROS} cannot be installed: it takes python3 with venv, and PyPI"
        ))),
    })
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The program that asks devices from an address on, so many by turns.
fn script(python: &Path, base: Ipv4Addr, spread: usize) -> Command {
    let (user, password) = sim::login();
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/fleet.py"))
        .args([base.to_string(), spread.to_string(), user, password]);
    command
}
