//! Changes whose device or connection fails at one exact point: what is told, and what the device really did.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::database::Database;
use crate::harness::{Engine, Fleet, Ran, until};

const CHANGE: [&str; 2] = ["/ip/dns/set", "servers=192.0.2.53"];

/// Changes one device, which has this fault.
struct Case {
    fleet: Fleet,
    engine: Engine,
}

impl Case {
    fn new(network: u8, fault: &str, more: &[&str]) -> Self {
        let fault = format!("{fault}=1");
        let fleet = Fleet::start(network, 1, &[&["--fault", &fault], more].concat());
        let engine = Engine::start(&[]);
        engine.import(&fleet, 1, "\n");
        Self { fleet, engine }
    }

    fn change(&self, timeout: &str, more: &[&str]) -> Ran {
        let words = [
            &["run", "--all", "--yes", "--timeout", timeout],
            more,
            &["--"],
            &CHANGE,
        ];
        self.engine.run(&words.concat())
    }
}

#[test]
fn a_change_whose_answer_is_lost_is_unknown_and_was_done_once() {
    let case = Case::new(71, "lost-answer", &[]);
    let ran = case.change("5s", &[]).exits(3);
    assert!(ran.stdout().starts_with("r0 "), "{}", ran.stdout());
    assert!(ran.stdout().contains("unknown    reset: "), "{}", ran.stdout());
    assert!(ran.stderr().contains("1 device: 1 unknown"), "{}", ran.stderr());
    assert_eq!(case.fleet.journal().len(), 1);
}

#[test]
fn a_change_that_is_lost_on_its_way_is_unknown_and_was_not_done() {
    let case = Case::new(72, "lost-command", &[]);
    let result = case.change("5s", &["--json"]).exits(3).of("r0");
    assert_eq!(
        (&result["state"], &result["error"]["class"], &result["attempts"]),
        (&"unknown".into(), &"reset".into(), &1.into()),
        "{result}"
    );
    assert!(case.fleet.journal().is_empty(), "and it is not repeated blindly");
}

#[test]
fn a_change_that_is_answered_after_its_deadline_is_unknown_and_its_answer_is_nobody_elses() {
    let case = Case::new(73, "late", &["--late", "800ms"]);
    let result = case.change("300ms", &["--json"]).exits(3).of("r0");
    assert_eq!(
        (&result["state"], &result["error"]["class"]),
        (&"unknown".into(), &"timeout".into()),
        "{result}"
    );
    assert_eq!(case.fleet.journal().len(), 1, "it was done in spite of that");
    // The next command is not told the answer of the one before it.
    let read = ["run", "--all", "--json", "--", "/system/identity/print"];
    let result = case.engine.run(&read).ok().of("r0");
    assert_eq!(result["rows"][0]["name"], "sim-00001", "{result}");
    assert_eq!(case.fleet.journal().len(), 1);
}

