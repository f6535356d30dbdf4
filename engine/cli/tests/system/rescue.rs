//! Devices that are lost, until they are seen again or somebody takes them off the list.

use serde_json::Value;

use crate::harness::{Engine, Fleet, UPGRADABLE, until};

const UPGRADE: &str =
    "[[step]]\nbackup = true\n[[step]]\nupgrade = { version = \"7.16.2\", wait = \"6s\" }\n";

fn list(engine: &Engine) -> Vec<Value> {
    engine.run(&["device", "rescue", "--json"]).ok().json()
}

fn names(engine: &Engine) -> Vec<String> {
    let name = |lost: Value| lost["device"].as_str().map(str::to_owned);
    list(engine).into_iter().filter_map(name).collect()
}

/// Runs these steps on all devices; returns the job.
fn run(engine: &Engine, steps: &str) -> String {
    let id = engine.begin_plan(steps, "10s");
    engine.wait_over(&id);
    id
}

#[test]
fn a_bricked_device_is_listed_with_what_to_do_through_a_crash_until_somebody_clears_it() {
    let firmware = [&UPGRADABLE[..], &["--restart", "1s", "--download", "200ms"]].concat();
    let fleet = Fleet::start(160, 3, &[&firmware[..], &["--fault", "bricks=1"]].concat());
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, 3, "\n");
    assert!(list(&engine).is_empty());
    // What it says about itself is known from now on.
    engine.run(&["device", "test", "--all"]).ok();
    let job = run(&engine, UPGRADE);
    let bricked = format!("r{}", fleet.faults()[0].0);
    engine.kill();
    engine.start_again();
    assert_eq!(names(&engine), [bricked.as_str()]);
    let lost = list(&engine).remove(0);
    assert_eq!(
        (&lost["job"], &lost["under_way"]),
        (&Value::from(job.as_str()), &Value::from(true))
    );
    assert_eq!(lost["title"], "upgrade to 7.16.2: restart", "{lost}");
    assert_eq!(lost["inventory"]["facts"]["version"], "7.13.5 (stable)", "{lost}");
    let backup = lost["backup"]["id"]
        .as_str()
        .expect("it was backed up first")
        .to_owned();
    let on_site = lost["on_site"].to_string();
    for told in ["Netinstall", &format!("device exports {bricked} --get {backup}")] {
        assert!(on_site.contains(told), "{on_site}");
    }
    let text = engine.run(&["device", "rescue"]).ok().stdout();
    assert!(
        text.contains(&format!("{bricked}  lost since")) && text.contains("on site"),
        "{text}"
    );
    let shown = engine.run(&["job", "show", &job]).ok().stdout();
    assert!(shown.contains(&format!("rescue    {bricked}:")), "{shown}");
    let page = engine.run(&["job", "report", &job, "--html"]).ok().stdout();
    assert!(
        page.contains("To rescue") && page.contains("Netinstall"),
        "{page}"
    );
    assert!(
        engine
            .run(&["device", "rescue", "--job", "another", "--json"])
            .ok()
            .json()
            .is_empty()
    );

    // Nobody answers: it stays.
    engine
        .run(&["device", "test", &bricked, "--timeout", "2s"])
        .exits(5);
    assert_eq!(names(&engine).len(), 1);
    let refused = engine
        .run(&["device", "rescue", "clear", &bricked, "r9", "--reason", "x"])
        .exits(1);
    assert!(
        refused.stderr().contains("not on the rescue list: r9"),
        "{}",
        refused.stderr()
    );
    let unsaid = engine.run(&["device", "rescue", "clear", &bricked]).exits(1);
    assert!(unsaid.stderr().contains("--reason"), "{}", unsaid.stderr());
    engine
        .run(&["device", "rescue", "clear", &bricked, "--reason", "swapped"])
        .ok();
    assert!(names(&engine).is_empty());
    let history = engine.run(&["history", "--json"]).ok().json();
    let cleared = history
        .iter()
        .find(|entry| entry["action"] == "device.rescue-clear");
    let cleared = cleared.expect("it is in the history");
    assert_eq!(
        (&cleared["subject"], &cleared["reason"]),
        (&bricked.into(), &"swapped".into())
    );
}

#[test]
fn a_device_that_comes_back_late_is_off_the_list_when_anything_is_heard_of_it() {
    let fleet = Fleet::start(161, 2, &["--version", "7.16.2", "--restart", "8s"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 2, "\n");
    let job = run(&engine, "[[step]]\nreboot = { wait = \"2s\" }\n");
    assert_eq!(names(&engine), ["r0", "r1"]);
    let asked = ["device", "test", "r1", "--timeout", "30s"];
    engine.run(&asked).ok();
    until("it is off the list", || names(&engine) == ["r0"]);
    let shown = engine.run(&["job", "show", &job, "--json"]).ok().json().remove(0);
    assert_eq!(shown["rescue"], serde_json::json!(["r0"]));
    let history = engine.run(&["history", "--json"]).ok().json();
    let seen = history
        .iter()
        .filter(|entry| entry["action"] == "device.seen-again");
    assert_eq!(seen.map(|entry| &entry["subject"]).collect::<Vec<_>>(), ["r1"]);
}
