mod budget;
mod conformance;
mod limit;
mod retention;
mod rollout;
mod twins;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use muster_engine_core::budget::Asked;
use muster_engine_core::execution::READ_ATTEMPTS;
use muster_engine_core::{Held, Outcome, Tally};
use muster_model::selector::Facts;
use muster_model::{
    Command, Device, DeviceError, ErrorClass, ExecutionState, JobState, Labels, Plan, Ports, Priority,
    Selector, Step, Transport, Verify,
};
use sqlx::{Executor, SqlSafeStr};
use tempfile::TempDir;

use super::*;

struct Bench {
    store: Store,
    directory: TempDir,
}

const READ: &[&str] = &["/system/resource/print"];
const CHANGE: &[&str] = &["/ip/dns/set", "servers=1.1.1.1"];

impl Bench {
    /// A store with `count` devices r1, r2, … in zone z1 (odd) and z2 (even), site a or b.
    async fn with_devices(count: usize) -> Self {
        let directory = TempDir::new().expect("temporary directory");
        let store = Store::open(&directory.path().join("muster.db"))
            .await
            .expect("open");
        let bench = Self { store, directory };
        let credential = SetCredential {
            name: "ops".into(),
            username: "admin".into(),
            sealed: vec![1, 2],
            now: 0,
        };
        bench.store.write(credential).await.expect("credential");
        let devices = (1..=count).map(device).collect();
        bench.import(devices, false).await.expect("importable");
        bench
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("muster.db")
    }

    async fn import(&self, devices: Vec<Device>, update: bool) -> Result<Imported, Vec<ImportRefused>> {
        let import = ImportDevices {
            devices,
            update,
            validate_only: false,
            claimed_by: "tester".into(),
            now: 1,
        };
        self.store.write(import).await.expect("write")
    }

    async fn job(&self, words: &[&str], selector: &str) -> String {
        self.create(words, selector, None, 0).await.expect("not refused")
    }

    /// A job of one change that says how it is verified.
    async fn verified_job(&self) -> String {
        let verify = Verify::new(["/ip/dns/print"], "servers=1.1.1.1", false).expect("a read");
        let command = Command::parse(CHANGE).expect("valid").with_verify(verify);
        let mut create = create(CHANGE, "", None, 0);
        create.plan.steps = vec![Step::Command(command.expect("a change"))];
        self.store.write(create).await.expect("write").expect("made").uuid
    }

    async fn create(
        &self,
        words: &[&str],
        selector: &str,
        request_id: Option<&str>,
        hash: u8,
    ) -> Result<String, CreateRefused> {
        let create = create(words, selector, request_id, hash);
        let created = self.store.write(create).await.expect("write");
        created.map(|created| created.uuid)
    }

    async fn session(&self, instance: &str, zones: &[&str]) -> u64 {
        let open = OpenSession {
            worker: "w".into(),
            instance: instance.into(),
            engine_boot: String::new(),
            zones: zones.iter().map(ToString::to_string).collect(),
            now: 0,
        };
        self.store.write(open).await.expect("write")
    }

    async fn claim(&self, session: u64, zones: Zones, limit: usize) -> Vec<Lease> {
        self.claim_at(session, zones, limit, 0).await.leases
    }

    async fn claim_at(&self, session: u64, zones: Zones, limit: usize, now: i64) -> Claimed {
        self.store
            .write(Claim {
                session,
                zones,
                limit,
                now,
            })
            .await
            .expect("write")
    }

    async fn grant(&self, lease: &Lease) -> Verdict {
        let intent = IntentRequest {
            execution: lease.execution,
            epoch: lease.epoch,
            step: 0,
        };
        let answers = self
            .store
            .write(GrantIntents {
                intents: vec![intent],
                now: 0,
            })
            .await
            .expect("write");
        answers[0]
    }

