//! Audits, as a user runs them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Engine, Fleet, until};

const DEVICES: usize = 20;

const FILE: &str = r#"
name = "t"
[[check]]
name = "telnet is off"
severity = "high"
read = "/ip/service"
where = "name=telnet"
expect = "rows.all(r, r.disabled == 'true')"
remedy = { ensure = "/ip/service", key = ["name"], items = [{ name = "telnet", disabled = true }] }
[[check]]
name = "divides"
read = "/ip/dns"
expect = "rows.all(r, 10 / (int(r.cache_size) - 4096) != 7)"
[[check]]
name = "of another version"
read = "/ip/nothing"
expect = "rows.size() > 0"
[[check]]
name = "no address twice"
read = "/ip/address"
across = "row.address"
expect = "rows.size() == 1"
"#;

/// Verdicts by device and check.
fn verdicts(lines: &[Value]) -> BTreeMap<(String, String), String> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let one = |line: &Value| ((text(line, "device"), text(line, "check")), text(line, "verdict"));
    lines.iter().map(one).collect()
}

#[test]
fn an_audit_tells_what_holds_where_what_is_mended_and_what_is_left() {
    let fleet = Fleet::start(78, DEVICES, &["--fault", "silent=2"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let silent = fleet
        .faults()
        .into_iter()
        .map(|(index, _)| format!("r{index}"))
        .collect::<Vec<_>>();
    let one = (0..DEVICES)
        .map(|index| format!("r{index}"))
        .find(|name| !silent.contains(name))
        .unwrap();
    let select = format!("name={one}");
    engine
        .run(&[
            "run",
            "--select",
            &select,
            "--yes",
            "--",
            "/ip/dns/set",
            "cache-size=4096",
        ])
        .ok();
    engine
        .run(&[
            "run",
            "--select",
            &select,
            "--yes",
            "--",
            "/ip/service/set",
            ".id=telnet",
            "disabled=no",
        ])
        .ok();
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("audit.toml");
    std::fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();
    engine.run(&["check", file]).ok();

    let ran = engine
        .run(&["audit", "run", file, "--all", "--timeout", "5s", "--json"])
        .exits(3);
    let lines = ran.json();
    assert_eq!(lines.len(), DEVICES * 4);
    let said = verdicts(&lines);
    for index in 0..DEVICES {
        let name = format!("r{index}");
        let of = |check: &str| said[&(name.clone(), check.to_owned())].as_str();
        if silent.contains(&name) {
            assert_eq!(of("divides"), "unreached", "{name}");
            continue;
        }
        // An error on one device is one there, and nowhere else.
        assert_eq!(
            of("divides"),
            if name == one { "error" } else { "pass" },
            "{name}"
        );
        assert_eq!(of("of another version"), "n/a", "{name}");
        assert_eq!(of("no address twice"), "pass", "{name}");
    }
    let failed = lines
        .iter()
        .find(|line| line["device"] == one.as_str() && line["check"] == "telnet is off")
        .unwrap();
    assert_eq!(failed["verdict"], "fail");
    assert_eq!(failed["evidence"][0]["disabled"], "false");
    assert!(failed["observed_at"].is_string());

    let run = engine.run(&["audit", "list", "--json"]).ok().json().remove(0);
    assert_eq!(run["checks"][0]["tally"]["coverage"], 0.9);
    let id = run["id"].as_str().unwrap();
    // Nothing fails, but a tenth is offline.
    let floor = [
        "audit",
        "run",
        file,
        "--all",
        "--timeout",
        "3s",
        "--min-coverage",
        "95%",
        "--json",
    ];
    assert_eq!(engine.run(&floor).code(), 3);

    // What is young enough is not asked for again.
    let again = engine
        .run(&[
            "audit",
            "run",
            file,
            "--all",
            "--timeout",
            "2s",
            "--max-age",
            "1h",
            "--json",
        ])
        .exits(3);
    assert_eq!(verdicts(&again.json()), said);
    let newest = engine.run(&["audit", "list", "--json"]).ok().json().remove(0);
    assert_eq!(newest["reused"], DEVICES - silent.len());

    let preview = engine
        .run(&["audit", "remediate", id, "--check", "telnet is off"])
        .exits(2);
    assert!(preview.stdout().contains("disabled"), "{}", preview.stdout());
    engine
        .run(&[
            "audit",
            "remediate",
            id,
            "--check",
            "telnet is off",
            "--start",
            "--yes",
            "--bake",
            "0s",
        ])
        .exits(0);
    let closed = engine
        .run(&["audit", "findings", "--state", "closed", "--json"])
        .ok()
        .json();
    assert!(
        closed.iter().any(|finding| finding["device"] == one.as_str()),
        "{closed:?}"
    );
    let page = engine.run(&["audit", "report", id, "--html"]).ok().stdout();
    assert!(
        page.contains("telnet is off") && !page.contains("http://"),
        "{page}"
    );
}

#[test]
fn an_engine_that_is_killed_in_the_middle_ends_the_audit_when_it_is_back() {
    let fleet = Fleet::start(79, DEVICES, &["--fault", "late=10", "--late", "2s"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("audit.toml");
    std::fs::write(&file, FILE).unwrap();
    let started = engine
        .run(&[
            "audit",
            "run",
            file.to_str().unwrap(),
            "--all",
            "--timeout",
            "60s",
            "--detach",
        ])
        .exits(7);
    let id = started.stdout().trim().to_owned();
    let show = |engine: &Engine| engine.run(&["audit", "show", &id, "--json"]).json().remove(0);
    until("some devices are judged", || {
        show(&engine)["judged"].as_u64().unwrap() > 0
    });
    engine.kill();
    engine.start_again();
    until("all devices are judged", || {
        show(&engine)["finished_at"].is_string()
    });
    let run = show(&engine);
    assert_eq!(run["judged"], DEVICES);
    assert_eq!(run["checks"][2]["tally"]["not_applicable"], DEVICES);
}
