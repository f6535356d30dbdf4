//! Jobs and audits that begin by the clock, through crashes and with the clock set.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::harness::{Engine, Fleet, pause, until};

const HOUR_MS: i64 = 3_600_000;

/// What became of the occurrences of a schedule, the newest first.
fn runs(engine: &Engine, name: &str) -> Vec<Value> {
    let shown = engine.run(&["schedule", "show", name, "--json"]).ok().json();
    shown[0]["runs"].as_array().expect("a list").clone()
}

fn outcomes(runs: &[Value], outcome: &str) -> Vec<Value> {
    runs.iter()
        .filter(|run| run["outcome"] == outcome)
        .cloned()
        .collect()
}

#[test]
fn an_occurrence_begins_once_whatever_is_killed() {
    let fleet = Fleet::start(73, 4, &[]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, 4, "");
    engine
        .run(&[
            "schedule",
            "add",
            "tick",
            "--cron",
            "* * * * * *",
            "--overlap",
            "queue",
            "--all",
            "--",
            "/system/identity/print",
        ])
        .ok();
    engine
        .run(&[
            "schedule",
            "add",
            "baseline",
            "--cron",
            "*/2 * * * * *",
            "--audit",
            "baseline",
            "--all",
        ])
        .ok();
    for kill in 0..3 {
        until("it began again", || {
            outcomes(&runs(&engine, "tick"), "started").len() > 2 * kill
        });
        pause(Duration::from_millis(90 * kill as u64));
        engine.kill();
        engine.start_again();
    }
    until("the audit ran", || {
        !outcomes(&runs(&engine, "baseline"), "started").is_empty()
    });
    engine
        .run(&["schedule", "pause", "tick", "--reason", "enough"])
        .ok();
    let found = runs(&engine, "tick");
    let started = outcomes(&found, "started");
    let occurrences = started
        .iter()
        .map(|run| run["occurrence"].to_string())
        .collect::<BTreeSet<_>>();
    let jobs = started
        .iter()
        .map(|run| run["job"].to_string())
        .collect::<BTreeSet<_>>();
    assert_eq!(
        (occurrences.len(), jobs.len()),
        (started.len(), started.len()),
        "{found:?}"
    );
    // Every job that there is is one of an occurrence.
    let all = engine.run(&["job", "list", "--json"]).ok().json();
    let ticks = all.iter().filter(|job| job["name"] == "tick").count();
    assert!(
        ticks <= started.len(),
        "{ticks} jobs, {} occurrences",
        started.len()
    );
    let audits = outcomes(&runs(&engine, "baseline"), "started");
    let id = audits[0]["job"].as_str().expect("a run");
    let shown = engine.run(&["audit", "show", id, "--json"]);
    assert!(shown.stdout().contains(id), "{}", shown.stdout());
    // Its last occurrence may still be beginning, or under way.
    until("it is its turn", || {
        engine.run(&["schedule", "run-now", "tick"]).code() == 0
    });
    let by_hand = runs(&engine, "tick");
    assert!(
        by_hand[0]["reason"]
            .as_str()
            .is_some_and(|why| why.starts_with("by hand")),
        "{by_hand:?}"
    );
    engine.run(&["schedule", "remove", "tick"]).ok();
    engine.run(&["schedule", "show", "tick"]).exits(1);
}

