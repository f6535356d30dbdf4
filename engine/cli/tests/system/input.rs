//! Bad input: a clear error that names the place, the value and what would be right, and nothing half done.

use crate::harness::{Engine, Fleet, muster};
use serde_json::Value;

#[test]
fn a_csv_with_bad_lines_is_told_line_by_line_and_imports_nothing() {
    let engine = Engine::start(&["--no-worker"]);
    engine
        .run_with_input(
            &[
                "credential",
                "set",
                "ops",
                "--username",
                "admin",
                "--password-stdin",
            ],
            "x\n",
        )
        .ok();
    let csv = "name,address,port,transport,credential,zone,labels\n\
               ok1,127.0.0.2,8728,api,ops,,a=1\n\
               ok2,127.0.0.3,abc,api,ops,,\n\
               ok1,127.0.0.4,,api,ops,,\n\
               bad name,127.0.0.5,,api,nobody,,site\n\
               r5,127.0.0.300,,ssh,ops,,zone=3\n\
               r6,127.0.0.7,,api,ops\n";
    std::fs::write(engine.directory.path().join("bad.csv"), csv).unwrap();
    let ran = engine.run(&["device", "import", "bad.csv"]).exits(1);
    for told in [
        "bad.csv: 9 problem(s); nothing was imported",
        "line 3, column 3 (port): \"abc\" is no port",
        "line 4, column 1 (name): the name \"ok1\" is on line 2 already",
        "line 5, column 1 (name): \"bad name\" has the character ' '",
        "line 5, column 5 (credential): there is no credential \"nobody\"; known: ops",
        "line 5, column 7 (labels): \"site\" is no label; write key=value",
        "line 6, column 2 (address): \"127.0.0.300\" is neither an IP address nor a host name",
        "line 6, column 4 (transport): \"ssh\" is no transport; use api, api-ssl, http, https or auto",
        "line 6, column 7 (labels): label key \"zone\" is taken",
        "line 7: 5 fields; the header has 7",
        "--skip-bad",
    ] {
        assert!(ran.stderr().contains(told), "{told}\nin\n{}", ran.stderr());
    }
    assert_eq!(engine.run(&["device", "list", "--json"]).ok().stdout(), "");

    let ran = engine.run(&["device", "import", "bad.csv", "--json"]).exits(1);
    let error: Value = serde_json::from_str(&ran.stderr()).unwrap();
    assert_eq!(error["reason"], "BAD_INVENTORY");
    assert_eq!(error["details"].as_array().unwrap().len(), 9);
    assert_eq!(
        (&error["details"][0]["line"], &error["details"][0]["column"]),
        (&3.into(), &3.into())
    );

    let ran = engine
        .run(&["device", "import", "bad.csv", "--skip-bad", "--json"])
        .ok();
    let done = ran.json().remove(0);
    assert_eq!((&done["created"], &done["skipped"]), (&1.into(), &5.into()));
    let again = engine
        .run(&["device", "import", "bad.csv", "--skip-bad", "--dry-run"])
        .ok();
    assert!(
        again
            .stderr()
            .contains("a device \"ok1\" is in the inventory already"),
        "{}",
        again.stderr()
    );
    let names = engine.run(&["device", "list", "--json"]).ok().json();
    assert_eq!(
        names
            .iter()
            .map(|device| device["name"].clone())
            .collect::<Vec<_>>(),
        ["ok1"]
    );
}

#[test]
fn commands_and_selectors_that_are_wrong_say_what_would_be_right() {
    let fleet = Fleet::start(41, 1, &[]);
    let engine = Engine::start(&["--no-worker"]);
    let empty = engine
        .run(&["run", "--all", "--", "/system/identity/print"])
        .exits(1);
    assert!(
        empty.stderr().contains("the inventory is empty"),
        "{}",
        empty.stderr()
    );
    engine.import(&fleet, 1, "\n");
    for (args, told) in [
        (
            &["--select", "site=nowhere", "--", "/a/print"][..],
            "\"site=nowhere\" means no device",
        ),
        (
            &["--select", "site is ams", "--", "/a/print"],
            "selector, column 5: expected =, !=, in",
        ),
        (
            &["--all", "--", "system/identity/print"],
            "a command begins with a slash",
        ),
        (&["--all", "--", "/login"], "muster's own business"),
        (
            &["--all", "--timeout", "30", "--", "/a/print"],
            "write it with a unit",
        ),
        (&["--all", "--timeout", "1ms", "--", "/a/print"], "100 ms to 24 h"),
        (
            &["--all", "--yes", "--", "/interface/disable", "?name=ether1"],
            "only print honours queries",
        ),
        (&["--", "/a/print"], "--select"),
    ] {
        let ran = engine.run(&[&["run"], args].concat()).exits(1);
        assert!(ran.stderr().contains(told), "{args:?}: {}", ran.stderr());
    }
    assert_eq!(
        engine.run(&["job", "list", "--json"]).ok().stdout(),
        "",
        "no job was made"
    );
    let ran = engine.run(&["run", "--all", "--json", "--", "x"]).exits(1);
    let error: Value = serde_json::from_str(&ran.stderr()).unwrap();
    assert_eq!(
        (&error["code"], &error["field"]),
        (&1.into(), &"spec.plan.steps[0].command.words".into())
    );
    let ran = engine.run(&["run", "--json", "--", "/a/print"]).exits(1);
    assert_eq!(
        serde_json::from_str::<Value>(&ran.stderr()).unwrap()["reason"],
        "USAGE"
    );
    for args in [
        &["job", "show", "nonsense"][..],
        &["device", "show", "nonsense"],
        &["credential", "remove", "x"],
    ] {
        let ran = engine.run(args).exits(1);
        assert!(ran.stderr().contains("there is no"), "{}", ran.stderr());
    }
    engine.run(&["credential", "remove", "ops"]).exits(6);
}

#[test]
fn no_engine_and_two_engines() {
    let mut engine = Engine::start(&["--no-worker"]);
    let data = engine.data();
    let second = muster()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is in use by another muster"));
    engine.kill();
    let ran = engine.run(&["job", "list"]).exits(1);
    assert!(ran.stderr().contains("muster serve"), "{}", ran.stderr());
    std::fs::write(data.join("bad.toml"), "lissten = \"127.0.0.1:1\"\n").unwrap();
    let config = data.join("bad.toml");
    let ran = muster()
        .args(["serve", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("unknown field `lissten`"));
}

#[test]
fn a_lost_key_stops_the_devices_that_need_it_and_says_so() {
    let fleet = Fleet::start(42, 2, &[]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, 2, "\n");
    engine.kill();
    std::fs::remove_file(engine.data().join("key")).unwrap();
    engine.start_again();
    engine
        .run_with_input(
            &[
                "credential",
                "set",
                "new",
                "--username",
                "admin",
                "--password-stdin",
            ],
            "\n",
        )
        .ok();
    let csv = format!(
        "name,address,port,credential\nr0,{},{},new\n",
        fleet.address(0),
        fleet.port
    );
    engine
        .run_with_input(&["device", "import", "-", "--update"], &csv)
        .ok();
    let ran = engine
        .run(&["run", "--all", "--json", "--", "/system/identity/print"])
        .exits(3);
    assert_eq!(ran.of("r0")["state"], "succeeded");
    assert_eq!(
        (&ran.of("r1")["state"], &ran.of("r1")["error"]["class"]),
        (&"failed".into(), &"auth".into())
    );
    let message = ran.of("r1")["error"]["message"].to_string();
    assert!(message.contains("it was sealed with another key"), "{message}");
}
