//! The task of a session: it connects, then moves bytes and time between the socket and the connection machine.
//!
//! Everything it waits for is looked at in one place, [`Session::poll`]: messages first, so that commands that came
//! together leave in one write; then what the device said; then time. An idle session is this task, its socket, and
//! the machine without buffers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Transport};
use muster_worker_core::{ConnectFailure, StepEnd};
use routeros_conn::{CloseCause, Config, Connection, Credentials, Event, ExchangeId, Outcome, UnknownCause};
use tokio::time::Sleep;

use super::open::{After, Open};
use super::{Handle, Message, Reply, Request, Stage, State, Target, Turn, Vitals, gone};
use crate::budget::Share;
use crate::connect;
use crate::devices::{Key, World};
use crate::mailbox::{Mailbox, mailbox};
use crate::pacing::{Gate, Handshake, Limiter};
use crate::reach::{self, Way};
use crate::rest::{self, Rest, RestSession};
use crate::room::Place;
use crate::stream::Stream;

/// The future of a session, for whoever spawns it.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts a session. It connects at once, or as soon as the world's limits let it.
pub(crate) fn spawn(key: Key, target: Arc<Target>, world: Arc<World>, spawn: impl FnOnce(Serving)) -> Handle {
    let (messages, mailbox) = mailbox();
    let vitals = Arc::new(Vitals::new());
    let handle = Handle {
        messages,
        vitals: vitals.clone(),
    };
    let told = Told(vitals);
    let serving = run(key, target, world, mailbox, told);
    TASK_BYTES.store(size_of_val(&serving), Ordering::Relaxed);
    spawn(Box::pin(serving));
    handle
}

/// Bytes of an idle session: its task, and what it shares with its handles. The runtime's own for a socket and a task
/// come on top.
pub(crate) fn idle_bytes() -> usize {
    TASK_BYTES.load(Ordering::Relaxed) + size_of::<Session>() + size_of::<Vitals>()
}

/// Size of a session's future, known when the first one was made.
static TASK_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Tells the end of a session to its handles, even when its task is dropped.
struct Told(Arc<Vitals>);

impl Drop for Told {
    fn drop(&mut self) {
        if !matches!(*self.0.state(), State::Closed(_)) {
            self.0.settle(State::Closed(ConnectFailure {
                error: gone(),
                may_pass: true,
            }));
        }
    }
}

async fn run(key: Key, target: Arc<Target>, world: Arc<World>, mut mailbox: Mailbox<Message>, told: Told) {
    let vitals = &told.0;
    let (device, asked) = (key.0, target.transport);
    let mut failures = Vec::new();
    for way in world.reach.ways(device, &target) {
        // In a box of its own: an idle session does not carry what making a connection takes.
        let opened = Box::pin(open(device, &target, way, &world, vitals)).await;
        let failure = match opened {
            Ok(Opened::Api(session)) => session.serve(&mut mailbox).await,
            Ok(Opened::Rest(session)) => Box::pin(session.serve(&mut mailbox)).await,
            Err(failure) => failure,
        };
        let (served, goes_on) = (is_ready(vitals), reach::goes_on(&failure));
        failures.push((way, failure));
        if served || !goes_on {
            failures.drain(..failures.len() - 1);
            break;
        }
    }
    if !is_ready(vitals) {
        world.reach.failed(device, asked);
    }
    let failure = reach::all(failures);
    mailbox.close();
    vitals.settle(State::Closed(failure.clone()));
    world.ended(key, vitals);
    while let Some(message) = mailbox.try_recv() {
        if let Message::Run(_, request) = message {
            let _ = request.reply.send(unsent(failure.error.clone()));
        }
    }
}

/// A connection in the making gives its turn to others when nobody has answered after this: who is not there at all
/// should not keep those waiting who are.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before connecting is tried again when the system had no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(200);

fn is_ready(vitals: &Vitals) -> bool {
    matches!(*vitals.state(), State::Ready)
}

enum Opened {
    Api(Box<Session>),
    Rest(Box<RestSession>),
}