    async fn report(&self, lease: &Lease, outcome: Outcome, replies: &[&'static [u8]]) -> ReportAnswer {
        self.report_at(lease, outcome, replies, 10).await.answers[0].clone()
    }

    async fn report_at(
        &self,
        lease: &Lease,
        outcome: Outcome,
        replies: &[&'static [u8]],
        now: i64,
    ) -> Applied {
        let error = (outcome != Outcome::Succeeded).then(|| DeviceError::new(ErrorClass::Reset, "cut"));
        let report = Report {
            execution: lease.execution,
            epoch: lease.epoch,
            outcome,
            error,
            steps_done: u32::from(outcome == Outcome::Succeeded),
            first_step: 0,
            replies: replies.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
            started_at: 5,
            fingerprint: None,
        };
        let reports = vec![report];
        self.store
            .write(ApplyReports { reports, now })
            .await
            .expect("write")
    }

    async fn abort(&self, job: &str, now: i64) -> Aborted {
        let abort = AbortJob {
            uuid: job.to_owned(),
            claimed_by: "tester".into(),
            reason: "a test".into(),
            finish: false,
            now,
        };
        self.store.write(abort).await.expect("write")
    }

    async fn pause(&self, job: &str, pause: bool, now: i64) -> Paused {
        let pause = PauseJob {
            uuid: job.to_owned(),
            pause,
            claimed_by: "tester".into(),
            reason: "a test".into(),
            now,
        };
        self.store.write(pause).await.expect("write")
    }

    async fn results(&self, job: &str) -> Vec<ResultRecord> {
        let page = ResultPage {
            job: self.record(job).await.id,
            after: 0,
            limit: 100_000,
            states: vec![],
        };
        self.store.results(&page).await.expect("read")
    }

    async fn record(&self, job: &str) -> JobRecord {
        self.store.job(job).await.expect("read").expect("exists")
    }

    async fn states(&self, job: &str) -> Vec<ExecutionState> {
        let results = self.results(job).await;
        results.into_iter().map(|record| record.state).collect()
    }

    /// Counters are kept by deltas; a recount must agree.
    async fn check_counts(&self, job: &str) {
        let mut recount = BTreeMap::new();
        for state in self.states(job).await {
            *recount.entry(state).or_insert(0) += 1;
        }
        assert_eq!(
            self.record(job).await.counts,
            recount.into_iter().collect::<Vec<_>>()
        );
    }
}

fn create(words: &[&str], selector: &str, request_id: Option<&str>, hash: u8) -> CreateJob {
    CreateJob {
        uuid: format!("job-{}-{selector}-{}", words[0], request_id.unwrap_or_default()),
        request_id: request_id.map(str::to_owned),
        request_hash: [hash; 32],
        name: words[0].to_owned(),
        plan: Plan {
            steps: vec![Step::Command(Command::parse(words).expect("valid"))],
        },
        selector: if selector.is_empty() {
            Selector::default()
        } else {
            selector.parse().expect("valid")
        },
        retry: None,
        mode: Mode::Apply,
        timeout_ms: 30_000,
        priority: Priority::Interactive,
        concurrency: None,
        now: 0,
        expires_at: 30_000,
        budget: Asked::All,
        waves: Vec::new(),
        start: JobState::Running,
        rollout: None,
        stretch_ms: None,
        claimed_by: "tester".into(),
        deeds: Vec::new(),
    }
}

fn device(number: usize) -> Device {
    Device {
        name: format!("r{number}"),
        address: format!("127.20.0.{number}"),
        port: 8728,
        transport: Transport::Api,
        credential: "ops".into(),
        zone: if number % 2 == 1 { "z1" } else { "z2" }.into(),
        labels: Labels::parse(if number.is_multiple_of(3) {
            "site=a;role=core"
        } else {
            "site=b"
        })
        .expect("valid"),
        tls: None,
        pin: None,
        ports: Ports::default(),
    }
}

#[tokio::test]
async fn every_statement_is_understood_by_a_migrated_database() {
    let bench = Bench::with_devices(0).await;
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    for (name, statement) in sql::ALL {
        if let Err(error) = connection.prepare(statement.into_sql_str()).await {
            panic!("{name}: {error}");
        }
    }
}

/// Statements that run for every batch, or several times a second, find what they need by an index: a scan would cost
/// in proportion to all that was ever done.
#[tokio::test]
async fn hot_statements_scan_no_table() {
    const HOT: &[&str] = &[
        "JOB_LIVE",
        "JOB_DUE",
        "NEXT_READY",
        "READY_NAMED",
        "READY_REST",
        "RESOLVING_NAMED",
        "RESOLVING_REST",
        "CLAIM",
        "JOBS_ASSIGNED",
        "LOAD",
        "LOAD_SESSION",
        "LOAD_PENDING",
        "LOAD_RESOLVING",
        "MOVE",
        "MOVE_ALIKE",
        "COUNTS_MOVE",
        "COUNTS",
        "STEPS_REMOVE",
        "BLOB_KNOWN",
        "BLOB_SHARE",
        "WAKE",
        "EVENTS_AFTER",
    ];
    let bench = Bench::with_devices(0).await;
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    for name in HOT {
        let (_, statement) = sql::ALL
            .iter()
            .find(|(known, _)| known == name)
            .expect("it is there");
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
            .fetch_all(&mut connection)
            .await
            .expect("a plan");
        for (.., step) in &plan {
            let tables = [
                "job",
                "j",
                "execution",
                "e",
                "event",
                "step_result",
                "s",
                "blob",
                "b",
                "device",
                "d",
            ];
            let scans = tables.iter().any(|table| {
                let scan = format!("SCAN {table}");
                *step == scan || step.starts_with(&format!("{scan} USING COVERING INDEX sqlite_"))
            });
            assert!(!scans, "{name}: {plan:?}");
        }
    }
    for insert in [&sql::BLOB_STORE, &sql::STEP_STORE] {
        for rows in [1, 1_000] {
            let (statement, _) = insert.of(rows);
            connection
                .prepare(statement.into_sql_str())
                .await
                .expect(statement);
        }
    }
}

#[tokio::test]
async fn a_database_from_a_newer_muster_is_refused_with_a_sentence() {
    let Bench { store, directory } = Bench::with_devices(0).await;
    store.close().await;
    let path = directory.path().join("muster.db");
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path))
        .await
        .expect("connect");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99, 'later', true, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.expect("insert");
    connection.close().await.expect("close");
    let error = Store::open(&path).await.expect_err("newer").to_string();
    assert!(
        error.contains("was written by a newer muster (schema 99, this one knows "),
        "{error}"
    );
}

