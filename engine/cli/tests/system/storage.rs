//! A store that cannot write for a while, and one that must not be written: what is told, and that nothing is lost.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tonic::Code;

use crate::harness::api::{Api, Order};
use crate::harness::database::Database;
use crate::harness::{Engine, Fleet, first_line, until};

const DEVICES: usize = 60;
const CONFIG: &str = "[worker]\nslots = 10\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// A small disk of its own for a data directory, in a mount namespace that ends with this value.
struct Disk {
    holder: Child,
    mounted: PathBuf,
}

impl Disk {
    /// `None`, with a line that says so, where this is not permitted.
    fn mount(at: &Path) -> Option<Self> {
        const SCRIPT: &str = r#"mount -t tmpfs -o size=16m tmpfs "$0" && echo mounted && exec cat"#;
        std::fs::create_dir(at).unwrap();
        let holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(error) => {
                println!("skipped: unshare cannot be run: {error}");
                return None;
            }
        };
        if first_line(holder.stdout.take().unwrap()) != "mounted\n" {
            println!("skipped: mounting a tmpfs in a namespace is not permitted here");
            holder.wait().unwrap();
            return None;
        }
        let mounted = PathBuf::from(format!("/proc/{}/root{}", holder.id(), at.display()));
        Some(Self { holder, mounted })
    }

    /// What runs a program where this disk is mounted.
    fn around(&self) -> Vec<String> {
        let pid = self.holder.id().to_string();
        let words = [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            &pid,
        ];
        words.map(str::to_owned).to_vec()
    }

    fn fill(&self) {
        let mut ballast = File::create(self.mounted.join("ballast")).unwrap();
        let full = loop {
            if let Err(error) = ballast.write_all(&[0xAA; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.mounted.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn order<'a>(steps: &'a [&'a [&'a str]], request_id: &'a str) -> Order<'a> {
    Order {
        steps,
        selector: "",
        timeout: PATIENCE,
        request_id,
    }
}

/// Every device did what it is said to have done, and did it once.
fn agree(results: &[Value], fleet: &Fleet) {
    assert_eq!(results.len(), DEVICES);
    let journal = fleet.journal();
    for result in results {
        let index = result["device"].as_str().unwrap().trim_start_matches('r');
        let times = journal.iter().filter(|entry| entry.device.to_string() == index);
        assert_eq!(
            (&result["state"], times.count()),
            (&"succeeded".into(), 1),
            "{result}"
        );
    }
}

#[test]
fn a_full_disk_is_told_and_what_runs_goes_on_when_there_is_space_again() {
    let fleet = Fleet::start(81, DEVICES, &["--fault", "late=60", "--late", "200ms"]);
    let mut engine = Engine::prepare(&[]).configured(CONFIG);
    let Some(disk) = Disk::mount(&engine.data()) else {
        return;
    };
    engine = engine.through(disk.around());
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let api = Api::new(&engine.url);
    let id = api
        .create(&order(&[&["/ip/dns/set", "servers=9.9.9.9"]], "before"))
        .unwrap();
    until("it is in the middle of it", || fleet.executed() > 0);
    disk.fill();

    let steps: &[&[&str]] = &[&["/system/identity/set", &format!("name={}", "x".repeat(900_000))]];
    let refused = api.create(&order(steps, "during")).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("disk is full"), "{refused}");
    let refused = engine.run_with_input(
        &[
            "credential",
            "set",
            "more",
            "--username",
            "admin",
            "--password-stdin",
        ],
        "secret\n",
    );
    let refused = refused.exits(1);
    assert!(refused.stderr().contains("disk is full"), "{}", refused.stderr());
    assert_eq!(
        api.job(&id).unwrap().total,
        DEVICES as u64,
        "what is there can be read"
    );

    disk.free();
    let job = api.finished(&id, PATIENCE).unwrap();
    assert_eq!(job.total, DEVICES as u64);
    let results = engine.run(&["job", "results", &id, "--json"]).ok().json();
    agree(&results, &fleet);
    assert_eq!(
        engine.run(&["job", "list", "--json"]).json().len(),
        1,
        "what was refused is not there"
    );
    assert_eq!(engine.run(&["credential", "list", "--json"]).json().len(), 1);
    api.create(&order(&[&["/system/identity/print"]], "after"))
        .unwrap();
    engine.kill();
    let mut database = Database::of_the_dead(&disk.mounted);
    assert_eq!(database.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn an_engine_killed_on_a_full_disk_finds_everything_that_was_told() {
    let fleet = Fleet::start(82, DEVICES, &["--fault", "late=60", "--late", "200ms"]);
    let mut engine = Engine::prepare(&[]).configured(CONFIG);
    let Some(disk) = Disk::mount(&engine.data()) else {
        return;
    };
    engine = engine.through(disk.around());
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let api = Api::new(&engine.url);
    let id = api
        .create(&order(&[&["/ip/dns/set", "servers=9.9.9.9"]], "before"))
        .unwrap();
    until("some are done", || fleet.executed() > 15);
    disk.fill();
    let told = engine
        .run(&["job", "results", &id, "--json", "--state", "succeeded"])
        .json();
    engine.kill();
    // It starts, or says why not; when there is space again it starts.
    if let Err(said) = engine.try_start() {
        assert!(said.join("\n").contains("disk is full"), "{said:?}");
        disk.free();
        engine.start_again();
    } else {
        disk.free();
    }
    assert!(Api::new(&engine.url).finished(&id, PATIENCE).is_some());
    let after = engine.run(&["job", "results", &id, "--json"]);
    for result in told {
        assert_eq!(
            after.of(result["device"].as_str().unwrap()),
            result,
            "what was told stays"
        );
    }
    let journal = fleet.journal();
    for result in after.json() {
        let index = result["device"].as_str().unwrap().trim_start_matches('r');
        let times = journal
            .iter()
            .filter(|entry| entry.device.to_string() == index)
            .count();
        match result["state"].as_str().unwrap() {
            "succeeded" => assert_eq!(times, 1, "{result}"),
            "unknown" => assert!(times <= 1 && result["error"]["class"] == "worker", "{result}"),
            _ => panic!("{result}"),
        }
    }
    engine.kill();
    let mut database = Database::of_the_dead(&disk.mounted);
    assert_eq!(database.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn a_database_that_somebody_else_locks_is_told_and_waited_for() {
    let fleet = Fleet::start(83, DEVICES, &["--fault", "late=60", "--late", "200ms"]);
    let mut engine = Engine::prepare(&[]).configured(CONFIG);
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let api = Api::new(&engine.url);
    let id = api
        .create(&order(&[&["/ip/dns/set", "servers=9.9.9.9"]], "before"))
        .unwrap();
    until("it is in the middle of it", || fleet.executed() > 0);
    let mut other = Database::open(&engine.data());
    other.run("BEGIN IMMEDIATE");
    let refused = api
        .create(&order(&[&["/system/identity/print"]], "during"))
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(
        refused.message().contains("another process holds the database"),
        "{refused}"
    );
    assert_eq!(
        api.job(&id).unwrap().total,
        DEVICES as u64,
        "what is there can be read"
    );
    other.run("ROLLBACK");
    api.finished(&id, PATIENCE).unwrap();
    let results = engine.run(&["job", "results", &id, "--json"]).ok().json();
    agree(&results, &fleet);
    assert_eq!(
        engine.run(&["job", "list", "--json"]).json().len(),
        1,
        "what was refused is not there"
    );
    assert_eq!(other.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn a_database_from_a_newer_muster_is_refused_with_a_sentence() {
    let mut engine = Engine::start(&[]);
    engine.kill();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', true, x'00', 0)";
    Database::open(&engine.data()).run(newer);
    let said = engine.try_start().unwrap_err();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("was written by a newer muster (schema 9999, this one knows "),
        "{said:?}"
    );
}