/// Connects one way and begins the login; over REST, ends it.
async fn open(
    device: u64,
    target: &Target,
    way: Way,
    world: &Arc<World>,
    vitals: &Arc<Vitals>,
) -> Result<Opened, ConnectFailure> {
    vitals.enter(Stage::Room);
    let place = world.enter().await;
    vitals.enter(Stage::Zone);
    world.pacing.connect(&target.care.zone).await;
    vitals.enter(Stage::Login);
    world.pacing.login().await;
    vitals.enter(Stage::Handshake);
    let mut handshake = Some(world.pacing.handshake().await);
    vitals.enter(Stage::Connecting);
    let began = Instant::now();
    let limits = world.limits;
    let connecting = async {
        let mut connecting = std::pin::pin!(connect_way(device, target, way, world));
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut connecting).await {
            return done;
        }
        drop(handshake.take());
        let stream = connecting.await?;
        handshake = Some(world.pacing.handshake().await);
        Ok(stream)
    };
    let stream = match tokio::time::timeout(limits.connect_timeout, connecting).await {
        Ok(done) => done?,
        Err(_) => {
            let waited = limits.connect_timeout.as_millis();
            let text = format!(
                "{}:{}: no answer to connect in {waited} ms",
                target.address, way.port
            );
            return Err(ConnectFailure {
                error: DeviceError::new(ErrorClass::Timeout, text),
                may_pass: true,
            });
        }
    };
    if way.transport.is_rest() {
        let left = limits.connect_timeout.saturating_sub(began.elapsed());
        let asking = Rest::open(stream, &target.address, way.port, &target.credentials);
        let rest = match tokio::time::timeout(left, asking).await {
            Ok(rest) => rest?,
            Err(_) => return Err(no_login(limits.connect_timeout)),
        };
        vitals.touch(Instant::now());
        world.reach.worked(device, target.transport, way.transport);
        vitals.enter(Stage::Device);
        vitals.rest.store(true, Ordering::Relaxed);
        vitals.settle(State::Ready);
        let opened = rest::Opened {
            device,
            target: target.clone(),
            way,
            world: world.clone(),
            vitals: vitals.clone(),
            _place: place,
        };
        return Ok(Opened::Rest(Box::new(RestSession::new(opened, rest))));
    }
    let mut config = Config::new(Credentials::clone(&target.credentials));
    // An answer may not be larger in all, so a sentence of it need not be either.
    config.limits.sentence_bytes = limits.answer_bytes;
    config.login_timeout = limits
        .connect_timeout
        .saturating_sub(began.elapsed())
        .max(Duration::from_millis(100));
    let tolls = target.care.paced.iter().map(|label| Toll {
        gate: world.pacing.bytes(label),
        unpaid: 0,
    });
    let now = Instant::now();
    vitals.touch(now);
    Ok(Opened::Api(Box::new(Session {
        stream,
        machine: Connection::new(config, now),
        device,
        in_flight: match target.care.in_flight {
            0 => limits.in_flight,
            own => own,
        },
        tolls: tolls.collect(),
        pay_at: None,
        waiting: VecDeque::new(),
        open: Vec::new(),
        lingering: Vec::new(),
        probe: None,
        idle_since: now,
        send_at: None,
        share: world.budget.share(),
        over_budget: false,
        asked: target.transport,
        transport: way.transport,
        world: world.clone(),
        vitals: vitals.clone(),
        handshake,
        _place: place,
    })))
}

fn no_login(within: Duration) -> ConnectFailure {
    let text = format!("no answer to the login in {} ms", within.as_millis());
    ConnectFailure {
        error: DeviceError::new(ErrorClass::Timeout, text),
        may_pass: true,
    }
}

/// Connects, and when the system has no descriptor left for it, tells the world and tries again.
pub(crate) async fn connect_way(
    device: u64,
    target: &Target,
    way: Way,
    world: &World,
) -> Result<Stream, ConnectFailure> {
    loop {
        match connect::connect(&target.address, way.port).await {
            Ok(socket) => return world.reach.secure(socket, device, target, way).await,
            Err(connect::Failed::Exhausted(error)) => {
                world.exhausted(&error);
                tokio::time::sleep(EXHAUSTED).await;
            }
            Err(connect::Failed::Device(failure)) => return Err(failure),
        }
    }
}

struct Session {
    stream: Stream,
    machine: Connection,
    world: Arc<World>,
    vitals: Arc<Vitals>,
    device: u64,
    in_flight: usize,
    waiting: VecDeque<(u64, Request)>,
    open: Vec<(ExchangeId, Open)>,
    /// Turns of commands that were given up while the device may still be at work on them.
    lingering: Vec<Arc<Turn>>,
    /// Our own question whether the device is still there.
    probe: Option<ExchangeId>,
    idle_since: Instant,
    /// When the limiter of commands that said no may be asked again.
    send_at: Option<Instant>,
    /// The rates of bytes that hold for the device.
    tolls: Box<[Toll]>,
    /// When the one that is not paid may be asked again.
    pay_at: Option<Instant>,
    share: Share,
    over_budget: bool,
    /// How it was to be spoken to, and how it is.
    asked: Transport,
    transport: Transport,
    /// Held until the login is through.
    handshake: Option<Handshake>,
    _place: Place,
}

