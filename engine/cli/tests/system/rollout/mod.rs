//! Rollouts: waves, budgets, rules, gates, windows and approvals, shown with real processes.

mod attack;
mod audits;
mod availability;
mod check;
mod continuous;
mod control;
mod digest;
mod gates;
mod ramp;
mod rules;
mod snapshot;
mod soak;
mod waves;
mod zones;

use serde_json::Value;

use crate::harness::{Engine, Fleet, Ran, until};

/// A step that changes every device, and sends nothing before it.
const CHANGE: &str = "[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n";

/// An engine with a worker of so many slots, a fleet, and as many devices in the inventory as asked for: those beyond
/// the fleet do not answer.
fn start(devices: usize, imported: usize, more: &[&str]) -> (Engine, Fleet) {
    let fleet = Fleet::start(106, devices, more);
    let engine = Engine::start(&[]);
    engine.import(&fleet, imported, "\n");
    (engine, fleet)
}

/// Writes a rollout's file for every device, with this head and this rest.
fn file(engine: &Engine, head: &str, rest: &str) -> &'static str {
    let text = format!("name = \"x\"\nall = true\ntimeout = \"20s\"\n{head}\n{CHANGE}\n{rest}\n");
    std::fs::write(engine.directory.path().join("x.toml"), text).unwrap();
    "x.toml"
}

/// Starts it and returns the job's id.
fn detached(engine: &Engine, file: &str) -> String {
    let ran = engine
        .run(&["rollout", "start", file, "--yes", "--detach"])
        .exits(7);
    ran.stdout().trim().to_owned()
}

fn job(engine: &Engine, id: &str) -> Value {
    engine.run(&["job", "show", id, "--json"]).ok().json().remove(0)
}

/// Waits until a job is in a state, and returns it as it is then.
fn in_state(engine: &Engine, id: &str, state: &str) -> Value {
    until(&format!("job {id} is {state}"), || {
        job(engine, id)["state"] == state
    });
    job(engine, id)
}

/// What a client command says when another person runs it.
fn by(engine: &Engine, who: &str, args: &[&str]) -> Ran {
    let mut command = engine.command(args);
    command.env("USER", who);
    command.output().unwrap().into()
}
