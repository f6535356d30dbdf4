//! The store as dispatch uses it: executions are claimed in batches, and completed in batches.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use muster_engine_core::Outcome;
use muster_engine_core::budget::Asked;
use muster_model::{Command, ExecutionState, JobState, Plan, Priority, Selector, Step};
use muster_store::{
    ApplyReports, AssignWaves, Claim, CreateJob, GrantIntents, IntentRequest, LayOut, Lease, OpenSession,
    OpenWave, Report, ReportAnswer, StartJob, Store, Verdict, Zones,
};
use routeros_wire::encode;

use crate::fill;

/// Executions in one batch: what dispatch claims and what a worker reports at once.
pub const BATCH: usize = 500;
/// Long after every bench.
const FAR: i64 = 1 << 50;

/// Unix milliseconds. What was over long ago is swept as soon as an engine starts on the store.
fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(FAR)
}

/// A store with a fleet and a worker's session; cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    session: u64,
    plan: Plan,
}

impl Queue {
    /// A new store in a directory, with so many devices.
    pub async fn open(directory: &Path, devices: u64) -> anyhow::Result<Self> {
        fill::devices(directory, devices).await?;
        Self::over(directory).await
    }

    /// The store in a directory, with the devices that it has.
    pub async fn over(directory: &Path) -> anyhow::Result<Self> {
        let store = Store::open(&fill::path(directory)).await?;
        let open = OpenSession {
            worker: "bench".into(),
            instance: "bench".into(),
            engine_boot: String::new(),
            zones: Vec::new(),
            now: now(),
        };
        let session = store.write(open).await?;
        let command = Command::parse(&["/system/resource/print"])?;
        Ok(Self {
            store,
            session,
            plan: Plan::new(vec![Step::Command(command)]),
        })
    }

    /// Makes a job on all devices, and lays it out to its end. Returns how many executions it has.
    pub async fn create(&self) -> anyhow::Result<u64> {
        let uuid = uuid::Uuid::new_v4().to_string();
        self.lay_out(self.job(&uuid)).await
    }

    /// A job of a read on all devices.
    fn job(&self, uuid: &str) -> CreateJob {
        CreateJob {
            uuid: uuid.to_owned(),
            request_id: None,
            request_hash: [0; 32],
            name: "bench".into(),
            plan: self.plan.clone(),
            selector: Selector::default(),
            retry: None,
            mode: Default::default(),
            priority: Priority::Interactive,
            concurrency: None,
            budget: Asked::All,
            waves: Vec::new(),
            start: JobState::Running,
            rollout: None,
            stretch_ms: None,
            spread: None,
            deeds: Vec::new(),
            timeout_ms: 30_000,
            now: now(),
            expires_at: FAR,
            claimed_by: String::new(),
        }
    }

    async fn lay_out(&self, create: CreateJob) -> anyhow::Result<u64> {
        let uuid = create.uuid.clone();
        let created = self.store.write(create).await?;
        let mut draft = created.context("a job on all devices")?.draft;
        while draft {
            let part = LayOut {
                uuid: uuid.clone(),
                now: now(),
            };
            draft = self.store.write(part).await?;
        }
        let job = self.store.job(&uuid).await?.context("the job that was made")?;
        Ok(job.total)
    }

    /// Makes a job of a change on all devices, which are numbered from 1, in so many waves of one size, and lets it begin.
    pub async fn create_in_waves(&self, devices: u64, waves: u32) -> anyhow::Result<String> {
        let uuid = uuid::Uuid::new_v4().to_string();
        let command = Command::parse(&["/ip/dns/set", "=servers=192.0.2.1"])?;
        let create = CreateJob {
            plan: Plan::new(vec![Step::Command(command)]),
            // Counted as any other, and never in the way.
            budget: Asked::Count(devices),
            waves: vec![Some(devices); waves as usize],
            start: JobState::Scheduled,
            ..self.job(&uuid)
        };
        self.lay_out(create).await?;
        let places = (1..=devices).map(|device| (device, ((device - 1) * u64::from(waves) / devices) as u32));
        for part in places.collect::<Vec<_>>().chunks(10_000) {
            let assign = AssignWaves {
                uuid: uuid.clone(),
                waves: part.to_vec(),
            };
            ensure!(self.store.write(assign).await?, "a job that has not begun");
        }
        let start = StartJob {
            uuid: uuid.clone(),
            now: now(),
        };
        ensure!(self.store.write(start).await?, "a job that waits");
        Ok(uuid)
    }