#[tokio::test]
async fn an_import_tells_everything_that_is_wrong_and_stores_nothing() {
    let bench = Bench::with_devices(1).await;
    let strange = Device {
        credential: "nobody".into(),
        ..device(9)
    };
    let refused = bench
        .import(vec![device(1), device(2), device(2), strange], false)
        .await
        .expect_err("refused");
    let told = refused
        .iter()
        .map(|refused| (refused.index, refused.field))
        .collect::<Vec<_>>();
    assert_eq!(told, [(0, "name"), (2, "name"), (3, "credential")]);
    assert!(refused[2].reason.contains("known: ops"), "{}", refused[2].reason);
    assert_eq!(
        bench
            .store
            .count_devices(&Selector::default())
            .await
            .expect("read"),
        1
    );
}

#[tokio::test]
async fn an_import_may_overwrite_when_told_to() {
    let bench = Bench::with_devices(2).await;
    let moved = Device {
        address: "10.0.0.1".into(),
        labels: Labels::parse("site=c").expect("valid"),
        ..device(2)
    };
    let done = bench
        .import(vec![device(1), moved.clone(), device(3)], true)
        .await
        .expect("imported");
    assert_eq!(
        done,
        Imported {
            created: 1,
            updated: 1,
            unchanged: 1
        }
    );
    let site_c = "site=c".parse().expect("valid");
    let found = bench.store.devices(&site_c, "", 10).await.expect("read");
    assert_eq!(
        found.into_iter().map(|record| record.device).collect::<Vec<_>>(),
        [moved]
    );
}

