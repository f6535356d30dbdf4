//! Gates that compare what devices measured before their change and after, and gates that only watch (E1, E3).

use super::{by, detached, in_state, job, start};

/// The second step takes an interface down; `uptime` only grows.
fn file(step: &str, gates: &str) -> String {
    format!(
        "name = \"x\"\nall = true\ntimeout = \"10s\"\n{step}\n[[wave]]\nsize = 2\n{gates}\n[[wave]]\nsize = \"rest\"\n\
         [limits]\nbudget = \"all\"\n"
    )
}

const HARMLESS: &str = "[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n";

#[test]
fn devices_that_measure_what_they_did_let_the_next_wave_open() {
    let (engine, _fleet) = start(4, 4, &[]);
    let gates = "[[wave.gate]]\nkind = \"snapshot\"\nname = \"health\"\n\
                 tolerate = { interfaces_up = \"same\", version = \"same\", uptime = \"-0\", free_disk = \"-50%\" }\n\
                 [[wave.gate]]\nkind = \"rule\"\nname = \"watching\"\nshadow = true\nrate = \"1%\"\nmin-sample = 50\n";
    std::fs::write(engine.directory.path().join("x.toml"), file(HARMLESS, gates)).unwrap();
    let id = detached(&engine, "x.toml");
    let done = in_state(&engine, &id, "completed");
    let gates = done["rollout"]["gates"].as_array().unwrap();
    assert_eq!(gates.len(), 2, "{done}");
    assert_eq!(
        (&gates[0]["gate"], &gates[0]["verdict"]),
        (&"health".into(), &"pass".into())
    );
    assert_eq!(gates[0]["reason"], "0 of 2 devices differ");
    assert_eq!(
        (&gates[1]["shadow"], &gates[1]["verdict"]),
        (&true.into(), &"inconclusive".into())
    );
    let shown = engine.run(&["job", "show", &id]).ok().stdout();
    assert!(
        shown.contains("gate watching (only watches) after wave 1: inconclusive: "),
        "{shown}"
    );
}

#[test]
fn a_number_that_is_out_of_its_tolerance_halts_and_one_that_is_missing_holds() {
    let (engine, fleet) = start(4, 4, &[]);
    let down = "[[step]]\ncommand = [\"/interface/disable\", \"numbers=ether2\"]\n";
    let gate = "[[wave.gate]]\nkind = \"snapshot\"\nname = \"health\"\n";
    std::fs::write(engine.directory.path().join("x.toml"), file(down, gate)).unwrap();
    let id = detached(&engine, "x.toml");
    let halted = in_state(&engine, &id, "halted");
    assert_eq!(halted["halted"]["rule"], "health", "{halted}");
    let detail = halted["halted"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("of 2 devices differ: ") && detail.contains("right is -0"),
        "{detail}"
    );
    let journal = fleet.journal();
    let downed = journal
        .iter()
        .filter(|entry| entry.words[0] == "/interface/disable");
    assert_eq!(downed.count(), 2, "the second wave never began");
    engine.run(&["job", "abort", &id]).ok();

    // Nobody has leases to tell of.
    let gate = "[[wave.gate]]\nkind = \"snapshot\"\nname = \"health\"\ntolerate = { leases = \"-0\", routes = \"-0\" }\n";
    std::fs::write(engine.directory.path().join("y.toml"), file(HARMLESS, gate)).unwrap();
    let id = detached(&engine, "y.toml");
    in_state(&engine, &id, "gated");
    crate::harness::until("it is found that something is missing", || {
        job(&engine, &id)["rollout"]["hold"]["evidence"]
            .as_str()
            .is_some_and(|evidence| evidence.contains("were not measured"))
    });
    by(
        &engine,
        "ann",
        &["job", "approve", &id, "--reason", "none of them serves DHCP"],
    )
    .ok();
    in_state(&engine, &id, "completed");
}
