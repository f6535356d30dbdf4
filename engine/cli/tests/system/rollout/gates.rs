//! Gates, windows and approvals keep a rollout where it is, and say so.

use serde_json::Value;

use super::{by, detached, file, in_state, job, start};
use crate::harness::until;

#[test]
fn a_gate_whose_sample_is_missing_holds_until_somebody_else_decides() {
    let (engine, fleet) = start(8, 8, &[]);
    let rest = "[[wave]]\nsize = 4\n[[wave.gate]]\nname = \"quality\"\nkind = \"rule\"\nrate = \"2%\"\nmin-sample = 50\n\
                [[wave]]\nsize = \"rest\"\n";
    let mut start = engine.command(&["rollout", "start", file(&engine, "", rest), "--yes", "--detach"]);
    let output = start.env("USER", "eve").output().unwrap();
    let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let gated = in_state(&engine, &id, "gated");
    let hold = &gated["rollout"]["hold"];
    assert_eq!(
        (&hold["by"], &hold["needs_person"]),
        (&"quality".into(), &true.into())
    );
    assert_eq!(hold["evidence"], "0 of 4 failed; 50 are needed to tell");
    assert_eq!(fleet.journal().len(), 4);
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(told.contains("gate: quality: 0 of 4 failed"), "{told}");
    let refused = by(&engine, "eve", &["job", "approve", &id]).exits(6);
    assert!(
        refused.stderr().contains("\"eve\" made the job"),
        "{}",
        refused.stderr()
    );
    by(&engine, "ann", &["job", "approve", &id]).ok();
    in_state(&engine, &id, "completed");
    assert_eq!(fleet.journal().len(), 8);
}

#[test]
fn it_begins_when_enough_people_approved() {
    let (engine, fleet) = start(2, 2, &[]);
    let path = file(
        &engine,
        "",
        "[[wave]]\nsize = \"rest\"\n[approval]\nneeded = 2\nfrom = [\"ann\", \"bob\"]\n",
    );
    let id = detached(&engine, path);
    let waiting = in_state(&engine, &id, "awaiting_approval");
    assert_eq!(waiting["rollout"]["approvals_missing"], 2);
    let digest = waiting["rollout"]["digest"].as_str().unwrap().to_owned();
    by(&engine, "carl", &["job", "approve", &id]).exits(6);
    by(&engine, "ann", &["job", "approve", &id, "--digest", "0000"]).exits(6);
    by(&engine, "ann", &["job", "approve", &id, "--digest", &digest]).ok();
    by(&engine, "ann", &["job", "approve", &id]).ok();
    assert_eq!(job(&engine, &id)["state"], "awaiting_approval");
    assert!(fleet.journal().is_empty());
    by(&engine, "bob", &["job", "approve", &id]).ok();
    in_state(&engine, &id, "completed");
}

#[test]
fn an_approval_of_what_is_no_longer_true_is_refused_with_what_changed() {
    let (engine, fleet) = start(4, 3, &[]);
    let path = file(&engine, "", "[[wave]]\nsize = 1\n[[wave]]\nsize = \"rest\"\n");
    let digest = |engine: &crate::harness::Engine| -> String {
        let preview: Value = engine
            .run(&["rollout", "preview", path, "--json"])
            .exits(2)
            .json()
            .remove(0);
        preview["digest"].as_str().unwrap().to_owned()
    };
    let approved = digest(&engine);
    assert_eq!(approved, digest(&engine), "the same is the same");
    let csv = format!(
        "name,address,port,credential\nlate,{},{},ops\n",
        fleet.address(3),
        fleet.port
    );
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
    let start = ["rollout", "start", path, "--approve-digest", &approved];
    let refused = engine.run(&start).exits(6);
    assert!(
        refused
            .stderr()
            .contains("what was approved is no longer true: 1 device joined the selection: late"),
        "{}",
        refused.stderr()
    );
    assert!(fleet.journal().is_empty());
    let jobs = engine.run(&["job", "list", "--json"]).ok().json();
    assert!(jobs.iter().all(|job| job["effect"] == "read"), "{jobs:?}");
    let approved = digest(&engine);
    engine
        .run(&["rollout", "start", path, "--approve-digest", &approved])
        .ok();
    assert_eq!(fleet.journal().len(), 4);
}