/// Bytes that were read and have to be paid for before more are.
struct Toll {
    gate: Arc<Gate>,
    unpaid: u32,
}

/// Bytes read from a socket at once. One buffer a thread: an idle session owns none.
const READ: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Asked of a device that was not heard for long, to see whether it is there.
const PROBE: [&[u8]; 2] = [b"/system/identity/print", b"=.proplist=name"];
/// How long it may take to answer that.
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// What a connection means that the router ends before it answers the login.
const TURNED_AWAY: &str = "the router closed the connection before it answered the login: the service takes nobody from this \
                           address (/ip/service address=), or has no session left (max-sessions)";
/// A deadline where there is none.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

impl Session {
    /// Serves until the connection is over, and says why it is.
    async fn serve(mut self: Box<Self>, mailbox: &mut Mailbox<Message>) -> ConnectFailure {
        let mut armed = Instant::now() + FAR;
        let mut timer = std::pin::pin!(tokio::time::sleep_until(armed.into()));
        let cause = poll_fn(|cx| self.poll(cx, mailbox, timer.as_mut(), &mut armed)).await;
        (*self).fail(&cause)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mailbox: &mut Mailbox<Message>,
        mut timer: Pin<&mut Sleep>,
        armed: &mut Instant,
    ) -> Poll<CloseCause> {
        loop {
            let now = Instant::now();
            self.take_messages(cx, mailbox, now);
            if let Some(cause) = self.settle(now) {
                return Poll::Ready(cause);
            }
            if self.write().is_err() {
                self.machine.handle_close();
                continue;
            }
            let may_read = self.may_read(cx, now);
            if may_read && self.read(cx, now).is_ready() {
                continue;
            }
            if self.wants_write() && self.stream.poll_writable(cx).is_ready() {
                continue;
            }
            // A timer that comes too early costs less than one that is set anew for each command.
            let deadline = self.next_deadline(now, may_read);
            if deadline < *armed {
                *armed = deadline;
                timer.as_mut().reset(deadline.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            *armed = now + FAR;
            timer.as_mut().reset((*armed).into());
            self.handle_timeout(Instant::now());
        }
    }

    fn take_messages(&mut self, cx: &mut Context<'_>, mailbox: &mut Mailbox<Message>, now: Instant) {
        while let Poll::Ready(message) = mailbox.poll_recv(cx) {
            match message {
                Some(message) => self.on_message(message, now),
                // Every handle is gone: nobody can ask for anything any more.
                None => return self.machine.close(),
            }
        }
    }

    fn on_message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Run(id, request) => self.waiting.push_back((id, request)),
            Message::CloseIfIdle if self.is_idle() => self.machine.close(),
            Message::CloseIfIdle | Message::Taken => {}
            Message::Cancel(id) => {
                if let Some(at) = self.waiting.iter().position(|(run, _)| *run == id)
                    && let Some((_, request)) = self.waiting.remove(at)
                {
                    let _ = request.reply.send(Reply {
                        end: StepEnd::Cancelled,
                        sentences: Bytes::new(),
                    });
                }
                if let Some((exchange, _)) = self.open.iter().find(|(_, open)| open.run == id) {
                    self.machine.cancel(*exchange, now);
                }
            }
        }
    }

    fn is_free(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty() && self.machine.in_flight() == 0
    }

    fn is_idle(&self) -> bool {
        // Between two steps of a plan nothing is in flight, and the connection is in use all the same.
        self.is_free() && self.vitals.turns.try_write().is_ok()
    }

    fn next_deadline(&self, now: Instant, may_read: bool) -> Instant {
        let limits = &self.world.limits;
        let mut next = self.machine.poll_timeout().unwrap_or(now + FAR);
        for (_, open) in &self.open {
            next = open.until().map_or(next, |until| until.min(next));
        }
        if self.is_free() && self.machine.is_ready() {
            next = next.min(self.vitals.heard() + limits.keepalive);
            if !self.vitals.is_kept() {
                next = next.min(self.idle_since + limits.idle);
            }
        }
        let send_at = self.send_at.filter(|_| !self.waiting.is_empty());
        let pay_at = self.pay_at.filter(|_| !may_read);
        send_at.into_iter().chain(pay_at).fold(next, Instant::min)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
        for (exchange, open) in &mut self.open {
            if open.is_over(now) {
                self.machine.cancel(*exchange, now);
            }
        }
        if !self.is_free() || !self.machine.is_ready() {
            return;
        }
        if now >= self.idle_since + self.world.limits.idle && !self.vitals.is_kept() {
            match self.is_idle() {
                true => self.machine.close(),
                // Somebody has it and is about to use it, or wants it kept.
                false => self.idle_since = now,
            }
        } else if now >= self.vitals.heard() + self.world.limits.keepalive
            && self.world.pacing.command(self.device).is_ok()
        {
            self.probe = self.machine.open(PROBE, Some(now + PROBE_WITHIN)).ok();
        }
    }

