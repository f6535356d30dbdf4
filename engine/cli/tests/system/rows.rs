//! Counting the rows of results and writing them out: both have the same, whoever asks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Engine, Fleet, Ran, until};

/// The job of the last run.
fn job(engine: &Engine) -> String {
    let jobs = engine.run(&["job", "list", "--limit", "1", "--json"]).json();
    jobs[0]["job"].as_str().expect("an id").to_owned()
}

/// Groups by their keys: rows and devices.
fn groups(told: &Ran) -> BTreeMap<String, (u64, u64)> {
    let group = |group: &Value| {
        let count = |name: &str| group[name].as_u64().expect("a number");
        (group["key"].to_string(), (count("rows"), count("devices")))
    };
    told.json().iter().map(group).collect()
}

/// The same, counted from an export as JSON lines.
fn counted(rows: &[Value], names: &[&str]) -> BTreeMap<String, (u64, u64)> {
    let mut groups = BTreeMap::<String, (u64, std::collections::BTreeSet<String>)>::new();
    for row in rows {
        let key = names.iter().map(|name| ((*name).to_owned(), row[name].clone()));
        let key = Value::Object(key.collect());
        let group = groups.entry(key.to_string()).or_default();
        group.0 += 1;
        group.1.insert(row["execution"].to_string());
    }
    let count = |(key, (rows, devices)): (String, (u64, std::collections::BTreeSet<String>))| {
        (key, (rows, devices.len() as u64))
    };
    groups.into_iter().map(count).collect()
}

