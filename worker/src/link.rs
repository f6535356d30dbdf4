//! The worker's side of the session with its engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_model::{Demand, Pin, Plan, Ports, Transport, Trust};
use muster_proto::dial::DialError;
use muster_proto::v1::session_request::Message as Up;
use muster_proto::v1::session_response::Message as Down;
use muster_proto::v1::worker_service_client::WorkerServiceClient;
use muster_proto::{plan, v1};
use routeros_conn::Credentials;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};

use crate::devices::Devices;
use crate::held::{Ask, Held, Out, Told};
use crate::keep::Keep;
use crate::pacing::Limits;
use crate::reach::Reach;
use crate::run::{self, Job};
use crate::session::{Care, Target};
use crate::{Leave, Refusal, WorkerConfig};

/// Messages in one batch, and their size: a message stays well under gRPC's limits.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
/// How long reports wait for others to go with.
const GATHER: Duration = Duration::from_millis(3);
/// The largest message either side takes. One answer may have 16 MiB.
pub(crate) const MESSAGE_BYTES: usize = 64 << 20;
/// Messages under way to the engine; beyond it the worker waits for the network.
const UPSTREAM: usize = 64;

/// How long the engine may take to hear that the session is over.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// Between tries to reach the engine: from the first, doubling to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

#[derive(Debug, Error)]
enum LinkError {
    #[error("cannot reach the engine: {0}")]
    Dial(#[from] DialError),
    #[error("the engine ended the session: {}", .0.message())]
    Status(#[from] Status),
    #[error("the engine ended the session")]
    Ended,
    #[error("the engine said nothing for {0:?}")]
    Silent(Duration),
}

impl LinkError {
    /// Whether it stays so until somebody acts.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Dial(error @ (DialError::Refused(_) | DialError::Usage(_))) => {
                Some(Refusal::Connection(error.to_string()))
            }
            Self::Status(status) => match status.code() {
                Code::Unauthenticated => Some(Refusal::Token(status.message().to_owned())),
                Code::PermissionDenied => Some(Refusal::Connection(status.message().to_owned())),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a worker is told from outside.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// To take nothing more.
    pub(crate) leave: Leave,
    /// To end.
    pub(crate) stop: CancellationToken,
    /// Tells the outside that the engine does not know this worker.
    pub(crate) refusal: watch::Sender<Option<Refusal>>,
}

/// Serves the engine until told to stop, over as many sessions as it takes.
pub(crate) async fn run(
    config: WorkerConfig,
    held: Held,
    mut inbox: mpsc::UnboundedReceiver<Out>,
    signals: Signals,
    tasks: TaskTracker,
) {
    let Signals { leave, stop, refusal } = signals;
    let devices = Devices::new(
        config.device,
        config.sessions,
        Reach::new(config.device_roots.clone(), held.clone()),
        tasks.clone(),
    );
    let keep = Keep::new(devices.clone(), held.clone(), tasks.clone());
    // Names this process's run of the worker, so that a restarted one is not taken for it.
    let instance = uuid::Uuid::new_v4().to_string();
    let (mut delay, mut welcomed) = (RECONNECT.0, false);
    let mut longest = RECONNECT.1;
    let mut told = 0;
    loop {
        let mut link = Link {
            config: &config,
            instance: &instance,
            held: held.clone(),
            devices: devices.clone(),
            keep: keep.clone(),
            told: &mut told,
            leave: leave.clone(),
            stop: stop.clone(),
            plans: HashMap::new(),
            credentials: HashMap::new(),
            lease: None,
            asked: 0,
        };
        let ended = tokio::select! {
            ended = link.serve(&mut inbox) => ended,
            () = stopped_for_long(&stop) => break,
        };
        if stop.is_cancelled() {
            break;
        }
        if let Some(lease) = link.lease {
            delay = RECONNECT.0;
            welcomed = true;
            // What it holds is taken from it a term after the engine is back: it has to try more often than that.
            longest = RECONNECT.1.min(lease / 3);
        }
        delay = delay.min(longest);
        let engine = config.engine.url();
        if let Err(error) = &ended {
            match error.refusal() {
                Some(told) if !welcomed => {
                    tracing::error!(engine, %error, "the engine and this worker do not go together");
                    refusal.send_replace(Some(told));
                    break;
                }
                // It may be an engine that was set up anew, and is being put right.
                Some(_) => {
                    tracing::error!(engine, %error, retry_in = ?delay, "refused by an engine that let this worker in before");
                }
                None => tracing::warn!(engine, %error, retry_in = ?delay, "no session with the engine"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => break,
        }
        delay *= 2;
    }
    keep.close();
    devices.close();
}

/// How many times as many executions as there are slots may wait without one: they cost memory still.
const WAITING: usize = 3;

/// A session takes its leave by itself; one that cannot is dropped.
async fn stopped_for_long(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(2 * GOODBYE_WITHIN).await;
}

struct Link<'a> {
    config: &'a WorkerConfig,
    instance: &'a str,
    held: Held,
    devices: Devices,
    keep: Keep,
    /// Counts the engine's words on all connections that are to be kept.
    told: &'a mut u64,
    leave: Leave,
    stop: CancellationToken,
    plans: HashMap<Vec<u8>, Arc<Plan>>,
    credentials: HashMap<String, Arc<Credentials>>,
    /// What the engine said at the welcome.
    lease: Option<Duration>,
    /// Executions that the engine was asked for and has not sent yet.
    asked: usize,
}

impl Link<'_> {
    async fn serve(&mut self, inbox: &mut mpsc::UnboundedReceiver<Out>) -> Result<(), LinkError> {
        let (upstream, mut downstream) = self.open().await?;
        let Some(Down::Welcome(welcome)) = next(&mut downstream, Duration::from_secs(10)).await? else {
            return Err(LinkError::Ended);
        };
        let lease = Duration::from_millis(welcome.lease_ms.into());
        self.lease = Some(lease);
        tracing::info!(
            session = welcome.session,
            engine = self.config.engine.url(),
            "session with the engine"
        );
        for lease in &welcome.revoked {
            self.held.cancel((lease.execution, lease.epoch));
        }
        self.resume(&upstream).await?;
        let mut heartbeat = tokio::time::interval(Duration::from_millis(welcome.heartbeat_ms.max(10).into()));
        let mut batch = Vec::with_capacity(BATCH);
        let mut heard = Instant::now();
        let mut draining = false;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    // So that the engine knows at once, and not after a term, that what was dropped is its again.
                    drop(upstream);
                    let heard = async { while let Ok(Some(_)) = downstream.message().await {} };
                    let _ = tokio::time::timeout(GOODBYE_WITHIN, heard).await;
                    return Ok(());
                }
                () = self.leave.soon.cancelled(), if !draining => {
                    draining = true;
                    send(&upstream, Up::Draining(v1::Draining {})).await?;
                }
                message = downstream.message() => {
                    heard = Instant::now();
                    match message?.and_then(|message| message.message) {
                        Some(message) => self.on_message(message, &upstream).await?,
                        None => return Err(LinkError::Ended),
                    }
                }
                _ = inbox.recv_many(&mut batch, BATCH) => {
                    self.gather(&mut batch, inbox).await;
                    self.send_batch(&mut batch, &upstream).await?;
                }
                _ = heartbeat.tick() => {
                    if heard.elapsed() > lease {
                        return Err(LinkError::Silent(lease));
                    }
                    send(&upstream, Up::Heartbeat(self.heartbeat())).await?;
                }
            }
        }
    }

    async fn open(
        &self,
    ) -> Result<(mpsc::Sender<v1::SessionRequest>, Streaming<v1::SessionResponse>), LinkError> {
        let tune = |endpoint: Endpoint| {
            endpoint
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
        };
        let engine = &self.config.engine;
        let channel = engine.connect(tune).await?;
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let (upstream, receiver) = mpsc::channel(UPSTREAM);
        let hello = v1::Hello {
            name: self.config.name.clone(),
            instance: self.instance.to_owned(),
            zones: self.config.zones.clone(),
            slots: self.config.slots,
            held: self
                .held
                .leases()
                .into_iter()
                .map(|(execution, epoch)| v1::HeldLease { execution, epoch })
                .collect(),
            engine_boot: self.config.engine_boot.clone(),
            hold: self.config.hold.clone(),
        };
        send(&upstream, Up::Hello(hello)).await?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        let bearer = format!("Bearer {}", self.config.token).parse();
        let bearer = bearer
            .map_err(|_| DialError::Usage("the worker token has characters that no token has".into()))?;
        request.metadata_mut().insert("authorization", bearer);
        Ok((upstream, client.session(request).await?.into_inner()))
    }

    /// Tells again what the engine may not have heard, and how much more is wanted.
    async fn resume(&mut self, upstream: &mpsc::Sender<v1::SessionRequest>) -> Result<(), LinkError> {
        for reports in self.held.unacknowledged() {
            send(upstream, Up::Reports(reports)).await?;
        }
        for intents in self.held.open_intents() {
            send(upstream, Up::Intents(intents)).await?;
        }
        match self.leave.soon.is_cancelled() {
            true => send(upstream, Up::Draining(v1::Draining {})).await,
            false => self.want(upstream).await,
        }
    }

    /// Executions that need a slot.
    fn in_slots(&self) -> usize {
        self.held.in_slots(WAITING * self.config.slots as usize)
    }

    /// Asks for as many executions as there is room for.
    async fn want(&mut self, upstream: &mpsc::Sender<v1::SessionRequest>) -> Result<(), LinkError> {
        let room = (self.config.slots as usize).saturating_sub(self.in_slots());
        let more = room.saturating_sub(self.asked);
        if more == 0 || self.leave.soon.is_cancelled() {
            return Ok(());
        }
        self.asked += more;
        let executions = u32::try_from(more).unwrap_or(u32::MAX);
        send(upstream, Up::Demand(v1::Demand { executions })).await
    }

    fn heartbeat(&self) -> v1::Heartbeat {
        let census = self.devices.census();
        let (kept, kept_open) = self.keep.count();
        v1::Heartbeat {
            held: u32::try_from(self.in_slots()).unwrap_or(u32::MAX),
            waiting: u32::try_from(self.held.waiting()).unwrap_or(u32::MAX),
            sessions: census.open as u64,
            most_sessions: census.most as u64,
            answer_bytes: census.answers as u64,
            session_bytes: census.session_bytes as u64,
            kept: kept as u64,
            kept_open: kept_open as u64,
        }
    }

    async fn on_message(
        &mut self,
        message: Down,
        upstream: &mpsc::Sender<v1::SessionRequest>,
    ) -> Result<(), LinkError> {
        match message {
            Down::Welcome(_) | Down::HeartbeatAck(_) => {}
            Down::Assignments(assignments) => self.on_assignments(assignments),
            Down::Keep(hold) => self.on_hold(hold),
            Down::IntentAnswers(answers) => {
                answers.answers.iter().for_each(|answer| self.held.answer(answer));
            }
            Down::ReportsAck(ack) => {
                self.held.acknowledged(ack.seq);
                self.want(upstream).await?;
            }
            Down::Limits(limits) => {
                let own = Limits::from(&self.config.device);
                self.devices.pace(own.overridden(limits));
            }
            Down::Ask(ask) => {
                let executions = self.held.doing(&ask.executions);
                send(
                    upstream,
                    Up::Told(v1::Told {
                        id: ask.id,
                        executions,
                    }),
                )
                .await?;
            }
            Down::Cancel(cancel) => {
                cancel
                    .leases
                    .iter()
                    .for_each(|lease| self.held.cancel((lease.execution, lease.epoch)));
            }
        }
        Ok(())
    }

    fn on_assignments(&mut self, assignments: v1::Assignments) {
        for assigned in assignments.plans {
            match plan(assigned.plan.as_ref(), "plan") {
                Ok(plan) => {
                    self.plans.insert(assigned.digest, Arc::new(plan));
                }
                // Its executions are refused below: this worker is older than the engine.
                Err(violations) => {
                    tracing::error!(?violations, "a plan that this worker does not understand");
                }
            }
        }
        for credential in assignments.credentials {
            let credentials = Credentials::new(credential.username, credential.password);
            self.credentials.insert(credential.name, Arc::new(credentials));
        }
        self.asked = self.asked.saturating_sub(assignments.assignments.len());
        for assignment in assignments.assignments {
            self.begin(assignment);
        }
    }

    fn on_hold(&mut self, hold: v1::Keep) {
        *self.told += u64::from(hold.begins);
        for credential in hold.credentials {
            let credentials = Credentials::new(credential.username, credential.password);
            self.credentials.insert(credential.name, Arc::new(credentials));
        }
        for device in hold.devices {
            let credentials = self.credentials.get(&device.credential).cloned();
            let reach = ReachOf::of(&device);
            let (Some(credentials), Some(reach)) = (credentials, reach) else {
                tracing::error!(
                    device = device.device_name,
                    "a connection to keep that this worker does not understand"
                );
                continue;
            };
            let target = reach.target(&device, credentials);
            self.keep
                .keep(device.device, target, device.want_facts, *self.told);
        }
        self.keep.leave(&hold.gone);
        if hold.ends {
            self.keep.leave_untold(*self.told);
        }
    }

    fn begin(&self, assignment: v1::Assignment) {
        let lease = (assignment.execution, assignment.epoch);
        if self.leave.soon.is_cancelled() {
            // On its way when the worker said that it is going.
            let report = v1::Report {
                execution: lease.0,
                epoch: lease.1,
                outcome: v1::ReportOutcome::HandedBack.into(),
                steps_done: assignment.first_step,
                first_step: assignment.first_step,
                ..Default::default()
            };
            let ended = Instant::now();
            return self.held.end(Told { report, ended });
        }
        let Some(begun) = self.held.begin(lease) else {
            return;
        };
        let plan = self.plans.get(&assignment.plan_digest).cloned();
        let credentials = self.credentials.get(&assignment.credential).cloned();
        let reach = ReachOf::of(&assignment);
        let (Some(plan), Some(credentials), Some(reach)) = (plan, credentials, reach) else {
            let message = "the worker does not know the plan, the credential or the transport it was sent";
            let error = v1::DeviceError {
                class: v1::ErrorClass::Worker.into(),
                message: message.into(),
                category: None,
            };
            let report = v1::Report {
                execution: lease.0,
                epoch: lease.1,
                outcome: v1::ReportOutcome::Failed.into(),
                error: Some(error),
                ..Default::default()
            };
            return self.held.end(Told {
                report,
                ended: Instant::now(),
            });
        };
        let target = reach.target(&assignment, credentials);
        let until = Instant::now() + Duration::from_millis(assignment.expires_in_ms);
        let job = Job {
            assignment,
            plan,
            target,
            begun,
            leave: self.leave.clone(),
            until,
        };
        let (devices, held, stop) = (self.devices.clone(), self.held.clone(), self.stop.clone());
        // A worker that stops drops what runs: the engine takes it back with the session.
        tokio::spawn(async move { stop.run_until_cancelled(run::run(job, devices, held)).await });
    }

    /// Waits a little for more to send together: every message is a commit for the engine. Nothing waits that an
    /// execution waits for, and nothing when no other execution could add to it.
    async fn gather(&self, batch: &mut Vec<Out>, inbox: &mut mpsc::UnboundedReceiver<Out>) {
        let urgent = batch
            .iter()
            .any(|out| matches!(out, Out::Intent(..) | Out::Live(..)));
        if urgent || batch.len() >= BATCH || self.held.running() == 0 {
            return;
        }
        tokio::time::sleep(GATHER).await;
        while batch.len() < BATCH
            && let Ok(out) = inbox.try_recv()
        {
            batch.push(out);
        }
    }

    async fn send_batch(
        &mut self,
        batch: &mut Vec<Out>,
        upstream: &mpsc::Sender<v1::SessionRequest>,
    ) -> Result<(), LinkError> {
        let room = batch.iter().any(|out| matches!(out, Out::Room));
        // All messages are made, and so all reports noted as sent, before the first await can fail.
        for (message, _room) in self.messages(batch) {
            send(upstream, message).await?;
        }
        match room {
            true => self.want(upstream).await,
            false => Ok(()),
        }
    }

    /// Messages, and what becomes free when they have gone.
    fn messages(&self, batch: &mut Vec<Out>) -> Vec<(Up, Option<OwnedSemaphorePermit>)> {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let (mut intents, mut devices, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        let mut contacts = Vec::new();
        for out in batch.drain(..) {
            match out {
                Out::Contact(contact) => contacts.push(contact),
                Out::Intent(ask) => intents.push(ask),
                Out::Facts(facts) => devices.push(facts),
                Out::Room => {}
                Out::Live(rows, room) => messages.push((Up::Live(rows), Some(room))),
                Out::Report(told) => {
                    let given = told.report.given.iter().map(|file| file.content.len());
                    bytes += told.report.replies.iter().map(bytes::Bytes::len).sum::<usize>();
                    bytes += given.sum::<usize>();
                    reports.push(told);
                    if bytes > BATCH_BYTES {
                        bytes = 0;
                        messages.push((Up::Reports(self.held.send(std::mem::take(&mut reports))), None));
                    }
                }
            }
        }
        if !reports.is_empty() {
            messages.push((Up::Reports(self.held.send(reports)), None));
        }
        let intents = Ask::messages(intents).into_iter();
        messages.extend(intents.map(|intents| (Up::Intents(intents), None)));
        if !devices.is_empty() || !contacts.is_empty() {
            messages.push((Up::Facts(v1::Facts { devices, contacts }), None));
        }
        messages
    }
}

