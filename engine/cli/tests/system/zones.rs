//! Several workers, each for one or more zones, and several in one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, until};

const DEVICES: usize = 40;

/// An engine without a worker, and devices of a fleet in zones by turns.
fn engine(fleet: &Fleet, zones: &[&str]) -> Engine {
    let engine = Engine::start(&["--no-worker"]);
    engine.set_credential("\n");
    let mut csv = String::from("name,address,port,credential,zone\n");
    for index in 0..DEVICES {
        let (address, port, zone) = (fleet.address(index), fleet.port, zones[index % zones.len()]);
        csv.push_str(&format!("r{index},{address},{port},ops,{zone}\n"));
    }
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
    engine
}

fn workers(engine: &Engine) -> BTreeMap<String, Value> {
    let status = engine.run(&["admin", "status", "--json"]).ok().json().remove(0);
    let workers = status["workers"].as_array().expect("a list").iter();
    let named = |worker: &Value| {
        (
            worker["name"].as_str().expect("a name").to_owned(),
            worker.clone(),
        )
    };
    workers.map(named).collect()
}

/// Device sessions of a worker, as the engine last heard.
fn sessions(engine: &Engine, worker: &str) -> u64 {
    workers(engine)
        .get(worker)
        .and_then(|worker| worker["sessions"].as_u64())
        .unwrap_or_default()
}

fn read_all(engine: &Engine) {
    let ran = engine
        .run(&["run", "--all", "--json", "--", "/system/identity/print"])
        .ok();
    assert_eq!(ran.json().len(), DEVICES);
}

#[test]
fn workers_serve_their_zones_and_no_others() {
    let fleet = Fleet::start(141, DEVICES, &[]);
    let engine = engine(&fleet, &["ams", "fra", "lon", "rest"]);
    let _two = Worker::start(&engine, "two", &["--zone", "ams", "--zone", "fra"]);
    let _one = Worker::start(&engine, "one", &["--zone", "lon"]);
    until("both serve their zones", || workers(&engine).len() == 2);
    let _rest = Worker::start(&engine, "rest", &[]);
    read_all(&engine);
    // Each device has one connection, from a worker of its zone.
    until("connections are told", || {
        let told = ["two", "one", "rest"].map(|worker| sessions(&engine, worker));
        told == [20, 10, 10]
    });
    assert_eq!(fleet.get("/counters")["logins"], DEVICES);
}

#[test]
fn a_device_goes_to_the_worker_that_has_its_connection() {
    let fleet = Fleet::start(142, DEVICES, &[]);
    let engine = engine(&fleet, &["ams"]);
    let _one = Worker::start(&engine, "one", &["--zone", "ams"]);
    read_all(&engine);
    assert_eq!(fleet.get("/counters")["logins"], DEVICES);

    // A worker that comes later gets a share, once, and from then on everything stays where it is.
    let mut two = Worker::start(&engine, "two", &["--zone", "ams"]);
    until("the second is there", || workers(&engine).len() == 2);
    read_all(&engine);
    let logins = fleet.get("/counters")["logins"].as_u64().expect("a count");
    let moved = logins - DEVICES as u64;
    assert_eq!(moved, DEVICES as u64 / 2, "half of them");
    for _ in 0..5 {
        read_all(&engine);
    }
    assert_eq!(fleet.get("/counters")["logins"], logins, "nobody logs in again");

    // What the second had goes to the first when it is gone.
    two.kill();
    until("the second is gone", || workers(&engine).len() == 1);
    read_all(&engine);
}

/// Connections that are kept without work, of all workers: how many are to be, and how many are open.
fn kept(engine: &Engine) -> (u64, u64) {
    let count = |worker: &Value, key: &str| worker[key].as_u64().expect("a count");
    workers(engine).values().fold((0, 0), |(all, open), worker| {
        (all + count(worker, "kept"), open + count(worker, "kept_open"))
    })
}

#[test]
fn connections_are_kept_without_work_and_made_anew() {
    let fleet = Fleet::start(143, DEVICES, &["--restart", "1s"]);
    let engine = engine(&fleet, &["ams", "fra"]);
    let _ams = Worker::start(&engine, "ams", &["--zone", "ams", "--hold"]);
    until("those of its zone are open", || kept(&engine) == (20, 20));
    assert_eq!(fleet.get("/counters")["logins"], 20);
    // Two in one zone have half of them each, and nobody logs in twice.
    let fra = ["--zone", "fra", "--hold", "name!=r1"];
    let _one = Worker::start(&engine, "fra one", &fra);
    let mut two = Worker::start(&engine, "fra two", &fra);
    until("all but one are open", || kept(&engine) == (39, 39));
    read_all(&engine);
    let logins = fleet.get("/counters")["logins"].as_u64().expect("a count");
    assert!(
        logins <= 20 + 20 + 20,
        "one for each, and some that moved to the second: {logins}"
    );
    // Whose worker is gone is kept by the other.
    two.kill();
    until("the other has them", || kept(&engine) == (39, 39));
    // A device that is removed is not kept.
    engine.run(&["device", "remove", "r3"]).ok();
    until("one less is kept", || kept(&engine) == (38, 38));
    // One whose router restarts is made anew, without anybody's asking.
    let logins = || fleet.get("/counters")["logins"].as_u64().expect("a count");
    let before = logins();
    let restart = [
        "run",
        "--select",
        "name=r4",
        "--yes",
        "--accept-no-way-back",
        "--",
        "/system/reboot",
    ];
    assert_ne!(engine.run(&restart).code(), 5);
    until("the router is back and its connection kept", || {
        logins() > before && kept(&engine) == (38, 38)
    });
    let shown = engine.run(&["admin", "status"]).ok().stdout();
    assert!(
        shown.contains("worker ams keeps 20 connections without work, 20 of them are open"),
        "{shown}"
    );
}

#[test]
fn a_selector_for_kept_connections_that_cannot_be_is_told() {
    let engine = Engine::start(&["--no-worker"]);
    let token = engine.data().join("worker.token");
    let words = [
        "worker",
        "--hold",
        "site=",
        "--token-file",
        token.to_str().expect("UTF-8"),
    ];
    let said = engine.run(&words).exits(1).stderr();
    assert!(said.contains("--hold \"site=\""), "{said}");
}
