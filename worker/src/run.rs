//! One execution in a worker's hands: the attempt machine, and the tasks it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::quiet::SEND_WITHIN;
use muster_model::{Command, DeviceError, ErrorClass, Plan, Step, Verify};
use muster_proto::v1;
use muster_worker_core::{Action, Attempt, ConnectFailure, Ended, Outcome, StepEnd};
use routeros_wire::{Expression, Kind, Limits, decode_all};
use tokio::sync::mpsc;

use crate::devices::{Devices, Line};
use crate::facts;
use crate::held::{Begun, Held, Told};
use crate::phase::Doing;
use crate::session::{self, Follow, Handle, Reply, RunId, Target, Turn};

/// What an execution needs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) assignment: v1::Assignment,
    pub(crate) plan: Arc<Plan>,
    pub(crate) target: Target,
    pub(crate) begun: Begun,
    /// When the job gives up on a device that could not be reached.
    pub(crate) until: Instant,
}

/// A connection that was silent for longer is asked something harmless before it gets a change: what is sent into a
/// connection that died unnoticed ends as unknown.
const FRESH: Duration = Duration::from_secs(5);
/// Connections tried in one attempt, when one after the other turns out to be dead.
const RECONNECTS: usize = 3;
/// A held intent is asked for again after this, and given up with its device's lock after this (A10).
const ASK_AGAIN: Duration = Duration::from_secs(1);
const HELD_AT_MOST: Duration = Duration::from_secs(30);

