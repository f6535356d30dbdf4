//! One device's connection: a task that owns the socket and the connection machine.
//!
//! Commands come in over a queue, at most [`DeviceLimits::in_flight`](crate::DeviceLimits) are open at once, and
//! each is answered exactly once, whatever happens to the connection.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{Demand, DeviceError, ErrorClass, Ports, Transport};
use muster_worker_core::{ConnectFailure, StepEnd};
use routeros_conn::{CloseCause, Config, Connection, Credentials, Event, ExchangeId, Outcome, UnknownCause};
use routeros_wire::{Kind, Sentence, TrapCategory};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, mpsc, oneshot, watch};

use crate::stream::Stream;
use crate::{DeviceLimits, connect};

/// Where a session leads.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
    /// Ports for `auto`.
    pub(crate) ports: Ports,
    /// What its certificate has to satisfy.
    pub(crate) demand: Demand,
    pub(crate) credentials: Arc<Credentials>,
}

impl Target {
    /// Whether a session to `other` serves as well. Credentials are compared by content: a changed password needs a
    /// new login.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Credentials, b: &Credentials| a.user == b.user && a.password == b.password;
        self.address == other.address
            && self.port == other.port
            && self.transport == other.transport
            && self.ports == other.ports
            && self.demand == other.demand
            && (Arc::ptr_eq(&self.credentials, &other.credentials)
                || same(&self.credentials, &other.credentials))
    }
}

/// The right to use a session: together with others that only look, or alone. A session keeps it for as long as the
/// device may still be at work on what was asked, which can be longer than whoever asked waits.
#[derive(Debug)]
pub(crate) enum Turn {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

/// A command for a device.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) timeout: Duration,
    /// Past this it is not sent any more.
    pub(crate) send_by: Instant,
    pub(crate) turn: Arc<Turn>,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) end: StepEnd,
    /// The sentences, in wire format without their tags.
    pub(crate) sentences: Bytes,
}

#[derive(Debug)]
enum Message {
    Run(u64, Request),
    Cancel(u64),
    CloseIfIdle,
}

#[derive(Clone, Debug)]
enum State {
    Connecting,
    Ready,
    Closed(ConnectFailure),
}

/// A handle on a session; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    state: watch::Receiver<State>,
    /// When the device last said something.
    heard: Arc<Heard>,
    turns: Arc<RwLock<()>>,
}

/// Names a running command on its session, for cancelling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunId(u64);

impl Handle {
    /// Waits until commands can be sent, or there is a reason why not.
    pub(crate) async fn ready(&self) -> Result<(), ConnectFailure> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Closed(failure)) => Err(failure.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ConnectFailure {
                error: gone(),
                may_pass: true,
            }),
        }
    }

    /// Whether the session may still be used for something new.
    pub(crate) fn is_open(&self) -> bool {
        !self.messages.is_closed() && !matches!(*self.state.borrow(), State::Closed(_))
    }

    /// How long the device has said nothing.
    pub(crate) fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Waits for a turn. First come, first served.
    pub(crate) async fn turn(&self, alone: bool) -> Arc<Turn> {
        Arc::new(match alone {
            true => Turn::Alone {
                _guard: self.turns.clone().write_owned().await,
            },
            false => Turn::Shared {
                _guard: self.turns.clone().read_owned().await,
            },
        })
    }

    /// Whether both lead to the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.messages.same_channel(&other.messages)
    }

    /// Sends a command. The receiver gets the answer, or an error if the session ended before it looked at it.
    pub(crate) fn run(
        &self,
        words: Vec<Vec<u8>>,
        timeout: Duration,
        send_by: Instant,
        turn: Arc<Turn>,
        id: RunId,
    ) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            words,
            timeout,
            send_by,
            turn,
            reply,
        };
        // A closed queue drops the request and with it the sender: the receiver sees it.
        let _ = self.messages.send(Message::Run(id.0, request));
        answer
    }

    /// Asks for a running command's end.
    pub(crate) fn cancel(&self, id: RunId) {
        let _ = self.messages.send(Message::Cancel(id.0));
    }

    /// Closes the session unless it has work.
    pub(crate) fn close_if_idle(&self) {
        let _ = self.messages.send(Message::CloseIfIdle);
    }
}