#[tokio::test]
async fn selectors_mean_the_same_in_sql_and_in_the_model() {
    let bench = Bench::with_devices(12).await;
    let facts = FactsRecord {
        version: "7.16.2 (stable)".into(),
        board: "hEX [S]".into(),
        ..FactsRecord::default()
    };
    let all = bench
        .store
        .devices(&Selector::default(), "", 100)
        .await
        .expect("read");
    let some = all
        .iter()
        .take(5)
        .map(|record| (record.id, facts.clone()))
        .collect();
    bench
        .store
        .write(StoreFacts { facts: some, now: 3 })
        .await
        .expect("write");
    let all = bench
        .store
        .devices(&Selector::default(), "", 100)
        .await
        .expect("read");
    for text in [
        "site=a",
        "site!=a",
        "role",
        "!role",
        "site in (a,b)",
        "role notin (core)",
        "name=r1*",
        "name!=r1*",
        "name=r?",
        "zone=z1,site=b",
        "version=7.16*",
        "version!=7.16*",
        "board",
        "!board",
        "board=hEX [S]",
        "board=\"hEX [S]\"",
        "address=127.20.0.1",
        "rack",
        "!rack",
        "rack=1",
        "rack!=1",
    ] {
        let Ok(selector) = text.parse::<Selector>() else {
            continue;
        };
        let expected = all.iter().filter(|record| {
            let facts = record.facts.as_ref();
            let facts = Facts {
                version: facts.map(|f| &*f.version),
                board: facts.map(|f| &*f.board),
            };
            selector.matches(&record.device, facts)
        });
        let found = bench.store.devices(&selector, "", 100).await.expect("read");
        let names = |records: Vec<&DeviceRecord>| {
            records
                .into_iter()
                .map(|record| record.device.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(found.iter().collect()), names(expected.collect()), "{text}");
    }
}

#[tokio::test]
async fn labels_are_set_and_removed_by_selector() {
    let bench = Bench::with_devices(6).await;
    let label = LabelDevices {
        selector: "site=a".parse().expect("valid"),
        set: Labels::parse("rack=7").expect("valid"),
        remove: vec!["role".into()],
    };
    let done = bench.store.write(label).await.expect("write");
    assert_eq!((done.selected, done.changed), (2, 2));
    let rack = "rack=7,!role".parse().expect("valid");
    assert_eq!(bench.store.count_devices(&rack).await.expect("read"), 2);
}

#[tokio::test]
async fn a_request_id_makes_creation_repeatable() {
    let bench = Bench::with_devices(2).await;
    let first = bench.create(READ, "", Some("id-1"), 1).await;
    assert_eq!(bench.create(READ, "", Some("id-1"), 1).await, first);
    let reused = CreateRefused::RequestIdReused(first.expect("made"));
    assert_eq!(bench.create(READ, "", Some("id-1"), 2).await, Err(reused));
}

#[tokio::test]
async fn an_empty_selection_makes_no_job() {
    let bench = Bench::with_devices(2).await;
    assert_eq!(
        bench.create(READ, "site=nowhere", None, 1).await,
        Err(CreateRefused::EmptySelection)
    );
    assert!(bench.store.jobs(i64::MAX, 10).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_read_job_from_creation_to_completion() {
    let bench = Bench::with_devices(3).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 2).await;
    assert_eq!(leases.len(), 2);
    assert_eq!((leases[0].epoch, leases[0].address.as_str()), (1, "127.20.0.1"));
    bench.check_counts(&job).await;
    let answer: &[u8] = b"\x03!re\x0c=version=7.1\x00\x05!done\x00";
    assert_eq!(
        bench.report(&leases[0], Outcome::Succeeded, &[answer]).await,
        ReportAnswer::Moved {
            to: ExecutionState::Succeeded,
            released: false
        }
    );
    let again = bench.report(&leases[0], Outcome::Succeeded, &[answer]).await;
    assert!(
        matches!(again, ReportAnswer::Ignored(_)),
        "a report told twice changes nothing"
    );
    let rest = bench.claim(session, Zones::Rest, 10).await;
    for lease in leases[1..].iter().chain(&rest) {
        bench.report(lease, Outcome::Succeeded, &[answer]).await;
    }
    let record = bench.record(&job).await;
    assert_eq!(
        (record.state, record.finished_at),
        (JobState::Completed, Some(10))
    );
    bench.check_counts(&job).await;

    let page = ResultPage {
        job: record.id,
        after: 0,
        limit: 10,
        states: vec![ExecutionState::Succeeded],
    };
    let results = bench.store.results(&page).await.expect("read");
    assert_eq!(results.len(), 3);
    assert_eq!(results[0].replies, [Bytes::from_static(answer)]);
    assert_eq!(
        (results[0].started_at, results[0].finished_at),
        (Some(5), Some(10))
    );

    let events = bench.store.events(record.id, 0, 100).await.expect("read");
    let kinds = events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>();
    assert_eq!(kinds, ["created", "state", "ended", "ended", "ended", "state"]);
    let ended = events.iter().flat_map(|event| event.ended.clone()).count();
    assert_eq!(ended, 3);
}

#[tokio::test]
async fn a_large_answer_comes_back_as_it_was() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 1).await;
    let answer: &'static [u8] = b"=comment=\xFF\xFE again and again".repeat(1000).leak();
    bench.report(&leases[0], Outcome::Succeeded, &[answer]).await;
    let page = ResultPage {
        job: bench.record(&job).await.id,
        after: 0,
        limit: 1,
        states: vec![],
    };
    assert_eq!(
        bench.store.results(&page).await.expect("read")[0].replies,
        [Bytes::from_static(answer)]
    );
}

