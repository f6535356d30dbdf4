//! One execution in a worker's hands: the attempt machine, and the tasks it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::quiet::SEND_WITHIN;
use muster_model::{DeviceError, ErrorClass, Plan, Step};
use muster_proto::v1;
use muster_worker_core::inverse::prepare;
use muster_worker_core::{Action, Attempt, ConnectFailure, Ended, Exchange, Manner, Outcome, StepEnd};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Leave;
use crate::devices::{Devices, Line};
use crate::facts;
use crate::held::{Ask, Begun, Held, Told};
use crate::phase::Doing;
use crate::session::{self, Follow, Handle, Reply, RunId, Target, Turn, Words};

mod words;

use words::{device, file, mode, recorded, report, state};

/// What an execution needs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) assignment: v1::Assignment,
    pub(crate) plan: Arc<Plan>,
    pub(crate) target: Target,
    pub(crate) begun: Begun,
    /// Tells when the worker goes.
    pub(crate) leave: Leave,
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

/// A new connection that proves that one can still come in is tried again after this, and for so long.
const PROVE_AGAIN: Duration = Duration::from_millis(500);
const PROVE_FOR: Duration = Duration::from_secs(10);
/// How long the end of a followed step waits for its last rows to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// Batches of rows of a followed step that wait to be told.
const LIVE_AHEAD: usize = 4;

/// Names commands on sessions; unique in the process.
static NEXT_RUN: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_run() -> RunId {
    RunId::new(NEXT_RUN.fetch_add(1, Ordering::Relaxed))
}

/// Runs one execution to its end and hands over the report.
pub(crate) async fn run(job: Job, devices: Devices, held: Held) {
    let began = Instant::now();
    let rendered = match &job.assignment.context {
        Some(context) => job.plan.render(&device(context)).map(Arc::new),
        None => Ok(job.plan.clone()),
    };
    let plan = rendered.as_ref().unwrap_or(&job.plan).clone();
    let takes_back = plan.steps.iter().any(|step| matches!(step, Step::Revert(_)));
    let (plan, unfit) = match takes_back {
        false => (plan, None),
        true => match prepare(&plan, &recorded(&job.assignment.before)) {
            Ok(prepared) => (Arc::new(prepared), None),
            Err(why) => (plan, Some(why)),
        },
    };
    let backup_age = job.assignment.backup_age_ms.map(Duration::from_millis);
    let open = Duration::from_millis(job.assignment.open_ms);
    let mut run = Run {
        attempt: Attempt::new(plan, mode(&job.assignment))
            .with_backup(backup_age)
            .measuring(job.assignment.measure.iter().map(String::as_str))
            .with_recorded(recorded(&job.assignment.states))
            .with_caps(devices.caps(job.assignment.device))
            .with_memo(&job.assignment.memo, open),
        job,
        devices,
        held,
        session: None,
        send_by: began,
        began,
    };
    let first = match rendered {
        Ok(_) if let Some(why) = unfit => run.attempt.unfit(why),
        Ok(_) => Action::Connect,
        Err(error) => run.attempt.unfit(error.to_string()),
    };
    let mut ended = run.drive(first).await;
    if ended.outcome == Outcome::Cancelled && !run.job.begun.cancel.is_cancelled() && run.is_leaving() {
        // Nobody asked for its end: it goes back.
        ended.outcome = Outcome::HandedBack;
    }
    // A safe mode stays; whether a clock is synchronised is asked each time, because a restart may reset it.
    let is_api = run.session.as_ref().is_some_and(|(session, _)| session.is_api());
    let lasting = run.attempt.caps().filter(|caps| caps.safe_mode && is_api);
    run.devices.learn_caps(run.job.assignment.device, lasting);
    if ended.outcome == Outcome::Unknown {
        // What is armed on the device may wait for this connection to end.
        run.let_go();
    }
    // A device that did not answer well has other worries than to say what it is.
    let answered = ended.error.as_ref().is_none_or(|error| is_answer(error.class));
    let Run {
        attempt,
        job,
        held,
        session,
        ..
    } = run;
    // Its turn ends here.
    let session = session.filter(|_| answered).map(|(session, _turn)| session);
    held.end(Told {
        report: report(&job.assignment, &ended, attempt, began.elapsed()),
        ended: Instant::now(),
    });
    // After the report, so that nobody waits for it.
    let Some(session) = session else { return };
    let known = &job.assignment.serial;
    if !job.assignment.want_facts && (known.is_empty() || !is_another(&session, known).await) {
        return;
    }
    if let Some(facts) = facts::learn(&session, job.assignment.device).await {
        if known.is_empty() || *known == facts.serial {
            session.recognised();
        }
        held.tell_facts(facts);
    }
}

