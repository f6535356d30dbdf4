//! The engine's API as a client in another language has it: for what the command line has no words for.

use std::time::{Duration, Instant};

use muster_proto::v1;
use muster_proto::v1::job_service_client::JobServiceClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A connection that survives the engine.
pub(crate) struct Api {
    runtime: Runtime,
    channel: Channel,
}

/// A job to be made.
pub(crate) struct Order<'a> {
    pub(crate) steps: &'a [&'a [&'a str]],
    /// Empty for every device.
    pub(crate) selector: &'a str,
    pub(crate) timeout: Duration,
    pub(crate) request_id: &'a str,
}

impl Api {
    pub(crate) fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
        let channel = {
            let _guard = runtime.enter();
            endpoint.connect_lazy()
        };
        Self { runtime, channel }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Makes a job that may harm any number of devices. Returns its id.
    pub(crate) fn create(&self, order: &Order<'_>) -> Result<String, Status> {
        self.create_within("all", order)
    }

    /// Makes a job under a budget. Returns its id.
    pub(crate) fn create_within(&self, budget: &str, order: &Order<'_>) -> Result<String, Status> {
        let step = |words: &&[&str]| v1::Step {
            kind: Some(v1::step::Kind::Command(v1::Command {
                words: words.iter().map(ToString::to_string).collect(),
                ..v1::Command::default()
            })),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan {
                steps: order.steps.iter().map(step).collect(),
                ..v1::Plan::default()
            }),
            selector: order.selector.to_owned(),
            all: order.selector.is_empty(),
            timeout: order.timeout.try_into().ok(),
            budget: budget.to_owned(),
            ..v1::JobSpec::default()
        };
        self.make(spec, order.request_id)
    }

    /// Makes a job as it stands here. Returns its id.
    pub(crate) fn make(&self, spec: v1::JobSpec, request_id: &str) -> Result<String, Status> {
        let request = v1::CreateJobRequest {
            spec: Some(spec),
            request_id: request_id.to_owned(),
            ..v1::CreateJobRequest::default()
        };
        let mut jobs = JobServiceClient::new(self.channel());
        let created = self.runtime.block_on(jobs.create_job(request))?;
        Ok(created.into_inner().job.expect("a created job is told").id)
    }

    /// The job as it is now; `None` while the engine is away.
    pub(crate) fn job(&self, id: &str) -> Option<v1::Job> {
        let mut jobs = JobServiceClient::new(self.channel());
        let request = v1::GetJobRequest { id: id.to_owned() };
        match self.runtime.block_on(jobs.get_job(request)) {
            Ok(answer) => answer.into_inner().job,
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) => {
                None
            }
            Err(status) => panic!("{status}"),
        }
    }

    /// How many executions of a job are in a state.
    pub(crate) fn count(&self, id: &str, state: v1::ExecutionState) -> u64 {
        let counts = self.job(id).unwrap_or_default().counts;
        let found = counts.iter().find(|count| count.state() == state);
        found.map_or(0, |count| count.count)
    }

    /// Waits until a job is over.
    pub(crate) fn finished(&self, id: &str, within: Duration) -> Option<v1::Job> {
        let began = Instant::now();
        loop {
            if let Some(job) = self.job(id)
                && job.finished_at.is_some()
            {
                return Some(job);
            }
            if began.elapsed() > within {
                return None;
            }
            super::pause(LOOK);
        }
    }
}

/// Between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(5);