#[test]
fn a_window_that_closes_in_the_middle_of_a_wave_lets_nothing_more_start() {
    let (engine, fleet) = start(60, 60, &["--fault", "late=60", "--late", "300ms"]);
    // It opens every 12 s for 7 s, and one execution may take 4 s: something starts in 3 s of 12.
    let text = "name = \"x\"\nall = true\ntimeout = \"4s\"\n[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n\
                [[wave]]\nsize = \"rest\"\n[limits]\nconcurrency = 2\nbudget = \"all\"\n\
                [window]\ncron = \"*/12 * * * * *\"\nduration = \"7s\"\n";
    std::fs::write(engine.directory.path().join("w.toml"), text).unwrap();
    let id = detached(&engine, "w.toml");
    until("something was done and the window is shut", || {
        !fleet.journal().is_empty() && job(&engine, &id)["state"] == "waiting_window"
    });
    until("nothing is in flight", || {
        job(&engine, &id)["budget_use"]["in_flight"] == 0
    });
    let done = fleet.journal().len();
    let shut = job(&engine, &id);
    if shut["state"] == "waiting_window" {
        assert!(done < 60, "it shut in the middle");
        assert!(!shut["rollout"]["opens_at"].is_null(), "{shut}");
    }
    until("it went on in the next window", || fleet.journal().len() > done);
    engine.run(&["job", "abort", &id]).ok();
}

#[test]
fn outside_of_its_window_nothing_ever_starts() {
    let (engine, fleet) = start(3, 3, &[]);
    // Nobody will see the 29th of February of 2099.
    let rest =
        "[[wave]]\nsize = \"rest\"\n[[freeze]]\nfrom = 2020-01-01\nto = 2090-01-01\nreason = \"for good\"\n";
    let id = detached(&engine, file(&engine, "", rest));
    let waiting = in_state(&engine, &id, "waiting_window");
    assert_eq!(waiting["rollout"]["opens_at"], "2090-01-01T00:00:00.000Z");
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(
        told.contains("window: its window is shut") && told.contains("until 2090-01-01"),
        "{told}"
    );
    assert!(fleet.journal().is_empty());
    engine.run(&["job", "abort", &id]).ok();
    in_state(&engine, &id, "aborted");
    assert!(fleet.journal().is_empty());
}

#[test]
fn what_is_in_flight_stops_at_the_end_of_a_window_that_wants_it_so() {
    let (engine, fleet) = start(24, 24, &["--late", "5s"]);
    let steps = "name = \"x\"\ntimeout = \"20s\"\n[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n\
                 [[step]]\ncommand = [\"/ip/dns/set\", \"cache-size=4096\"]\n[[wave]]\nsize = \"rest\"\n";
    let write = |name: &str, head: &str, rest: &str| {
        let text = format!("{head}\n{steps}{rest}");
        std::fs::write(engine.directory.path().join(name), text).unwrap();
    };
    // How long it takes is known from those that were quick.
    write(
        "before.toml",
        "select = \"name != r0\"",
        "[limits]\nbudget = \"all\"\n",
    );
    engine.run(&["rollout", "start", "before.toml", "--yes"]).ok();
    let quick = fleet.journal().len();
    assert_eq!(quick, 46);
    fleet.set_fault(0, Some("late"));
    let window = "[window]\ncron = \"*/15 * * * * *\"\nduration = \"4s\"\nat-end = \"stop\"\n";
    write("r.toml", "select = \"name = r0\"", window);
    let id = detached(&engine, "r.toml");
    until("the first step is done", || fleet.journal().len() == quick + 1);
    // Its answer comes when the window is shut.
    until("its second step waits for the next window", || {
        let told = engine.run(&["job", "explain", &id]);
        job(&engine, &id)["state"] == "waiting_window"
            && told.code() == 0
            && fleet.journal().len() == quick + 1
    });
    fleet.set_fault(0, None);
    let mut shut = 0;
    until("both steps are done", || {
        let before = job(&engine, &id)["state"] == "waiting_window";
        let done = fleet.journal().len() - quick;
        let after = job(&engine, &id)["state"] == "waiting_window";
        shut += u32::from(before && after);
        assert!(
            !(before && after && done == 2),
            "the second step was sent while the window was shut"
        );
        done == 2
    });
    assert!(shut > 0);
    in_state(&engine, &id, "completed");
}
