//! The product as `serve` builds it: an engine on a durable store and its embedded worker in this process, and a
//! client on the public API.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use muster_engine::{Engine, EngineConfig};
use muster_model::Plan;
use muster_proto::dial::Dial;
use muster_proto::v1;
use muster_proto::v1::audit_service_client::AuditServiceClient;
use muster_proto::v1::credential_service_client::CredentialServiceClient;
use muster_proto::v1::device_service_client::DeviceServiceClient;
use muster_proto::v1::job_service_client::JobServiceClient;
use muster_worker::{DEFAULT_SLOTS, DRAIN_WITHIN, DeviceLimits, Worker, WorkerConfig};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::process::EngineProcess;
use crate::scratch;
use crate::sim::{self, Device};
use crate::sync::Place;
use crate::tally::Tally;

/// Limits that are not what is measured: no limit on connects, 4,096 handshakes at once, and so many commands a second and
/// device.
pub(crate) fn limits(commands: u32) -> DeviceLimits {
    DeviceLimits {
        connects_per_second: 0,
        handshakes: 4_096,
        commands_per_second: commands,
        command_burst: commands,
        ..DeviceLimits::default()
    }
}

/// The credential of the simulated fleet.
const CREDENTIAL: &str = "fleet";
/// The label that says what a device is here for.
const ROLE: &str = "bench";
/// Devices in one message of an import.
const CHUNK: usize = 500;

/// Which devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All but the first.
    Fleet,
    /// The first.
    WarmUp,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::WarmUp => "warm-up",
        }
    }
}

/// Where the engine is.
#[derive(Debug)]
enum Host {
    /// In this process, as `serve` has it.
    Here(Engine),
    /// In a process of its own, so that what this one uses is the worker's.
    Apart(EngineProcess),
}

/// A running system with a fleet in its inventory and no connection to it.
#[derive(Debug)]
pub struct System {
    engine: Host,
    worker: Worker,
    channel: Channel,
    devices: usize,
    /// The database; goes with the system.
    _directory: TempDir,
}

impl System {
    /// Starts engine and worker with their defaults and imports `devices`. The first of them warms up: when a command
    /// on it has ended, the worker has its session with the engine. [`run`](Self::run) leaves it out.
    pub async fn start(devices: &[Device]) -> anyhow::Result<Self> {
        Self::start_with(devices, DeviceLimits::default()).await
    }

