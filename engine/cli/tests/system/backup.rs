//! Backups and exports: brought back in parts, kept by digest, compared, and cleared away on the device.

use serde_json::Value;

use crate::harness::{Engine, Fleet, Ran};

/// A fleet whose versions give their files over the API.
fn fleet(network: u8, devices: usize, more: &[&str]) -> (Fleet, Engine) {
    let fleet = Fleet::start(
        network,
        devices,
        &[&["--version", "7.16.2,7.12.1,7.18.2"], more].concat(),
    );
    let engine = Engine::start(&[]);
    engine.import(&fleet, devices, "\n");
    (fleet, engine)
}

fn kept(engine: &Engine, device: &str, kind: &str) -> Vec<Value> {
    let listed = engine.run(&["device", "exports", device, "--json"]).ok().json();
    listed.into_iter().filter(|file| file["kind"] == kind).collect()
}

fn files(engine: &Engine) -> Vec<usize> {
    let words = ["run", "--all", "--json", "--", "/file/print", ".proplist=name"];
    let results = engine.run(&words).ok().json();
    let rows = |result: &Value| result["rows"].as_array().expect("rows").len();
    results.iter().map(rows).collect()
}

fn errors(ran: &Ran) -> Vec<String> {
    let told = ran.json();
    told.iter()
        .map(|result| result["error"]["message"].to_string())
        .collect()
}

#[test]
fn a_backup_is_brought_back_whole_and_leaves_nothing_behind() {
    let (fleet, engine) = fleet(110, 3, &[]);
    let ran = engine.run(&["device", "backup", "--all", "--json"]).ok();
    for name in ["r0", "r1", "r2"] {
        let rows = &ran.of(name)["rows"];
        assert_eq!(
            (&rows[0]["kind"], &rows[0]["bytes"]),
            (&"backup".into(), &"40000".into()),
            "{rows}"
        );
        assert_eq!(rows[1]["kind"], "export");
        let backups = kept(&engine, name, "backup");
        assert_eq!((backups.len(), &backups[0]["sha256"]), (1, &rows[0]["sha256"]));
        let id = backups[0]["id"].as_str().expect("an id");
        engine
            .run(&["device", "exports", name, "--get", id, "-o", name])
            .ok();
        let saved = std::fs::read(engine.directory.path().join(name)).expect("saved");
        assert_eq!(saved.len(), 40_000);
    }
    assert_eq!(files(&engine), [0, 0, 0], "what it left on the device is removed");

    let before = fleet.executed();
    let again = ["device", "backup", "--all", "--max-age", "1h", "--json"];
    engine.run(&again).ok();
    assert_eq!(fleet.executed(), before, "there is one that is newer");
    assert_eq!(kept(&engine, "r0", "backup").len(), 1);

    let missing = engine.run(&["device", "exports", "r9"]).exits(1);
    assert!(missing.stderr().contains("r9"), "{}", missing.stderr());
    engine.run(&["device", "exports", "r0", "--get", "999"]).exits(1);
}

#[test]
fn exports_are_compared_without_their_dates() {
    let (_fleet, engine) = fleet(111, 2, &[]);
    engine.run(&["device", "backup", "--all", "--export"]).ok();
    engine.run(&["device", "backup", "r0", "--export"]).ok();
    let two = kept(&engine, "r0", "export");
    assert_eq!(two.len(), 2);
    assert_eq!(
        two[0]["sha256"], two[1]["sha256"],
        "nothing has changed but the time"
    );
    let number = |file: &Value| format!("#{}", file["id"].as_str().expect("an id"));
    engine
        .run(&["device", "diff", &number(&two[0]), &number(&two[1])])
        .ok();

    engine
        .run(&[
            "run",
            "--yes",
            "--select",
            "name=r0",
            "--",
            "/ip/dns/set",
            "servers=192.0.2.9",
        ])
        .ok();
    engine.run(&["device", "backup", "r0", "--export"]).ok();
    let differs = engine.run(&["device", "diff", &number(&two[0]), "r0"]).exits(2);
    assert!(
        differs.stdout().contains("servers=192.0.2.9"),
        "{}",
        differs.stdout()
    );
    assert!(
        !differs.stdout().contains("\n\n"),
        "a line of an export is a line here: {}",
        differs.stdout()
    );
    engine.run(&["device", "diff", "r0", "r1"]).exits(2);
    let text = engine
        .run(&[
            "device",
            "exports",
            "r0",
            "--get",
            &number(&two[0])[1..],
            "-o",
            "-",
        ])
        .ok();
    assert!(
        text.stdout().starts_with("# by RouterOS 7.16.2\n"),
        "{}",
        text.stdout()
    );
}

#[test]
fn a_backup_that_is_empty_or_cannot_be_had_says_so() {
    let (fleet, engine) = fleet(112, 2, &["--fault", "empty-backup=2"]);
    let ran = engine.run(&["device", "backup", "--all", "--json"]).exits(3);
    for error in errors(&ran) {
        assert!(
            error.contains("the backup that the device made is empty"),
            "{error}"
        );
    }
    assert!(kept(&engine, "r0", "backup").is_empty() && kept(&engine, "r0", "export").is_empty());
    assert_eq!(files(&engine), [0, 0]);
    drop(fleet);

    let old = Fleet::start(113, 1, &["--version", "6.49.17"]);
    let engine = Engine::start(&[]);
    engine.import(&old, 1, "\n");
    let ran = engine.run(&["device", "backup", "r0", "--json"]).exits(3);
    let error = &errors(&ran)[0];
    assert!(
        error.contains("before 7.13, RouterOS gives only small files"),
        "{error}"
    );
    assert_eq!(files(&engine), [0]);
    engine.run(&["device", "backup", "r0", "--export"]).ok();
    assert_eq!(
        kept(&engine, "r0", "export").len(),
        1,
        "the export is small enough"
    );
    engine.run(&["device", "backup", "r0", "--or-export"]).ok();
    assert!(kept(&engine, "r0", "backup").is_empty(), "it cannot be had");
    assert_eq!(files(&engine), [0]);
    std::fs::write(
        engine.directory.path().join("plan.toml"),
        "[[step]]\nbackup = true\n",
    )
    .expect("written");
    let preview = engine.run(&["run", "--all", "--plan", "plan.toml", "--preview"]);
    let told = preview.stdout();
    assert!(told.contains("RouterOS 6 gives at most 4 KB"), "{told}");
}

/// Each of its commands loses its answer, or itself, once: nothing is harmed, and the next backup is whole.
#[test]
fn a_connection_lost_in_the_middle_harms_nothing() {
    for (network, fault) in [(114, "lost-write"), (115, "lost-write-answer")] {
        let (fleet, engine) = fleet(network, 2, &["--fault", &format!("{fault}=2")]);
        let ran = engine
            .run(&["device", "backup", "--all", "--json", "--timeout", "10s"])
            .exits(3);
        for result in ran.json() {
            assert_eq!(result["state"], "failed", "{result}");
        }
        (0..2).for_each(|device| fleet.set_fault(device, None));
        engine.run(&["device", "backup", "--all"]).ok();
        assert_eq!(kept(&engine, "r0", "backup").len(), 1);
        assert_eq!(files(&engine), [0, 0], "what was left before is gone too");
    }
}