/// Whether another router answers than the one that is known, as far as it says; looked at once for each connection.
async fn is_another(session: &Handle, known: &str) -> bool {
    if !session.is_to_be_looked_at() {
        return false;
    }
    match facts::serial_of(session).await {
        Some(found) if found == known => {
            session.recognised();
            false
        }
        Some(_) => true,
        None => false,
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
    began: Instant,
}

/// Why there is no session.
enum NoSession {
    Failed(ConnectFailure),
    /// The engine wants the execution ended.
    Cancelled,
}

impl NoSession {
    fn late(text: &str) -> Self {
        Self::Failed(ConnectFailure {
            error: DeviceError::new(ErrorClass::Timeout, text),
            may_pass: true,
        })
    }
}

/// Whether a device that answers well can have caused an error of this class.
fn is_answer(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Check | ErrorClass::Drift | ErrorClass::NotAsWanted | ErrorClass::Plan | ErrorClass::Trap
    )
}

impl Run {
    async fn drive(&mut self, first: Action) -> Ended {
        let mut action = first;
        let lease = (self.job.assignment.execution, self.job.assignment.epoch);
        let mut waits = false;
        loop {
            let now_waits = self.attempt.only_waits();
            if std::mem::replace(&mut waits, now_waits) != now_waits {
                self.held.waits(lease, now_waits);
            }
            action = match action {
                Action::Connect => {
                    let until = self.job.until;
                    let made = self.have_session(until).await;
                    self.attempt.tick(self.began.elapsed());
                    self.tell_transport();
                    match made {
                        Ok(()) => self.attempt.connected(),
                        Err(NoSession::Failed(failure)) => self.attempt.connect_failed(failure),
                        Err(NoSession::Cancelled) => self.attempt.cancelled(),
                    }
                }
                Action::Reconnect(within) => {
                    self.let_go();
                    let made = self.have_session(Instant::now() + within).await;
                    self.attempt.tick(self.began.elapsed());
                    match made {
                        Ok(()) => self.attempt.reconnected(Ok(())),
                        Err(NoSession::Failed(failure)) => self.attempt.reconnected(Err(failure)),
                        Err(NoSession::Cancelled) => self.attempt.cancelled(),
                    }
                }
                Action::Wait(time) => self.wait(time).await,
                // Between two steps a worker that goes gives back what is left.
                Action::AskIntent { .. } if self.is_leaving() && !self.attempt.is_in_the_middle() => {
                    self.attempt.cancelled()
                }
                Action::AskIntent { step } => match self.ask(step).await {
                    Ok(()) => {
                        self.attempt.tick(self.began.elapsed());
                        self.attempt.granted()
                    }
                    Err(action) => action,
                },
                Action::Exchange(exchange) => self.exchange(exchange).await,
                Action::End(ended) => return ended,
            }
        }
    }

    fn tell_transport(&mut self) {
        if let Some((session, _)) = &self.session {
            self.attempt.is_over_api(session.is_api());
        }
    }

    /// Gives up the session, so that the next one is new.
    fn let_go(&mut self) {
        if let Some((session, _turn)) = self.session.take() {
            let device = self.job.assignment.device;
            for line in [Line::Main, Line::Second, Line::Proof] {
                self.devices.forget(device, line, &session);
            }
        }
    }

    async fn wait(&mut self, time: Duration) -> Action {
        self.phased(Doing::Waiting(self.attempt.doing()));
        tokio::select! {
            () = tokio::time::sleep(time) => {
                self.attempt.tick(self.began.elapsed());
                self.attempt.waited()
            }
            () = self.job.begun.cancel.cancelled() => self.attempt.cancelled(),
            () = self.job.leave.soon.cancelled(), if !self.attempt.is_in_the_middle() => self.attempt.cancelled(),
        }
    }

