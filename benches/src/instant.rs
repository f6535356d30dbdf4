//! Workers that answer at once: what is left of a job's time is the engine's.
//!
//! They speak the session's protocol as a worker does, over connections of their own: credit, intents that are granted
//! before anything is said to be done, reports that are kept until they are acknowledged, and credit back for those.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use muster_proto::v1;
use muster_proto::v1::session_request::Message as Up;
use muster_proto::v1::session_response::Message as Down;
use muster_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use crate::process::EngineProcess;
use crate::queue::Answers;

/// Reports in one message, as workers send them.
const BATCH: usize = 500;
/// Messages that may wait to be sent.
const AHEAD: usize = 64;
/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGE_BYTES: usize = 64 << 20;

/// A worker's session.
#[derive(Debug)]
pub struct Session {
    upstream: mpsc::Sender<v1::SessionRequest>,
    downstream: Streaming<v1::SessionResponse>,
    seq: u64,
    /// How many reports each message had that is not acknowledged.
    told: HashMap<u64, u32>,
}

/// What a worker does with what it is given.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// It asks before it acts, as for commands that are no reads.
    pub intents: bool,
    /// What devices answer.
    pub answers: Answers,
}

/// How many executions are acknowledged, of how many.
#[derive(Debug)]
pub struct Goal {
    executions: u64,
    acknowledged: AtomicU64,
    reached: watch::Sender<bool>,
}

impl Goal {
    /// All of so many.
    pub fn new(executions: u64) -> Arc<Self> {
        Arc::new(Self {
            executions,
            acknowledged: AtomicU64::new(0),
            reached: watch::Sender::new(false),
        })
    }

    fn add(&self, executions: u32) {
        let before = self.acknowledged.fetch_add(executions.into(), Ordering::Relaxed);
        if before + u64::from(executions) >= self.executions {
            self.reached.send_replace(true);
        }
    }
}

impl Session {
    /// Opens a session on a connection of its own, and takes nothing yet.
    pub async fn open(engine: &EngineProcess, name: &str, slots: u32) -> anyhow::Result<Self> {
        let mut client = WorkerServiceClient::new(engine.connect().await?)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let (upstream, receiver) = mpsc::channel(AHEAD);
        let hello = v1::Hello {
            name: name.to_owned(),
            instance: uuid::Uuid::new_v4().to_string(),
            slots,
            ..v1::Hello::default()
        };
        send(&upstream, Up::Hello(hello)).await?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        let bearer = format!("Bearer {}", engine.token).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let mut session = Self {
            upstream,
            downstream: client.session(request).await?.into_inner(),
            seq: 0,
            told: HashMap::new(),
        };
        match session.next().await? {
            Down::Welcome(_) => Ok(session),
            other => bail!("a session began with {other:?}"),
        }
    }

    /// Takes so many executions more.
    pub async fn demand(&self, executions: u32) -> anyhow::Result<()> {
        send(&self.upstream, Up::Demand(v1::Demand { executions })).await
    }

    /// Works until the goal is reached, by this session and others.
    pub async fn work(&mut self, work: Work, goal: &Goal) -> anyhow::Result<()> {
        let mut reached = goal.reached.subscribe();
        while !*reached.borrow_and_update() {
            let message = tokio::select! {
                message = self.next() => message?,
                _ = reached.changed() => continue,
            };
            let freed = self.on_message(message, work).await?;
            if freed > 0 {
                goal.add(freed);
                self.demand(freed).await?;
            }
        }
        Ok(())
    }

    /// Ends so many executions, a handful every `tick`, and notes in `sent` when each was told. How late the
    /// acknowledgements came, milliseconds.
    pub async fn paced(
        &mut self,
        executions: u64,
        handful: u32,
        tick: Duration,
        sent: &Mutex<HashMap<u64, Instant>>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut ticks = tokio::time::interval(tick);
        let (mut asked, mut ended, mut late) = (0_u64, 0_u64, Vec::new());
        let mut at = HashMap::new();
        while ended < executions {
            let message = tokio::select! {
                message = self.next() => message?,
                _ = ticks.tick(), if asked < executions => {
                    let more = u64::from(handful).min(executions - asked);
                    asked += more;
                    self.demand(more as u32).await?;
                    continue;
                }
            };
            match message {
                Down::Assignments(assignments) => {
                    let leases = assignments.assignments.iter().map(|a| (a.execution, a.epoch));
                    let now = Instant::now();
                    sent.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(leases.clone().map(|(execution, _)| (execution, now)));
                    self.report(leases, Answers::Own).await?;
                    at.insert(self.seq, now);
                }
                Down::ReportsAck(ack) => {
                    let told = self.told.remove(&ack.seq);
                    ended += u64::from(told.context("an acknowledgement of what was not told")?);
                    if let Some(at) = at.remove(&ack.seq) {
                        late.push(at.elapsed().as_secs_f64() * 1e3);
                    }
                }
                _ => {}
            }
        }
        Ok(late)
    }

