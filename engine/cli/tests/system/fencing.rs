//! Workers that believe they hold what they have lost: stopped, cut off, killed in the middle of sending.

use std::time::{Duration, Instant};

use muster_proto::v1::{self, ExecutionState, IntentVerdict, ReportOutcome};
use serde_json::Value;

use crate::harness::api::{Api, Order};
use crate::harness::database::Database;
use crate::harness::proxy::Proxy;
use crate::harness::session::Session;
use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, pause, until};

const CHANGE: &[&[&str]] = &[&["/system/identity/set", "name=one"]];
const PATIENCE: Duration = Duration::from_secs(20);

fn order<'a>(steps: &'a [&'a [&'a str]], request_id: &'a str) -> Order<'a> {
    Order {
        steps,
        selector: "",
        timeout: PATIENCE,
        request_id,
    }
}

fn report(assignment: &v1::Assignment, outcome: ReportOutcome) -> v1::Report {
    v1::Report {
        execution: assignment.execution,
        epoch: assignment.epoch,
        outcome: outcome.into(),
        ..v1::Report::default()
    }
}

/// An engine without a worker, with one device in its inventory.
fn engine(fleet: &Fleet, lease: &str) -> (Engine, Api) {
    let engine = Engine::start(&["--no-worker", "--lease", lease]);
    engine.import(fleet, 1, "\n");
    let api = Api::new(&engine.url);
    (engine, api)
}

#[test]
fn an_older_epoch_moves_nothing() {
    let fleet = Fleet::start(61, 1, &[]);
    let (engine, api) = engine(&fleet, "300ms");
    let id = api.create(&order(CHANGE, "a")).unwrap();
    // Takes it and says nothing more: after a term it is somebody else's.
    let mut old = Session::open(&api, &engine, "old", Vec::new());
    let held = old.take();
    let _new = Worker::start(&engine, "new", &[]);
    let job = api.finished(&id, PATIENCE).unwrap();
    assert_eq!(job.state(), v1::JobState::Completed);
    let told = engine.run(&["job", "results", &id, "--json"]).ok().of("r0");
    assert_eq!(
        (&told["state"], &told["attempts"]),
        (&"succeeded".into(), &2.into()),
        "{told}"
    );

    let lease = v1::HeldLease {
        execution: held.execution,
        epoch: held.epoch,
    };
    let mut old = Session::open(&api, &engine, "old", vec![lease]);
    assert_eq!(old.revoked, [lease]);
    assert_eq!(old.ask(held.execution, held.epoch, 0), IntentVerdict::Revoked);
    for outcome in [
        ReportOutcome::Failed,
        ReportOutcome::Unknown,
        ReportOutcome::Unreached,
        ReportOutcome::HandedBack,
    ] {
        old.report(report(&held, outcome));
    }
    let after = engine.run(&["job", "results", &id, "--json"]).ok().of("r0");
    assert_eq!(after, told, "what was told stays as it was told");
    assert_eq!(fleet.journal().len(), 1);
}

#[test]
fn a_late_report_of_a_lost_worker_is_evidence_and_moves_nothing() {
    let fleet = Fleet::start(62, 1, &[]);
    let (engine, api) = engine(&fleet, "300ms");
    let id = api.create(&order(CHANGE, "a")).unwrap();
    let mut lost = Session::open(&api, &engine, "lost", Vec::new());
    let held = lost.take();
    assert_eq!(lost.ask(held.execution, held.epoch, 0), IntentVerdict::Granted);
    assert!(api.finished(&id, PATIENCE).is_some());
    let told = engine.run(&["job", "results", &id, "--json"]).exits(3).of("r0");
    assert_eq!(
        (&told["state"], &told["error"]["class"]),
        (&"unknown".into(), &"worker".into()),
        "{told}"
    );
    let mut lost = Session::open(&api, &engine, "lost", Vec::new());
    lost.report(report(&held, ReportOutcome::Succeeded));
    let after = engine.run(&["job", "results", &id, "--json"]).exits(3).of("r0");
    assert_eq!(after["state"], "unknown", "{after}");
    assert_eq!(after["finished_at"], told["finished_at"], "{after}");
    assert_eq!(
        (&told["resolution"], &after["resolution"]["done"]),
        (&Value::Null, &true.into())
    );
    let shown = engine.run(&["job", "results", &id]).exits(3).stdout();
    assert!(shown.contains("found out later: it was done"), "{shown}");
}

