//! Workers that go, politely or for good, and others that take over.

use std::time::Duration;

use muster_proto::v1::ExecutionState;

use crate::harness::api::{Api, Order};
use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, until};

const CHANGE: &[&[&str]] = &[&["/system/identity/set", "name=one"]];
const READ: &[&[&str]] = &[&["/system/identity/print"]];
const PATIENCE: Duration = Duration::from_secs(25);

fn order<'a>(steps: &'a [&'a [&'a str]], timeout: Duration) -> Order<'a> {
    Order {
        steps,
        selector: "",
        timeout,
        request_id: "",
    }
}

#[test]
fn a_worker_that_is_asked_to_go_ends_what_it_has_begun_and_gives_back_the_rest() {
    let fleet = Fleet::start(131, 30, &["--fault", "late=5", "--late", "2s"]);
    let engine = Engine::start(&["--no-worker", "--lease", "20s"]);
    engine.import(&fleet, 30, "\n");
    let api = Api::new(&engine.url);
    let mut first = Worker::start(&engine, "first", &["--slots", "8"]);
    let id = api.create(&order(CHANGE, PATIENCE)).unwrap();
    // Some have executed their change and have not said so yet, and others wait behind them.
    until("late devices are at it", || {
        let late = fleet.faults();
        let journal = fleet.journal();
        late.iter()
            .any(|(device, _)| journal.iter().any(|line| line.device == *device))
    });
    first.ask_to_go();
    let _second = Worker::start(&engine, "second", &[]);
    assert_eq!(first.wait(), 0);
    assert!(api.finished(&id, PATIENCE).is_some());
    assert_eq!(api.count(&id, ExecutionState::Succeeded), 30);
    assert_eq!(fleet.executed(), 30, "nothing is done twice");
    let told = engine.run(&["job", "results", &id, "--json"]).ok();
    for result in told.json() {
        assert_eq!(result["attempts"], 1, "what goes back costs no attempt: {result}");
    }
}

#[test]
fn a_question_that_takes_too_long_goes_back_in_time() {
    let fleet = Fleet::start(132, 4, &["--fault", "hang=2"]);
    // A term is longer than the test: what is dropped would be missed.
    let engine = Engine::start(&["--no-worker", "--lease", "60s"]);
    engine.import(&fleet, 4, "\n");
    let api = Api::new(&engine.url);
    let mut first = Worker::start(&engine, "first", &["--drain", "1s"]);
    let id = api.create(&order(READ, PATIENCE)).unwrap();
    until("the others are done", || {
        api.count(&id, ExecutionState::Succeeded) == 2
    });
    first.ask_to_go();
    assert_eq!(first.wait(), 0);
    for (device, _) in fleet.faults() {
        fleet.set_fault(device, None);
    }
    let _second = Worker::start(&engine, "second", &[]);
    assert!(api.finished(&id, PATIENCE).is_some());
    assert_eq!(api.count(&id, ExecutionState::Succeeded), 4);
}

#[test]
fn what_is_followed_goes_on_with_another_worker() {
    let fleet = Fleet::start(133, 1, &[]);
    let engine = Engine::start(&["--no-worker", "--lease", "60s"]);
    engine.import(&fleet, 1, "\n");
    let mut first = Worker::start(&engine, "first", &[]);
    let words = [
        "run",
        "--all",
        "--for",
        "4s",
        "--detach",
        "--",
        "/interface/listen",
    ];
    let id = engine.run(&words).exits(7).stdout().trim().to_owned();
    let api = Api::new(&engine.url);
    until("it is followed", || {
        let told = engine.run(&["job", "explain", &id, "--json"]).ok().stdout();
        told.contains("the device works on it") || api.count(&id, ExecutionState::Leased) == 1
    });
    first.ask_to_go();
    assert_eq!(first.wait(), 0);
    let _second = Worker::start(&engine, "second", &[]);
    assert!(api.finished(&id, PATIENCE).is_some());
    assert_eq!(api.count(&id, ExecutionState::Succeeded), 1);
}

#[test]
fn what_a_worker_had_that_is_lost_for_good_is_resolved_by_another() {
    // The answer to the change never comes: only its verification can tell.
    let fleet = Fleet::start(134, 6, &["--fault", "late=3", "--late", "20s"]);
    let engine = Engine::start(&["--no-worker", "--lease", "300ms"]);
    engine.import(&fleet, 6, "\n");
    let mut lost = Worker::start(&engine, "lost", &[]);
    let words = [
        "run",
        "--all",
        "--yes",
        "--detach",
        "--timeout",
        "3s",
        "--budget",
        "all",
        "--verify",
        "/system/identity/print",
        "--expect",
        "name=one",
        "--",
        "/system/identity/set",
        "name=one",
    ];
    let id = engine.run(&words).exits(7).stdout().trim().to_owned();
    until("all of them are changed", || fleet.executed() == 6);
    lost.kill();
    for (device, _) in fleet.faults() {
        fleet.set_fault(device, None);
    }
    let _other = Worker::start(&engine, "other", &[]);
    let api = Api::new(&engine.url);
    assert!(api.finished(&id, PATIENCE).is_some());
    let told = engine.run(&["job", "results", &id, "--json"]);
    assert_eq!(api.count(&id, ExecutionState::Succeeded), 6, "{}", told.stdout());
    assert_eq!(fleet.executed(), 6, "nothing is done twice");
}