#[tokio::test]
async fn zones_decide_who_takes_what() {
    let bench = Bench::with_devices(6).await;
    bench.job(READ, "").await;
    let named = bench.session("named", &["z1"]).await;
    let rest = bench.session("rest", &[]).await;
    assert_eq!(
        bench.claim(rest, Zones::Rest, 10).await.len(),
        3,
        "z1 has a worker of its own"
    );
    let taken = bench.claim(named, Zones::Named(vec!["z1".into()]), 10).await;
    assert_eq!(taken.len(), 3);
    assert_eq!(
        bench
            .claim(named, Zones::Named(vec!["z9".into()]), 10)
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn jobs_share_what_a_worker_takes() {
    let bench = Bench::with_devices(10).await;
    let first = bench.job(READ, "").await;
    let second = bench.job(&["/interface/print"], "").await;
    let session = bench.session("i", &[]).await;
    assert_eq!(bench.claim(session, Zones::Rest, 6).await.len(), 6);
    let leased = |counts: Vec<(ExecutionState, u64)>| {
        counts
            .into_iter()
            .find(|(state, _)| *state == ExecutionState::Leased)
            .map_or(0, |(_, count)| count)
    };
    assert_eq!(leased(bench.record(&first).await.counts), 3);
    assert_eq!(leased(bench.record(&second).await.counts), 3);
    assert_eq!(bench.claim(session, Zones::Rest, 100).await.len(), 14);
}

#[tokio::test]
async fn one_execution_with_effects_holds_its_device() {
    let bench = Bench::with_devices(1).await;
    let first = bench.job(CHANGE, "").await;
    let second = bench.job(&["/ip/dns/set", "servers=9.9.9.9"], "site=b").await;
    let read = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(leases.len(), 2, "one change and one read");
    assert_eq!(bench.grant(&leases[0]).await, Verdict::Granted);
    bench.report(&leases[0], Outcome::Succeeded, &[]).await;
    assert_eq!(bench.states(&first).await, [ExecutionState::Succeeded]);
    assert_eq!(
        bench.claim(session, Zones::Rest, 10).await.len(),
        1,
        "now the second change"
    );
    for job in [first, second, read] {
        bench.check_counts(&job).await;
    }
}

#[tokio::test]
async fn a_lost_session_repeats_reads_and_never_writes() {
    let bench = Bench::with_devices(2).await;
    let read = bench.job(READ, "name=r1").await;
    let change = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(leases.len(), 3);
    let granted = leases.last().expect("three");
    assert_eq!(bench.grant(granted).await, Verdict::Granted);
    let lost = bench
        .store
        .write(LoseLeases {
            sessions: vec![session],
            now: 7,
        })
        .await
        .expect("write");
    assert_eq!(lost, 3);
    assert_eq!(bench.states(&read).await, [ExecutionState::Pending]);
    assert_eq!(
        bench.states(&change).await,
        [ExecutionState::Pending, ExecutionState::Unknown]
    );
    let late = bench.report(granted, Outcome::Succeeded, &[]).await;
    assert!(matches!(late, ReportAnswer::Moved { .. }), "it is evidence");
    let results = bench.results(&change).await;
    assert_eq!(
        results[1].state,
        ExecutionState::Unknown,
        "an old epoch moves nothing"
    );
    assert!(results[1].resolution.is_some_and(|found| found.done));
    assert_eq!(bench.grant(granted).await, Verdict::Revoked);
    for job in [read, change] {
        bench.check_counts(&job).await;
    }
}

#[tokio::test]
async fn a_worker_that_reconnects_keeps_what_it_holds_and_loses_the_rest() {
    let bench = Bench::with_devices(2).await;
    let job = bench.job(READ, "").await;
    let before = bench.session("i", &[]).await;
    let leases = bench.claim(before, Zones::Rest, 10).await;
    let after = bench.session("i", &[]).await;
    let held = vec![(leases[0].execution, leases[0].epoch), (leases[1].execution, 99)];
    let adopt = AdoptLeases {
        session: after,
        instance: "i".into(),
        held,
        now: 5,
    };
    let adopted = bench.store.write(adopt).await.expect("write");
    assert_eq!(adopted.revoked, [(leases[1].execution, 99)]);
    assert_eq!(
        bench.states(&job).await,
        [ExecutionState::Leased, ExecutionState::Pending]
    );
    bench.report(&leases[0], Outcome::Succeeded, &[]).await;
    assert_eq!(bench.states(&job).await[0], ExecutionState::Succeeded);

    let stranger = bench.session("other", &[]).await;
    let taken = bench.claim_at(stranger, Zones::Rest, 10, 5).await.leases;
    let thief = bench.session("thief", &[]).await;
    let held = vec![(taken[0].execution, taken[0].epoch)];
    let steal = AdoptLeases {
        session: thief,
        instance: "thief".into(),
        held: held.clone(),
        now: 5,
    };
    assert_eq!(
        bench.store.write(steal).await.expect("write").revoked,
        held,
        "another's lease is not adopted"
    );
}

#[tokio::test]
async fn an_unreached_device_waits_without_a_worker_and_expires() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Unreached, &[]).await;
    assert_eq!(bench.states(&job).await, [ExecutionState::Pending]);
    let claimed = bench.claim_at(session, Zones::Rest, 1, 10).await;
    assert!(claimed.leases.is_empty());
    let next = claimed.next_ready.expect("it waits for its time");
    assert!((760..=1260).contains(&next), "{next}");
    assert_eq!(
        bench.claim_at(session, Zones::Rest, 1, next).await.leases.len(),
        1
    );
    bench
        .store
        .write(LoseLeases {
            sessions: vec![session],
            now: next,
        })
        .await
        .expect("write");
    assert_eq!(
        bench
            .store
            .write(ExpireJobs { now: 29_999 })
            .await
            .expect("write"),
        0
    );
    assert_eq!(
        bench
            .store
            .write(ExpireJobs { now: 30_000 })
            .await
            .expect("write"),
        1
    );
    assert_eq!(bench.states(&job).await, [ExecutionState::Expired]);
    assert_eq!(bench.record(&job).await.state, JobState::CompletedWithFailures);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_read_that_is_cut_off_is_tried_again_a_few_times() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    for _ in 0..READ_ATTEMPTS {
        let lease = bench
            .claim_at(session, Zones::Rest, 1, 20_000)
            .await
            .leases
            .remove(0);
        bench.report(&lease, Outcome::Interrupted, &[]).await;
    }
    assert_eq!(bench.states(&job).await, [ExecutionState::Failed]);
}

