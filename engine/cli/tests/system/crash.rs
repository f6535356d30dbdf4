//! The engine, killed in the middle of a job: every finished result is there afterwards, and the rest is finished or
//! accounted for. The simulator's journal is the witness.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::harness::{Engine, Fleet};
use serde_json::Value;

const DEVICES: usize = 200;

/// Starts a job and kills the engine when `results` of its results have been seen. Returns the job and what was seen.
fn run_and_kill(
    engine: &mut Engine,
    options: &[&str],
    words: &[&str],
    results: usize,
) -> (String, Vec<Value>) {
    let run = ["run", "--all", "--timeout", "20s", "--yes", "--detach", "--json"];
    let start = [&run[..], options, &["--"], words].concat();
    let id = engine.run(&start).exits(7).json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut watch = engine.command(&["job", "watch", &id, "--json"]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let seen = lines
        .take(results)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect::<Vec<_>>();
    engine.kill();
    watch.kill().unwrap();
    watch.wait().unwrap();
    (id, seen)
}

#[test]
fn reads_are_finished_after_a_kill_and_no_result_is_lost() {
    // Devices that take 3 s keep the job going while the engine is killed.
    let fleet = Fleet::start(51, DEVICES, &["--fault", "late=20"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let (id, seen) = run_and_kill(&mut engine, &[], &["/system/identity/print"], 30);
    engine.start_again();
    let after = engine.run(&["job", "watch", &id, "--json"]).ok();
    assert_eq!(after.json().len(), DEVICES);
    for result in seen {
        assert_eq!(
            after.of(result["device"].as_str().unwrap()),
            result,
            "what was told stays as it was told"
        );
    }
}

#[test]
fn changes_are_not_repeated_after_a_kill() {
    let fleet = Fleet::start(52, DEVICES, &["--fault", "late=20"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    // What is in the middle of it counts as harm, and a budget would stop the rest.
    let (options, words) = (["--budget", "all"], ["/ip/dns/set", "servers=9.9.9.9"]);
    let (id, seen) = run_and_kill(&mut engine, &options, &words, 30);
    engine.start_again();
    let after = engine.run(&["job", "watch", &id, "--json"]);
    let results = after.json();
    assert_eq!(results.len(), DEVICES, "{}", after.stderr());
    for result in &seen {
        assert_eq!(
            after.of(result["device"].as_str().unwrap()),
            *result,
            "what was told stays as it was told"
        );
    }
    let mut executed = BTreeMap::<String, usize>::new();
    for entry in fleet.get("/journal").as_array().unwrap() {
        *executed.entry(format!("r{}", entry["device"])).or_default() += 1;
    }
    assert!(
        executed.values().all(|times| *times == 1),
        "no change is done twice: {executed:?}"
    );
    let mut states = BTreeSet::new();
    for result in &results {
        let (device, state) = (
            result["device"].as_str().unwrap(),
            result["state"].as_str().unwrap(),
        );
        states.insert(state);
        match state {
            "succeeded" => assert!(
                executed.contains_key(device),
                "{device} is said to be done and is not"
            ),
            "unknown" => assert_eq!(result["error"]["class"], "worker", "{result}"),
            other => panic!("{device} is {other}"),
        }
    }
    assert!(
        states.contains("unknown"),
        "devices that take 3 s were in the middle of it"
    );
    assert_eq!(after.code(), 3);
}
