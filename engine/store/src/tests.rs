mod audits;
mod availability;
mod budget;
mod conformance;
mod file;
mod inventory;
mod jobs;
mod leases;
mod limit;
mod pages;
mod reach;
mod retention;
mod rollout;
mod scan;
mod sets;
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
                holder: None,
            })
            .await
            .expect("write")
    }

    async fn grant(&self, lease: &Lease) -> Verdict {
        self.grant_step(lease, 0).await
    }

    async fn grant_step(&self, lease: &Lease, step: u32) -> Verdict {
        let intent = IntentRequest {
            execution: lease.execution,
            epoch: lease.epoch,
            step,
            memo: Vec::new(),
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
        plan: Plan::new(vec![Step::Command(Command::parse(words).expect("valid"))]),
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
        spread: None,
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
        in_flight: None,
    }
}