    /// Lets the executions of a wave be handed out, from 0. The first is open from the beginning.
    pub async fn open_wave(&self, job: &str, wave: u32) -> anyhow::Result<()> {
        let open = OpenWave {
            uuid: job.to_owned(),
            wave,
            now: now(),
        };
        let opened = self.store.write(open).await?;
        ensure!(opened || wave == 0, "wave {wave} was open");
        Ok(())
    }

    /// Gets the intents of a batch.
    pub async fn grant(&self, leases: &[Lease]) -> anyhow::Result<()> {
        let intents = leases.iter().map(|lease| IntentRequest {
            execution: lease.execution,
            epoch: lease.epoch,
            step: 0,
            memo: Vec::new(),
        });
        let grant = GrantIntents {
            intents: intents.collect(),
            now: now(),
        };
        let verdicts = self.store.write(grant).await?;
        ensure!(
            verdicts.iter().all(|verdict| *verdict == Verdict::Granted),
            "an intent was not granted"
        );
        Ok(())
    }

    /// Claims a batch, or what is left.
    pub async fn claim(&self) -> anyhow::Result<Vec<Lease>> {
        let claim = Claim {
            session: self.session,
            zones: Zones::Rest,
            limit: BATCH,
            now: now(),
            holder: None,
        };
        Ok(self.store.write(claim).await?.leases)
    }

    /// Reports a batch as done, from [`reports`].
    pub async fn complete(&self, reports: Vec<Report>) -> anyhow::Result<()> {
        let told = reports.len();
        let answers = self.store.write(ApplyReports { reports, now: now() }).await?;
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
    /// A row of some 200 bytes, each its own, as with an uptime in it: each is stored.
    Own,
    /// The same row, all alike: one is stored.
    Same,
    /// Nothing but that it is done, as to a change.
    Done,
}

impl Answers {
    /// What the device of this execution answers, in wire format.
    pub fn of(self, execution: u64) -> anyhow::Result<Vec<u8>> {
        let mut answer = Vec::with_capacity(224);
        let uptime = match self {
            Self::Own => format!("=uptime={execution}s"),
            Self::Same => "=uptime=1w".to_owned(),
            Self::Done => {
                encode::sentence(&mut answer, ["!done"])?;
                return Ok(answer);
            }
        };
        let row = [
            "!re",
            &uptime,
            "=version=7.16.2 (stable)",
            "=build-time=2024-11-26 12:09:40",
            "=factory-software=7.6",
            "=free-memory=912261120",
            "=total-memory=1073741824",
            "=cpu=ARM64",
            "=cpu-count=4",
            "=cpu-load=3",
            "=architecture-name=arm64",
        ];
        encode::sentence(&mut answer, row)?;
        encode::sentence(&mut answer, ["!done"])?;
        Ok(answer)
    }
}

/// What a worker would report of these: one row each.
pub fn reports(leases: &[Lease], answers: Answers) -> anyhow::Result<Vec<Report>> {
    let report = |lease: &Lease| {
        Ok(Report {
            execution: lease.execution,
            epoch: lease.epoch,
            outcome: Outcome::Succeeded,
            error: None,
            steps_done: 1,
            first_step: 0,
            replies: vec![Bytes::from(answers.of(lease.execution)?)],
            started_at: (lease.execution % 16) as i64,
            fingerprint: None,
        })
    };
    leases.iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_goes_through() {
        let directory = tempfile::tempdir().expect("a directory");
        let devices = BATCH as u64;
        let queue = Queue::open(directory.path(), devices).await.expect("opens");
        assert_eq!(queue.create().await.expect("a job"), devices);
        let leases = queue.claim().await.expect("claimed");
        let reports = reports(&leases, Answers::Own).expect("reports");
        queue.complete(reports.clone()).await.expect("completed");
        assert!(
            queue.complete(reports).await.is_err(),
            "nothing is completed twice"
        );
        queue.close().await;
        fill::recount(directory.path(), devices).expect("everything is counted");
    }
}