impl RunId {
    /// From a number that is unique on the session.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The end of a command that the session never looked at.
pub(crate) fn never_sent() -> Reply {
    Reply {
        end: StepEnd::NotSent(gone()),
        sentences: Bytes::new(),
    }
}

fn gone() -> DeviceError {
    DeviceError::new(ErrorClass::Reset, "the connection was closed")
}

/// Starts a session. It connects at once.
pub(crate) fn spawn(
    target: Target,
    limits: DeviceLimits,
    permit: impl Future<Output = ()> + Send + 'static,
    spawn: impl FnOnce(Serving),
) -> Handle {
    let (messages, queue) = mpsc::unbounded_channel();
    let (told, state) = watch::channel(State::Connecting);
    let heard = Arc::new(Heard::now());
    let turns = Arc::new(RwLock::new(()));
    let handle = Handle {
        messages,
        state,
        heard: heard.clone(),
        turns: turns.clone(),
    };
    spawn(Box::pin(run(target, limits, permit, queue, told, heard, turns)));
    handle
}

/// The future of a session, for whoever spawns it.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn run(
    target: Target,
    limits: DeviceLimits,
    permit: impl Future<Output = ()> + Send,
    queue: mpsc::UnboundedReceiver<Message>,
    told: watch::Sender<State>,
    heard: Arc<Heard>,
    turns: Arc<RwLock<()>>,
) {
    permit.await;
    let began = Instant::now();
    let connecting = tokio::time::timeout(
        limits.connect_timeout,
        connect::connect(&target.address, target.port),
    );
    let stream = match connecting.await {
        Ok(Ok(socket)) => Stream::Plain(socket),
        Ok(Err(failure)) => return close(&told, queue, failure),
        Err(_) => {
            let waited = limits.connect_timeout.as_millis();
            let text = format!(
                "{}:{}: no answer to connect in {waited} ms",
                target.address, target.port
            );
            let error = DeviceError::new(ErrorClass::Timeout, text);
            return close(
                &told,
                queue,
                ConnectFailure {
                    error,
                    may_pass: true,
                },
            );
        }
    };
    let mut config = Config::new(Credentials::clone(&target.credentials));
    // An answer may not be larger in all, so a sentence of it need not be either.
    config.limits.sentence_bytes = limits.answer_bytes;
    config.login_timeout = limits
        .connect_timeout
        .saturating_sub(began.elapsed())
        .max(Duration::from_millis(100));
    let session = Session {
        stream,
        machine: Connection::new(config, Instant::now()),
        limits,
        waiting: VecDeque::new(),
        open: HashMap::new(),
        lingering: Vec::new(),
        idle_since: Instant::now(),
        heard,
        turns,
    };
    let (failure, queue) = session.serve(queue, &told).await;
    close(&told, queue, failure);
}

fn close(told: &watch::Sender<State>, mut queue: mpsc::UnboundedReceiver<Message>, failure: ConnectFailure) {
    queue.close();
    while let Ok(message) = queue.try_recv() {
        if let Message::Run(_, request) = message {
            let reply = Reply {
                end: StepEnd::NotSent(failure.error.clone()),
                sentences: Bytes::new(),
            };
            let _ = request.reply.send(reply);
        }
    }
    told.send_replace(State::Closed(failure));
}

/// When the device last said something: set by the session, read by its handles.
#[derive(Debug)]
struct Heard {
    origin: Instant,
    millis: AtomicU64,
}