    /// Tells what the machine has to tell and opens what may be opened, until there is nothing more. Returns why the
    /// connection is over, once it is.
    fn settle(&mut self, now: Instant) -> Option<CloseCause> {
        let limit = self.world.limits.answer_bytes;
        let mut to_end = Vec::new();
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::LoggedIn => {
                    self.idle_since = now;
                    self.handshake = None;
                    self.world.reach.worked(self.device, self.asked, self.transport);
                    self.vitals.enter(Stage::Device);
                    self.vitals.settle(State::Ready);
                }
                Event::Reply { exchange, sentence } => {
                    if let Some((_, open)) = self.open.iter_mut().find(|(id, _)| *id == exchange)
                        && open.on_reply(sentence, limit) == After::End
                    {
                        to_end.push(exchange);
                    }
                }
                Event::Finished { exchange, outcome } => self.on_finished(exchange, outcome, now),
                Event::Closed(cause) => return Some(cause),
            }
        }
        for exchange in to_end {
            self.machine.cancel(exchange, now);
        }
        self.open_waiting(now);
        if self.machine.in_flight() == self.open.len() {
            self.lingering.clear();
        }
        if !self.open.is_empty() || self.machine.buffered() > 0 {
            self.open.iter_mut().for_each(|(_, open)| open.tell_live());
        }
        let held = self
            .open
            .iter()
            .map(|(_, open)| open.sentences.len())
            .sum::<usize>();
        self.share.hold(held + self.machine.buffered());
        None
    }

    fn on_finished(&mut self, exchange: ExchangeId, outcome: Outcome, now: Instant) {
        if self.probe == Some(exchange) {
            self.probe = None;
            if outcome == Outcome::Unknown(UnknownCause::Deadline) {
                self.machine.close();
            }
            return;
        }
        self.idle_since = now;
        let Some(at) = self.open.iter().position(|(id, _)| *id == exchange) else {
            return;
        };
        if matches!(
            outcome,
            Outcome::Unknown(UnknownCause::ConnectionLost) | Outcome::NotSent
        ) {
            // A lost connection is told with its cause, which comes after.
            self.open[at].1.outcome = Some(outcome);
            return;
        }
        let (_, open) = self.open.swap_remove(at);
        if outcome == Outcome::Unknown(UnknownCause::Deadline) {
            self.lingering.push(open.turn.clone());
        }
        open.answer(outcome, None, &self.world.budget);
    }

    fn open_waiting(&mut self, now: Instant) {
        while self.machine.is_ready() && self.open.len() < self.in_flight && !self.waiting.is_empty() {
            if self.send_at.is_some_and(|at| at > now) {
                return;
            }
            if let Err((at, limiter)) = self.world.pacing.command(self.device) {
                self.send_at = Some(at);
                self.vitals.enter(match limiter {
                    Limiter::Device => Stage::DeviceRate,
                    Limiter::Worker => Stage::WorkerRate,
                });
                return;
            }
            self.send_at = None;
            self.vitals.enter(Stage::Device);
            let Some((run, request)) = self.waiting.pop_front() else {
                return;
            };
            let Request {
                words,
                timeout,
                send_by,
                turn,
                reply,
                follow,
            } = request;
            if send_by < now {
                let error = DeviceError::new(ErrorClass::Timeout, "it could not be sent in time");
                let _ = reply.send(unsent(error));
                continue;
            }
            let lasts = follow.as_ref().map_or(Duration::ZERO, |follow| follow.lasts);
            match self.machine.open(&words, Some(now + timeout + lasts)) {
                Ok(exchange) => self
                    .open
                    .push((exchange, Open::new(run, turn, reply, follow, now))),
                Err(error) => {
                    let error = DeviceError::new(ErrorClass::Protocol, error.to_string());
                    let _ = reply.send(unsent(error));
                }
            }
        }
    }

    /// The connection is over: what was open is answered with the cause, what waited was never sent.
    fn fail(self, cause: &CloseCause) -> ConnectFailure {
        let mut failure = failure(cause);
        if *cause == CloseCause::Lost && !is_ready(&self.vitals) {
            failure.error.message = TURNED_AWAY.into();
        }
        for (_, open) in self.open {
            let outcome = open
                .outcome
                .unwrap_or(Outcome::Unknown(UnknownCause::ConnectionLost));
            open.answer(outcome, Some(&failure.error), &self.world.budget);
        }
        for (_, request) in self.waiting {
            let _ = request.reply.send(unsent(failure.error.clone()));
        }
        failure
    }

    /// Whether the device may be read further: not while its bytes wait for somebody, or are too many.
    fn may_read(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        if !self.pay(now) {
            return false;
        }
        let within = self.share.may_read(cx.waker());
        if within == self.over_budget {
            self.over_budget = !within;
            self.vitals
                .enter(if within { Stage::Device } else { Stage::Budget });
        }
        if !within {
            return false;
        }
        // Whoever takes rows slowly is waited for, unless somebody else waits for this device as well: then the rows
        // are kept up to the limit of an answer.
        let [(_, only)] = &self.open[..] else { return true };
        !(only.is_behind() && self.waiting.is_empty())
    }

    /// Pays for what was read. Returns whether that could be done now.
    fn pay(&mut self, now: Instant) -> bool {
        if self.pay_at.is_some_and(|at| at > now) {
            return false;
        }
        self.pay_at = None;
        for toll in self.tolls.iter_mut().filter(|toll| toll.unpaid > 0) {
            if let Err(at) = self.world.pacing.pay(&toll.gate, toll.unpaid) {
                self.pay_at = Some(at);
                self.vitals.enter(Stage::Bytes);
                return false;
            }
            toll.unpaid = 0;
            self.vitals.enter(Stage::Device);
        }
        true
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        BUFFER.with_borrow_mut(|buffer| match self.stream.poll_read(cx, buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.vitals.touch(now);
                for toll in self.tolls.iter_mut().filter(|toll| !toll.gate.is_open()) {
                    toll.unpaid += count as u32;
                }
                if let [(_, only)] = &mut self.open[..] {
                    only.reserve(count);
                }
                self.machine.handle_input(&buffer[..count]);
                Poll::Ready(())
            }
            Poll::Ready(_) => {
                self.machine.handle_close();
                Poll::Ready(())
            }
        })
    }

    fn wants_write(&self) -> bool {
        !self.machine.transmit().is_empty() || self.stream.wants_flush()
    }

    /// Writes what the socket takes. An error is the connection's end.
    fn write(&mut self) -> io::Result<()> {
        while self.wants_write() {
            let written = match self.machine.transmit().is_empty() {
                true => self.stream.flush().map(|()| 0),
                false => self.stream.try_write(self.machine.transmit()),
            };
            match written {
                Ok(count) => self.machine.transmitted(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn unsent(error: DeviceError) -> Reply {
    Reply {
        end: StepEnd::NotSent(error),
        sentences: Bytes::new(),
    }
}

fn failure(cause: &CloseCause) -> ConnectFailure {
    let (class, may_pass) = match cause {
        CloseCause::Fatal { .. } => (ErrorClass::Fatal, false),
        CloseCause::LoginRefused(refused) if refused.is_transient() => (ErrorClass::Timeout, true),
        CloseCause::LoginRefused(_) => (ErrorClass::Auth, false),
        CloseCause::LoginTimeout(_) => (ErrorClass::Timeout, true),
        CloseCause::Decode(_)
        | CloseCause::NotAReply(_)
        | CloseCause::StrayReplies(_)
        | CloseCause::Encode(_) => (ErrorClass::Protocol, false),
        // Whoever was in the middle of something suffers for another's command, and may ask again.
        CloseCause::CancelIgnored(_) | CloseCause::Lost | CloseCause::Requested => (ErrorClass::Reset, true),
    };
    ConnectFailure {
        error: DeviceError::new(class, message(cause)),
        may_pass,
    }
}

/// The device's own words where it has any: they are what an operator searches for.
fn message(cause: &CloseCause) -> String {
    match cause {
        CloseCause::Fatal { reason } => String::from_utf8_lossy(reason).into_owned(),
        CloseCause::LoginRefused(refused) => String::from_utf8_lossy(&refused.message).into_owned(),
        CloseCause::CancelIgnored(_) => {
            "the device did not end an earlier command; its connection was closed".into()
        }
        other => other.to_string(),
    }
}