#[test]
fn a_worker_that_is_gone_before_it_is_let_in_holds_nothing() {
    let fleet = Fleet::start(66, 1, &[]);
    let (engine, api) = engine(&fleet, "1s");
    let id = api.create(&order(CHANGE, "a")).unwrap();
    let mut session = Session::open(&api, &engine, "worker", Vec::new());
    let held = session.take();
    assert_eq!(session.ask(held.execution, held.epoch, 0), IntentVerdict::Granted);
    let lease = v1::HeldLease {
        execution: held.execution,
        epoch: held.epoch,
    };
    // The engine reads the hello of a new session, and cannot write it down before the worker is gone.
    let mut database = Database::open(&engine.data());
    database.run("BEGIN IMMEDIATE");
    let again = Session::begin(&api, &engine, "worker", vec![lease]);
    engine.run(&["admin", "status"]).ok();
    drop((session, again));
    engine.run(&["admin", "status"]).ok();
    database.run("ROLLBACK");
    assert!(api.finished(&id, PATIENCE).is_some(), "its lease ends");
    let told = engine.run(&["job", "results", &id, "--json"]).exits(3).of("r0");
    assert_eq!(told["state"], "unknown", "{told}");
    assert!(fleet.journal().is_empty());
}

#[test]
fn a_worker_stopped_between_grant_and_send_sends_nothing_when_it_goes_on() {
    let fleet = Fleet::start(63, 1, &["--fault", "late=1", "--late", "300ms"]);
    let (engine, api) = engine(&fleet, "900ms");
    let proxy = Proxy::start(&engine.url);
    let worker = Worker::start_at(&engine, &proxy.url(), "stopped", &[]);
    // The read takes its time, so that the answer to the intent after it can be held up.
    let steps: &[&[&str]] = &[&["/system/resource/print"], CHANGE[0]];
    let id = api.create(&order(steps, "a")).unwrap();
    until("the read is under way", || {
        fleet.get("/counters")["commands"]["/system/resource/print"].is_u64()
    });
    proxy.hold_down();
    until("the intent is granted", || {
        api.count(&id, ExecutionState::Running) == 1
    });
    let granted = Instant::now();
    worker.stop();
    assert!(fleet.journal().is_empty(), "nothing was sent");
    proxy.release();
    assert!(api.finished(&id, PATIENCE).is_some());
    let told = engine.run(&["job", "results", &id, "--json"]).exits(3).of("r0");
    assert_eq!(
        (&told["state"], &told["error"]["class"]),
        (&"unknown".into(), &"worker".into()),
        "{told}"
    );
    // A grant is good for 2 s.
    pause(Duration::from_secs(2).saturating_sub(granted.elapsed()));
    worker.go_on();
    let second: &[&[&str]] = &[&["/system/identity/set", "name=two"]];
    let id = api.create(&order(second, "b")).unwrap();
    let job = api.finished(&id, PATIENCE).unwrap();
    assert_eq!(job.state(), v1::JobState::Completed);
    let journal = fleet.journal();
    assert_eq!(journal.len(), 1, "{journal:?}");
    assert_eq!(journal[0].words[1], "=name=two");
}

