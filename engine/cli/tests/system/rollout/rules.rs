//! Rules halt a rollout in the commit of the outcome that trips them.

use super::{by, detached, file, in_state, job, start};
use crate::harness::until;

const WAVES: &str = "[[wave]]\nsize = 60\n[[wave]]\nsize = \"rest\"\n[limits]\nbudget = 20\n";
const RATE: &str = "[[rule]]\nname = \"two-percent\"\nrate = \"2%\"\nmin-sample = 50\n";

#[test]
fn a_change_that_breaks_some_halts_as_the_arithmetic_says_and_old_failures_trip_nothing() {
    let (engine, fleet) = start(90, 90, &[]);
    // Those of the first wave, by what the preview says.
    let path = file(&engine, "", &format!("{WAVES}{RATE}"));
    let preview = engine
        .run(&["rollout", "preview", path, "--no-read", "--json"])
        .exits(2)
        .json()
        .remove(0);
    let first = preview["waves"][0]["sample"].as_array().unwrap();
    for name in first.iter().take(3) {
        let index = name.as_str().unwrap().trim_start_matches('r').parse().unwrap();
        fleet.set_fault(index, Some("lost-answer"));
    }
    let ran = engine.run(&["rollout", "start", path, "--yes"]).exits(4);
    assert!(ran.stderr().contains("rule two-percent: "), "{}", ran.stderr());
    let id = engine.run(&["job", "list", "--json"]).ok().json().remove(0)["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let halted = job(&engine, &id);
    assert_eq!(
        (&halted["state"], &halted["halted"]["rule"]),
        (&"halted".into(), &"two-percent".into())
    );
    let detail = halted["halted"]["detail"].as_str().unwrap().to_owned();
    // Two, or three when they were told together, of at least 50: one of those would be two percent, and is allowed.
    let number = |at| detail.split(' ').nth(at).unwrap().parse::<u64>().unwrap();
    let (failed, of) = (number(0), number(2));
    assert!((2..=3).contains(&failed) && (50..=60).contains(&of), "{detail}");
    assert!(fleet.journal().len() <= 60, "the second wave never began");
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(told.contains("rule two-percent halted the job"), "{told}");

    engine
        .run(&["job", "resume", &id, "--reason", "they were known to be bad"])
        .ok();
    until("it is over", || !job(&engine, &id)["finished_at"].is_null());
    let over = job(&engine, &id);
    assert_eq!(over["state"], "completed_with_failures");
    assert_eq!(
        (&over["counts"]["succeeded"], &over["counts"]["unknown"]),
        (&87.into(), &3.into())
    );
    let report = |format: &str| engine.run(&["job", "report", &id, format]).ok().stdout();
    assert!(report("--html").contains("they were known to be bad"));
    assert!(report("--junit").contains("tests=\"90\" failures=\"0\" errors=\"3\""));
    assert_eq!(
        (report("--csv").lines().count(), report("--jsonl").lines().count()),
        (91, 91)
    );
}

#[test]
fn failures_in_a_row_abort() {
    let (engine, fleet) = start(12, 12, &["--fault", "lost-answer=12"]);
    let rest = "[[wave]]\nsize = \"rest\"\n[limits]\nbudget = \"all\"\nconcurrency = 1\n\
                [[rule]]\nconsecutive = 3\naction = \"abort\"\n";
    let ran = engine
        .run(&["rollout", "start", file(&engine, "", rest), "--yes"])
        .exits(3);
    assert!(ran.stderr().contains("3 unknown"), "{}", ran.stderr());
    assert_eq!(fleet.journal().len(), 3);
}

#[test]
fn while_everything_is_frozen_nothing_starts() {
    let (engine, fleet) = start(6, 6, &[]);
    by(&engine, "ann", &["freeze", "on", "--reason", "storm"]).ok();
    let path = file(&engine, "", "[[wave]]\nsize = \"rest\"");
    let id = detached(&engine, path);
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(
        told.contains("freeze: everything is frozen by ann: storm"),
        "{told}"
    );
    assert_eq!(
        engine.run(&["freeze", "show", "--json"]).ok().json()[0]["reason"],
        "storm"
    );
    engine.run(&["run", "--all", "--", "/system/identity/print"]).ok();
    assert!(fleet.journal().is_empty());
    // Somebody has a reason to go on all the same, which is noted.
    let broken = [
        "rollout",
        "start",
        path,
        "--yes",
        "--break-glass",
        "the fix for the storm",
    ];
    engine.run(&broken).ok();
    assert_eq!(fleet.journal().len(), 6);
    by(&engine, "ann", &["freeze", "off"]).ok();
    in_state(&engine, &id, "completed");
    let history = engine.run(&["history", "--json"]).ok().stdout();
    for noted in [
        "freeze.on",
        "freeze.off",
        "job.break_glass",
        "the fix for the storm",
    ] {
        assert!(history.contains(noted), "{noted}\n{history}");
    }
}
