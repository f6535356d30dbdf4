//! A store with a fleet, and the steps that checks are made of.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use muster_engine_core::budget::Asked;
use muster_engine_core::{Outcome, Tally};
use muster_model::{
    Command, Device, DeviceError, ErrorClass, ExecutionState, JobState, Labels, Plan, Ports, Priority,
    Selector, Step, Transport, Verify,
};

use super::{Checked, Opener, Subject};
use crate::{
    AbortJob, Aborted, Applied, ApplyReports, ChangeLimits, Claim, Claimed, CreateJob, CreateRefused,
    Created, ExecutionRecord, ExpireJobs, GrantIntents, ImportDevices, IntentRequest, JobRecord, JobStore,
    Lease, Limits, LimitsRefused, LoseLeases, Mode, OpenSession, PauseJob, Paused, Report, ReportAnswer,
    SetCredential, Verdict, Zones,
};

/// Fails a check unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($told:tt)*) => {
        if !$holds {
            return Err(format!($($told)*));
        }
    };
}

/// Fails a check unless two values are the same.
macro_rules! same {
    ($left:expr, $right:expr, $($told:tt)*) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(format!("{}: {left:?} is not {right:?}", format!($($told)*)));
        }
    }};
}

pub(super) use {ensure, same};

pub(super) const READ: &[&str] = &["/system/resource/print"];
pub(super) const CHANGE: &[&str] = &["/ip/dns/set", "servers=1.1.1.1"];

/// A store that failed.
pub(super) fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A store with devices r1, r2, … in zone z1 (odd) and z2 (even).
pub(super) struct Scene<S> {
    pub(super) subject: S,
    jobs: std::sync::Mutex<BTreeSet<String>>,
}

impl<S: Subject> Scene<S> {
    pub(super) async fn with<O: Opener<Subject = S>>(opener: &O, devices: usize) -> Result<Self, String> {
        let scene = Self {
            subject: opener.open().await?,
            jobs: Default::default(),
        };
        let credential = SetCredential {
            name: "ops".into(),
            username: "admin".into(),
            sealed: vec![1],
            now: 0,
        };
        scene.store().set_credential(credential).await.map_err(told)?;
        let import = ImportDevices {
            devices: (1..=devices).map(device).collect::<Result<_, _>>()?,
            update: false,
            validate_only: false,
            claimed_by: "tester".into(),
            now: 0,
        };
        let imported = scene.store().import_devices(import).await.map_err(told)?;
        imported.map_err(|refused| format!("the import was refused: {refused:?}"))?;
        Ok(scene)
    }

    pub(super) fn store(&self) -> &S::Store {
        self.subject.store()
    }

    /// The same, after a crash at this moment.
    pub(super) async fn after_crash(&self) -> Result<Self, String> {
        let jobs = self.jobs.lock().map_err(told)?.clone();
        Ok(Self {
            subject: self.subject.after_crash().await?,
            jobs: std::sync::Mutex::new(jobs),
        })
    }

    /// After every operation: counters equal a recount.
    async fn settled(&self) -> Checked {
        let jobs = self.jobs.lock().map_err(told)?.clone();
        recount(self.store(), jobs.iter().map(String::as_str)).await
    }

    pub(super) async fn make(&self, create: CreateJob) -> Result<Result<Created, CreateRefused>, String> {
        let created = self.store().create_job(create).await.map_err(told)?;
        if let Ok(created) = &created {
            self.jobs.lock().map_err(told)?.insert(created.uuid.clone());
        }
        self.settled().await?;
        Ok(created)
    }

    /// Makes a job and returns its id.
    pub(super) async fn job(&self, create: CreateJob) -> Result<String, String> {
        self.make(create).await?.map(|created| created.uuid).map_err(told)
    }

    pub(super) async fn session(&self, instance: &str, zones: &[&str]) -> Result<u64, String> {
        self.store()
            .open_session(open(instance, zones))
            .await
            .map_err(told)
    }

    pub(super) async fn claim(&self, claim: Claim) -> Result<Claimed, String> {
        let limit = claim.limit;
        let claimed = self.store().claim(claim).await.map_err(told)?;
        ensure!(
            claimed.leases.len() <= limit,
            "a claim took more than it asked for"
        );
        self.settled().await?;
        Ok(claimed)
    }