    /// Whether the worker is about to go.
    fn is_leaving(&self) -> bool {
        self.job.leave.soon.is_cancelled()
    }

    /// Whether a step of the plan is followed.
    fn follows(&self) -> bool {
        let followed = |step: &Step| matches!(step, Step::Command(command) if command.follow().is_some());
        self.job.plan.steps.iter().any(followed)
    }

    /// Has a session that is logged in and a turn on it: alone for a plan with effects, so that nobody else's
    /// command stands in front of a change once it is granted, and nobody else's end takes it along. Who only looks
    /// does not wait for such a plan to end, but takes the device's second connection.
    async fn have_session(&mut self, until: Instant) -> Result<(), NoSession> {
        let alone = self.attempt.is_alone();
        // Whoever listens for an hour does not keep changes waiting.
        let first = if self.follows() && !alone {
            Line::Second
        } else {
            Line::Main
        };
        for _ in 0..RECONNECTS {
            let (mut line, mut session) = (first, self.ready(first, until).await?);
            let mut turn = None;
            if !alone {
                turn = session.try_turn();
                if turn.is_none() {
                    (line, session) = (Line::Second, self.ready(Line::Second, until).await?);
                }
            }
            let turn = match turn {
                Some(turn) => turn,
                None => {
                    let busy = "the device was busy with other commands";
                    self.phased(Doing::Turn)
                        .bounded(session.turn(alone), until, busy)
                        .await?
                }
            };
            let mut fit = session.is_open();
            if fit && alone && session.silent_for() > FRESH {
                // What is sent into a connection that died unnoticed would end as unknown.
                let alive = facts::is_alive(&session, turn.clone());
                fit = self.bounded(alive, until, "no answer").await?;
            }
            if fit && alone && !session.is_known() {
                fit = self.recognise(&session, turn.clone(), until).await?;
            }
            if fit {
                self.session = Some((session, turn));
                return Ok(());
            }
            self.devices.forget(self.job.assignment.device, line, &session);
        }
        let error = DeviceError::new(
            ErrorClass::Reset,
            "the device closes its connections as soon as they are open",
        );
        Err(NoSession::Failed(ConnectFailure {
            error,
            may_pass: true,
        }))
    }