impl Heard {
    fn now() -> Self {
        Self {
            origin: Instant::now(),
            millis: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        let millis = self.origin.elapsed().as_millis();
        self.millis
            .store(millis.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        self.origin
            .elapsed()
            .saturating_sub(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }
}

struct Session {
    stream: Stream,
    machine: Connection,
    limits: DeviceLimits,
    waiting: VecDeque<(u64, Request)>,
    open: HashMap<ExchangeId, Open>,
    /// Turns of commands that were given up while the device may still be at work on them.
    lingering: Vec<Arc<Turn>>,
    idle_since: Instant,
    heard: Arc<Heard>,
    turns: Arc<RwLock<()>>,
}

struct Open {
    run: u64,
    turn: Arc<Turn>,
    /// Gone when the answer was given before the exchange ended.
    reply: Option<oneshot::Sender<Reply>>,
    sentences: Vec<u8>,
    trap: Option<DeviceError>,
    outcome: Option<Outcome>,
}

/// Bytes read from a socket at once. One buffer a thread: an idle session owns none.
const READ: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

enum Woken {
    Message(Option<Message>),
    Readable,
    Writable,
    Timer,
}

impl Session {
    async fn serve(
        mut self,
        mut queue: mpsc::UnboundedReceiver<Message>,
        told: &watch::Sender<State>,
    ) -> (ConnectFailure, mpsc::UnboundedReceiver<Message>) {
        loop {
            if let Some(cause) = self.settle(told) {
                return (self.fail_waiting(&cause), queue);
            }
            self.write();
            let deadline = self.next_deadline();
            let woken = tokio::select! {
                message = queue.recv() => Woken::Message(message),
                () = self.stream.readable() => Woken::Readable,
                () = self.stream.writable(), if self.wants_write() => Woken::Writable,
                () = sleep_until(deadline) => Woken::Timer,
            };
            match woken {
                Woken::Message(Some(message)) => {
                    self.on_message(message);
                    while let Ok(message) = queue.try_recv() {
                        self.on_message(message);
                    }
                }
                // Every handle is gone: nobody can ask for anything any more.
                Woken::Message(None) => self.machine.close(),
                Woken::Readable => self.read(),
                Woken::Writable => self.write(),
                Woken::Timer => {
                    self.machine.handle_timeout(Instant::now());
                    if self.is_idle() && self.idle_since.elapsed() >= self.limits.idle {
                        self.machine.close();
                    }
                }
            }
        }
    }

    fn wants_write(&self) -> bool {
        !self.machine.transmit().is_empty() || self.stream.wants_flush()
    }

    fn is_idle(&self) -> bool {
        let free = self.waiting.is_empty() && self.open.is_empty() && self.machine.in_flight() == 0;
        // Between two steps of a plan nothing is in flight, and the connection is in use all the same.
        free && self.turns.try_write().is_ok()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let idle = (self.is_idle() && self.machine.is_ready()).then(|| self.idle_since + self.limits.idle);
        self.machine.poll_timeout().into_iter().chain(idle).min()
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Run(id, request) => self.waiting.push_back((id, request)),
            Message::CloseIfIdle if self.is_idle() => self.machine.close(),
            Message::CloseIfIdle => {}
            Message::Cancel(id) => {
                if let Some(at) = self.waiting.iter().position(|(run, _)| *run == id)
                    && let Some((_, request)) = self.waiting.remove(at)
                {
                    let _ = request.reply.send(Reply {
                        end: StepEnd::Cancelled,
                        sentences: Bytes::new(),
                    });
                }
                let found = self
                    .open
                    .iter()
                    .find(|(_, open)| open.run == id)
                    .map(|(exchange, _)| *exchange);
                if let Some(exchange) = found {
                    self.machine.cancel(exchange, Instant::now());
                }
            }
        }
    }

    /// Tells what the machine has to tell and opens what may be opened, until there is nothing more. Returns why the
    /// connection is over, once it is.
    fn settle(&mut self, told: &watch::Sender<State>) -> Option<CloseCause> {
        let mut over_limit = Vec::new();
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::LoggedIn => {
                    self.idle_since = Instant::now();
                    told.send_replace(State::Ready);
                }
                Event::Reply { exchange, sentence } => {
                    if let Some(open) = self.open.get_mut(&exchange) {
                        open.on_reply(sentence);
                        if open.sentences.len() > self.limits.answer_bytes && open.reply.is_some() {
                            open.give_up(self.limits.answer_bytes);
                            over_limit.push(exchange);
                        }
                    }
                }
                Event::Finished { exchange, outcome } => {
                    // A lost connection is told with its cause, which comes after.
                    if let Some(open) = self.open.get_mut(&exchange) {
                        open.outcome = Some(outcome);
                    }
                    if !matches!(
                        outcome,
                        Outcome::Unknown(UnknownCause::ConnectionLost) | Outcome::NotSent
                    ) && let Some(open) = self.open.remove(&exchange)
                    {
                        if outcome == Outcome::Unknown(UnknownCause::Deadline) {
                            self.lingering.push(open.turn.clone());
                        }
                        open.answer(outcome, None);
                    }
                    self.idle_since = Instant::now();
                }
                Event::Closed(cause) => return Some(cause),
            }
        }
        for exchange in over_limit {
            self.machine.cancel(exchange, Instant::now());
        }
        self.open_waiting();
        if self.machine.in_flight() == self.open.len() {
            self.lingering.clear();
        }
        None
    }