    /// Waits for the next executions, and says when they came.
    pub async fn assigned(&mut self) -> anyhow::Result<(Instant, v1::Assignments)> {
        loop {
            match self.next().await? {
                Down::Assignments(assignments) => return Ok((Instant::now(), assignments)),
                Down::ReportsAck(ack) => {
                    self.told.remove(&ack.seq);
                }
                _ => {}
            }
        }
    }

    /// Tells that these are done, and waits for the acknowledgement.
    pub async fn done(&mut self, assignments: &v1::Assignments, answers: Answers) -> anyhow::Result<()> {
        let leases = assignments.assignments.iter().map(|a| (a.execution, a.epoch));
        self.report(leases, answers).await?;
        self.acknowledged().await
    }

    /// Waits until everything that was told is acknowledged.
    pub async fn acknowledged(&mut self) -> anyhow::Result<()> {
        while !self.told.is_empty() {
            if let Down::ReportsAck(ack) = self.next().await? {
                self.told.remove(&ack.seq);
            }
        }
        Ok(())
    }

    /// Returns how many executions this freed.
    async fn on_message(&mut self, message: Down, work: Work) -> anyhow::Result<u32> {
        match message {
            Down::Assignments(assignments) if work.intents => {
                let intents = assignments.assignments.iter().map(|assignment| v1::Intent {
                    execution: assignment.execution,
                    epoch: assignment.epoch,
                    step: assignment.first_step,
                    memo: Vec::new(),
                });
                let intents = intents.collect();
                send(
                    &self.upstream,
                    Up::Intents(v1::Intents {
                        intents,
                        ..Default::default()
                    }),
                )
                .await?;
            }
            Down::Assignments(assignments) => {
                let leases = assignments.assignments.iter().map(|a| (a.execution, a.epoch));
                self.report(leases, work.answers).await?;
            }
            Down::IntentAnswers(answers) => {
                let granted = |answer: &v1::IntentAnswer| {
                    ensure!(
                        answer.verdict() == v1::IntentVerdict::Granted,
                        "an intent was not granted: {answer:?}"
                    );
                    let intent = answer.intent.as_ref().context("an answer names its intent")?;
                    Ok((intent.execution, intent.epoch))
                };
                let leases = answers.answers.iter().map(granted);
                let leases = leases.collect::<anyhow::Result<Vec<_>>>()?;
                self.report(leases.into_iter(), work.answers).await?;
            }
            Down::ReportsAck(ack) => {
                let told = self.told.remove(&ack.seq);
                return told.context("an acknowledgement of what was not told");
            }
            Down::Ask(_) | Down::Keep(_) | Down::HeartbeatAck(_) | Down::Limits(_) | Down::Welcome(_) => {}
            Down::Cancel(cancel) => bail!("nobody cancels here: {cancel:?}"),
        }
        Ok(0)
    }

    async fn report(
        &mut self,
        leases: impl Iterator<Item = (u64, u64)>,
        answers: Answers,
    ) -> anyhow::Result<()> {
        let report = |(execution, epoch): (u64, u64)| {
            Ok(v1::Report {
                execution,
                epoch,
                outcome: v1::ReportOutcome::Succeeded.into(),
                replies: vec![Bytes::from(answers.of(execution)?)],
                // As if devices took their time, each its own.
                elapsed_ms: execution % 16,
                steps_done: 1,
                ..v1::Report::default()
            })
        };
        self.tell(leases.map(report).collect::<anyhow::Result<Vec<_>>>()?)
            .await
    }

    /// Reports these, and waits for nothing.
    pub async fn tell(&mut self, reports: Vec<v1::Report>) -> anyhow::Result<()> {
        for batch in reports.chunks(BATCH) {
            self.seq += 1;
            self.told.insert(self.seq, batch.len() as u32);
            let message = v1::Reports {
                seq: self.seq,
                reports: batch.to_vec(),
            };
            send(&self.upstream, Up::Reports(message)).await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<Down> {
        let message = tokio::time::timeout(PATIENCE, self.downstream.message()).await;
        let message = message.context("the engine says nothing")??;
        message
            .and_then(|message| message.message)
            .context("the engine ended the session")
    }
}

async fn send(upstream: &mpsc::Sender<v1::SessionRequest>, message: Up) -> anyhow::Result<()> {
    let message = v1::SessionRequest {
        message: Some(message),
    };
    upstream.send(message).await.context("the session is over")
}
