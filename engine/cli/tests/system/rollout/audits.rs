//! Gates that run an audit over their wave (E3).

use serde_json::Value;

use super::{by, detached, file, in_state, job, start};
use crate::harness::{Engine, until};

/// Right where the rollout's step was done.
const RIGHT: &str = "name = \"after\"\n[[check]]\nname = \"resolvers\"\nread = \"/ip/dns\"\n\
                     expect = \"rows.all(r, r.servers == '9.9.9.9')\"\n";

fn gate(engine: &Engine, checks: &str, more: &str) -> &'static str {
    std::fs::write(engine.directory.path().join("checks.toml"), checks).unwrap();
    let rest = format!(
        "[[wave]]\nsize = 3\n[[wave.gate]]\nname = \"checked\"\nkind = \"audit\"\nfile = \"checks.toml\"\n{more}\n\
         [[wave]]\nsize = \"rest\"\n"
    );
    file(engine, "", &rest)
}

fn runs(engine: &Engine) -> Vec<Value> {
    engine.run(&["audit", "list", "--json"]).ok().json()
}

#[test]
fn a_wave_that_is_as_an_audit_wants_it_lets_the_next_one_open() {
    let (engine, fleet) = start(8, 8, &[]);
    let id = detached(&engine, gate(&engine, RIGHT, ""));
    let done = in_state(&engine, &id, "completed");
    assert_eq!(fleet.journal().len(), 8);
    let told = &done["rollout"]["gates"][0];
    assert_eq!(
        (&told["gate"], &told["verdict"]),
        (&"checked".into(), &"pass".into())
    );
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.starts_with("0 of 3 devices fail (audit "), "{reason}");
    // It is a run like any other: over the wave alone.
    let runs = runs(&engine);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(
        (&runs[0]["name"], &runs[0]["total"]),
        (&"after".into(), &3.into()),
        "{runs:?}"
    );
}

#[test]
fn one_that_fails_it_halts_and_is_asked_anew_after_a_resume() {
    let (engine, fleet) = start(8, 8, &[]);
    let wrong = RIGHT.replace("9.9.9.9", "1.1.1.1");
    let id = detached(&engine, gate(&engine, &wrong, "max = 2"));
    let halted = in_state(&engine, &id, "halted");
    assert_eq!(halted["halted"]["rule"], "checked", "{halted}");
    let detail = halted["halted"]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("audit checks.toml: 3 of 3 devices fail: "),
        "{detail}"
    );
    assert_eq!(fleet.journal().len(), 3, "the second wave never began");
    engine.run(&["job", "resume", &id]).ok();
    until("it is asked again", || runs(&engine).len() == 2);
    in_state(&engine, &id, "halted");
    assert_eq!(fleet.journal().len(), 3);
}

#[test]
fn devices_that_do_not_answer_hold_it_until_somebody_decides() {
    let (engine, fleet) = start(4, 4, &[]);
    let rest = format!(
        "[[wave]]\nsize = 2\nbake = \"10s\"\n{}",
        "[[wave.gate]]\nname = \"checked\"\n\
        kind = \"audit\"\nfile = \"checks.toml\"\nmin-coverage = \"90%\"\n[[wave]]\nsize = \"rest\"\n"
    );
    let checks = format!("timeout = \"1s\"\n{RIGHT}");
    std::fs::write(engine.directory.path().join("checks.toml"), checks).unwrap();
    let id = detached(&engine, file(&engine, "", &rest));
    until("the first wave bakes", || {
        job(&engine, &id)["rollout"]["hold"]["by"] == "bake"
    });
    let done = fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<Vec<_>>();
    fleet.set_fault(done[0], Some("hang"));
    until("one of them says nothing", || {
        let hold = &job(&engine, &id)["rollout"]["hold"];
        let evidence = hold["evidence"].as_str().unwrap_or_default();
        hold["needs_person"] == true
            && evidence.contains("undecided: a coverage of 50.0 % where 90% is wanted; 0 of 2 devices fail")
    });
    assert_eq!(fleet.journal().len(), 2);
    by(
        &engine,
        "ann",
        &["job", "approve", &id, "--reason", "it is switched off"],
    )
    .ok();
    fleet.set_fault(done[0], None);
    in_state(&engine, &id, "completed");
}

#[test]
fn an_engine_that_is_killed_goes_on_with_the_audit_that_it_began() {
    let (mut engine, fleet) = start(6, 6, &["--late", "2s"]);
    let rest = "[[wave]]\nsize = 3\nbake = \"2s\"\n[[wave.gate]]\nname = \"checked\"\nkind = \"audit\"\n\
                file = \"checks.toml\"\n[[wave]]\nsize = \"rest\"\n";
    std::fs::write(engine.directory.path().join("checks.toml"), RIGHT).unwrap();
    let id = detached(&engine, file(&engine, "", rest));
    until("the first wave bakes", || {
        job(&engine, &id)["rollout"]["hold"]["by"] == "bake"
    });
    for entry in fleet.journal() {
        fleet.set_fault(entry.device, Some("late"));
    }
    until("its audit has begun", || runs(&engine).len() == 1);
    engine.kill();
    engine.start_again();
    in_state(&engine, &id, "completed");
    assert_eq!(runs(&engine).len(), 1, "no second run");
    assert_eq!(fleet.journal().len(), 6);
}