    /// Looks whether the router at the other end is the one that the device is known as, once for each connection and
    /// before anything is changed. Returns whether it answers.
    async fn recognise(&self, session: &Handle, turn: Arc<Turn>, until: Instant) -> Result<bool, NoSession> {
        let known = &self.job.assignment.serial;
        if known.is_empty() {
            return Ok(true);
        }
        let asking = facts::serial_now(session, turn.clone());
        let Some(found) = self.bounded(asking, until, "no answer").await? else {
            return Ok(false);
        };
        if found == *known {
            session.recognised();
            return Ok(true);
        }
        if found.is_empty() && facts::is_coming_up(session, turn.clone()).await {
            let text = "it has just come up, and does not tell yet which router it is";
            return Err(NoSession::Failed(ConnectFailure {
                error: DeviceError::new(ErrorClass::Identity, text),
                may_pass: true,
            }));
        }
        // So that everybody sees it.
        if let Some(facts) = facts::learn_in(session, self.job.assignment.device, turn).await {
            self.held.tell_facts(facts);
        }
        let found = match found.as_str() {
            "" => "it tells no serial number".to_owned(),
            found => format!("its serial number is {found}"),
        };
        let text = format!(
            "another router answers: {found}, and the device is known by {known}; muster device trust accepts it"
        );
        Err(NoSession::Failed(ConnectFailure {
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

    /// The device's session, once it is logged in.
    async fn ready(&self, line: Line, until: Instant) -> Result<Handle, NoSession> {
        let session = self.session(line);
        let within = until.saturating_duration_since(Instant::now());
        self.phased(Doing::Connecting(session.clone()));
        match self.bounded(session.ready(), until, "").await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(failure)) => Err(NoSession::Failed(failure)),
            Err(none) => {
                let none = match none {
                    NoSession::Failed(_) => NoSession::late(&self.job.begun.phase.no_session(within)),
                    NoSession::Cancelled => none,
                };
                // Who asks for what is being done would hold it too.
                self.phased(Doing::Beginning);
                self.devices.leave(self.job.assignment.device, line, session);
                Err(none)
            }
        }
    }

    /// Waits for something until its time is up or the engine wants the execution ended.
    async fn bounded<T>(
        &self,
        work: impl Future<Output = T>,
        until: Instant,
        late: &str,
    ) -> Result<T, NoSession> {
        let middle = self.attempt.is_in_the_middle();
        tokio::select! {
            done = work => Ok(done),
            () = tokio::time::sleep_until(until.into()) => Err(NoSession::late(late)),
            () = self.job.begun.cancel.cancelled() => Err(NoSession::Cancelled),
            () = self.job.leave.soon.cancelled(), if !middle => Err(NoSession::Cancelled),
        }
    }

    /// Asks for the intent of a step until there is an answer. In the middle of a step nothing but the engine's word
    /// ends it.
    async fn ask(&mut self, step: u32) -> Result<(), Action> {
        let first_asked = Instant::now();
        let ends = !self.attempt.is_in_the_middle();
        self.phased(Doing::Intent);
        loop {
            let asked = Instant::now();
            let v1::Assignment { execution, epoch, .. } = self.job.assignment;
            let intent = v1::Intent {
                execution,
                epoch,
                step,
                memo: self.attempt.memo(),
            };
            let answer = self.held.ask(Ask {
                intent,
                state: self.attempt.note().map(|note| state(execution, note)),
                files: self.attempt.given().iter().map(file).collect(),
            });
            let verdict = tokio::select! {
                verdict = answer => verdict.unwrap_or(v1::IntentVerdict::Revoked),
                () = self.job.begun.cancel.cancelled(), if ends => return Err(self.attempt.cancelled()),
            };
            if matches!(verdict, v1::IntentVerdict::Granted | v1::IntentVerdict::Held) {
                self.attempt.handed_over();
            }
            match verdict {
                v1::IntentVerdict::Granted if asked.elapsed() < SEND_WITHIN => {
                    self.send_by = asked + SEND_WITHIN;
                    return Ok(());
                }
                v1::IntentVerdict::Granted => {}
                v1::IntentVerdict::Held if first_asked.elapsed() > HELD_AT_MOST => {
                    return Err(self.attempt.held_too_long());
                }
                v1::IntentVerdict::Held => {
                    self.phased(Doing::Held);
                    tokio::select! {
                        () = tokio::time::sleep(ASK_AGAIN) => {}
                        () = self.job.begun.cancel.cancelled(), if ends => return Err(self.attempt.cancelled()),
                        () = self.job.leave.soon.cancelled(), if ends => return Err(self.attempt.cancelled()),
                    }
                }
                v1::IntentVerdict::Revoked | v1::IntentVerdict::Unspecified => {
                    return Err(self.attempt.revoked());
                }
            }
        }
    }

    async fn exchange(&mut self, exchange: Exchange) -> Action {
        let Exchange {
            words,
            manner,
            follow,
            fresh,
        } = exchange;
        let timeout = Duration::from_millis(self.job.assignment.timeout_ms);
        if fresh {
            return self.prove(words, timeout).await;
        }
        if manner == Manner::Write && self.attempt.is_in_the_middle() && Instant::now() >= self.send_by {
            // A step that writes for longer than a grant lasts asks again, so that the quiet time (A5) counts from its
            // last write.
            let step = self.attempt.intent_step();
            if let Err(action) = self.ask(step).await {
                return action;
            }
        }
        let Some((session, turn)) = self.session.clone() else {
            let lost = StepEnd::NotSent(DeviceError::new(ErrorClass::Reset, "there is no connection"));
            self.attempt.tick(self.began.elapsed());
            return self.attempt.answered(lost, Bytes::new());
        };
        let send_by = match manner {
            // A device that has answered is there: what is left to ask of it is asked, also when others are given up.
            Manner::Question if self.attempt.at() > 0 => self.job.until.max(Instant::now() + timeout),
            Manner::Question => self.job.until,
            Manner::Write => self.send_by,
            Manner::Proof => Instant::now() + timeout,
        };
        // Over REST nothing is told as it comes: of what a step does its end is waited for, as long as REST may last.
        let (follow, timeout) = match follow {
            Some(follow) if manner == Manner::Write && !session.is_api() => {
                (None, timeout.max(Duration::from_millis(follow.lasts_ms)))
            }
            follow => (follow, timeout),
        };
        self.phased(Doing::Command(session.clone()));
        let run = next_run();
        // What is followed has no end that one could wait for.
        let leave = match follow {
            Some(_) => self.job.leave.soon.clone(),
            None => self.job.leave.now.clone(),
        };
        let (follow, telling) = follow.map(|follow| self.follow(follow, session.clone())).unzip();
        let mut answer = session.follow(Words::new(&words), timeout, send_by, turn, run, follow);
        let middle = self.attempt.is_in_the_middle();
        let cut = async {
            tokio::select! {
                () = self.job.begun.cancel.cancelled() => {}
                () = leave.cancelled(), if !middle => {}
            }
        };
        let reply = tokio::select! {
            reply = &mut answer => reply,
            // A change in flight is allowed to finish: half a change helps nobody.
            () = cut, if manner == Manner::Question => {
                session.cancel(run);
                answer.await.map(|reply| match reply.end {
                    // Whether the device said so or lost its connection over it: it was asked for.
                    StepEnd::NoAnswer(_) | StepEnd::NotSent(_) => Reply { end: StepEnd::Cancelled, ..reply },
                    _ => reply,
                })
            }
        };
        if let Some(telling) = telling {
            // What was told live is told before the end is.
            let _ = tokio::time::timeout(TOLD_WITHIN, telling).await;
        }
        let Reply { end, sentences } = reply.unwrap_or_else(|_| session::never_sent());
        self.attempt.tick(self.began.elapsed());
        self.attempt.answered(end, sentences)
    }

    /// Asks over a new connection, which is made for it and closed after it. A router that restarts a service because its
    /// settings changed refuses the first one, so that is tried again for a while.
    async fn prove(&mut self, words: Vec<Vec<u8>>, timeout: Duration) -> Action {
        let device = self.job.assignment.device;
        // Whatever was there from before is none.
        let before = self.session(Line::Proof);
        self.devices.forget(device, Line::Proof, &before);
        let began = Instant::now();
        // Twice the deadline of a command: one for the connection, one for the command.
        let within = timeout * 2;
        let (end, sentences) = loop {
            let session = self.session(Line::Proof);
            self.phased(Doing::Connecting(session.clone()));
            let asked = async {
                session.ready().await?;
                let turn = session.turn(false).await;
                let send_by = Instant::now() + timeout;
                let answer = session.follow(Words::new(&words), timeout, send_by, turn, next_run(), None);
                Ok::<_, ConnectFailure>(answer.await.unwrap_or_else(|_| session::never_sent()))
            };
            let told = tokio::time::timeout_at((began + within).into(), asked).await;
            self.devices.forget(device, Line::Proof, &session);
            match told {
                Ok(Ok(Reply { end, sentences })) => break (end, sentences),
                Ok(Err(failure)) if failure.may_pass && began.elapsed() < PROVE_FOR => {
                    tokio::time::sleep(PROVE_AGAIN).await;
                }
                Ok(Err(failure)) => break (StepEnd::NoAnswer(failure.error), Bytes::new()),
                Err(_) => {
                    let text = format!("no new connection within {} ms", within.as_millis());
                    let error = DeviceError::new(ErrorClass::Timeout, text);
                    break (StepEnd::NoAnswer(error), Bytes::new());
                }
            }
        };
        self.attempt.tick(self.began.elapsed());
        self.attempt.answered(end, sentences)
    }

    /// Has the rows of a step told as they come: a task takes them from the session, as fast as the engine takes them.
    fn follow(&self, follow: muster_model::Follow, session: Handle) -> (Box<Follow>, JoinHandle<()>) {
        let (live, mut rows) = mpsc::channel(LIVE_AHEAD);
        let (held, step) = (self.held.clone(), self.attempt.at());
        let v1::Assignment { job, device_name, .. } = &self.job.assignment;
        let (job, device) = (*job, device_name.clone());
        let telling = tokio::spawn(async move {
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
        let follow = Follow {
            lasts: Duration::from_millis(follow.lasts_ms),
            rows: follow.rows,
            live,
        };
        (Box::new(follow), telling)
    }
}