#[test]
fn an_engine_that_is_killed_or_stopped_costs_nothing_while_its_worker_lives() {
    const DEVICES: usize = 100;
    let fleet = Fleet::start(67, DEVICES, &["--fault", "late=100", "--late", "200ms"]);
    let mut engine = Engine::start(&["--no-worker", "--lease", "1s"]);
    engine.import(&fleet, DEVICES, "\n");
    let api = Api::new(&engine.url);
    let _worker = Worker::start(&engine, "lives", &["--slots", "20"]);
    let id = api.create(&order(CHANGE, "a")).unwrap();
    for done in [10, 30, 50] {
        until("some more are done", || fleet.executed() > done);
        engine.kill();
        engine.start_again();
    }
    until("some more are done", || fleet.executed() > 70);
    engine.stop();
    pause(Duration::from_millis(1500));
    engine.go_on();
    let job = api.finished(&id, PATIENCE).unwrap();
    assert_eq!(job.state(), v1::JobState::Completed, "{:?}", job.counts);
    assert_eq!(fleet.journal().len(), DEVICES);
}

#[test]
fn a_worker_that_is_cut_off_and_one_that_takes_over_do_a_change_once() {
    let fleet = Fleet::start(64, 20, &["--fault", "late=10", "--late", "300ms"]);
    let engine = Engine::start(&["--no-worker", "--lease", "300ms"]);
    engine.import(&fleet, 20, "\n");
    let api = Api::new(&engine.url);
    let proxy = Proxy::start(&engine.url);
    let _cut_off = Worker::start_at(&engine, &proxy.url(), "cut off", &["--slots", "15"]);
    let id = api.create(&order(CHANGE, "a")).unwrap();
    until("it is in the middle of it", || fleet.executed() > 0);
    proxy.hold();
    let _other = Worker::start(&engine, "other", &[]);
    assert!(api.finished(&id, PATIENCE).is_some());
    proxy.release();
    let results = engine.run(&["job", "results", &id, "--json"]).json();
    let journal = fleet.journal();
    for result in &results {
        let index = result["device"].as_str().unwrap().trim_start_matches('r');
        let times = journal
            .iter()
            .filter(|entry| entry.device.to_string() == index)
            .count();
        match result["state"].as_str().unwrap() {
            "succeeded" => assert_eq!(times, 1, "{result}"),
            "unknown" => assert!(times <= 1 && result["error"]["class"] == "worker", "{result}"),
            _ => panic!("{result}"),
        }
    }
    assert!(
        results.iter().any(|result| result["state"] == "unknown"),
        "some were under way"
    );
    assert!(
        results
            .iter()
            .any(|result| result["attempts"] == 1 && result["state"] == "succeeded")
    );
}

#[test]
fn bytes_that_wait_for_a_device_die_with_their_worker() {
    let fleet = Fleet::start(65, 1, &["--fault", "not-reading=1"]);
    let (engine, api) = engine(&fleet, "300ms");
    let mut worker = Worker::start(&engine, "killed", &[]);
    // More than a receive buffer holds: the rest waits in the worker's kernel for the window to open.
    let name = format!("name={}", "x".repeat(1_000_000));
    let steps: &[&[&str]] = &[&["/system/identity/set", &name]];
    let id = api.create(&order(steps, "a")).unwrap();
    until("the window is closed", || bytes_wait_for(fleet.port));
    worker.kill();
    assert!(api.finished(&id, PATIENCE).is_some());
    let told = engine.run(&["job", "results", &id, "--json"]).exits(3).of("r0");
    assert_eq!(told["state"], "unknown", "{told}");

    worker.start_again();
    fleet.set_fault(0, None);
    let id = api.create(&order(CHANGE, "b")).unwrap();
    let job = api.finished(&id, PATIENCE).unwrap();
    assert_eq!(job.state(), v1::JobState::Completed);
    until("the first connection is over", || {
        fleet.get("/counters")["open"] == 1
    });
    let journal = fleet.journal();
    assert_eq!(journal.len(), 1, "{}", journal[0].words[0]);
    assert_eq!(journal[0].words[1], "=name=one");
}

/// Whether a connection to this port has more bytes on their way than a login, which its peer does not acknowledge.
fn bytes_wait_for(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        // sl, local address, remote address, state, tx_queue:rx_queue, …
        let columns = line.split_whitespace().collect::<Vec<_>>();
        let queued = columns[4].split(':').next().unwrap();
        columns[2].ends_with(&to) && u64::from_str_radix(queued, 16).unwrap() > 100_000
    })
}
