//! Engine and workers killed at instants drawn from a seed, in the middle of a job of changes on 500 devices. The
//! simulator's journal is the witness: no change is executed twice, none is said to be done that is not, none is lost.
//!
//! `MUSTER_SEEDS` says how many seeds are run, or which: `50`, `31-40`. See benches/README.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use muster_proto::v1;
use serde_json::Value;

use crate::harness::api::{Api, Order};
use crate::harness::database::Database;
use crate::harness::worker::Worker;
use crate::harness::{Engine, Executed, Fleet, pause, until};

const DEVICES: usize = 500;
/// Devices that take [`LATE`] to answer, so that there is always something under way.
const SLOW: &str = "late=150";
const LATE: &str = "150ms";
/// Executions that a worker holds at once: the job is long enough to be hit in its middle, and a kill can hit no more.
const SLOTS: usize = 60;
/// The name of the engine's own worker.
const EMBEDDED: &str = "beside the engine";
const WORKERS: [&str; 2] = ["one", "two"];
const LEASE: &str = "450ms";
/// A kill that waits for the job to get somewhere waits no longer.
const STANDSTILL: Duration = Duration::from_millis(1500);
/// Devices are well and processes are started again: a job that takes longer hangs.
const AT_MOST: Duration = Duration::from_secs(60);
/// What is shown of a seed that went wrong.
const TOLD: usize = 5;
/// Seeds unless told otherwise.
const SEEDS: u64 = 5;

/// Who works for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// The worker in its own process.
    Embedded,
    /// Two in processes of their own, each for every zone.
    Remote,
    /// Its own, and one beside it that has half of the fleet.
    Both,
}

const PLANS: [&[&[&str]]; 4] = [
    &[&["/ip/dns/set", "servers=9.9.9.9"]],
    &[
        &["/ip/dns/set", "servers=9.9.9.9"],
        &["/system/identity/set", "name=moved"],
    ],
    &[
        &["/system/resource/print"],
        &["/ip/firewall/address-list/add", "list=moved", "address=10.9.9.1"],
    ],
    &[
        &["/system/identity/set", "name=moved"],
        &["/system/resource/print"],
        &["/ip/dns/set", "servers=9.9.9.9"],
    ],
];

/// What one seed did and found.
struct Told {
    seed: u64,
    variant: Variant,
    steps: usize,
    kills: Vec<String>,
    executed: usize,
    states: BTreeMap<String, usize>,
    took: Duration,
    wrong: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = self
            .states
            .iter()
            .map(|(state, count)| format!("{count} {state}"));
        write!(
            f,
            "seed {:>4}  {:<8}  {} step(s)  {:>4} changes executed  {}  in {:.1} s  killed {}{}",
            self.seed,
            format!("{:?}", self.variant).to_lowercase(),
            self.steps,
            self.executed,
            states.collect::<Vec<_>>().join(", "),
            self.took.as_secs_f64(),
            self.kills.join(", "),
            if self.wrong.is_empty() { "" } else { "  WRONG" },
        )
    }
}