/// Batches of rows of a followed step that wait to be told.
const LIVE_AHEAD: usize = 4;

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
        attempt: Attempt::new(
            job.plan.clone(),
            job.assignment.first_step,
            job.assignment.resolve,
        ),
        job,
        devices,
        held,
        session: None,
        send_by: began,
        replies: Vec::new(),
    };
    let ended = run.drive().await;
    // A device that did not answer well has other worries than to say what it is.
    let answered = ended
        .error
        .as_ref()
        .is_none_or(|error| error.class == ErrorClass::Trap);
    let Run {
        job,
        held,
        replies,
        session,
        ..
    } = run;
    // Its turn ends here.
    let session = session.filter(|_| answered).map(|(session, _turn)| session);
    held.end(Told {
        report: report(&job.assignment, &ended, replies, began.elapsed()),
        ended: Instant::now(),
    });
    // After the report, so that nobody waits for it.
    if job.assignment.want_facts
        && let Some(session) = session
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
    session: Option<(Handle, Arc<Turn>)>,
    /// Until when the granted step may be sent.
    send_by: Instant,
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
                Action::Look { .. } => self.look().await,
                Action::End(ended) => return ended,
            }
        }
    }

    /// Has a session that is logged in and a turn on it: alone for a plan with effects, so that nobody else's
    /// command stands in front of a change once it is granted, and nobody else's end takes it along. Who only looks
    /// does not wait for such a plan to end, but takes the device's second connection.
    async fn connect(&mut self) -> Action {
        let alone = self.attempt.is_alone();
        for _ in 0..RECONNECTS {
            let (mut line, mut session) = (Line::Main, self.session(Line::Main));
            let mut turn = None;
            if let Err(action) = self.ready(&session).await {
                return action;
            }
            if !alone {
                turn = session.try_turn();
                if turn.is_none() {
                    (line, session) = (Line::Second, self.session(Line::Second));
                    if let Err(action) = self.ready(&session).await {
                        return action;
                    }
                }
            }
            let turn = match turn {
                Some(turn) => turn,
                None => match self
                    .phased(Doing::Turn)
                    .bounded(session.turn(alone), "the device was busy with other commands")
                    .await
                {
                    Ok(turn) => turn,
                    Err(action) => return action,
                },
            };
            let mut fit = session.is_open();
            if fit && alone && session.silent_for() > FRESH {
                // What is sent into a connection that died unnoticed would end as unknown.
                fit = match self
                    .bounded(facts::is_alive(&session, turn.clone()), "no answer")
                    .await
                {
                    Ok(alive) => alive,
                    Err(action) => return action,
                };
            }
            if fit && alone && !session.is_known() {
                fit = match self.recognise(&session, turn.clone()).await {
                    Ok(known) => known,
                    Err(action) => return action,
                };
            }
            if fit {
                self.session = Some((session, turn));
                return self.attempt.connected();
            }
            self.devices.forget(self.job.assignment.device, line, &session);
        }
        let error = DeviceError::new(
            ErrorClass::Reset,
            "the device closes its connections as soon as they are open",
        );
        self.attempt.connect_failed(ConnectFailure {
            error,
            may_pass: true,
        })
    }

    /// Looks whether the router at the other end is the one that the device is known as, once for each connection and
    /// before anything is changed. Returns whether it answers.
    async fn recognise(&self, session: &Handle, turn: Arc<Turn>) -> Result<bool, Action> {
        let known = &self.job.assignment.serial;
        if known.is_empty() {
            return Ok(true);
        }
        let asking = facts::serial_now(session, turn.clone());
        let Some(found) = self.bounded(asking, "no answer").await? else {
            return Ok(false);
        };
        if found == *known {
            session.recognised();
            return Ok(true);
        }
        // So that everybody sees it.
        drop(turn);
        if let Some(facts) = facts::learn(session, self.job.assignment.device).await {
            self.held.tell_facts(facts);
        }
        let found = match found.as_str() {
            "" => "it tells no serial number".to_owned(),
            found => format!("its serial number is {found}"),
        };
        let text = format!(
            "another router answers: {found}, and the device is known by {known}; muster device trust accepts it"
        );
        Err(self.attempt.connect_failed(ConnectFailure {
            error: DeviceError::new(ErrorClass::Identity, text),
            may_pass: false,
        }))
    }

    fn session(&self, line: Line) -> Handle {
        self.devices
            .session(self.job.assignment.device, line, &self.job.target)
    }

    /// Notes what is done next.
    fn phased(&self, doing: Doing) -> &Self {
        self.job.begun.phase.set(doing);
        self
    }

    /// Waits until a session is logged in.
    async fn ready(&self, session: &Handle) -> Result<(), Action> {
        let text = format!(
            "not connected and logged in within {} ms",
            self.job.assignment.expires_in_ms
        );
        self.phased(Doing::Connecting(session.clone()));
        match self.bounded(session.ready(), &text).await? {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.attempt.connect_failed(failure)),
        }
    }

    /// Waits for something until the job's time is up or the engine wants the execution ended.
    async fn bounded<T>(&self, work: impl Future<Output = T>, late: &str) -> Result<T, Action> {
        tokio::select! {
            done = work => Ok(done),
            () = tokio::time::sleep_until(self.job.until.into()) => {
                let error = DeviceError::new(ErrorClass::Timeout, late);
                Err(self.attempt.connect_failed(ConnectFailure { error, may_pass: true }))
            }
            () = self.job.begun.cancel.cancelled() => Err(self.attempt.cancelled()),
        }
    }

    async fn ask_and_send(&mut self, step: u32) -> Action {
        let first_asked = Instant::now();
        self.phased(Doing::Intent);
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
                () = self.job.begun.cancel.cancelled() => return self.attempt.cancelled(),
            };
            match verdict {
                v1::IntentVerdict::Granted if asked.elapsed() < SEND_WITHIN => {
                    self.send_by = asked + SEND_WITHIN;
                    return self.attempt.granted();
                }
                v1::IntentVerdict::Granted => {}
                v1::IntentVerdict::Held if first_asked.elapsed() > HELD_AT_MOST => {
                    return self.attempt.held_too_long();
                }
                v1::IntentVerdict::Held => {
                    self.phased(Doing::Held);
                    tokio::select! {
                        () = tokio::time::sleep(ASK_AGAIN) => {}
                        () = self.job.begun.cancel.cancelled() => return self.attempt.cancelled(),
                    }
                }
                v1::IntentVerdict::Revoked | v1::IntentVerdict::Unspecified => return self.attempt.revoked(),
            }
        }
    }

    async fn send(&mut self) -> Action {
        let (Some((session, turn)), Some(Step::Command(command))) =
            (self.session.clone(), self.attempt.step())
        else {
            let lost = StepEnd::NotSent(DeviceError::new(ErrorClass::Reset, "there is no connection"));
            return self.attempt.step_ended(lost);
        };
        self.phased(Doing::Command(session.clone()));
        let run = next_run();
        let timeout = Duration::from_millis(self.job.assignment.timeout_ms);
        let send_by = if self.attempt.is_read() {
            self.job.until
        } else {
            self.send_by
        };
        let follow = command
            .follow()
            .map(|follow| self.follow(follow, session.clone()));
        let mut answer = session.follow(words(command), timeout, send_by, turn, run, follow);
        let reply = tokio::select! {
            reply = &mut answer => reply,
            // A change in flight is allowed to finish: half a change helps nobody.
            () = self.job.begun.cancel.cancelled(), if self.attempt.is_read() => {
                session.cancel(run);
                answer.await.map(|reply| match reply.end {
                    // Whether the device said so or lost its connection over it: it was asked for.
                    StepEnd::NoAnswer(_) | StepEnd::NotSent(_) => Reply { end: StepEnd::Cancelled, ..reply },
                    _ => reply,
                })
            }
        };
        let reply = reply.unwrap_or_else(|_| session::never_sent());
        let held: usize = self.replies.iter().map(Bytes::len).sum();
        if held + reply.sentences.len() > ANSWERS {
            if !self.attempt.is_read() {
                // What it did counts, not what it said.
                self.replies.push(Bytes::new());
                return self.attempt.step_ended(reply.end);
            }
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

    /// Has the rows of a step told as they come: a task takes them from the session, as fast as the engine takes them.
    fn follow(&self, follow: muster_model::Follow, session: Handle) -> Box<Follow> {
        let (live, mut rows) = mpsc::channel(LIVE_AHEAD);
        let (held, step) = (self.held.clone(), self.attempt.at());
        let v1::Assignment { job, device_name, .. } = &self.job.assignment;
        let (job, device) = (*job, device_name.clone());
        tokio::spawn(async move {
            while let Some(sentences) = rows.recv().await {
                session.taken();
                let device = device.clone();
                held.tell_live(v1::LiveRows {
                    job,
                    device,
                    step,
                    sentences,
                })
                .await;
            }
        });
        Box::new(Follow {
            lasts: Duration::from_millis(follow.lasts_ms),
            rows: follow.rows,
            live,
        })
    }

    /// Sends the verification of a step whose answer was lost.
    async fn look(&mut self) -> Action {
        let verify = self.attempt.step().and_then(Step::verify).cloned();
        let (Some((session, turn)), Some(verify)) = (self.session.clone(), verify) else {
            let text = "there is no connection, or nothing to verify it with";
            let lost = StepEnd::NotSent(DeviceError::new(ErrorClass::Worker, text));
            return self.attempt.looked(lost, false);
        };
        let words = verify.sent_words().map(|word| word.as_bytes().to_vec()).collect();
        let (run, timeout) = (next_run(), Duration::from_millis(self.job.assignment.timeout_ms));
        let answer = session.run(words, timeout, self.job.until, turn, run);
        let reply = answer.await.unwrap_or_else(|_| session::never_sent());
        match verified(&verify, &reply.sentences) {
            Ok(found) => self.attempt.looked(reply.end, found),
            Err(error) => self.attempt.looked(StepEnd::Trapped(error), false),
        }
    }
}

/// Whether an answer says that the step was done.
fn verified(verify: &Verify, sentences: &[u8]) -> Result<bool, DeviceError> {
    let expect = match verify.expect.is_empty() {
        true => None,
        false => Some(verify.expect.parse::<Expression>().map_err(|error| {
            DeviceError::new(
                ErrorClass::Worker,
                format!("the verification's expectation: {error}"),
            )
        })?),
    };
    let mut any = false;
    // Our own bytes, written sentence by sentence: they decode.
    let _ = decode_all(sentences, Limits::default(), |sentence| {
        let expected = |expression: &Expression| expression.matches(&|name| sentence.get(name));
        any |= sentence.kind() == Kind::Re && expect.as_ref().is_none_or(expected);
    });
    Ok(any != verify.absent)
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
        Outcome::FoundDone => v1::ReportOutcome::FoundDone,
        Outcome::FoundNotDone => v1::ReportOutcome::FoundNotDone,
        Outcome::HandedBack => v1::ReportOutcome::HandedBack,
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
        steps_done: ended.steps_done,
        first_step: assignment.first_step,
    }
}