    fn open_waiting(&mut self) {
        while self.machine.is_ready() && self.open.len() < self.limits.in_flight {
            let Some((run, request)) = self.waiting.pop_front() else {
                return;
            };
            let Request {
                words,
                timeout,
                send_by,
                turn,
                reply,
            } = request;
            if send_by < Instant::now() {
                let error = DeviceError::new(ErrorClass::Timeout, "it could not be sent in time");
                let _ = reply.send(Reply {
                    end: StepEnd::NotSent(error),
                    sentences: Bytes::new(),
                });
                continue;
            }
            match self.machine.open(&words, Some(Instant::now() + timeout)) {
                Ok(exchange) => {
                    let open = Open {
                        run,
                        turn,
                        reply: Some(reply),
                        sentences: Vec::new(),
                        trap: None,
                        outcome: None,
                    };
                    self.open.insert(exchange, open);
                }
                Err(error) => {
                    let error = DeviceError::new(ErrorClass::Protocol, error.to_string());
                    let _ = reply.send(Reply {
                        end: StepEnd::NotSent(error),
                        sentences: Bytes::new(),
                    });
                }
            }
        }
    }

    /// The connection is over: what was open is answered with the cause, what waited was never sent.
    fn fail_waiting(self, cause: &CloseCause) -> ConnectFailure {
        let failure = failure(cause);
        for open in self.open.into_values() {
            let outcome = open
                .outcome
                .unwrap_or(Outcome::Unknown(UnknownCause::ConnectionLost));
            open.answer(outcome, Some(&failure.error));
        }
        for (_, request) in self.waiting {
            let reply = Reply {
                end: StepEnd::NotSent(failure.error.clone()),
                sentences: Bytes::new(),
            };
            let _ = request.reply.send(reply);
        }
        failure
    }

    fn read(&mut self) {
        BUFFER.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => self.machine.handle_close(),
            Ok(count) => {
                self.heard.touch();
                self.machine.handle_input(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.machine.handle_close(),
        });
    }

    fn write(&mut self) {
        if self.stream.wants_flush() {
            match self.stream.flush() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.machine.handle_close(),
            }
        }
        while !self.machine.transmit().is_empty() {
            match self.stream.try_write(self.machine.transmit()) {
                Ok(count) => self.machine.transmitted(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.machine.handle_close(),
            }
        }
    }
}

impl Open {
    fn on_reply(&mut self, sentence: Sentence<'_>) {
        if self.reply.is_none() {
            return;
        }
        if sentence.kind() == Kind::Trap && self.trap.is_none() {
            self.trap = Some(trap(sentence));
        }
        sentence.write_untagged(&mut self.sentences);
    }

    fn give_up(&mut self, limit: usize) {
        let text = format!("the answer is over the limit of {limit} bytes");
        let end = StepEnd::NoAnswer(DeviceError::new(ErrorClass::Protocol, text));
        self.tell(end);
    }

    fn tell(&mut self, end: StepEnd) {
        let sentences = std::mem::take(&mut self.sentences).into();
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Reply { end, sentences });
        }
    }

    /// Ends the command. `lost` is the cause when the connection is over.
    fn answer(mut self, outcome: Outcome, lost: Option<&DeviceError>) {
        let lost = || lost.cloned().unwrap_or_else(gone);
        let trap = self.trap.take();
        let end = match outcome {
            Outcome::Completed => StepEnd::Completed,
            Outcome::Trapped => {
                StepEnd::Trapped(trap.unwrap_or_else(|| DeviceError::new(ErrorClass::Trap, "")))
            }
            Outcome::Cancelled => StepEnd::Cancelled,
            Outcome::NotSent => StepEnd::NotSent(lost()),
            Outcome::Unknown(UnknownCause::Deadline) => {
                let text = "no final answer to the command within its deadline";
                StepEnd::NoAnswer(DeviceError::new(ErrorClass::Timeout, text))
            }
            Outcome::Unknown(UnknownCause::ConnectionLost) => StepEnd::NoAnswer(lost()),
        };
        self.tell(end);
    }
}

fn trap(sentence: Sentence<'_>) -> DeviceError {
    let message = sentence.get(b"message").unwrap_or(b"trap without a message");
    let category = sentence.get(b"category").and_then(TrapCategory::parse);
    DeviceError {
        class: ErrorClass::Trap,
        message: String::from_utf8_lossy(message).into_owned(),
        category: category.map(|category| category as u8),
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
        CloseCause::CancelIgnored(_) => (ErrorClass::Timeout, true),
        CloseCause::Lost | CloseCause::Requested => (ErrorClass::Reset, true),
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

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