#[test]
fn a_device_that_is_gone_for_good_is_unknown_in_the_middle_and_expired_before() {
    let Case { fleet, engine } = Case::new(74, "hang", &[]);
    let start = |timeout: &str| {
        let words = [
            "run",
            "--all",
            "--yes",
            "--timeout",
            timeout,
            "--detach",
            "--json",
        ];
        let words = [&words[..], &["--"], &CHANGE].concat();
        engine.run(&words).exits(7).json()[0]["job"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let under_way = start("20s");
    until("the change is under way", || {
        fleet.get("/counters")["commands"]["/ip/dns/set"].is_u64()
    });
    assert!(fleet.journal().is_empty());
    drop(fleet);
    let result = engine
        .run(&["job", "watch", &under_way, "--json"])
        .exits(3)
        .of("r0");
    assert_eq!(
        (&result["state"], &result["error"]["class"], &result["attempts"]),
        (&"unknown".into(), &"reset".into(), &1.into()),
        "{result}"
    );
    let before = start("1500ms");
    let result = engine.run(&["job", "watch", &before, "--json"]).exits(5).of("r0");
    assert_eq!(
        (&result["state"], &result["error"]["class"]),
        (&"expired".into(), &"refused".into()),
        "{result}"
    );
}

#[test]
fn a_verification_turns_a_lost_answer_into_the_truth() {
    let fleet = Fleet::start(75, 3, &[]);
    fleet.set_fault(0, Some("lost-answer"));
    fleet.set_fault(1, Some("lost-command"));
    let engine = Engine::start(&[]);
    engine.import(&fleet, 3, "\n");
    let verify = ["--verify", "/ip/dns/print", "--expect", "servers=192.0.2.53"];
    let words = ["run", "--all", "--yes", "--timeout", "1s", "--detach", "--json"];
    let words = [&words[..], &verify, &["--"], &CHANGE].concat();
    let id = engine.run(&words).exits(7).json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    until("every device has the command", || {
        fleet.get("/counters")["commands"]["/ip/dns/set"] == 3
    });
    fleet.set_fault(0, None);
    fleet.set_fault(1, None);
    let told = engine.run(&["job", "watch", &id, "--json"]).exits(3);
    let (done, not_done) = (told.of("r0"), told.of("r1"));
    assert_eq!(
        (&done["state"], &done["error"]),
        (&"succeeded".into(), &Value::Null),
        "{done}"
    );
    assert_eq!(not_done["state"], "failed", "{not_done}");
    let message = not_done["error"]["message"].as_str().unwrap();
    assert!(message.contains("verified"), "{message}");
    assert_eq!(told.of("r2")["state"], "succeeded");
    let executed = fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<BTreeSet<_>>();
    assert_eq!((executed, fleet.journal().len()), (BTreeSet::from([0, 2]), 2));
}

#[test]
fn what_a_killed_worker_left_open_is_looked_after() {
    const DEVICES: usize = 40;
    let fleet = Fleet::start(76, DEVICES, &["--fault", "late=40", "--late", "300ms"]);
    let mut engine = Engine::prepare(&[]).configured("[worker]\nslots = 15\n");
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let verify = ["--verify", "/ip/dns/print", "--expect", "servers=192.0.2.53"];
    let words = ["run", "--all", "--yes", "--timeout", "5s", "--detach", "--json"];
    let words = [&words[..], &verify, &["--"], &CHANGE].concat();
    let id = engine.run(&words).exits(7).json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    until("it is in the middle of it", || fleet.executed() > 0);
    engine.kill();
    engine.start_again();
    let told = engine.run(&["job", "watch", &id, "--json"]).json();
    let journal = fleet.journal();
    for result in &told {
        let index = result["device"].as_str().unwrap().trim_start_matches('r');
        let times = journal.iter().filter(|entry| entry.device.to_string() == index);
        let expected = match times.count() {
            0 => "failed",
            1 => "succeeded",
            times => panic!("{times} times: {result}"),
        };
        assert_eq!(result["state"], expected, "{result}");
    }
    assert_eq!(told.len(), DEVICES);
    let looked = told
        .iter()
        .filter(|result| result["attempts"] == 2 && result["state"] == "succeeded");
    assert!(looked.count() > 0, "some were under way");
}

#[test]
fn a_job_asked_for_while_the_engine_is_killed_is_made_once() {
    let fleet = Fleet::start(77, 1, &[]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    // The request is there, and cannot be written down before the engine is killed.
    let mut database = Database::open(&engine.data());
    database.run("BEGIN IMMEDIATE");
    let words = [&["run", "--all", "--yes", "--json", "--"][..], &CHANGE].concat();
    let client = engine
        .command(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    for _ in 0..3 {
        // Each takes as long as the client needs to get there.
        engine.run(&["device", "list"]).ok();
    }
    engine.kill();
    database.run("ROLLBACK");
    engine.start_again();
    let output = client.unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(engine.run(&["job", "list", "--json"]).json().len(), 1);
    assert_eq!(fleet.journal().len(), 1);
}
