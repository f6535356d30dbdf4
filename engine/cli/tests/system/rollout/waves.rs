//! Waves go one after the other, whoever is offline.

use std::collections::BTreeSet;

use super::{detached, file, in_state, job, start};
use crate::harness::until;

/// The file of the issue, but for the bake and the window, which would take until the night.
const EXAMPLE: &str = r#"
name = "resolvers"
select = "half in (0, 1)"
[[step]]
ensure = "/ip/dns"
set = { servers = "1.1.1.1,9.9.9.9", allow-remote-requests = false }
[[wave]]
size = 10
budget = 1
bake = "1s"
[[wave]]
size = "25%"
[[wave]]
size = "100%"
[limits]
concurrency = 500
budget = 10              # hard, C3
[[rule]]
rate = "2%"
min-sample = 50
action = "halt"
"#;

#[test]
fn the_example_goes_over_its_fleet_in_waves() {
    let (engine, fleet) = start(60, 60, &[]);
    std::fs::write(engine.directory.path().join("r.toml"), EXAMPLE).unwrap();
    let preview = engine
        .run(&["rollout", "preview", "r.toml", "--json"])
        .exits(2)
        .json()
        .remove(0);
    let sizes = preview["waves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wave| wave["total"].as_u64().unwrap());
    assert_eq!(sizes.collect::<Vec<_>>(), [10, 5, 45]);
    assert_eq!(
        (&preview["budget"], &preview["at_once_by"]),
        (&10.into(), &"budget".into())
    );
    let first = preview["waves"][0]["sample"].as_array().unwrap().clone();

    let ran = engine.run(&["rollout", "start", "r.toml", "--yes"]).ok();
    assert!(
        ran.stderr().contains("bake: wave 1 rests for 1s"),
        "{}",
        ran.stderr()
    );
    assert!(
        ran.stderr().contains("60 devices: 60 succeeded"),
        "{}",
        ran.stderr()
    );
    // Those that the preview names first are those that went first.
    let journal = fleet.journal();
    assert_eq!(journal.len(), 60);
    let went = journal
        .iter()
        .take(10)
        .map(|entry| format!("r{}", entry.device))
        .collect::<BTreeSet<_>>();
    let named = first
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect::<BTreeSet<_>>();
    assert_eq!(went, named);

    let again = engine.run(&["rollout", "start", "r.toml", "--yes"]).ok();
    assert!(again.stderr().contains("60 unchanged"), "{}", again.stderr());
    assert_eq!(fleet.journal().len(), 60, "what is as wanted is not written to");
}

#[test]
fn devices_that_are_offline_do_not_stop_a_rollout() {
    let (engine, fleet) = start(20, 24, &[]);
    let id = detached(
        &engine,
        file(
            &engine,
            "",
            "[[wave]]\nsize = \"50%\"\nmin-good = \"10%\"\n[[wave]]\nsize = \"rest\"",
        ),
    );
    until("all that answer are done", || fleet.journal().len() == 20);
    until("their reports are in", || {
        job(&engine, &id)["counts"]["succeeded"] == 20
    });
    let now = job(&engine, &id);
    assert_eq!((&now["state"], &now["open_wave"]), (&"running".into(), &2.into()));
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(told.contains("offline: "), "{told}");
    engine.run(&["job", "abort", &id]).ok();
    let over = in_state(&engine, &id, "aborted");
    assert_eq!(over["counts"]["succeeded"], 20);
}

#[test]
fn a_canary_that_nobody_answers_holds_the_rest() {
    let (engine, fleet) = start(1, 9, &[]);
    // Nobody of the selection is there.
    let head = "";
    let rest = "[[wave]]\nselect = \"n notin (0)\"\n[[wave]]\nsize = \"rest\"";
    let id = detached(&engine, file(&engine, head, rest));
    let now = in_state(&engine, &id, "gated");
    assert_eq!(now["rollout"]["hold"]["by"], "min-good");
    assert_eq!(now["rollout"]["hold"]["needs_person"], true);
    assert!(fleet.journal().is_empty());
    super::by(
        &engine,
        "ann",
        &["job", "approve", &id, "--reason", "they are being moved"],
    )
    .ok();
    until("the next wave has run", || fleet.journal().len() == 1);
    let history = engine.run(&["history", &id, "--json"]).ok().stdout();
    assert!(
        history.contains("they are being moved") && history.contains("\"ann\""),
        "{history}"
    );
}

#[test]
fn a_second_step_uses_the_unit_of_the_first() {
    let (engine, fleet) = start(4, 4, &[]);
    let text = "name = \"x\"\nall = true\ntimeout = \"20s\"\n\
                [[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n\
                [[step]]\ncommand = [\"/system/identity/set\", \"name=moved\"]\n\
                [[wave]]\nsize = \"rest\"\n[limits]\nbudget = 1\n";
    std::fs::write(engine.directory.path().join("two.toml"), text).unwrap();
    engine.run(&["rollout", "start", "two.toml", "--yes"]).ok();
    // One device after the other, both steps of each together.
    let devices = fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<Vec<_>>();
    assert_eq!(devices.len(), 8);
    assert!(devices.chunks(2).all(|pair| pair[0] == pair[1]), "{devices:?}");
}

#[test]
fn parents_go_after_their_children() {
    let (engine, fleet) = start(3, 3, &[]);
    engine.run(&["device", "label", "r1", "uplink=r0"]).ok();
    engine.run(&["device", "label", "r2", "uplink=r1"]).ok();
    let path = file(
        &engine,
        "",
        "[order]\nparent = \"uplink\"\n[[wave]]\nsize = \"rest\"",
    );
    engine.run(&["rollout", "start", path, "--yes"]).ok();
    let order = fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<Vec<_>>();
    assert_eq!(order, [2, 1, 0]);
    engine.run(&["device", "label", "r0", "uplink=r2"]).ok();
    let refused = engine.run(&["rollout", "start", path, "--yes"]).exits(1);
    assert!(refused.stderr().contains("in a circle"), "{}", refused.stderr());
}

#[test]
fn what_is_tried_again_goes_in_waves_and_under_the_budget_again() {
    let (engine, fleet) = start(3, 3, &[]);
    let check = "[[step]]\ncheck = \"facts.free_disk > 999999999999\"";
    let path = file(
        &engine,
        check,
        "[[wave]]\nsize = \"rest\"\n[limits]\nbudget = 1\n",
    );
    engine.run(&["rollout", "start", path, "--yes"]).exits(3);
    let first = engine.run(&["job", "list", "--json"]).ok().json().remove(0);
    let id = first["job"].as_str().unwrap();
    let again = engine.run(&["job", "retry", id, "--yes", "--detach"]).exits(7);
    let again = again.stdout().trim().to_owned();
    let shown = in_state(&engine, &again, "completed_with_failures");
    assert_eq!(
        (&shown["budget"], &shown["total"]),
        (&1.into(), &3.into()),
        "{shown}"
    );
    assert!(shown["rollout"]["digest"].is_string(), "{shown}");
    assert_eq!(fleet.journal().len(), 0);
}