/// How an assignment's device is spoken to.
struct ReachOf {
    port: u16,
    transport: Transport,
    ports: Ports,
    demand: Demand,
}

impl ReachOf {
    /// `None` when the engine is newer than this worker and says something that it does not know.
    fn of(assignment: &v1::Assignment) -> Option<Self> {
        let transport = match assignment.transport.as_str() {
            "" => Transport::Api,
            text => text.parse().ok()?,
        };
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let trust = given(&assignment.tls)
            .map(|text| text.parse::<Trust>())
            .transpose()
            .ok()?;
        let pin = given(&assignment.pin)
            .map(|text| text.parse::<Pin>())
            .transpose()
            .ok()?;
        Some(Self {
            port: u16::try_from(assignment.port).ok()?,
            transport,
            ports: assignment.ports.parse().ok()?,
            demand: Demand::of(transport, trust, pin).ok()?,
        })
    }

    fn target(self, assignment: &v1::Assignment, credentials: Arc<Credentials>) -> Target {
        Target {
            address: assignment.address.clone(),
            port: self.port,
            transport: self.transport,
            ports: self.ports,
            demand: self.demand,
            worked: assignment.worked.parse().ok(),
            credentials,
            care: Arc::new(Care {
                zone: assignment.zone.clone(),
                in_flight: assignment.in_flight as usize,
                paced: assignment.paced.clone(),
            }),
        }
    }
}

async fn send(upstream: &mpsc::Sender<v1::SessionRequest>, message: Up) -> Result<(), LinkError> {
    upstream
        .send(v1::SessionRequest {
            message: Some(message),
        })
        .await
        .map_err(|_| LinkError::Ended)
}

async fn next(
    downstream: &mut Streaming<v1::SessionResponse>,
    within: Duration,
) -> Result<Option<Down>, LinkError> {
    match tokio::time::timeout(within, downstream.message()).await {
        Ok(message) => Ok(message?.and_then(|message| message.message)),
        Err(_) => Err(LinkError::Silent(within)),
    }
}
