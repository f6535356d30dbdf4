//! Soaks, and caps of label values.

use super::{detached, in_state, job, start};
use crate::harness::{Engine, until};

const ENSURE: &str = "name = \"x\"\nall = true\ntimeout = \"5s\"\n[[step]]\nensure = \"/ip/dns\"\nset = { servers = \"203.0.113.1\" }\n";

#[test]
fn a_device_keeps_its_unit_until_its_soak_is_over_and_is_looked_at_then() {
    let (engine, fleet) = start(2, 2, &[]);
    let rest = "[[wave]]\nsize = \"rest\"\nsoak = \"3s\"\n[limits]\nbudget = 1\n";
    std::fs::write(engine.directory.path().join("s.toml"), format!("{ENSURE}{rest}")).unwrap();
    let id = detached(&engine, "s.toml");
    until("one is changed", || fleet.journal().len() == 1);
    until("it soaks", || {
        let told = engine.run(&["job", "explain", &id]).ok().stdout();
        told.contains("it was changed, and soaks")
    });
    assert_eq!(job(&engine, &id)["budget_use"]["in_flight"], 1);
    until("the other one is changed", || fleet.journal().len() == 2);
    let shown = job(&engine, &id);
    assert_eq!(
        shown["counts"]["succeeded"], 1,
        "the first one gave its unit back: {shown}"
    );
    // Somebody changes it while it soaks.
    let second = fleet.journal()[1].device;
    let name = format!("name=r{second}");
    let by_hand = [
        "run",
        "--select",
        &name,
        "--yes",
        "--timeout",
        "1s",
        "--",
        "/ip/dns/set",
        "servers=9.9.9.9",
    ];
    let held = engine.run(&by_hand);
    assert_eq!(
        held.code(),
        5,
        "the device is held while it soaks: {}",
        held.stderr()
    );
    let done = in_state(&engine, &id, "completed");
    assert_eq!(done["counts"]["succeeded"], 2);
    assert_eq!(fleet.journal().len(), 2, "the second look writes nothing");
}

#[test]
fn what_no_longer_holds_at_the_end_of_the_soak_is_broken_and_halts() {
    let (engine, fleet) = start(3, 3, &[]);
    // Somebody whom this engine knows nothing of.
    let other = Engine::start(&[]);
    other.import(&fleet, 3, "\n");
    let rest = "[[wave]]\nsize = \"rest\"\nsoak = \"2s\"\n[limits]\nbudget = 1\n";
    std::fs::write(engine.directory.path().join("s.toml"), format!("{ENSURE}{rest}")).unwrap();
    let id = detached(&engine, "s.toml");
    until("one is changed", || fleet.journal().len() == 1);
    let device = fleet.journal()[0].device;
    let name = format!("name=r{device}");
    other
        .run(&[
            "run",
            "--select",
            &name,
            "--yes",
            "--",
            "/ip/dns/set",
            "servers=9.9.9.9",
        ])
        .ok();
    let halted = in_state(&engine, &id, "halted");
    assert_eq!(
        (&halted["counts"]["broken"], &halted["halted"]["rule"]),
        (&1.into(), &"budget".into())
    );
    let results = engine.run(&["job", "results", &id, "--failed"]);
    let told = results.stdout();
    assert!(told.contains("at the end of the soak, step 1"), "{told}");
}

#[test]
fn no_label_value_has_more_at_once_than_its_cap() {
    let (engine, _fleet) = start(8, 8, &["--fault", "late=8", "--late", "600ms"]);
    let rest =
        "[[wave]]\nsize = \"rest\"\n[limits]\nbudget = \"all\"\n[[cap]]\nlabel = \"half\"\nconcurrency = 1\n";
    let text = "name = \"x\"\nall = true\ntimeout = \"10s\"\n[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n";
    std::fs::write(engine.directory.path().join("c.toml"), format!("{text}{rest}")).unwrap();
    let id = detached(&engine, "c.toml");
    let mut most = 0;
    let mut told = String::new();
    until("it is over", || {
        let shown = job(&engine, &id);
        let count = |state: &str| shown["counts"][state].as_u64().unwrap_or(0);
        most = most.max(count("leased") + count("running"));
        if told.is_empty() {
            let explained = engine.run(&["job", "explain", &id]);
            told = explained
                .stdout()
                .lines()
                .find(|line| line.contains("own limit for each half is 1"))
                .unwrap_or_default()
                .to_owned();
        }
        shown["state"] == "completed"
    });
    assert_eq!(most, 2, "one of each half");
    assert!(
        told.contains("of the job are with workers on devices of half="),
        "{told}"
    );
}
