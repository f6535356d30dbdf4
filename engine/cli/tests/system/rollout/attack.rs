//! The hard budget, attacked: a change that breaks every device, 2,000 of them, up to 500 executions with workers, and
//! B = 10; engine and workers are killed, connections between them are held up for longer than a lease, and the engine's clock
//! is set, at instants drawn from a seed, and limits are tightened and loosened meanwhile. The simulator's journal is the witness:
//! never more than 10 devices were touched, and none more than was promised.
//!
//! `MUSTER_SEEDS` says how many seeds are run, or which: `50`, `31-40`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::harness::api::Api;
use crate::harness::proxy::Proxy;
use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, pause};

const DEVICES: usize = 2000;
const SLOTS: usize = 500;
const BUDGET: usize = 10;
const LEASE: &str = "450ms";
/// Seeds unless told otherwise.
const SEEDS: u64 = 5;
/// A seed that takes longer hangs.
const AT_MOST: Duration = Duration::from_secs(120);

/// Every answer to a change is lost, after it was done: each device touched ends `unknown`. The plan reads first, so
/// that as many executions as there are slots stand before the budget.
const FILE: &str = r#"
name = "attack"
all = true
timeout = "30s"
[[step]]
command = ["/system/identity/print"]
[[step]]
command = ["/ip/dns/set", "servers=9.9.9.9"]
[[wave]]
size = "rest"
[limits]
budget = 10
[[rule]]
count = 1000000
"#;

struct Told {
    seed: u64,
    touched: usize,
    kills: Vec<&'static str>,
    took: Duration,
    wrong: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            touched,
            kills,
            took,
            wrong,
        } = self;
        write!(
            f,
            "seed {seed:>4}  {touched:>2} of {DEVICES} touched  {}  in {:.1} s{}",
            kills.join(", "),
            took.as_secs_f64(),
            if wrong.is_empty() { "" } else { "  WRONG" }
        )
    }
}

#[test]
fn a_universally_bad_change_never_touches_more_than_its_budget() {
    let wanted = std::env::var("MUSTER_SEEDS").unwrap_or_else(|_| SEEDS.to_string());
    let (first, last) = match wanted.split_once('-') {
        Some((first, last)) => (first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap()),
        None => (1, wanted.parse::<u64>().unwrap()),
    };
    let mut wrong = Vec::new();
    for seed in first..=last {
        let told = run(seed);
        println!("{told}");
        wrong.extend(told.wrong.iter().map(|wrong| format!("seed {seed}: {wrong}")));
    }
    println!("{} seeds, {} wrong", last + 1 - first, wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(seed: u64) -> Told {
    let began = Instant::now();
    let mut dice = fastrand::Rng::with_seed(seed);
    let fault = format!("lost-write-answer={DEVICES}");
    let fleet = Fleet::start(106, DEVICES, &["--seed", &seed.to_string(), "--fault", &fault]);
    let remote = dice.bool();
    let mut more = vec!["--lease", LEASE];
    if remote {
        more.push("--no-worker");
    }
    let mut engine = Engine::prepare(&more).configured(&format!("[worker]\nslots = {SLOTS}\n"));
    let clock = Clock::new(engine.directory.path());
    if let Some(clock) = &clock {
        engine = clock.under(engine);
    }
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let slots = SLOTS.to_string();
    let proxy = Proxy::start(&engine.url);
    let mut worker = remote.then(|| Worker::start_at(&engine, &proxy.url(), "one", &["--slots", &slots]));
    let mut told = Told {
        seed,
        touched: 0,
        kills: Vec::new(),
        took: Duration::ZERO,
        wrong: Vec::new(),
    };
    std::fs::write(engine.directory.path().join("attack.toml"), FILE).unwrap();
    let ran = engine
        .run(&["rollout", "start", "attack.toml", "--yes", "--detach"])
        .exits(7);
    let id = ran.stdout().trim().to_owned();
    let api = Api::new(&engine.url);
    let kills = dice.usize(1..=4);
    let (mut promised, mut most) = (BUDGET, BUDGET);
    loop {
        let touched = touched(&fleet);
        if touched > most {
            told.wrong
                .push(format!("{touched} devices touched under a budget of {most}"));
            break;
        }
        let job = api.job(&id).unwrap_or_default();
        let used = job.budget_use.unwrap_or_default();
        let counted = (used.harmed + used.rescued + used.in_flight) as usize;
        if counted > promised {
            told.wrong
                .push(format!("{counted} are counted where {promised} were promised"));
        }
        // What the engine counts is never less than what was done: the intent is on disk before.
        let halted = job.state() == muster_proto::v1::JobState::Halted && used.in_flight == 0;
        if halted && told.kills.len() >= kills {
            if seed % 4 != 1 || most > BUDGET {
                break;
            }
            // Two more, by somebody who may say so: then they break, too, and not one more.
            let limits = ["job", "limits", &id, "--budget", "12", "--approver", "ann"];
            engine.run(&limits).ok();
            engine.run(&["job", "resume", &id]).ok();
            (promised, most) = (12, 12);
            told.kills.push("loosened");
        }
        // An engine that starts with its clock a year ahead finds the job's time over, and gives up who is left.
        let ahead = told.kills.iter().skip_while(|kill| **kill != "clock ahead");
        let expired = job.state() == muster_proto::v1::JobState::CompletedWithFailures && used.in_flight == 0;
        if expired && ahead.skip(1).any(|kill| *kill == "engine") {
            break;
        }
        if began.elapsed() > AT_MOST {
            told.wrong.push(format!(
                "it did not halt: {:?} {used:?}\n{}",
                job.state(),
                engine.log.text()
            ));
            break;
        }
        pause(Duration::from_millis(dice.u64(..400)));
        if told.kills.len() < kills {
            match (&mut worker, dice.bool()) {
                (Some(worker), true) => {
                    worker.kill();
                    pause(Duration::from_millis(dice.u64(..300)));
                    worker.start_again();
                    told.kills.push("worker");
                }
                (Some(_), false) if dice.bool() => {
                    // Longer than a lease, or shorter.
                    proxy.hold();
                    pause(Duration::from_millis(dice.u64(50..900)));
                    proxy.release();
                    told.kills.push("cut");
                }
                (None, true) if let Some(clock) = &clock => {
                    let days = dice.i64(-400..400);
                    clock.set(days * 24 * 60 * 60 * 1000);
                    told.kills
                        .push(if days > 0 { "clock ahead" } else { "clock back" });
                }
                _ => {
                    engine.kill();
                    pause(Duration::from_millis(dice.u64(..300)));
                    engine.start_again();
                    told.kills.push("engine");
                }
            }
        } else if dice.u8(..4) == 0 && promised == BUDGET && seed.is_multiple_of(2) {
            // Tightened while it runs: what is promised then is never less than what is touched already.
            let ran = engine
                .run(&["job", "limits", &id, "--budget", "7", "--json"])
                .ok();
            promised = ran.json()[0]["promised"].as_u64().unwrap() as usize;
            assert!(promised <= BUDGET);
        }
    }
    // Nothing more happens to any device, however long its worker waits.
    let last = touched(&fleet);
    pause(Duration::from_millis(500));
    told.touched = touched(&fleet);
    if told.touched != last || told.touched > promised {
        told.wrong
            .push(format!("{} devices touched, {promised} promised", told.touched));
    }
    told.took = began.elapsed();
    told
}

/// How many devices executed a change.
fn touched(fleet: &Fleet) -> usize {
    fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<BTreeSet<_>>()
        .len()
}