#[test]
fn changes_survive_kills_of_engine_and_workers_at_any_instant() {
    let wanted = std::env::var("MUSTER_SEEDS").unwrap_or_else(|_| SEEDS.to_string());
    let (first, last) = seeds(&wanted).unwrap_or_else(|| panic!("MUSTER_SEEDS={wanted}: write 50, or 31-40"));
    let (next, told) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    // A run mostly waits: two fit beside each other.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    let run = std::thread::spawn(move || run(seed)).join();
                    if let Ok(run) = &run {
                        println!("{run}");
                    }
                    told.lock().unwrap().push(run.map_err(|_| seed));
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    summarise(&told);
    let wrong = told.iter().filter_map(|run| match run {
        Ok(run) if run.wrong.is_empty() => None,
        Ok(run) => {
            let told = run.wrong.iter().take(TOLD).cloned().collect::<Vec<_>>();
            Some(format!(
                "seed {}, {} wrong:\n  {}",
                run.seed,
                run.wrong.len(),
                told.join("\n  ")
            ))
        }
        Err(seed) => Some(format!("seed {seed}: panicked, see above")),
    });
    let wrong = wrong.collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `50` is the seeds 1 to 50, `31-40` those.
fn seeds(text: &str) -> Option<(u64, u64)> {
    match text.split_once('-') {
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
        None => Some((1, text.parse().ok()?)),
    }
}

fn summarise(told: &[Result<Told, u64>]) {
    let mut states = BTreeMap::<&str, usize>::new();
    let runs = told.iter().flatten();
    for (state, count) in runs.clone().flat_map(|run| &run.states) {
        *states.entry(state).or_default() += count;
    }
    let states = states.iter().map(|(state, count)| format!("{count} {state}"));
    println!(
        "{} seeds, {} kills, {} changes executed, {}; {} seeds wrong",
        told.len(),
        runs.clone().map(|run| run.kills.len()).sum::<usize>(),
        runs.clone().map(|run| run.executed).sum::<usize>(),
        states.collect::<Vec<_>>().join(", "),
        told.len() - runs.filter(|run| run.wrong.is_empty()).count(),
    );
}

/// The processes of a run.
struct System {
    engine: Engine,
    workers: Vec<Worker>,
    fleet: Fleet,
    /// Devices whose worker was killed while it had an intent for them, or that were given up just then.
    at_risk: BTreeSet<String>,
}

fn start(variant: Variant, seed: u64) -> System {
    let seed_text = seed.to_string();
    let fleet = Fleet::start(
        100,
        DEVICES,
        &["--seed", &seed_text, "--fault", SLOW, "--late", LATE],
    );
    let mut more = vec!["--lease", LEASE];
    if variant == Variant::Remote {
        more.push("--no-worker");
    }
    let mut engine = Engine::prepare(&more).configured(&format!("[worker]\nslots = {SLOTS}\n"));
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let slots = SLOTS.to_string();
    let worker = |name: &str, more: &[&str]| {
        let more = [&["--slots", &slots], more].concat();
        Worker::start(&engine, name, &more)
    };
    let workers = match variant {
        Variant::Embedded => Vec::new(),
        Variant::Remote => vec![worker(WORKERS[0], &[]), worker(WORKERS[1], &[])],
        Variant::Both => vec![worker(WORKERS[0], &["--zone", "far"])],
    };
    System {
        engine,
        workers,
        fleet,
        at_risk: BTreeSet::new(),
    }
}

impl System {
    /// Kills the engine, workers, or both, and starts them again. Returns who it was.
    fn kill(&mut self, variant: Variant, dice: &mut fastrand::Rng) -> String {
        let engine = self.workers.is_empty() || dice.bool();
        let one = dice.usize(..self.workers.len().max(1));
        let both = dice.bool();
        let killed = |at: usize| at < self.workers.len() && (both || (!engine && at == one));
        let hit = (0..WORKERS.len()).filter(|at| killed(*at)).collect::<Vec<_>>();
        let mut names = hit.iter().map(|at| WORKERS[*at]).collect::<Vec<_>>();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        if engine {
            self.engine.kill();
        }
        for at in &hit {
            self.workers[*at].kill();
        }
        if !engine {
            // What they had sent is read to its end, and written once something later is.
            until("the engine notices", || {
                let connected = self.engine.run(&["admin", "status", "--json"]).ok().stdout();
                !names
                    .iter()
                    .any(|name| connected.contains(&format!("\"{name}\"")))
            });
            self.engine.set_credential("\n");
        }
        pause(Duration::from_millis(dice.u64(..200)));
        if engine && variant != Variant::Remote {
            names.push(EMBEDDED);
        }
        let data = self.engine.data();
        let mut database = if engine {
            Database::of_the_dead(&data)
        } else {
            Database::open(&data)
        };
        self.at_risk
            .extend(database.at_risk(&names, now.as_millis() as i64));
        if engine {
            self.engine.start_again();
        }
        for at in hit {
            self.workers[at].start_again();
        }
        names.retain(|name| *name != EMBEDDED);
        if engine {
            names.insert(0, "engine");
        }
        names.join("+")
    }

    /// Waits until so many changes were executed, or none is for a while. Returns how many were.
    fn wait_for(&self, wanted: u64) -> u64 {
        let (mut moved, mut since) = (self.fleet.executed(), Instant::now());
        while moved < wanted && since.elapsed() < STANDSTILL {
            let now = self.fleet.executed();
            if now > moved {
                (moved, since) = (now, Instant::now());
            }
        }
        moved
    }
}

fn run(seed: u64) -> Told {
    let began = Instant::now();
    let mut dice = fastrand::Rng::with_seed(seed);
    let variant = [Variant::Embedded, Variant::Remote, Variant::Both][dice.usize(..3)];
    let steps = PLANS[dice.usize(..PLANS.len())];
    let mut system = start(variant, seed);
    let mut told = Told {
        seed,
        variant,
        steps: steps.len(),
        kills: Vec::new(),
        executed: 0,
        states: BTreeMap::new(),
        took: Duration::ZERO,
        wrong: Vec::new(),
    };
    let order = Order {
        steps,
        selector: "",
        timeout: Duration::from_secs(30),
        request_id: &format!("seed-{seed}"),
    };
    let api = Api::new(&system.engine.url);
    let mut at = (0..dice.usize(2..=5))
        .map(|_| dice.u64(..(changes(steps).len() * DEVICES) as u64 * 9 / 10))
        .collect::<Vec<_>>();
    at.sort_unstable();
    let id = std::thread::scope(|scope| {
        // Beside the kills: one may hit the request itself.
        let created = scope.spawn(|| create(&api, &order));
        for at in at {
            let moved = system.wait_for(at);
            // Not at the instant of a journal entry, but around it.
            pause(Duration::from_micros(dice.u64(..20_000)));
            let whom = system.kill(variant, &mut dice);
            told.kills.push(format!("{whom} at {moved}"));
        }
        created.join().unwrap()
    });
    let Some(job) = api.finished(&id, AT_MOST) else {
        let shown = system.engine.run(&["job", "show", &id]).stdout();
        told.wrong.push(format!(
            "the job did not end: {shown}\n{}",
            system.engine.log.text()
        ));
        return told;
    };
    let results = system.engine.run(&["job", "results", &id, "--json"]).json();
    let journal = system.fleet.journal();
    told.executed = journal.len();
    for result in &results {
        *told.states.entry(text(&result["state"])).or_default() += 1;
    }
    check(&results, &journal, &changes(steps), &mut told.wrong);
    for result in results.iter().filter(|result| result["state"] == "unknown") {
        if !system.at_risk.contains(&text(&result["device"])) {
            told.wrong.push(format!("nothing hit {result}"));
        }
    }
    if counts(&job) != told.states {
        told.wrong.push(format!("the job counts {:?}", counts(&job)));
    }
    system.engine.kill();
    let integrity = Database::open(&system.engine.data()).text("PRAGMA integrity_check");
    if integrity != "ok" {
        told.wrong.push(format!("the database is damaged: {integrity}"));
    }
    told.took = began.elapsed();
    told
}

/// Asks for the job, with the same request id, until somebody is there to answer.
fn create(api: &Api, order: &Order<'_>) -> String {
    let began = Instant::now();
    loop {
        match api.create(order) {
            Ok(id) => return id,
            Err(status) => assert!(began.elapsed() < AT_MOST, "{status}"),
        }
    }
}

/// The commands of a plan that change something.
fn changes(steps: &[&[&str]]) -> Vec<String> {
    let changing = steps.iter().filter(|step| !step[0].ends_with("/print"));
    changing.map(|step| step[0].to_owned()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn counts(job: &v1::Job) -> BTreeMap<String, usize> {
    let counted = job.counts.iter().filter(|count| count.count > 0).map(|count| {
        let name = count.state().as_str_name().trim_start_matches("EXECUTION_STATE_");
        (name.to_ascii_lowercase(), count.count as usize)
    });
    counted.collect()
}

/// Compares what is told of every device with what it did.
fn check(results: &[Value], journal: &[Executed], changes: &[String], wrong: &mut Vec<String>) {
    let mut executed = vec![Vec::new(); DEVICES];
    for entry in journal {
        executed[entry.device].push((entry.words[0].clone(), entry.result.clone()));
    }
    let devices = results.iter().map(|result| text(&result["device"]));
    let devices = devices.collect::<BTreeSet<_>>();
    if results.len() != DEVICES || devices.len() != DEVICES {
        wrong.push(format!("{} results of {} devices", results.len(), devices.len()));
    }
    for result in results {
        let device = text(&result["device"]);
        let did = &executed[device.trim_start_matches('r').parse::<usize>().unwrap()];
        // In the order of the plan, each once: neither twice nor a later one without those before it.
        let prefix = did
            .iter()
            .zip(changes)
            .all(|((path, result), change)| path == change && result == "done");
        if did.len() > changes.len() || !prefix {
            wrong.push(format!("{device} did {did:?}: {result}"));
        }
        match result["state"].as_str() {
            Some("succeeded") if did.len() == changes.len() => {}
            // Evidence that came later says what the journal says.
            Some("unknown") if result["error"]["class"] == "worker" => match result["resolution"]["done"] {
                Value::Bool(true) if did.is_empty() => wrong.push(format!("{device} did nothing: {result}")),
                Value::Bool(false) if did.len() == changes.len() => {
                    wrong.push(format!("{device} did everything: {result}"));
                }
                _ => {}
            },
            _ => wrong.push(format!("{device} did {did:?} and is told as {result}")),
        }
    }
}
