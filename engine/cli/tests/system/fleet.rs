//! A fleet with devices that are broken in every way: each ends with its own error, and the others answer.

use std::collections::BTreeMap;

use crate::harness::{Engine, Fleet, until};
use serde_json::{Value, json};

const DEVICES: usize = 60;

#[test]
fn every_kind_of_broken_device_ends_with_its_own_error_and_the_others_answer() {
    let faults = "hang=2,reset=2,garbage=2,huge-word=2,two-traps=2,fatal=2,wrong-password=2,silent=2,drop=2,\
                  byte-by-byte=2";
    let fleet = Fleet::start(
        31,
        DEVICES,
        &["--fault", faults, "--fragment", "--password", "s3cret"],
    );
    let engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "s3cret\n");
    // Nobody listens on this port: a real refusal.
    let nobody = "name,address,port,credential\nnobody,127.31.0.1,1,ops\n";
    engine.run_with_input(&["device", "import", "-"], nobody).ok();

    let run = [
        "run",
        "--all",
        "--timeout",
        "8s",
        "--json",
        "--",
        "/system/resource/print",
        ".proplist=version",
    ];
    let ran = engine.run(&run).exits(3);
    assert_eq!(
        ran.json().len(),
        DEVICES + 1,
        "every device has exactly one result"
    );

    let faults = fleet.faults().into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(faults.len(), 20);
    for index in 0..DEVICES {
        let result = ran.of(&format!("r{index}"));
        let (state, class) = match faults.get(&index).map(String::as_str) {
            None | Some("byte-by-byte") => ("succeeded", None),
            Some("hang") => ("failed", Some("timeout")),
            Some("reset") => ("failed", Some("reset")),
            Some("garbage" | "huge-word") => ("failed", Some("protocol")),
            Some("two-traps") => ("failed", Some("trap")),
            Some("fatal") => ("failed", Some("fatal")),
            Some("wrong-password") => ("failed", Some("auth")),
            Some("silent") => ("expired", Some("timeout")),
            Some("drop") => ("expired", Some("reset")),
            Some(other) => panic!("unexpected fault {other}"),
        };
        assert_eq!(result["state"], state, "{result}");
        assert_eq!(result["error"]["class"].as_str(), class, "{result}");
        match class {
            None => assert!(
                result["rows"][0]["version"].as_str().unwrap().contains("stable"),
                "{result}"
            ),
            Some("trap") => {
                assert_eq!(result["error"]["category"], 0, "{result}");
                assert_eq!(result["traps"].as_array().unwrap().len(), 2, "{result}");
            }
            Some("reset") if state == "failed" => assert_eq!(result["attempts"], 3, "{result}"),
            Some(_) => {}
        }
        assert!(
            result["started_at"].is_string() && result["finished_at"].is_string(),
            "{result}"
        );
    }
    assert_eq!(ran.of("nobody")["error"]["class"], "refused");
    assert_eq!(ran.of("nobody")["state"], "expired");
    assert!(
        ran.of("nobody")["attempts"].as_u64().unwrap() >= 2,
        "it was tried again"
    );

    let job = engine.run(&["job", "list", "--json"]).ok().json().remove(0);
    assert_eq!(
        (job["state"].as_str(), job["total"].as_u64()),
        (Some("completed_with_failures"), Some(61))
    );
    let id = job["job"].as_str().unwrap();
    let again = engine.run(&["job", "results", id, "--json"]).exits(3);
    let key = |value: &Value| value["device"].as_str().unwrap().to_owned();
    let by_device = |values: Vec<Value>| {
        values
            .into_iter()
            .map(|v| (key(&v), v))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        by_device(again.json()),
        by_device(ran.json()),
        "results are the same objects"
    );
    let failed = engine.run(&["job", "results", id, "--json", "--failed"]).exits(3);
    assert_eq!(failed.json().len(), 19);
    let watched = engine.run(&["job", "watch", id, "--json"]).exits(3);
    assert_eq!(
        by_device(watched.json()),
        by_device(ran.json()),
        "a watch tells the whole past"
    );
}