    /// As [`start`](Self::start), with other limits.
    pub async fn start_with(devices: &[Device], limits: DeviceLimits) -> anyhow::Result<Self> {
        let directory = scratch::on_disk()?;
        let engine = Engine::start(EngineConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ..EngineConfig::new(directory.path())
        })
        .await?;
        let url = format!("http://{}", engine.address());
        let (token, boot) = (engine.worker_token().to_owned(), engine.boot().to_owned());
        Self::around(Host::Here(engine), &url, token, boot, directory, devices, limits).await
    }

    /// With the engine in a process of its own.
    pub async fn start_apart(
        program: &Path,
        devices: &[Device],
        limits: DeviceLimits,
    ) -> anyhow::Result<Self> {
        let directory = scratch::on_disk()?;
        let engine = EngineProcess::start(program, &Place::disk()?, directory.path())?;
        let (url, token) = (engine.url.clone(), engine.token.clone());
        let host = Host::Apart(engine);
        Self::around(host, &url, token, String::new(), directory, devices, limits).await
    }

    async fn around(
        engine: Host,
        url: &str,
        token: String,
        engine_boot: String,
        directory: TempDir,
        devices: &[Device],
        limits: DeviceLimits,
    ) -> anyhow::Result<Self> {
        let worker = Worker::start(WorkerConfig {
            engine: Dial::here(url)?,
            token,
            name: "scoreboard".to_owned(),
            zones: Vec::new(),
            slots: DEFAULT_SLOTS,
            sessions: sessions()?,
            engine_boot,
            device: limits,
            device_roots: None,
            hold: None,
            drain: DRAIN_WITHIN,
        });
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        let system = Self {
            engine,
            worker,
            channel,
            devices: devices.len().saturating_sub(1),
            _directory: directory,
        };
        system.set_credential().await?;
        system.import(devices).await?;
        system.job("warm-up", &["/system/identity/print"], 1).await?;
        Ok(system)
    }

    async fn set_credential(&self) -> anyhow::Result<()> {
        let (username, password) = sim::login();
        let request = v1::SetCredentialRequest {
            name: CREDENTIAL.to_owned(),
            username,
            password,
        };
        CredentialServiceClient::new(self.channel.clone())
            .set_credential(request)
            .await?;
        Ok(())
    }

    async fn import(&self, devices: &[Device]) -> anyhow::Result<()> {
        let given = devices.iter().enumerate().map(|(at, device)| v1::Device {
            name: device.name.clone(),
            address: device.address.ip().to_string(),
            port: device.address.port().into(),
            credential: CREDENTIAL.to_owned(),
            labels: [(
                ROLE.to_owned(),
                if at == 0 { "warm-up" } else { "fleet" }.to_owned(),
            )]
            .into(),
            ..v1::Device::default()
        });
        let given = given.collect::<Vec<_>>();
        let messages = given
            .chunks(CHUNK)
            .map(|chunk| v1::ImportDevicesRequest {
                devices: chunk.to_vec(),
                ..v1::ImportDevicesRequest::default()
            })
            .collect::<Vec<_>>();
        let imported = DeviceServiceClient::new(self.channel.clone())
            .import_devices(tokio_stream::iter(messages))
            .await?
            .into_inner();
        ensure!(
            imported.created == devices.len() as u64,
            "the import stored {} devices of {}",
            imported.created,
            devices.len()
        );
        Ok(())
    }

    /// Runs a command on the fleet as a client does. Returns the time from the request for the job to the last
    /// result, and what the devices told. Every execution has to succeed.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<(Duration, Tally)> {
        self.job("fleet", words, self.devices).await
    }

    /// Runs an audit on the fleet as a client does. Returns the time from the call to the last verdict that is on disk,
    /// and how many devices answered.
    pub async fn audit(&self, definition: &str) -> anyhow::Result<(Duration, u64)> {
        let mut client = AuditServiceClient::new(self.channel.clone());
        let request = v1::CreateAuditRequest {
            definition: definition.to_owned(),
            selector: format!("{ROLE}=fleet"),
            timeout: Some(prost_types::Duration {
                seconds: 300,
                nanos: 0,
            }),
            ..v1::CreateAuditRequest::default()
        };
        let began = Instant::now();
        let id = client.create_audit(request).await?.into_inner().job;
        let mut news = client
            .watch_audit(v1::WatchAuditRequest { id, results: false })
            .await?
            .into_inner();
        while let Some(message) = news.message().await? {
            let audit = message.audit.unwrap_or_default();
            if audit.finished_at.is_some() {
                return Ok((began.elapsed(), audit.answered));
            }
        }
        anyhow::bail!("the audit was not told to its end")
    }

    /// Previews a rollout over the fleet as a client does: what it would do, what every device needs for it, those alike
    /// together, and what it would do then. Returns the time of the first, and of all.
    pub async fn preview(&self) -> anyhow::Result<(Duration, Duration)> {
        let ensure = v1::Ensure {
            menu: "/ip/dns".to_owned(),
            want: Some(v1::ensure::Want::Set(v1::Values {
                values: [("servers".to_owned(), "192.0.2.1".to_owned())].into(),
            })),
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Ensure(ensure)),
        };
        let plan = v1::Plan {
            steps: vec![step],
            ..v1::Plan::default()
        };
        let reads = v1::JobSpec {
            plan: Some(plan),
            selector: format!("{ROLE}=fleet"),
            preview: true,
            ..v1::JobSpec::default()
        };
        let rollout = v1::JobSpec {
            preview: false,
            policy: Some(v1::Policy::default()),
            ..reads.clone()
        };
        let mut client = JobServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let began = Instant::now();
        let request = v1::PreviewJobRequest {
            spec: Some(rollout.clone()),
        };
        client.preview_job(request).await?;
        let planned = began.elapsed();
        let request = v1::CreateJobRequest {
            spec: Some(reads),
            ..v1::CreateJobRequest::default()
        };
        let created = client.create_job(request).await?.into_inner();
        let id = created.job.context("a created job is told")?.id;
        let watch = v1::WatchJobRequest {
            id: id.clone(),
            results: true,
            ..v1::WatchJobRequest::default()
        };
        let mut news = client.watch_job(watch).await?.into_inner();
        let mut told = 0;
        while let Some(message) = news.message().await? {
            told += message.results.len();
        }
        ensure!(told == self.devices, "{told} devices told what they need");
        let request = v1::GroupResultsRequest {
            id: id.clone(),
            ..v1::GroupResultsRequest::default()
        };
        client.group_results(request).await?;
        let request = v1::PreviewJobRequest {
            spec: Some(v1::JobSpec {
                previewed: id,
                ..rollout
            }),
        };
        let answer = client.preview_job(request).await?.into_inner();
        ensure!(
            answer.total == self.devices as u64 && answer.unseen == Some(0) && !answer.digest.is_empty(),
            "a preview of {} devices, {:?} unseen",
            answer.total,
            answer.unseen
        );
        Ok((planned, began.elapsed()))
    }

    /// Takes a plan over the fleet as a client does, or over the one device beside it. Returns the time from the request
    /// for the job to the last result. Every execution has to succeed, or to have had nothing to do. With a policy it is a
    /// rollout.
    pub async fn plan(
        &self,
        role: Role,
        plan: &Plan,
        policy: Option<v1::Policy>,
    ) -> anyhow::Result<Duration> {
        let spec = v1::JobSpec {
            plan: Some(plan.into()),
            selector: format!("{ROLE}={}", role.as_str()),
            budget: "100%".to_owned(),
            policy,
            timeout: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..v1::JobSpec::default()
        };
        let devices = match role {
            Role::Fleet => self.devices,
            Role::WarmUp => 1,
        };
        let (took, _) = self.watch(spec, devices).await?;
        Ok(took)
    }

    async fn job(&self, role: &str, words: &[&str], devices: usize) -> anyhow::Result<(Duration, Tally)> {
        let command = v1::Command {
            words: words.iter().map(ToString::to_string).collect(),
            ..v1::Command::default()
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Command(command)),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan {
                steps: vec![step],
                ..v1::Plan::default()
            }),
            selector: format!("{ROLE}={role}"),
            budget: "100%".to_owned(),
            ..v1::JobSpec::default()
        };
        self.watch(spec, devices).await
    }

    /// Makes a job and follows it to its end.
    async fn watch(&self, spec: v1::JobSpec, devices: usize) -> anyhow::Result<(Duration, Tally)> {
        let request = v1::CreateJobRequest {
            spec: Some(spec),
            ..v1::CreateJobRequest::default()
        };
        let mut client = JobServiceClient::new(self.channel.clone());
        let began = Instant::now();
        let created = client.create_job(request).await?.into_inner();
        let id = created.job.context("a created job is told")?.id;
        let watch = v1::WatchJobRequest {
            id,
            from_seq: 0,
            results: true,
            ..Default::default()
        };
        let mut news = client.watch_job(watch).await?.into_inner();
        let (mut tally, mut last, mut state) = (Tally::default(), began, v1::JobState::Unspecified);
        while let Some(message) = news.message().await? {
            for result in &message.results {
                count(&mut tally, result)?;
                last = Instant::now();
            }
            state = message.job.map_or(state, |job| job.state());
        }
        ensure!(state == v1::JobState::Completed, "the job ended as {state:?}");
        ensure!(
            tally.devices == devices as u64,
            "{} results for {devices} devices",
            tally.devices
        );
        Ok((last - began, tally))
    }

    /// Ends everything and removes the database.
    pub async fn stop(self) {
        self.worker.stop().await;
        match self.engine {
            Host::Here(engine) => engine.stop().await,
            // It ends with its process.
            Host::Apart(engine) => drop(engine),
        }
    }
}

/// As `serve` does: what the limit of open files leaves beside the engine's own.
fn sessions() -> anyhow::Result<usize> {
    const OWN: u64 = 256;
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    Ok(usize::try_from(limit.saturating_sub(OWN))?.max(1))
}

fn count(tally: &mut Tally, result: &v1::ExecutionResult) -> anyhow::Result<()> {
    use v1::ExecutionState::{Succeeded, Unchanged};
    ensure!(
        matches!(result.state(), Succeeded | Unchanged),
        "{} ended as {:?}: {:?}",
        result.device,
        result.state(),
        result.error
    );
    let rows = result.steps.iter().flat_map(|step| &step.rows);
    for row in rows {
        let attributes = row.attributes.iter();
        tally.row(
            &result.device,
            attributes.map(|attribute| (attribute.name.as_bytes(), attribute.value.as_bytes())),
        );
    }
    tally.devices += 1;
    Ok(())
}
