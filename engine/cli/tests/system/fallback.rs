//! Partitions to fall back to: what is copied before an upgrade, and what becomes of firmware that does not start (L3).

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Engine, Fleet, Ran, UPGRADABLE, pause, until};

const UPGRADE: &str = "[[step]]\nupgrade = { version = \"7.16.2\", wait = \"20s\" }\n";
const L3: &str = "[way-back]\nmin-level = \"L3\"\n";

struct Case {
    fleet: Fleet,
    engine: Engine,
    /// Devices that have partitions, and one that has none.
    nand: Vec<usize>,
    none: usize,
}

impl Case {
    fn new(network: u8, devices: usize, more: &[&str]) -> Self {
        let common = [&UPGRADABLE[..], &["--restart", "1s", "--partitions", "2"]].concat();
        let fleet = Fleet::start(network, devices, &[&common[..], more].concat());
        let engine = Engine::start(&["--lease", "5s"]);
        engine.import(&fleet, devices, "\n");
        let printed = engine.run(&["run", "--all", "--json", "--", "/partitions/print"]);
        let has = |index: &usize| printed.of(&format!("r{index}"))["state"] == "succeeded";
        let (nand, others) = (0..devices).partition::<Vec<_>, _>(has);
        let none = *others.first().expect("one without partitions");
        assert!(nand.len() >= 3, "{nand:?}");
        Self {
            fleet,
            engine,
            nand,
            none,
        }
    }

    fn file(&self, text: &str) -> String {
        let file = self.engine.directory.path().join("plan.toml");
        std::fs::write(&file, text).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    }

    fn count(&self, device: usize, command: &str) -> usize {
        let journal = self.fleet.journal();
        let done = journal
            .iter()
            .filter(|entry| entry.device == device && entry.words[0] == command);
        done.count()
    }
}

/// How a device ended, behind the rows that told of it meanwhile.
fn end(ran: &Ran, device: usize) -> (String, String) {
    let name = format!("r{device}");
    let results = ran.json();
    let of = |line: &&Value| line["device"] == name.as_str() && !line["execution"].is_null();
    let result = results.iter().rfind(of).expect("a result");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&result["state"]), text(&result["error"]["message"]))
}

#[test]
fn firmware_that_does_not_start_is_taken_back_and_counts_as_rescued() {
    let case = Case::new(47, 12, &["--download", "300ms"]);
    let plan = case.file(&format!("{L3}{UPGRADE}"));
    let preview = case.engine.run(&["run", "--all", "--plan", &plan, "--preview"]);
    let told = preview.exits(3).stdout();
    for part in [
        "copy part0 to part1, in the place of what is there (EMPTY)",
        "way back  L3",
        "it has no partitions",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let (one, other) = (case.nand[0], case.nand[1]);
    case.fleet.set_fault(one, Some("bricks"));
    case.fleet.set_fault(other, Some("device-mode"));
    let ran = case.engine.run(&[
        "run", "--all", "--yes", "--plan", &plan, "--json", "--budget", "all",
    ]);
    let (how, why) = end(&ran, one);
    assert_eq!(how, "reverted", "{why}");
    assert!(
        why.contains("7.16.2 did not start: the router fell back from partition part0 to part1"),
        "{why}"
    );
    assert_eq!(end(&ran, case.none).0, "rejected");
    // It has no device-mode before 7.17, so the router itself says no.
    let (how, why) = end(&ran, other);
    assert!(
        how == "failed" && why.contains("not allowed by device-mode"),
        "{how}: {why}"
    );
    assert_eq!(end(&ran, case.nand[2]).0, "succeeded");
    for device in [one, case.nand[2]] {
        assert_eq!(
            (
                case.count(device, "/partitions/copy-to"),
                case.count(device, "/system/reboot")
            ),
            (1, 1)
        );
    }
    assert_eq!(case.count(case.none, "/partitions/copy-to"), 0);
    assert!(
        case.engine
            .run(&["device", "rescue", "--json"])
            .ok()
            .json()
            .is_empty()
    );
    // Those that are as wanted are left alone, and one that fell back is not tried again.
    let executed = case.fleet.executed();
    let again = case.engine.run(&[
        "run", "--all", "--yes", "--plan", &plan, "--json", "--budget", "all",
    ]);
    assert_eq!(end(&again, case.nand[2]).0, "unchanged");
    let (how, why) = end(&again, one);
    assert!(
        how == "rejected" && why.contains("part0 is its active partition"),
        "{how}: {why}"
    );
    assert!(
        case.fleet.executed() <= executed + 1,
        "only the one that says no is asked again"
    );
}

#[test]
fn a_version_that_starts_nowhere_stops_at_the_budget_and_without_a_copy_it_is_lost() {
    let case = Case::new(48, 12, &["--download", "200ms"]);
    for device in &case.nand {
        case.fleet.set_fault(*device, Some("bricks"));
    }
    let rollout = format!(
        "name = \"to 7.16.2\"\nselect = \"name!=r{}\"\ntimeout = \"10s\"\n{L3}{UPGRADE}[[wave]]\nsize = \"100%\"\n[limits]\nbudget = 2\n",
        case.nand[0]
    );
    let file = case.file(&rollout);
    let ran = case.engine.run(&["rollout", "start", &file, "--yes"]).exits(4);
    assert!(
        ran.stderr().contains("budget") || ran.stdout().contains("budget"),
        "{}",
        ran.stdout()
    );
    let copies = case
        .nand
        .iter()
        .map(|device| case.count(*device, "/system/reboot"));
    assert_eq!(copies.sum::<usize>(), 2, "two are rescued, and no more are tried");
    // The same without a partition to fall back to.
    let name = format!("name=r{}", case.nand[0]);
    let plan = case.file(&UPGRADE.replace("20s", "5s"));
    let ran = case.engine.run(&[
        "run",
        "--select",
        &name,
        "--yes",
        "--plan",
        &plan,
        "--json",
        "--timeout",
        "5s",
    ]);
    assert_eq!(end(&ran, case.nand[0]).0, "lost", "{}", ran.stdout());
    assert_eq!(
        case.engine.run(&["device", "rescue", "--json"]).ok().json().len(),
        1
    );
}

#[test]
fn an_engine_that_is_killed_in_a_copy_makes_it_again_and_restarts_once() {
    let mut case = Case::new(49, 8, &["--download", "1500ms"]);
    let devices = case.nand.clone();
    let file = case.file(&format!(
        "name = \"to 7.16.2\"\nall = true\ntimeout = \"5s\"\n{L3}{UPGRADE}[[wave]]\nsize = \"100%\"\n[limits]\nbudget = \"all\"\n"
    ));
    let ran = case.engine.run(&["rollout", "start", &file, "--yes", "--detach"]);
    let id = ran.exits(7).stdout().trim().to_owned();
    for command in ["/partitions/copy-to", "/system/package/update/download"] {
        until(command, || {
            devices.iter().any(|device| case.count(*device, command) > 0)
        });
        case.engine.kill();
        pause(Duration::from_millis(300));
        case.engine.start_again();
        // What was sent may arrive for so long that a test does not usually wait for what comes then.
        pause(Duration::from_secs(8));
    }
    case.engine.wait_over(&id);
    let results = case.engine.run(&["job", "results", &id, "--json"]);
    for device in devices {
        let (how, why) = end(&results, device);
        assert_eq!(how, "succeeded", "{why}");
        assert_eq!(case.count(device, "/system/reboot"), 1);
        let copies = case.count(device, "/partitions/copy-to");
        assert!((1..=2).contains(&copies), "{copies}");
    }
}