#[test]
fn what_is_counted_is_what_is_exported() {
    let fleet = Fleet::start(70, 30, &["--fault", "drop=2", "--version", "7.16.2,6.49.10"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 30, "");
    engine
        .run(&[
            "run",
            "--all",
            "--timeout",
            "2s",
            "--",
            "/ip/firewall/filter/print",
        ])
        .exits(5);
    let job = job(&engine);
    let file = engine.directory.path().join("rows.jsonl");
    let file = file.to_str().expect("UTF-8");
    engine.run(&["job", "export", &job, "-o", file]).ok();
    let rows = std::fs::read_to_string(file).expect("written");
    let rows = rows
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect::<Vec<Value>>();
    for names in [&["chain", "action"][..], &["comment"], &["device"], &[]] {
        let by = names.iter().map(|name| match *name {
            "device" => "device.name",
            name => name,
        });
        let by = by.collect::<Vec<_>>().join(",");
        let mut words = vec!["job", "aggregate", &job, "--count", "--json"];
        if !by.is_empty() {
            words.extend(["--group-by", &by]);
        }
        let told = engine.run(&words).ok();
        let told = groups(&told);
        let told = told
            .into_iter()
            .map(|(key, counts)| (key.replace("device.name", "device"), counts));
        assert_eq!(
            told.collect::<BTreeMap<_, _>>(),
            counted(&rows, names),
            "{names:?}"
        );
    }
    // Operators leave comments in the code page of their desktop.
    let raw = rows
        .iter()
        .filter(|row| row["comment"]["hex"] == "636166e9205afc72696368")
        .count();
    assert!(raw > 0, "no comment that is not UTF-8");
    // The same from the other formats.
    let csv = engine
        .run(&["job", "export", &job, "--format", "csv", "--columns", "comment"])
        .ok()
        .stdout();
    assert_eq!(csv.matches("hex:636166e9205afc72696368\n").count(), raw);
    let parquet = engine.directory.path().join("rows.parquet");
    let parquet = parquet.to_str().expect("UTF-8");
    let told = engine.run(&["job", "export", &job, "-o", parquet, "--json"]).ok();
    assert_eq!(told.json()[0]["rows"], rows.len());
    let bytes = std::fs::read(parquet).expect("written");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn counts_follow_a_job_to_its_end() {
    let fleet = Fleet::start(71, 12, &["--fault", "late=4", "--late", "1s"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 12, "");
    engine
        .run(&["run", "--all", "--detach", "--", "/system/resource/print"])
        .exits(7);
    let job = job(&engine);
    let told = engine
        .run(&[
            "job",
            "aggregate",
            &job,
            "--group-by",
            "outcome",
            "--follow",
            "--json",
        ])
        .ok()
        .json();
    let counts = told
        .iter()
        .map(|answer| answer["executions"].as_u64().expect("a number"));
    let counts = counts.collect::<Vec<_>>();
    assert!(counts.is_sorted(), "{counts:?}");
    let last = told.last().expect("an answer");
    assert_eq!(
        (&last["executions"], &last["total"], &last["rows"]),
        (&json!(12), &json!(12), &json!(12))
    );
    assert_eq!(last["groups"][0]["devices"], 12);
}

#[test]
fn statistics_where_and_top() {
    let fleet = Fleet::start(72, 20, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 20, "");
    let ran = engine
        .run(&["run", "--all", "--json", "--", "/system/resource/print"])
        .ok();
    let job = job(&engine);
    let mut loads = ran
        .json()
        .iter()
        .map(|result| {
            result["rows"][0]["cpu-load"]
                .as_str()
                .expect("a load")
                .parse::<u64>()
                .expect("a number")
        })
        .collect::<Vec<_>>();
    loads.sort_unstable();
    let told = engine
        .run(&[
            "job",
            "aggregate",
            &job,
            "--stats",
            "cpu-load,uptime,version",
            "--distinct",
            "labels.n,cpu-load",
            "--json",
        ])
        .ok()
        .json();
    let stats = told[0]["stats"].as_array().expect("a list");
    let load = &stats[0];
    assert_eq!(
        (
            &load["min"],
            &load["p50"],
            &load["p90"],
            &load["max"],
            &load["sum"],
            &load["count"]
        ),
        (
            &json!(loads[0] as f64),
            &json!(loads[9] as f64),
            &json!(loads[17] as f64),
            &json!(loads[19] as f64),
            &json!(loads.iter().sum::<u64>() as f64),
            &json!(20)
        )
    );
    assert_eq!((&stats[1]["unit"], &stats[1]["count"]), (&json!("s"), &json!(20)));
    assert_eq!(
        (&stats[2]["count"], &stats[2]["not_numbers"]),
        (&json!(0), &json!(20))
    );
    let mut different = loads.clone();
    different.dedup();
    assert_eq!(
        told[0]["distinct"],
        json!({ "labels.n": 20, "cpu-load": different.len() })
    );
    let limit = loads[12];
    let filter = format!("cpu-load>{limit} and labels.half=1");
    let told = engine
        .run(&[
            "job",
            "aggregate",
            &job,
            "--group-by",
            "labels.half,execution.state",
            "--where",
            &filter,
            "--json",
        ])
        .ok();
    assert!(told.json().iter().all(|group| group["key"]["labels.half"] == "1"));
    let told = engine
        .run(&[
            "job",
            "aggregate",
            &job,
            "--group-by",
            "labels.n",
            "--top",
            "3",
            "--json",
        ])
        .ok();
    let told = told.json();
    assert_eq!(
        (told.len(), &told[3]["more_groups"], &told[3]["more_rows"]),
        (4, &json!(17), &json!(17))
    );
}

/// `board` is what the inventory says where rows do not: also of devices whose answers are alike, and remembered.
#[test]
fn a_bare_name_is_the_devices_where_rows_have_no_such_attribute() {
    const DEVICES: usize = 24;
    let fleet = Fleet::start(75, DEVICES, &["--version", "7.16.2"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "");
    let board = |device: &Value| device["facts"]["board"].as_str().map(str::to_owned);
    let boards = || engine.run(&["device", "list", "--json"]).ok().json();
    until("all boards are known", || {
        engine.run(&["run", "--all", "--", "/system/identity/print"]).ok();
        boards()
            .iter()
            .all(|device| board(device).is_some_and(|board| !board.is_empty()))
    });
    let mut expected = BTreeMap::<String, u64>::new();
    for name in boards().iter().filter_map(board) {
        *expected.entry(name).or_default() += 1;
    }
    assert!(expected.len() > 1, "different boards: {expected:?}");
    engine
        .run(&[
            "run",
            "--all",
            "--",
            "/ip/service/print",
            "?name=telnet",
            ".proplist=name",
        ])
        .ok();
    let by = [
        "job",
        "aggregate",
        &job(&engine),
        "--group-by",
        "board,name",
        "--count",
        "--json",
    ];
    let told = engine.run(&by).ok().json();
    let groups = told.iter().filter_map(|group| {
        let key = group["key"].as_object()?;
        assert_eq!(key["name"], "telnet", "an attribute is the row's");
        Some((key["board"].as_str()?.to_owned(), group["devices"].as_u64()?))
    });
    assert_eq!(groups.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn what_is_wrong_is_told_with_what_would_be_right() {
    let engine = Engine::start(&[]);
    for (words, told) in [
        (
            &["--group-by", "facts.versoin"][..],
            "--group-by: \"facts.versoin\" is not known; there are facts.version",
        ),
        (&["--where", "a="], "--where: column 3: expected a value"),
        (
            &["--stats", "labels."],
            "--stats: labels. is to be followed by a name",
        ),
        (&[], "there is no job \"nope\""),
    ] {
        let ran = engine
            .run(&[&["job", "aggregate", "nope"][..], words].concat())
            .exits(1);
        assert!(ran.stderr().contains(told), "{}", ran.stderr());
    }
    for (words, told) in [
        (
            &["--format", "csv", "--columns", "device.ip"][..],
            "--columns: \"device.ip\" is not known",
        ),
        (&[], "--format: write jsonl, csv or parquet"),
        (&["-o", "rows.txt"], "--format: write jsonl, csv or parquet"),
        (&["-o", "rows.csv"], "there is no job \"nope\""),
        (&["--format", "xml"], "possible values: jsonl, csv, parquet"),
    ] {
        let ran = engine
            .run(&[&["job", "export", "nope"][..], words].concat())
            .exits(1);
        assert!(ran.stderr().contains(told), "{}", ran.stderr());
    }
    let left = std::fs::read_dir(engine.directory.path()).expect("readable");
    let left = left.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    assert_eq!(left, ["data"], "a file that was never whole");
}
