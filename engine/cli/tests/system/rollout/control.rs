//! Gates that compare devices that were changed with those of their kind that were not yet (E2).

use super::{by, detached, in_state, job};
use crate::harness::{Engine, Fleet, until};

/// Twelve routers of one board; the step does what the test wants.
fn start(step: &str, gate: &str) -> (Fleet, Engine) {
    let fleet = Fleet::start(109, 12, &["--seed", "3"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 12, "\n");
    // What they are is known, as in any fleet that was ever asked.
    engine.run(&["run", "--all", "--", "/system/resource/print"]).ok();
    let text = format!(
        "name = \"x\"\nall = true\ntimeout = \"10s\"\n{step}\n[[wave]]\nsize = 6\n[[wave.gate]]\nname = \"beside\"\n\
         kind = \"control\"\n{gate}\n[[wave]]\nsize = \"rest\"\n[limits]\nbudget = \"all\"\n"
    );
    std::fs::write(engine.directory.path().join("x.toml"), text).unwrap();
    (fleet, engine)
}

const HARMLESS: &str = "[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]";

#[test]
fn devices_are_compared_with_those_of_their_kind_at_the_same_time_or_a_person_decides() {
    // Whatever they measure is right.
    let (fleet, engine) = start(
        HARMLESS,
        "tolerate = { routes = \"-100%\", cpu_load = \"+100\" }\nsample = 12",
    );
    let id = detached(&engine, "x.toml");
    until("it is over, or somebody is to decide", || {
        let job = job(&engine, &id);
        job["state"] == "completed" || job["rollout"]["hold"]["needs_person"] == true
    });
    let asked = engine.run(&["job", "list", "--json"]).ok().json();
    let name = format!("control group of rollout {id}");
    let asked = asked
        .iter()
        .filter(|job| job["name"] == name.as_str())
        .collect::<Vec<_>>();
    let told = job(&engine, &id);
    if told["state"] == "completed" {
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(asked[0]["effect"], "read");
        let reason = told["rollout"]["gates"][0]["reason"].as_str().unwrap();
        assert!(
            reason.ends_with("as those of them that were not changed"),
            "{reason}"
        );
    } else {
        // The simulator deals boards at random: no kind may have three on both sides, and then nobody is asked.
        let evidence = told["rollout"]["hold"]["evidence"].as_str().unwrap();
        assert!(
            evidence.contains("3 that were changed and 3 that were not"),
            "{evidence}"
        );
        assert!(asked.is_empty(), "{asked:?}");
        by(&engine, "ann", &["job", "approve", &id]).ok();
        in_state(&engine, &id, "completed");
    }
    assert_eq!(fleet.journal().len(), 12);
}

#[test]
fn what_cannot_be_compared_is_a_mistake() {
    let (_fleet, engine) = start(HARMLESS, "tolerate = { version = \"same\" }");
    let told = engine.run(&["check", "x.toml"]).exits(1).stdout();
    assert!(
        told.contains("x.toml:11:")
            && told.contains("\"version\" is another one on devices that were changed"),
        "{told}"
    );
}