#[tokio::test]
async fn an_abort_cancels_what_waits_and_names_what_is_out() {
    let bench = Bench::with_devices(3).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    let out = vec![(lease.execution, lease.epoch, session)];
    assert_eq!(bench.abort(&job, 5).await, Aborted::Aborting(out));
    assert_eq!(bench.record(&job).await.state, JobState::Aborting);
    assert!(bench.claim(session, Zones::Rest, 10).await.is_empty());
    bench.report(&lease, Outcome::Cancelled, &[]).await;
    assert_eq!(bench.record(&job).await.state, JobState::Aborted);
    assert_eq!(bench.abort(&job, 6).await, Aborted::Over);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_device_with_work_left_is_not_removed() {
    let bench = Bench::with_devices(2).await;
    let job = bench.job(READ, "name=r1").await;
    let remove = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        bench.store.write(RemoveDevices { names })
    };
    let busy = RemoveDevicesRefused::Busy {
        device: "r1".into(),
        job: job.clone(),
    };
    assert_eq!(remove(&["r1", "r2"]).await.expect("write"), Err(busy));
    let missing = RemoveDevicesRefused::NotFound(vec!["r7".into()]);
    assert_eq!(remove(&["r2", "r7"]).await.expect("write"), Err(missing));
    assert_eq!(remove(&["r2"]).await.expect("write"), Ok(1));
    bench.abort(&job, 1).await;
    assert_eq!(remove(&["r1"]).await.expect("write"), Ok(1));
    assert_eq!(bench.states(&job).await.len(), 1, "its results stay");
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench
        .report(&lease, Outcome::Succeeded, &[b"\x05!done\x00"])
        .await;
    // A second handle on the same file: what a new process would see, without a close before it.
    let again = Store::open(&bench.path()).await.expect("open");
    assert_eq!(
        again.job(&job).await.expect("read").expect("exists").state,
        JobState::Completed
    );
}

#[tokio::test]
async fn an_open_question_is_asked_first_and_of_any_job() {
    let bench = Bench::with_devices(3).await;
    let job = bench.verified_job().await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    assert_eq!(bench.grant(&lease).await, Verdict::Granted);
    bench.report(&lease, Outcome::Unknown, &[]).await;
    assert_eq!(bench.states(&job).await[0], ExecutionState::Pending);
    // The job is paused; the question is not.
    assert_eq!(bench.pause(&job, true, 11).await, Paused::Done);
    let claimed = bench.claim_at(session, Zones::Rest, 10, 12).await.leases;
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].resolve, claimed[0].execution),
        (Some(0), lease.execution)
    );
    assert_eq!(bench.grant(&claimed[0]).await, Verdict::Revoked, "it only looks");
    bench.report(&claimed[0], Outcome::FoundDone, &[]).await;
    assert_eq!(bench.states(&job).await[0], ExecutionState::Succeeded);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_question_that_nobody_could_answer_ends_unknown() {
    let bench = Bench::with_devices(1).await;
    let job = bench.verified_job().await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.grant(&lease).await;
    bench.report(&lease, Outcome::Unknown, &[]).await;
    let expire = |now| bench.store.write(ExpireJobs { now });
    let until = 30_000 + muster_engine_core::execution::resolved_within().as_millis() as i64;
    assert_eq!(expire(until - 1).await.expect("write"), 0);
    assert_eq!(expire(until).await.expect("write"), 1);
    assert_eq!(bench.states(&job).await, [ExecutionState::Unknown]);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_paused_job_admits_nothing_and_loses_no_time() {
    let bench = Bench::with_devices(2).await;
    let job = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 1).await;
    assert_eq!(bench.pause(&job, true, 1_000).await, Paused::Done);
    assert_eq!(
        bench.pause(&job, true, 2_000).await,
        Paused::Done,
        "again changes nothing"
    );
    assert!(bench.claim(session, Zones::Rest, 10).await.is_empty());
    let held = Verdict::Held(Held::Job(JobState::Paused));
    assert_eq!(bench.grant(&leases[0]).await, held);
    assert_eq!(
        bench
            .store
            .write(ExpireJobs { now: 40_000 })
            .await
            .expect("write"),
        0
    );
    assert_eq!(bench.pause(&job, false, 41_000).await, Paused::Done);
    assert_eq!(bench.record(&job).await.expires_at, 70_000);
    assert_eq!(bench.grant(&leases[0]).await, Verdict::Granted);
    assert_eq!(bench.claim(session, Zones::Rest, 10).await.len(), 1);
    bench.abort(&job, 41_001).await;
    assert_eq!(
        bench.pause(&job, true, 41_002).await,
        Paused::Refused(JobState::Aborting)
    );
    assert_eq!(bench.pause("nothing", true, 0).await, Paused::NotFound);
}

