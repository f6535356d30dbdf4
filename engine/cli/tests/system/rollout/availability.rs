//! Of devices with the same value of a label, so many are out of service at once (D3).

use super::{in_state, job};
use crate::harness::{Engine, Fleet, pause, until};
use std::time::Duration;

/// Restarts every device, of each half one at a time.
const FILE: &str = "name = \"x\"\nall = true\ntimeout = \"10s\"\n[[step]]\nreboot = { wait = \"1m\" }\n\
                    [[wave]]\nsize = \"rest\"\n[limits]\nbudget = \"all\"\n\
                    [[availability]]\nlabel = \"half\"\nmax-unavailable = 1\n";

fn start(devices: usize) -> (Fleet, Engine) {
    let fleet = Fleet::start(107, devices, &["--restart", "700ms"]);
    let engine = Engine::start(&["--lease", "5s"]);
    engine.import(&fleet, devices, "\n");
    std::fs::write(engine.directory.path().join("x.toml"), FILE).unwrap();
    (fleet, engine)
}

/// When each device was restarted, in order: device, milliseconds.
fn restarts(fleet: &Fleet) -> Vec<usize> {
    let journal = fleet.journal();
    let restarts = journal.iter().filter(|entry| entry.words[0] == "/system/reboot");
    restarts.map(|entry| entry.device).collect()
}

#[test]
fn of_each_half_one_router_restarts_after_the_other_through_a_kill_of_the_engine() {
    let (fleet, mut engine) = start(8);
    let id = super::detached(&engine, "x.toml");
    let mut killed = false;
    until("all are restarted", || {
        let job = job(&engine, &id);
        let done = restarts(&fleet);
        if done.len() >= 3 && !killed {
            engine.kill();
            engine.start_again();
            killed = true;
        }
        let ended = engine.run(&["job", "results", &id, "--json"]).json();
        let ended = ended.iter().filter(|result| result["state"] == "succeeded");
        let ended = ended
            .map(|result| {
                result["device"].as_str().unwrap_or_default()[1..]
                    .parse::<usize>()
                    .unwrap()
            })
            .collect::<Vec<_>>();
        // Those that restarted and are not over, now: a device that ends meanwhile is in both.
        for half in 0..2 {
            let out = done
                .iter()
                .filter(|device| *device % 2 == half && !ended.contains(device));
            assert!(out.count() <= 1, "{done:?} restarted, and {ended:?} are over");
        }
        job["state"] == "completed"
    });
    let mut done = restarts(&fleet);
    done.sort_unstable();
    assert_eq!(done, (0..8).collect::<Vec<_>>(), "each once");
}

#[test]
fn a_router_that_is_down_keeps_those_beside_it_up_and_explain_names_it() {
    let (fleet, engine) = start(4);
    fleet.set_fault(3, Some("silent"));
    let id = super::detached(&engine, "x.toml");
    until("the even half is done", || {
        let mut done = restarts(&fleet);
        done.sort_unstable();
        done == [0, 2]
    });
    until("the other half waits, and it is told why", || {
        let told = engine.run(&["job", "explain", &id]).ok().stdout();
        told.contains("of half=1 at most 1 may be out of service at once; 1 did not answer when they were last asked (r3)")
    });
    pause(Duration::from_millis(500));
    assert_eq!(restarts(&fleet).len(), 2);
    fleet.set_fault(3, None);
    // Whoever asks it finds that it is there.
    engine
        .run(&["run", "--select", "name=r3", "--", "/system/identity/print"])
        .ok();
    in_state(&engine, &id, "completed");
    assert_eq!(restarts(&fleet).len(), 4);
}

#[test]
fn a_label_that_nobody_has_is_a_mistake() {
    let (_fleet, engine) = start(2);
    let text = FILE.replace("\"half\"", "\"site\"");
    std::fs::write(engine.directory.path().join("x.toml"), text).unwrap();
    let refused = engine.run(&["rollout", "start", "x.toml", "--yes"]).exits(1);
    assert!(
        refused
            .stderr()
            .contains("no device that is meant has the label \"site\""),
        "{}",
        refused.stderr()
    );
}