    /// Claims from the whole fleet at a time.
    pub(super) async fn take(&self, session: u64, limit: usize, now: i64) -> Result<Vec<Lease>, String> {
        let claim = Claim {
            session,
            zones: Zones::Rest,
            limit,
            now,
            holder: None,
        };
        Ok(self.claim(claim).await?.leases)
    }

    pub(super) async fn ask_all(
        &self,
        leases: &[Lease],
        step: u32,
        now: i64,
    ) -> Result<Vec<Verdict>, String> {
        let intents = leases.iter().map(|lease| IntentRequest {
            execution: lease.execution,
            epoch: lease.epoch,
            step,
            memo: Vec::new(),
        });
        let intents = intents.collect();
        let answers = self.store().grant_intents(GrantIntents { intents, now }).await;
        let answers = answers.map_err(told)?;
        self.settled().await?;
        same!(answers.len(), leases.len(), "answers to intents");
        Ok(answers)
    }

    pub(super) async fn ask(&self, lease: &Lease, now: i64) -> Result<Verdict, String> {
        let answers = self.ask_all(std::slice::from_ref(lease), 0, now).await?;
        Ok(answers[0])
    }

    pub(super) async fn tell_all(&self, reports: Vec<Report>, now: i64) -> Result<Applied, String> {
        let told_of = reports.len();
        let applied = self.store().apply_reports(ApplyReports { reports, now }).await;
        let applied = applied.map_err(told)?;
        self.settled().await?;
        same!(applied.answers.len(), told_of, "answers to reports");
        Ok(applied)
    }

    pub(super) async fn tell(
        &self,
        lease: &Lease,
        outcome: Outcome,
        now: i64,
    ) -> Result<ReportAnswer, String> {
        let applied = self.tell_all(vec![report(lease, outcome)], now).await?;
        Ok(applied.answers[0].clone())
    }

    pub(super) async fn lose(&self, session: u64, now: i64) -> Result<u64, String> {
        let sessions = vec![session];
        let lost = self.store().lose_leases(LoseLeases { sessions, now }).await;
        self.settled().await?;
        lost.map_err(told)
    }

    pub(super) async fn expire(&self, now: i64) -> Result<u64, String> {
        let expired = self.store().expire_jobs(ExpireJobs { now }).await.map_err(told);
        self.settled().await?;
        expired
    }

    pub(super) async fn pause(&self, job: &str, pause: bool, now: i64) -> Result<Paused, String> {
        let change = PauseJob {
            uuid: job.to_owned(),
            pause,
            claimed_by: "tester".into(),
            reason: "a check".into(),
            now,
        };
        let paused = self.store().pause_job(change).await.map_err(told);
        self.settled().await?;
        paused
    }

    pub(super) async fn abort(&self, job: &str, now: i64) -> Result<Aborted, String> {
        let abort = AbortJob {
            uuid: job.to_owned(),
            claimed_by: "tester".into(),
            reason: "a check".into(),
            finish: false,
            now,
        };
        let aborted = self.store().abort_job(abort).await.map_err(told);
        self.settled().await?;
        aborted
    }

    pub(super) async fn limit(
        &self,
        job: &str,
        budget: Option<u64>,
        approver: &str,
        now: i64,
    ) -> Result<Result<Limits, LimitsRefused>, String> {
        let change = ChangeLimits {
            uuid: job.to_owned(),
            budget: Some(budget),
            waves: Vec::new(),
            concurrency: None,
            approver: approver.to_owned(),
            claimed_by: "tester".into(),
            reason: "a check".into(),
            now,
        };
        let changed = self.store().change_limits(change).await.map_err(told);
        self.settled().await?;
        changed
    }

    pub(super) async fn record(&self, job: &str) -> Result<JobRecord, String> {
        let found = self.store().job(job).await.map_err(told)?;
        found.ok_or_else(|| format!("job {job} is not there"))
    }

    pub(super) async fn executions(&self, job: &str) -> Result<Vec<ExecutionRecord>, String> {
        let record = self.record(job).await?;
        self.store().executions(record.id).await.map_err(told)
    }

    pub(super) async fn states(&self, job: &str) -> Result<Vec<ExecutionState>, String> {
        let executions = self.executions(job).await?;
        Ok(executions.into_iter().map(|one| one.execution.state).collect())
    }
}

