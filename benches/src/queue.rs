//! The store as dispatch uses it: executions are claimed in batches, and completed in batches.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use muster_engine_core::Outcome;
use muster_model::{
    Command, Device, ExecutionState, Labels, Plan, Ports, Priority, Selector, Step, Transport,
};
use muster_store::{
    ApplyReports, Claim, CreateJob, ImportDevices, Lease, OpenSession, Report, ReportAnswer, SetCredential,
    Store, Zones,
};
use routeros_wire::encode;

/// Executions in one batch: what dispatch claims and what a worker reports at once.
pub const BATCH: usize = 250;
/// Devices, thus executions of a job. A multiple of [`BATCH`].
const DEVICES: usize = 20 * BATCH;
/// Long after every bench.
const FAR: i64 = 1 << 50;

/// A store with a fleet and a worker's session.
#[derive(Debug)]
pub struct Queue {
    store: Store,
    session: u64,
    /// Executions that can be claimed.
    ready: usize,
    jobs: u64,
    plan: Plan,
}

impl Queue {
    /// A new store in a directory.
    pub async fn open(directory: &Path) -> anyhow::Result<Self> {
        let store = Store::open(&directory.join("muster.db")).await?;
        let credential = SetCredential {
            name: "fleet".into(),
            username: "admin".into(),
            sealed: vec![0; 40],
            now: 0,
        };
        store.write(credential).await?;
        let import = ImportDevices {
            devices: (1..=DEVICES).map(device).collect(),
            update: false,
            validate_only: false,
            claimed_by: String::new(),
            now: 0,
        };
        let imported = store.write(import).await?;
        ensure!(imported.is_ok(), "the import was refused: {imported:?}");
        let open = OpenSession {
            worker: "bench".into(),
            instance: "bench".into(),
            engine_boot: String::new(),
            zones: Vec::new(),
            now: 0,
        };
        let session = store.write(open).await?;
        let command = Command::parse(&["/system/resource/print"])?;
        Ok(Self {
            store,
            session,
            ready: 0,
            jobs: 0,
            plan: Plan {
                steps: vec![Step::Command(command)],
            },
        })
    }

    /// Makes a job on all devices unless a batch can be claimed. Not part of what is timed.
    pub async fn refill(&mut self) -> anyhow::Result<()> {
        if self.ready >= BATCH {
            return Ok(());
        }
        self.jobs += 1;
        let create = CreateJob {
            uuid: format!("job-{}", self.jobs),
            request_id: None,
            request_hash: [0; 32],
            name: "bench".into(),
            plan: self.plan.clone(),
            selector: Selector::default(),
            retry: None,
            priority: Priority::Interactive,
            concurrency: None,
            deed: None,
            timeout_ms: 30_000,
            now: 0,
            expires_at: FAR,
            claimed_by: String::new(),
        };
        let created = self.store.write(create).await?;
        created.context("a job on all devices")?;
        self.ready += DEVICES;
        Ok(())
    }

    /// Claims a batch.
    pub async fn claim(&mut self) -> anyhow::Result<Vec<Lease>> {
        let claim = Claim {
            session: self.session,
            zones: Zones::Rest,
            limit: BATCH,
            now: 0,
        };
        let leases = self.store.write(claim).await?.leases;
        ensure!(leases.len() == BATCH, "claimed {} of {BATCH}", leases.len());
        self.ready -= BATCH;
        Ok(leases)
    }

    /// Reports a batch as done, from [`reports`].
    pub async fn complete(&self, reports: Vec<Report>) -> anyhow::Result<()> {
        let told = reports.len();
        let answers = self.store.write(ApplyReports { reports, now: 0 }).await?;
        let done = |answer: &&ReportAnswer| {
            matches!(
                answer,
                ReportAnswer::Moved {
                    to: ExecutionState::Succeeded,
                    ..
                }
            )
        };
        let moved = answers.answers.iter().filter(done).count();
        ensure!(moved == told, "{moved} of {told} reports were applied");
        Ok(())
    }

    /// Writes what waits and closes the file.
    pub async fn close(self) {
        self.store.close().await;
    }
}

/// What devices answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Each its own, as with an uptime in it: each is stored.
    Own,
    /// All the same, as with a version: one is stored.
    Same,
}

/// What a worker would report of these: one row each.
pub fn reports(leases: &[Lease], answers: Answers) -> anyhow::Result<Vec<Report>> {
    let report = |lease: &Lease| {
        let uptime = match answers {
            Answers::Own => format!("=uptime={}s", lease.execution),
            Answers::Same => "=uptime=1w".to_owned(),
        };
        let mut answer = Vec::new();
        encode::sentence(&mut answer, ["!re", &uptime, "=version=7.16.2 (stable)"])?;
        encode::sentence(&mut answer, ["!done"])?;
        Ok(Report {
            execution: lease.execution,
            epoch: lease.epoch,
            outcome: Outcome::Succeeded,
            error: None,
            steps_done: 1,
            first_step: 0,
            replies: vec![Bytes::from(answer)],
            started_at: 0,
        })
    };
    leases.iter().map(report).collect()
}

fn device(number: usize) -> Device {
    Device {
        name: format!("sim-{number:05}"),
        address: format!("127.20.{}.{}", number >> 8, number & 255),
        port: 8728,
        transport: Transport::Api,
        credential: "fleet".into(),
        zone: "default".into(),
        labels: Labels::default(),
        tls: None,
        pin: None,
        ports: Ports::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_goes_through() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut queue = Queue::open(directory.path()).await.expect("opens");
        queue.refill().await.expect("a job");
        let leases = queue.claim().await.expect("claimed");
        let reports = reports(&leases, Answers::Own).expect("reports");
        queue.complete(reports.clone()).await.expect("completed");
        assert!(
            queue.complete(reports).await.is_err(),
            "nothing is completed twice"
        );
        queue.close().await;
    }
}
