//! A client of an engine's public API, as far as rows need one.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use muster_proto::v1;
use muster_proto::v1::audit_service_client::AuditServiceClient;
use muster_proto::v1::credential_service_client::CredentialServiceClient;
use muster_proto::v1::job_service_client::JobServiceClient;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::fill;
use crate::process::EngineProcess;

/// No job here waits for its devices.
const TIMEOUT: Duration = Duration::from_secs(3600);

const MESSAGE_BYTES: usize = 64 << 20;

/// A client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Channel);

impl Client {
    /// Connects, and gives the engine the credential of all devices.
    pub async fn new(engine: &EngineProcess) -> anyhow::Result<Self> {
        let client = Self(engine.connect().await?);
        client.set_credential(fill::CREDENTIAL).await?;
        Ok(client)
    }

    /// Sets a credential: a call and a commit.
    pub async fn set_credential(&self, name: &str) -> anyhow::Result<()> {
        let request = v1::SetCredentialRequest {
            name: name.to_owned(),
            username: "admin".to_owned(),
            password: "secret".to_owned(),
        };
        CredentialServiceClient::new(self.0.clone())
            .set_credential(request)
            .await?;
        Ok(())
    }

    /// Makes a job of one command on the devices of a selector; on all of them when it is empty.
    pub async fn create(&self, words: &[&str], selector: &str) -> anyhow::Result<v1::Job> {
        let command = v1::Command {
            words: words.iter().map(ToString::to_string).collect(),
            ..v1::Command::default()
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Command(command)),
        };
        let request = v1::CreateJobRequest {
            spec: Some(v1::JobSpec {
                plan: Some(v1::Plan {
                    steps: vec![step],
                    ..v1::Plan::default()
                }),
                selector: selector.to_owned(),
                all: selector.is_empty(),
                timeout: Some(TIMEOUT.try_into()?),
                // Counted as any other, and never in the way.
                budget: "100%".to_owned(),
                ..v1::JobSpec::default()
            }),
            ..v1::CreateJobRequest::default()
        };
        let created = JobServiceClient::new(self.0.clone()).create_job(request).await?;
        created.into_inner().job.context("a created job is told")
    }

    /// Watches a job from its beginning, with results.
    pub async fn watch(&self, id: &str) -> anyhow::Result<Streaming<v1::WatchJobResponse>> {
        let request = v1::WatchJobRequest {
            id: id.to_owned(),
            results: true,
            ..v1::WatchJobRequest::default()
        };
        let mut client = JobServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES);
        Ok(client.watch_job(request).await?.into_inner())
    }

    /// Runs an audit of all devices to its end.
    pub async fn audit(&self, definition: &str) -> anyhow::Result<v1::Audit> {
        let mut client = AuditServiceClient::new(self.0.clone());
        let request = v1::CreateAuditRequest {
            definition: definition.to_owned(),
            all: true,
            timeout: Some(TIMEOUT.try_into()?),
            ..v1::CreateAuditRequest::default()
        };
        let id = client.create_audit(request).await?.into_inner().job;
        let watch = v1::WatchAuditRequest { id, results: false };
        let mut news = client.watch_audit(watch).await?.into_inner();
        while let Some(message) = news.message().await? {
            let audit = message.audit.unwrap_or_default();
            if audit.finished_at.is_some() {
                return Ok(audit);
            }
        }
        bail!("the audit was not told to its end")
    }

    /// Fails unless a job is over and all of its executions succeeded, so many.
    pub async fn ensure_done(&self, id: &str, executions: u64) -> anyhow::Result<()> {
        let request = v1::GetJobRequest { id: id.to_owned() };
        let told = JobServiceClient::new(self.0.clone()).get_job(request).await?;
        let job = told.into_inner().job.context("a job that was made")?;
        let succeeded = v1::StateCount {
            state: v1::ExecutionState::Succeeded.into(),
            count: executions,
        };
        let counts = job.counts.iter().filter(|count| count.count > 0);
        ensure!(
            job.state() == v1::JobState::Completed && counts.eq([&succeeded]),
            "the job is {:?} with {:?}",
            job.state(),
            job.counts
        );
        Ok(())
    }
}