/// Counters of jobs, by deltas, must equal a recount of their executions, and no device may be held twice.
pub async fn recount<'a>(store: &impl JobStore, jobs: impl Iterator<Item = &'a str>) -> Checked {
    let mut locked = BTreeSet::new();
    for uuid in jobs {
        // One that is deleted has nothing to count.
        let Some(job) = store.job(uuid).await.map_err(told)? else {
            continue;
        };
        let executions = store.executions(job.id).await.map_err(told)?;
        let (mut counts, mut waves) = (BTreeMap::new(), BTreeMap::<u32, (u64, Tally)>::new());
        for one in &executions {
            *counts.entry(one.execution.state).or_insert(0) += 1;
            let wave = waves.entry(one.wave).or_default();
            wave.0 += 1;
            wave.1 += Tally::of(&one.execution);
            if one.locked {
                ensure!(
                    locked.insert(one.device),
                    "device {} is held by two executions with effects",
                    one.device
                );
            }
            let held = matches!(
                one.execution.state,
                ExecutionState::Leased | ExecutionState::Running
            );
            same!(
                held,
                one.session.is_some(),
                "whether execution {} has a session",
                one.execution.id
            );
        }
        same!(
            job.counts,
            counts.into_iter().collect::<Vec<_>>(),
            "counts of job {uuid}, and a recount"
        );
        same!(
            job.total,
            executions.len() as u64,
            "executions of job {uuid}, and a recount"
        );
        for wave in &job.waves {
            let (total, tally) = waves.remove(&wave.number).unwrap_or_default();
            let kept = (wave.total, wave.tally);
            same!(
                kept,
                (total, tally),
                "wave {} of job {uuid}, and a recount",
                wave.number
            );
        }
        ensure!(
            waves.is_empty(),
            "job {uuid} has executions in waves that it does not have"
        );
    }
    Ok(())
}

pub(super) fn open(instance: &str, zones: &[&str]) -> OpenSession {
    OpenSession {
        worker: "w".into(),
        instance: instance.to_owned(),
        engine_boot: String::new(),
        zones: zones.iter().map(ToString::to_string).collect(),
        now: 0,
    }
}

pub(super) fn report(lease: &Lease, outcome: Outcome) -> Report {
    let error = (outcome != Outcome::Succeeded).then(|| DeviceError::new(ErrorClass::Reset, "cut"));
    Report {
        execution: lease.execution,
        epoch: lease.epoch,
        outcome,
        error,
        steps_done: u32::from(outcome == Outcome::Succeeded),
        first_step: 0,
        replies: match outcome {
            Outcome::Succeeded => vec![Bytes::from_static(b"\x05!done\x00")],
            _ => Vec::new(),
        },
        started_at: 5,
        fingerprint: None,
    }
}

/// A job of these commands on every device, which waits 30 s for devices.
pub(super) fn create(name: &str, steps: &[&[&str]]) -> Result<CreateJob, String> {
    let step = |words: &&[&str]| Command::parse(*words).map(Step::Command).map_err(told);
    Ok(CreateJob {
        uuid: name.to_owned(),
        request_id: None,
        request_hash: [0; 32],
        name: name.to_owned(),
        plan: Plan::new(steps.iter().map(step).collect::<Result<_, _>>()?),
        selector: Selector::default(),
        retry: None,
        mode: Mode::Apply,
        timeout_ms: 30_000,
        priority: Priority::Interactive,
        concurrency: None,
        budget: Asked::All,
        waves: Vec::new(),
        start: JobState::Running,
        stretch_ms: None,
        spread: None,
        rollout: None,
        now: 0,
        expires_at: 30_000,
        claimed_by: "tester".into(),
        deeds: Vec::new(),
    })
}

/// A job of one change that says how it is verified.
pub(super) fn verified(name: &str) -> Result<CreateJob, String> {
    let verify = Verify::new(["/ip/dns/print"], "servers=1.1.1.1", false).map_err(told)?;
    let command = Command::parse(CHANGE).map_err(told)?;
    let command = command.with_verify(verify).map_err(told)?;
    let mut create = create(name, &[CHANGE])?;
    create.plan.steps = vec![Step::Command(command)];
    Ok(create)
}

fn device(number: usize) -> Result<Device, String> {
    Ok(Device {
        name: format!("r{number}"),
        address: format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255),
        port: 8728,
        transport: Transport::Api,
        credential: "ops".into(),
        zone: if number % 2 == 1 { "z1" } else { "z2" }.into(),
        labels: Labels::parse("site=a").map_err(told)?,
        tls: None,
        pin: None,
        ports: Ports::default(),
        in_flight: None,
    })
}
