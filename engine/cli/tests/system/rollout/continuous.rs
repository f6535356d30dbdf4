//! Devices that come to match later join the last open wave (B3).

use super::{detached, file, in_state, job, start};
use crate::harness::{Engine, Fleet, until};

fn import(engine: &Engine, fleet: &Fleet, index: usize, label: &str) {
    let csv = format!(
        "name,address,port,credential,labels\nlate{index},{},{},ops,{label}\n",
        fleet.address(index),
        fleet.port
    );
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
}

#[test]
fn who_matches_later_joins_the_last_open_wave_and_no_other() {
    let (engine, fleet) = start(8, 4, &[]);
    let text = "name = \"x\"\nselect = \"half in (0,1)\"\ntimeout = \"20s\"\nmembership = \"continuous\"\n\
                [[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n\
                [[wave]]\nsize = 2\n[[wave.gate]]\nname = \"go\"\nkind = \"approval\"\n[[wave]]\nsize = \"rest\"\n\
                [limits]\nbudget = \"all\"\n";
    std::fs::write(engine.directory.path().join("x.toml"), text).unwrap();
    let id = detached(&engine, "x.toml");
    let gated = in_state(&engine, &id, "gated");
    assert_eq!(
        (gated["total"].as_u64(), gated["waves"][0]["total"].as_u64()),
        (Some(4), Some(2))
    );
    assert_eq!(fleet.journal().len(), 2);
    import(&engine, &fleet, 4, "half=0");
    import(&engine, &fleet, 5, "other=0");
    until("one more is done, in the first wave", || {
        fleet.journal().len() == 3
    });
    let gated = in_state(&engine, &id, "gated");
    assert_eq!(
        (gated["total"].as_u64(), gated["waves"][0]["total"].as_u64()),
        (Some(5), Some(3))
    );
    assert_eq!(gated["waves"][1]["total"].as_u64(), Some(2));
    super::by(&engine, "ann", &["job", "approve", &id]).ok();
    let done = in_state(&engine, &id, "completed");
    assert_eq!(done["total"], 5);
    // It is over: nobody joins any more.
    import(&engine, &fleet, 6, "half=1");
    let devices = fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<Vec<_>>();
    assert!(
        devices.contains(&4) && !devices.contains(&5) && !devices.contains(&6),
        "{devices:?}"
    );
    assert_eq!(job(&engine, &id)["total"], 5);
}

#[test]
fn a_digest_covers_nobody_who_joins_later() {
    let (engine, _fleet) = start(2, 2, &[]);
    let path = file(
        &engine,
        "membership = \"continuous\"",
        "[[wave]]\nsize = \"rest\"\n",
    );
    let preview = engine
        .run(&["rollout", "preview", path, "--json"])
        .exits(2)
        .json()
        .remove(0);
    let digest = preview["digest"].as_str().unwrap();
    let refused = engine
        .run(&["rollout", "start", path, "--approve-digest", digest])
        .exits(1);
    assert!(
        refused.stderr().contains("which no digest can cover"),
        "{}",
        refused.stderr()
    );
    let mistake = file(
        &engine,
        "membership = \"continuous\"",
        "[[wave]]\nsize = \"rest\"\n[order]\nparent = \"uplink\"\n",
    );
    let told = engine.run(&["check", mistake]).exits(1).stdout();
    assert!(
        told.contains(
            "x.toml:4:14: membership = \"continuous\": an order by parents is of a known selection"
        ),
        "{told}"
    );
}
