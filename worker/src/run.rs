//! One execution in a worker's hands: the attempt machine, and the tasks it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{Command, DeviceError, ErrorClass, Plan, Step};
use muster_proto::v1;
use muster_worker_core::{Action, Attempt, ConnectFailure, Ended, Outcome, StepEnd};
use tokio_util::sync::CancellationToken;

use crate::devices::Devices;
use crate::facts;
use crate::held::{Held, Told};
use crate::session::{self, Handle, RunId, Target};

/// What an execution needs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) assignment: v1::Assignment,
    pub(crate) plan: Arc<Plan>,
    pub(crate) target: Target,
    pub(crate) cancel: CancellationToken,
}

/// A grant that is older than this, counted from the question, is asked for again (A4).
const SEND_WITHIN: Duration = Duration::from_secs(2);
/// A connection that was silent for longer is asked something harmless before it gets a change: what is sent into a
/// connection that died unnoticed ends as unknown.
const FRESH: Duration = Duration::from_secs(5);
/// A held intent is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of all answers of one execution: they travel in one message, which may have 64 MiB.
const ANSWERS: usize = 32 << 20;

/// Names commands on sessions; unique in the process.
static NEXT_RUN: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_run() -> RunId {
    RunId::new(NEXT_RUN.fetch_add(1, Ordering::Relaxed))
}

/// Runs one execution to its end and hands over the report.
pub(crate) async fn run(job: Job, devices: Devices, held: Held) {
    let began = Instant::now();
    let mut run = Run {
        attempt: Attempt::new(job.plan.clone()),
        job,
        devices,
        held,
        session: None,
        replies: Vec::new(),
    };
    let ended = run.drive().await;
    let reached = run.session.clone().filter(|_| !run.replies.is_empty());
    let Run {
        job, held, replies, ..
    } = run;
    held.end(Told {
        report: report(&job.assignment, &ended, replies, began.elapsed()),
        ended: Instant::now(),
    });
    // After the report, so that nobody waits for it.
    if job.assignment.want_facts
        && let Some(session) = reached
        && let Some(facts) = facts::learn(&session, job.assignment.device).await
    {
        held.tell_facts(facts);
    }
}

struct Run {
    attempt: Attempt,
    job: Job,
    devices: Devices,
    held: Held,
    session: Option<Handle>,
    replies: Vec<Bytes>,
}

impl Run {
    async fn drive(&mut self) -> Ended {
        let mut action = Action::Connect;
        loop {
            action = match action {
                Action::Connect => self.connect().await,
                Action::AskIntent { step } => self.ask_and_send(step).await,
                Action::Send { .. } => self.send().await,
                Action::End(ended) => return ended,
            }
        }
    }

    async fn connect(&mut self) -> Action {
        let until = Duration::from_millis(self.job.assignment.expires_in_ms);
        let cancel = self.job.cancel.clone();
        let session = self.devices.session(self.job.assignment.device, &self.job.target);
        let ready = tokio::select! {
            ready = tokio::time::timeout(until, session.ready()) => ready,
            () = cancel.cancelled() => return self.attempt.cancelled(),
        };
        match ready {
            Ok(Ok(())) => {
                self.session = Some(session);
                self.attempt.connected()
            }
            Ok(Err(failure)) => self.attempt.connect_failed(failure),
            Err(_) => {
                let text = format!("not connected and logged in within {} ms", until.as_millis());
                let error = DeviceError::new(ErrorClass::Timeout, text);
                self.attempt.connect_failed(ConnectFailure {
                    error,
                    may_pass: true,
                })
            }
        }
    }

    async fn ask_and_send(&mut self, step: u32) -> Action {
        if let Err(action) = self.make_sure().await {
            return action;
        }
        loop {
            let asked = Instant::now();
            let v1::Assignment { execution, epoch, .. } = self.job.assignment;
            let answer = self.held.ask(v1::Intent {
                execution,
                epoch,
                step,
            });
            let verdict = tokio::select! {
                verdict = answer => verdict.unwrap_or(v1::IntentVerdict::Revoked),
                () = self.job.cancel.cancelled() => return self.attempt.cancelled(),
            };
            match verdict {
                v1::IntentVerdict::Granted if asked.elapsed() < SEND_WITHIN => return self.attempt.granted(),
                v1::IntentVerdict::Granted => {}
                v1::IntentVerdict::Held => tokio::time::sleep(ASK_AGAIN).await,
                v1::IntentVerdict::Revoked | v1::IntentVerdict::Unspecified => return self.attempt.revoked(),
            }
        }
    }

    /// Makes sure that the connection is alive before a change goes into it.
    async fn make_sure(&mut self) -> Result<(), Action> {
        let silent = self
            .session
            .as_ref()
            .is_none_or(|session| session.silent_for() > FRESH);
        if !silent {
            return Ok(());
        }
        let alive = match &self.session {
            Some(session) => facts::is_alive(session).await,
            None => false,
        };
        if alive {
            return Ok(());
        }
        // The old session has noticed by now, or is about to; a new one is opened beside it.
        match self.connect().await {
            Action::End(ended) => Err(Action::End(ended)),
            _ => Ok(()),
        }
    }

    async fn send(&mut self) -> Action {
        let (Some(session), Some(Step::Command(command))) = (self.session.clone(), self.attempt.step())
        else {
            let lost = StepEnd::NotSent(DeviceError::new(ErrorClass::Reset, "there is no connection"));
            return self.attempt.step_ended(lost);
        };
        let run = next_run();
        let timeout = Duration::from_millis(self.job.assignment.timeout_ms);
        let mut answer = session.run(words(command), timeout, run);
        let reply = tokio::select! {
            reply = &mut answer => reply,
            // A change in flight is allowed to finish: half a change helps nobody.
            () = self.job.cancel.cancelled(), if self.attempt.is_read() => {
                session.cancel(run);
                answer.await
            }
        };
        let reply = reply.unwrap_or_else(|_| session::never_sent());
        let held: usize = self.replies.iter().map(Bytes::len).sum();
        if held + reply.sentences.len() > ANSWERS {
            let text =
                format!("the answers of the plan's steps are over the limit of {ANSWERS} bytes together");
            let error = DeviceError::new(ErrorClass::Protocol, text);
            return self.attempt.step_ended(StepEnd::NoAnswer(error));
        }
        if !matches!(reply.end, StepEnd::NotSent(_)) {
            self.replies.push(reply.sentences);
        }
        self.attempt.step_ended(reply.end)
    }
}

fn words(command: &Command) -> Vec<Vec<u8>> {
    command
        .sent_words()
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn report(assignment: &v1::Assignment, ended: &Ended, replies: Vec<Bytes>, elapsed: Duration) -> v1::Report {
    let outcome = match ended.outcome {
        Outcome::Cancelled => v1::ReportOutcome::Cancelled,
        Outcome::Failed => v1::ReportOutcome::Failed,
        Outcome::Interrupted => v1::ReportOutcome::Interrupted,
        Outcome::Succeeded => v1::ReportOutcome::Succeeded,
        Outcome::Unknown => v1::ReportOutcome::Unknown,
        Outcome::Unreached => v1::ReportOutcome::Unreached,
    };
    v1::Report {
        execution: assignment.execution,
        epoch: assignment.epoch,
        outcome: outcome.into(),
        error: ended.error.as_ref().map(Into::into),
        replies,
        elapsed_ms: elapsed.as_millis().try_into().unwrap_or(u64::MAX),
        age_ms: 0,
    }
}
