//! Jobs that are deleted, and what the engine says of itself.

use serde_json::Value;

use crate::harness::{Engine, Fleet, until};

const IDENTITY: &str = "/system/identity/print";

#[test]
fn a_job_that_is_over_is_deleted_and_one_that_runs_is_not() {
    let fleet = Fleet::start(61, 4, &["--fault", "hang=1"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 4, "\n");
    let detach = [
        "run",
        "--all",
        "--timeout",
        "60s",
        "--detach",
        "--json",
        "--",
        IDENTITY,
    ];
    let id = engine.run(&detach).exits(7).json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = engine.run(&["job", "delete", &id]).exits(6);
    assert!(
        refused.stderr().contains(&format!("muster job abort {id}")),
        "{}",
        refused.stderr()
    );
    engine.run(&["job", "abort", &id]).ok();
    engine.run(&["job", "watch", &id]).exits(3);
    engine.run(&["job", "delete", &id]).ok();
    engine.run(&["job", "show", &id]).exits(1);
    engine.run(&["job", "results", &id]).exits(1);
    engine.run(&["job", "delete", &id]).exits(1);
    assert_eq!(
        engine.run(&["job", "list", "--json"]).ok().json(),
        [] as [Value; 0]
    );
    let done = engine.run(&["history", &id, "--json"]).ok().json();
    assert!(done.iter().any(|deed| deed["action"] == "job.delete"), "{done:?}");
    let swept = || {
        let status = status(&engine);
        reconciler(&status, "retention")["did"]
            .as_str()
            .unwrap()
            .starts_with("1 jobs with 4 executions")
    };
    until("the rows are gone", swept);
}

#[test]
fn the_engine_says_how_its_loops_and_its_database_are() {
    let engine = Engine::start(&["--keep", "48h"]);
    until("the disk was timed", || {
        status(&engine)["store"]["sync_ms"].as_f64().is_some()
    });
    const LOOPS: [&str; 4] = ["dispatch", "leases", "expiry", "retention"];
    until("every loop has run", || {
        let status = status(&engine);
        let ran = |name: &&str| reconciler(&status, name)["next_run"].is_string();
        LOOPS.iter().all(ran)
    });
    let status = status(&engine);
    for name in LOOPS {
        let told = reconciler(&status, name);
        assert!(told["runs"].as_u64().unwrap() >= 1, "{told}");
        assert!(
            told["last_run"].is_string() && told["next_run"].is_string(),
            "{told}"
        );
        assert_eq!(told["error"], "", "{told}");
    }
    let store = &status["store"];
    assert!(store["database_bytes"].as_u64().unwrap() > 0, "{store}");
    assert_eq!(store["keep_ms"], 48.0 * 3_600_000.0);
    let text = engine.run(&["admin", "status"]).ok().stdout();
    for told in ["retention", "MiB", "durable write", "2.0 days"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let refused = engine.run(&["serve", "--keep", "1h"]).exits(1);
    assert!(refused.stderr().contains("at least 24h"), "{}", refused.stderr());
}

fn status(engine: &Engine) -> Value {
    engine.run(&["admin", "status", "--json"]).ok().json().remove(0)
}

fn reconciler(status: &Value, name: &str) -> Value {
    let all = status["reconcilers"].as_array().unwrap().iter();
    let found = all.clone().find(|reconciler| reconciler["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}")).clone()
}

#[test]
fn results_as_csv_have_a_line_for_each_row() {
    let fleet = Fleet::start(62, 5, &["--fault", "hang=1"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 5, "\n");
    let run = [
        "run",
        "--all",
        "--timeout",
        "2s",
        "--json",
        "--",
        "/interface/print",
    ];
    let results = engine.run(&run).exits(3).json();
    let id = engine.run(&["job", "list", "--json"]).ok().json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let csv = engine.run(&["job", "results", &id, "--csv"]).exits(3).stdout();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|found| found == name).unwrap();
    let records = reader.records().map(Result::unwrap).collect::<Vec<_>>();
    let mut expected = 0;
    for result in &results {
        let device = result["device"].as_str().unwrap();
        let rows = result["rows"].as_array().unwrap();
        let lines = records
            .iter()
            .filter(|record| &record[column("device")] == device);
        let lines = lines.collect::<Vec<_>>();
        assert_eq!(lines.len(), rows.len().max(1), "{device}");
        expected += lines.len();
        for (line, row) in lines.iter().zip(rows) {
            for (name, value) in row.as_object().unwrap() {
                assert_eq!(&line[column(name)], value.as_str().unwrap(), "{device} {name}");
            }
        }
        assert_eq!(lines[0][column("state")], *result["state"].as_str().unwrap());
    }
    assert_eq!(records.len(), expected);
    let failed = engine.run(&["job", "results", &id, "--csv", "--failed"]).exits(3);
    assert_eq!(
        failed.stdout().lines().count(),
        2,
        "the header and the one that hangs"
    );
    engine.run(&["job", "results", &id, "--csv", "--json"]).exits(1);
}