#[test]
fn devices_that_are_not_reached_alone_give_5() {
    let fleet = Fleet::start(32, 3, &["--fault", "silent=1"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 3, "\n");
    engine
        .run(&["run", "--all", "--timeout", "1s", "--", "/system/identity/print"])
        .exits(5);
}

#[test]
fn a_change_is_done_once_and_asks_first() {
    let fleet = Fleet::start(33, 8, &["--fault", "lost-answer=2,lost-command=2"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 8, "\n");
    let refused = engine
        .run(&["run", "--all", "--", "/ip/dns/set", "servers=9.9.9.9"])
        .exits(1);
    assert!(refused.stderr().contains("--yes"), "{}", refused.stderr());
    assert_eq!(fleet.get("/journal"), json!([]), "nothing was sent");

    let ran = engine.run(&[
        "run",
        "--all",
        "--yes",
        "--json",
        "--timeout",
        "5s",
        "--",
        "/ip/dns/set",
        "servers=9.9.9.9",
    ]);
    let ran = ran.exits(3);
    let faults = fleet.faults().into_iter().collect::<BTreeMap<_, _>>();
    let journal = fleet.get("/journal");
    let executed = |index: usize| {
        journal
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["device"].as_u64() == Some(index as u64))
            .count()
    };
    for index in 0..8 {
        let result = ran.of(&format!("r{index}"));
        let fault = faults.get(&index).map(String::as_str);
        let (state, times) = match fault {
            None => ("succeeded", 1),
            Some("lost-answer") => ("unknown", 1),
            _ => ("unknown", 0),
        };
        assert_eq!(
            (result["state"].as_str(), executed(index)),
            (Some(state), times),
            "{fault:?} {result}"
        );
        if fault.is_some() {
            assert_eq!(result["error"]["class"], "reset", "{result}");
            assert_eq!(result["attempts"], 1, "a write is not repeated blindly");
        }
    }
    let added = [
        "run",
        "--select",
        "name=r1",
        "--yes",
        "--json",
        "--",
        "/ip/address/add",
        "address=10.9.9.1/24",
    ];
    let index = (0..8).find(|index| !faults.contains_key(index)).unwrap();
    let select = format!("name=r{index}");
    let added = added.map(|arg| if arg == "name=r1" { select.as_str() } else { arg });
    let with_interface = [&added[..], &["interface=ether1"]].concat();
    let result = engine.run(&with_interface).ok().json().remove(0);
    assert!(
        result["done"]["ret"].as_str().unwrap().starts_with('*'),
        "{result}"
    );
}

#[test]
fn selectors_labels_and_facts() {
    let fleet = Fleet::start(34, 6, &["--version", "7.16.2,6.40"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 6, "\n");
    engine.run(&["device", "label", "r0", "r2", "site=ams"]).ok();
    let run = |select: &str| {
        let args = [
            "run",
            "--select",
            select,
            "--json",
            "--",
            "/system/identity/print",
        ];
        let mut devices = engine
            .run(&args)
            .ok()
            .json()
            .iter()
            .map(|r| r["device"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>();
        devices.sort();
        devices
    };
    assert_eq!(run("site=ams"), ["r0", "r2"]);
    assert_eq!(run("site!=ams,half=0"), ["r4"]);
    assert_eq!(run("name in (r1,r5)"), ["r1", "r5"]);
    let tested = engine.run(&["device", "test", "--all", "--json"]).ok();
    assert_eq!(tested.json().len(), 6);
    assert_eq!(tested.of("r1")["steps"].as_array().unwrap().len(), 2);
    // Facts are told after the answer: they are there once every session has been asked.
    let version = || {
        engine
            .run(&["device", "list", "--select", "version=6.40*", "--json"])
            .ok()
            .json()
            .len()
    };
    until("facts of three devices", || version() == 3);
    assert_eq!(run("version=6.40*"), ["r1", "r3", "r5"]);
    let old = engine
        .run(&["device", "show", "r1", "--json"])
        .ok()
        .json()
        .remove(0);
    assert_eq!(old["facts"]["version"], "6.40 (stable)");
}

#[test]
fn a_job_is_left_alone_come_back_to_and_ended() {
    let fleet = Fleet::start(35, 4, &["--fault", "hang=1"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 4, "\n");
    let detach = [
        "run",
        "--all",
        "--timeout",
        "60s",
        "--detach",
        "--json",
        "--",
        "/system/identity/print",
    ];
    let detached = engine.run(&detach).exits(7);
    let id = detached.json()[0]["job"].as_str().unwrap().to_owned();
    let finished = || {
        let job = engine.run(&["job", "show", &id, "--json"]).ok().json().remove(0);
        (job["counts"]["succeeded"].as_u64() == Some(3), job)
    };
    until("three results", || finished().0);
    engine.run(&["job", "results", &id]).exits(7);
    engine.run(&["job", "abort", &id]).ok();
    let watched = engine.run(&["job", "watch", &id, "--json"]).exits(3);
    let cancelled = watched
        .json()
        .into_iter()
        .filter(|result| result["state"] == "cancelled")
        .count();
    assert_eq!((watched.json().len(), cancelled), (4, 1));
    assert_eq!(finished().1["state"], "aborted");
    engine.run(&["job", "abort", &id]).exits(6);
}

#[test]
fn a_worker_of_its_own_serves_its_zone() {
    let fleet = Fleet::start(36, 2, &[]);
    let engine = Engine::start(&["--no-worker"]);
    engine
        .run_with_input(
            &[
                "credential",
                "set",
                "default",
                "--username",
                "admin",
                "--password-stdin",
            ],
            "\n",
        )
        .ok();
    let (a, b, port) = (fleet.address(0), fleet.address(1), fleet.port);
    let csv = format!("name,address,port,zone\na,{a},{port},east\nb,{b},{port},west\n");
    engine.run_with_input(&["device", "import", "-"], &csv).ok();

    let wrong = engine.directory.path().join("wrong");
    std::fs::write(&wrong, "mwt_wrong").unwrap();
    let token = engine.data().join("worker.token");
    let worker = |token: &std::path::Path| {
        let mut command = engine.command(&["worker", "--zone", "east", "--name", "eastern", "--token-file"]);
        command
            .arg(token)
            .env("MUSTER_LOG", "info")
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut refused = worker(&wrong);
    let line = crate::harness::first_line(refused.stderr.take().unwrap());
    assert!(line.contains("the worker token is missing or wrong"), "{line}");
    assert_eq!(
        refused.wait().unwrap().code(),
        Some(8),
        "it does not go on asking"
    );

    let mut eastern = worker(&token);
    let ran = engine
        .run(&[
            "run",
            "--all",
            "--timeout",
            "2s",
            "--json",
            "--",
            "/system/identity/print",
        ])
        .exits(5);
    assert_eq!(ran.of("a")["state"], "succeeded");
    assert_eq!(ran.of("b")["state"], "expired");
    assert_eq!(ran.of("b")["error"]["message"], "no worker took it in time");
    eastern.kill().unwrap();
    eastern.wait().unwrap();
}

#[test]
fn a_change_waits_for_its_turn_and_is_not_sent_after_its_time() {
    let fleet = Fleet::start(37, 1, &["--fault", "hang=1"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let read = [
        "run",
        "--all",
        "--timeout",
        "20s",
        "--detach",
        "--",
        "/interface/print",
    ];
    engine.run(&read).exits(7);
    let job = engine.run(&["job", "list", "--json"]).ok().json().remove(0);
    let leased = || {
        let job = engine
            .run(&["job", "show", job["job"].as_str().unwrap(), "--json"])
            .ok()
            .json()
            .remove(0);
        job["counts"]["leased"] == 1
    };
    until("the read is under way", leased);
    let change = [
        "run",
        "--all",
        "--timeout",
        "1s",
        "--yes",
        "--json",
        "--",
        "/system/identity/set",
        "name=x",
    ];
    let result = engine.run(&change).exits(5).of("r0");
    assert_eq!(
        (&result["state"], &result["error"]["class"]),
        (&"expired".into(), &"timeout".into()),
        "{result}"
    );
    assert_eq!(
        result["error"]["message"],
        "the device was busy with other commands"
    );
    let detach = [
        "run",
        "--all",
        "--timeout",
        "15s",
        "--yes",
        "--detach",
        "--json",
        "--",
        "/system/identity/set",
        "name=x",
    ];
    let id = engine.run(&detach).exits(7).json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    engine.run(&["job", "abort", &id]).ok();
    let aborted = engine.run(&["job", "watch", &id, "--json"]).exits(3).of("r0");
    assert_eq!(
        (&aborted["state"], &aborted["error"]["class"]),
        (&"cancelled".into(), &"cancelled".into()),
        "{aborted}"
    );
    assert_eq!(fleet.get("/journal"), json!([]), "no change reached the device");
}