#[tokio::test]
async fn the_history_is_a_chain() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    bench.pause(&job, true, 1).await;
    bench.pause(&job, false, 2).await;
    bench.abort(&job, 3).await;
    let rows = bench.store.history(&job, 0, 10).await.expect("read");
    let actions = rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>();
    assert_eq!(actions, ["job.pause", "job.resume", "job.abort"]);
    let mut before = Vec::new();
    for row in rows {
        let fields = [
            &*row.claimed_by,
            &row.action,
            &row.subject,
            &row.reason,
            &row.detail,
        ];
        assert_eq!(row.hash, chained(&before, row.at, fields));
        before = row.hash;
    }
}

#[tokio::test]
async fn a_device_that_answers_wakes_what_waits_for_it() {
    let bench = Bench::with_devices(2).await;
    let change = bench.job(CHANGE, "name=r1").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Unreached, &[]).await;
    assert!(
        bench
            .claim_at(session, Zones::Rest, 1, 20)
            .await
            .leases
            .is_empty()
    );
    bench.job(READ, "").await;
    let reads = bench.claim_at(session, Zones::Rest, 10, 20).await.leases;
    let applied = bench.report_at(&reads[1], Outcome::Succeeded, &[], 21).await;
    assert_eq!(applied.woken, 0, "that was the other device");
    let applied = bench.report_at(&reads[0], Outcome::Succeeded, &[], 22).await;
    assert!(applied.woken == 1 && applied.makes_work());
    let woken = bench.claim_at(session, Zones::Rest, 1, 22).await.leases;
    assert_eq!(woken[0].execution, lease.execution);
    bench.check_counts(&change).await;
}

#[tokio::test]
async fn a_large_job_is_laid_out_in_parts_and_runs_when_it_is_whole() {
    let bench = Bench::with_devices(0).await;
    let many = "
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20001)
        INSERT INTO device (name, address, port, transport, credential, zone, labels, created_at)
        SELECT 'd' || i, '127.0.0.1', 1, 'api', 'ops', 'z1', '{}', 0 FROM n";
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    sqlx::query(many).execute(&mut connection).await.expect("insert");
    let created = bench
        .store
        .write(create(READ, "", Some("x"), 1))
        .await
        .expect("write")
        .expect("made");
    assert!(created.draft);
    let again = bench
        .store
        .write(create(READ, "", Some("x"), 1))
        .await
        .expect("write")
        .expect("made");
    assert_eq!(again.uuid, created.uuid);
    let session = bench.session("i", &[]).await;
    assert!(
        bench.claim(session, Zones::Rest, 10).await.is_empty(),
        "it is not whole"
    );
    assert_eq!(bench.store.drafts().await.expect("read"), [created.uuid.as_str()]);
    let lay_out = || {
        bench.store.write(LayOut {
            uuid: created.uuid.clone(),
            now: 1,
        })
    };
    assert!(lay_out().await.expect("write"));
    assert!(!lay_out().await.expect("write"));
    assert!(!lay_out().await.expect("write"), "done is done");
    let record = bench.record(&created.uuid).await;
    assert_eq!((record.state, record.total), (JobState::Running, 20_001));
    assert_eq!(record.counts, [(ExecutionState::Pending, 20_001)]);
    assert_eq!(bench.claim(session, Zones::Rest, 10).await.len(), 10);
}

#[tokio::test]
async fn a_job_of_exactly_one_part_runs_too() {
    let bench = Bench::with_devices(0).await;
    let many = "
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
        INSERT INTO device (name, address, port, transport, credential, zone, labels, created_at)
        SELECT 'd' || i, '127.0.0.1', 1, 'api', 'ops', 'z1', '{}', 0 FROM n";
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    sqlx::query(many).execute(&mut connection).await.expect("insert");
    let created = bench
        .store
        .write(create(READ, "", None, 1))
        .await
        .expect("write")
        .expect("made");
    assert!(created.draft);
    assert!(
        !bench
            .store
            .write(LayOut {
                uuid: created.uuid.clone(),
                now: 1
            })
            .await
            .expect("write")
    );
    let record = bench.record(&created.uuid).await;
    assert_eq!((record.state, record.total), (JobState::Running, 10_000));
}

