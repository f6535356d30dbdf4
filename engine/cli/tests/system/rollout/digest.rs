//! A digest is of what is on the devices, too: what is different when it is approved, or done, is told and refused (F2, F3).

use serde_json::Value;

use super::{by, in_state, job, start};
use crate::harness::{Engine, Ran};

const STEPS: &str = "name = \"x\"\nall = true\ntimeout = \"5s\"\n[[step]]\nensure = \"/ip/dns\"\nset = { servers = \"203.0.113.1\" }\n";

fn write(engine: &Engine, rest: &str) -> &'static str {
    std::fs::write(engine.directory.path().join("d.toml"), format!("{STEPS}{rest}")).unwrap();
    "d.toml"
}

fn preview(engine: &Engine, path: &str, code: i32) -> Value {
    let ran = engine.run(&["rollout", "preview", path, "--json"]).exits(code);
    ran.json().remove(0)
}

fn by_hand(engine: &Engine, device: &str, servers: &str) -> Ran {
    let name = format!("name={device}");
    let servers = format!("servers={servers}");
    engine
        .run(&["run", "--select", &name, "--yes", "--", "/ip/dns/set", &servers])
        .ok()
}

#[test]
fn a_preview_shows_what_would_change_and_only_that_is_done() {
    let (engine, fleet) = start(6, 7, &[]);
    let path = write(
        &engine,
        "[[wave]]\nsize = 2\n[[wave]]\nsize = \"rest\"\n[limits]\nbudget = 3\n",
    );
    by_hand(&engine, "r5", "203.0.113.1");
    let ran = engine.run(&["rollout", "preview", path]).exits(2);
    let told = ran.stdout();
    assert!(
        told.contains("/ip/dns  servers  ") && told.contains(" → 203.0.113.1"),
        "{told}"
    );
    assert!(
        told.contains("changes:    7 devices: 5 to change, 1 as wanted, 0 in conflict, 1 not reached"),
        "{told}"
    );
    assert!(told.contains("1 device was not read; it is rejected"), "{told}");
    let found = preview(&engine, path, 2);
    assert_eq!((&found["to_change"], &found["unseen"]), (&5.into(), &1.into()));
    assert!(
        told.contains(found["digest"].as_str().unwrap()),
        "the same is the same"
    );

    by_hand(&engine, "r4", "203.0.113.7");
    let written = fleet.journal().len();
    let digest = found["digest"].as_str().unwrap();
    let ran = engine
        .run(&["rollout", "start", path, "--approve-digest", digest, "--detach"])
        .exits(7);
    let id = ran.stdout().trim().to_owned();
    // Nobody waits for the one that was off: it was not read, and that is known.
    in_state(&engine, &id, "completed_with_failures");
    let counts = job(&engine, &id)["counts"].clone();
    assert_eq!(
        (&counts["rejected"], &counts["unchanged"]),
        (&2.into(), &1.into()),
        "{counts}"
    );
    assert_eq!(
        fleet.journal().len(),
        written + 4,
        "nothing is written over what is new"
    );

    by_hand(&engine, "r4", "203.0.113.1");
    std::fs::write(
        engine.directory.path().join("d.toml"),
        STEPS.replace("all = true", "select = \"name notin (r6)\""),
    )
    .unwrap();
    let done = preview(&engine, path, 0);
    assert_eq!((&done["to_change"], &done["as_wanted"]), (&0.into(), &6.into()));
}

#[test]
fn an_approval_of_another_digest_than_the_jobs_says_what_is_different() {
    let (engine, fleet) = start(3, 3, &[]);
    let waves = "[[wave]]\nsize = 1\n[[wave]]\nsize = \"rest\"\n[approval]\nneeded = 1\n";
    let path = write(&engine, &format!("{waves}[limits]\nbudget = 1\n"));
    let approved = preview(&engine, path, 2)["digest"].as_str().unwrap().to_owned();
    by_hand(&engine, "r1", "203.0.113.7");
    let path = write(&engine, &format!("{waves}[limits]\nbudget = 2\n"));
    let now = preview(&engine, path, 2)["digest"].as_str().unwrap().to_owned();
    let ran = engine
        .run(&["rollout", "start", path, "--approve-digest", &now, "--detach"])
        .exits(7);
    let id = ran.stdout().trim().to_owned();
    let refused = by(&engine, "ann", &["job", "approve", &id, "--digest", &approved]).exits(6);
    let told = refused.stderr();
    assert!(told.contains("the policy's limits are different"), "{told}");
    assert!(
        told.contains("1 device was changed by somebody since: r1"),
        "{told}"
    );
    assert_eq!(fleet.journal().len(), 1, "by hand");
    by(&engine, "ann", &["job", "approve", &id, "--digest", &now]).ok();
    in_state(&engine, &id, "completed");
    let unknown = engine
        .run(&["rollout", "start", path, "--approve-digest", "0000"])
        .exits(6);
    assert!(
        unknown
            .stderr()
            .contains("no preview with the digest 0000 is known"),
        "{}",
        unknown.stderr()
    );
    // The same plan on the same devices, which are no longer as they were.
    let ran = engine
        .run(&["rollout", "start", path, "--approve-digest", &now, "--detach"])
        .exits(7);
    let again = ran.stdout().trim().to_owned();
    by(&engine, "ann", &["job", "approve", &again]).ok();
    let gated = in_state(&engine, &again, "gated");
    assert_eq!(gated["counts"]["rejected"], 1, "{gated}");
}
