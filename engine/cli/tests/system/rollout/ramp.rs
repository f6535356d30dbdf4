//! The ramp holds over all workers together (D2).

use super::{detached, file, job};
use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, until};

#[test]
fn a_ramp_holds_over_all_workers_and_grows() {
    const DEVICES: usize = 60;
    let late = format!("late={DEVICES}");
    let fleet = Fleet::start(111, DEVICES, &["--fault", &late, "--late", "150ms"]);
    let engine = Engine::start(&["--no-worker"]);
    engine.import(&fleet, DEVICES, "\n");
    let _workers = [
        Worker::start(&engine, "one", &[]),
        Worker::start(&engine, "two", &[]),
    ];
    let rest = "[[wave]]\nsize = \"100%\"\nbudget = \"all\"\n[limits]\nbudget = \"all\"\nconcurrency = 12\n\
                [ramp]\nstart = 2\nfactor = 2\ninterval = \"2s\"\n";
    let id = detached(&engine, file(&engine, "", rest));
    let mut most = 0;
    until("it is done", || {
        let job = job(&engine, &id);
        let count = |state: &str| job["counts"][state].as_u64().unwrap_or(0);
        let with_workers = count("leased") + count("running");
        // What it is allowed is read before: it only grows meanwhile.
        let allowed = job["rollout"]["pace"].as_u64().expect("a pace");
        assert!(
            with_workers <= allowed,
            "{with_workers} at once, and {allowed} are allowed"
        );
        most = most.max(with_workers);
        job["state"] == "completed"
    });
    assert!(
        (3..=12).contains(&most),
        "it grew, and not beyond its cap: {most}"
    );
    until("both say that they had some", || {
        let status = engine.run(&["admin", "status", "--json"]).ok().json().remove(0);
        let workers = status["workers"].as_array().expect("a list");
        workers.iter().all(|worker| worker["sessions"].as_u64() > Some(0))
    });
}