#[tokio::test]
async fn classes_go_in_order_and_a_job_keeps_to_its_cap() {
    let bench = Bench::with_devices(10).await;
    let mut audit = create(READ, "", Some("a"), 1);
    audit.priority = Priority::Audit;
    let audit = bench.store.write(audit).await.expect("write").expect("made").uuid;
    let mut capped = create(READ, "", Some("b"), 1);
    capped.concurrency = Some(3);
    let capped = bench
        .store
        .write(capped)
        .await
        .expect("write")
        .expect("made")
        .uuid;
    let session = bench.session("i", &[]).await;
    let taken = bench.claim(session, Zones::Rest, 5).await;
    let leased = |record: JobRecord| {
        let leased = record
            .counts
            .into_iter()
            .find(|(state, _)| *state == ExecutionState::Leased);
        leased.map_or(0, |(_, count)| count)
    };
    assert_eq!(
        leased(bench.record(&capped).await),
        3,
        "it goes first, up to its cap"
    );
    assert_eq!(leased(bench.record(&audit).await), 2);
    bench.report(&taken[0], Outcome::Succeeded, &[]).await;
    bench.claim(session, Zones::Rest, 1).await;
    assert_eq!(leased(bench.record(&capped).await), 3);
}

#[tokio::test]
async fn a_device_that_keeps_ending_badly_is_left_out_until_it_is_released() {
    let bench = Bench::with_devices(2).await;
    let session = bench.session("i", &[]).await;
    let waiting = bench.job(&["/system/reboot"], "name=r1").await;
    let first = bench.claim(session, Zones::Rest, 1).await.remove(0);
    for round in 0..5 {
        let mut change = create(CHANGE, "name=r1", Some(&round.to_string()), 1);
        change.priority = Priority::Emergency;
        bench.store.write(change).await.expect("write").expect("made");
        let lease = match round {
            // The one that waits in the other job holds the device first.
            0 => {
                bench.report(&first, Outcome::HandedBack, &[]).await;
                bench.claim_at(session, Zones::Rest, 1, 11).await.leases.remove(0)
            }
            _ => bench.claim_at(session, Zones::Rest, 1, 11).await.leases.remove(0),
        };
        assert_eq!(bench.grant(&lease).await, Verdict::Granted);
        bench.report(&lease, Outcome::Unknown, &[]).await;
    }
    assert_eq!(bench.states(&waiting).await, [ExecutionState::Skipped]);
    assert_eq!(bench.store.quarantined(20).await.expect("read"), ["r1"]);
    let job = bench.job(CHANGE, "").await;
    assert_eq!(
        bench.states(&job).await,
        [ExecutionState::Skipped, ExecutionState::Pending]
    );
    let read = bench.job(READ, "").await;
    assert_eq!(
        bench.states(&read).await,
        [ExecutionState::Pending; 2],
        "looking harms nobody"
    );
    for job in [waiting, job] {
        bench.check_counts(&job).await;
    }
    let release = ReleaseDevices {
        names: vec!["r1".to_owned()],
        deed: Deed::default(),
        now: 20,
    };
    assert_eq!(bench.store.write(release).await.expect("write"), 5);
    assert!(bench.store.quarantined(20).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_retry_takes_the_outcomes_it_is_told_and_nothing_that_is_done() {
    let bench = Bench::with_devices(4).await;
    let job = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    for lease in &leases[..3] {
        bench.grant(lease).await;
    }
    bench.report(&leases[0], Outcome::Unknown, &[]).await;
    bench.report(&leases[1], Outcome::Unknown, &[]).await;
    bench.report(&leases[1], Outcome::Succeeded, &[]).await;
    bench.report(&leases[2], Outcome::Failed, &[]).await;
    bench.report(&leases[3], Outcome::Cancelled, &[]).await;
    let mut retry = create(CHANGE, "", Some("again"), 1);
    retry.retry = Some(Retry {
        job: job.clone(),
        states: vec![ExecutionState::Failed, ExecutionState::Unknown],
    });
    let made = bench.store.write(retry).await.expect("write").expect("made").uuid;
    let names = bench
        .results(&made)
        .await
        .into_iter()
        .map(|result| result.device)
        .collect::<Vec<_>>();
    assert_eq!(names, ["r1", "r3"], "r2 turned out to be done");
    assert_eq!(bench.record(&made).await.retry_of, Some(job));
}