#[test]
fn what_the_engine_missed_goes_by_the_policy() {
    let fleet = Fleet::start(74, 3, &[]);
    let engine = Engine::prepare(&[]);
    let Some(clock) = Clock::new(engine.directory.path()) else {
        return;
    };
    let mut engine = clock.under(engine);
    engine.start_again();
    engine.import(&fleet, 3, "");
    let read = ["--all", "--", "/system/identity/print"];
    let change = ["--all", "--yes", "--", "/ip/dns/set", "servers=9.9.9.9"];
    for (name, words, missed) in [
        ("once", &read[..], None),
        ("all", &read[..], Some("all:2")),
        ("none", &read[..], Some("skip")),
        ("change", &change[..], None),
    ] {
        let mut all = vec!["schedule", "add", name, "--cron", "0 * * * *"];
        if let Some(missed) = missed {
            all.extend(["--missed", missed]);
        }
        all.extend(words);
        engine.run(&all).ok();
    }
    engine.run(&["schedule", "pause", "none"]).ok();
    engine.run(&["schedule", "resume", "none"]).ok();
    engine.kill();
    // Two minutes beside the hour, so that none of them is in time.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("later")
        .as_millis() as i64;
    let beside = (HOUR_MS - now % HOUR_MS + 120_000) % HOUR_MS;
    clock.set(5 * HOUR_MS + beside);
    engine.start_again();
    let began = |name: &str, count: usize| outcomes(&runs(&engine, name), "started").len() == count;
    until("what was missed is made up for", || {
        began("once", 1) && began("all", 2)
    });
    until("what was missed is told", || {
        !runs(&engine, "change").is_empty() && !runs(&engine, "none").is_empty()
    });
    for (name, started) in [("once", 1), ("all", 2), ("none", 0), ("change", 0)] {
        let runs = runs(&engine, name);
        let skipped = outcomes(&runs, "skipped")
            .iter()
            .map(|run| run["count"].as_u64().expect("a number"))
            .sum::<u64>();
        assert_eq!(outcomes(&runs, "started").len(), started, "{name}: {runs:?}");
        assert!((4..=6).contains(&(skipped + started as u64)), "{name}: {runs:?}");
        let told = outcomes(&runs, "skipped");
        assert!(
            told[0]["reason"]
                .as_str()
                .is_some_and(|why| why.starts_with("missed")),
            "{told:?}"
        );
    }
    assert_eq!(fleet.executed(), 0, "a change that was missed");
}

#[test]
fn executions_are_spread_and_mistakes_are_told_together() {
    let fleet = Fleet::start(75, 20, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 20, "");
    engine
        .run(&[
            "schedule",
            "add",
            "spread",
            "--cron",
            "0 0 1 1 *",
            "--spread",
            "2s",
            "--all",
            "--",
            "/system/identity/print",
        ])
        .ok();
    let job = engine
        .run(&["schedule", "run-now", "spread", "--json"])
        .ok()
        .json();
    let job = job[0]["job"].as_str().expect("an id").to_owned();
    engine.run(&["schedule", "run-now", "spread"]).exits(6);
    let results = engine.run(&["job", "watch", &job, "--json"]).ok().json();
    let mut times = results
        .iter()
        .map(|result| result["started_at"].as_str().expect("a time").to_owned())
        .collect::<Vec<_>>();
    times.sort();
    let seconds = |at: &str| at[17..23].parse::<f64>().expect("seconds");
    let over = (seconds(&times[19]) - seconds(&times[0])).rem_euclid(60.0);
    assert!(over > 1.0, "all within {over} s");
    let next = engine.run(&["schedule", "list", "--json"]).ok().json();
    assert_eq!(next[0]["next"].as_array().map(Vec::len), Some(10));
    let told = engine
        .run(&[
            "schedule",
            "add",
            "a b",
            "--cron",
            "0 25 * * *",
            "--zone",
            "Europe/Rigga",
            "--missed",
            "all:0",
            "--spread",
            "48h",
            "--select",
            "=",
            "--json",
            "--",
            "/system/identity/print",
        ])
        .exits(1);
    let told: Value = serde_json::from_str(told.stderr().lines().last().expect("a line")).expect("JSON");
    let fields = told["details"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|bad| bad["field"].clone());
    assert_eq!(
        fields.collect::<Vec<_>>(),
        [
            json!("schedule.name"),
            json!("schedule.cron"),
            json!("schedule.time_zone"),
            json!("schedule.job.selector"),
            json!("schedule.job.spread"),
            json!("schedule.missed_most"),
        ]
    );
    let words = ["schedule", "add", "c", "--cron", "0 1 * * *", "--all"];
    let change = ["--", "/ip/dns/set", "servers=1.1.1.1"];
    let told = engine.run(&[&words[..], &change].concat()).exits(1);
    assert!(
        told.stderr().contains("nobody is here to be asked"),
        "{}",
        told.stderr()
    );
    let told = engine
        .run(&[&words[..], &["--yes", "--missed", "once"], &change].concat())
        .exits(1);
    assert!(
        told.stderr()
            .contains("--missed: a job with changes never makes up"),
        "{}",
        told.stderr()
    );
    engine.run(&[&words[..], &["--yes"], &change].concat()).ok();
    engine.run(&[&words[..], &["--yes"], &change].concat()).ok();
    engine
        .run(&[
            "schedule",
            "add",
            "c",
            "--cron",
            "0 2 * * *",
            "--all",
            "--",
            "/system/identity/print",
        ])
        .exits(1);
}
