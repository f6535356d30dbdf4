//! One device's connection, as those who use it see it.
//!
//! A session (`serve`) owns the socket and the connection machine. Commands come to it over a queue, at most
//! [`DeviceLimits::in_flight`](crate::DeviceLimits) are open at once, and each is answered exactly once, whatever
//! happens to the connection.
//!
//! ```text
//!  opening (a task until there is a connection) ─▶ shard (a task for many sessions) ─ readiness, time, messages ─▶ serve
//!                                                                                   wire · machine · work ◀┘
//! ```

mod cause;
mod command;
mod open;
mod opening;
mod serve;
mod shard;
mod wire;
mod words;
mod work;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{Demand, DeviceError, ErrorClass, Ports, Transport};
use muster_worker_core::{ConnectFailure, StepEnd};
use routeros_conn::Credentials;
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, mpsc};

use crate::mailbox::Sender;
pub(crate) use cause::too_late;
pub(crate) use command::{Awaited, Command, command};
pub(crate) use opening::{connect_way, spawn};
pub(crate) use shard::{Shards, idle_bytes};
pub(crate) use words::Words;

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
    /// What `auto` found before.
    pub(crate) worked: Option<Transport>,
    pub(crate) credentials: Arc<Credentials>,
    /// How it is to be treated.
    pub(crate) care: Arc<Care>,
}

/// How a device is to be treated, beside what holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Care {
    /// Where it is.
    pub(crate) zone: String,
    /// Commands in flight on one connection; 0 for as many as on others.
    pub(crate) in_flight: usize,
    /// Its labels whose values have a limit on bytes, `key=value`.
    pub(crate) paced: Vec<String>,
}

impl Target {
    /// A device in the clear.
    pub(crate) fn plain(address: SocketAddr, credentials: Arc<Credentials>) -> Self {
        Self {
            address: address.ip().to_string(),
            port: address.port(),
            transport: Transport::Api,
            ports: Ports::default(),
            demand: Demand::Any,
            worked: None,
            credentials,
            care: Arc::default(),
        }
    }

    /// Whether a session to `other` serves as well. Credentials are compared by content: a changed password needs a
    /// new login.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Credentials, b: &Credentials| a.user == b.user && a.password == b.password;
        self.address == other.address
            && self.port == other.port
            && self.transport == other.transport
            && self.ports == other.ports
            && self.demand == other.demand
            && self.care == other.care
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
    pub(crate) words: Words,
    pub(crate) timeout: Duration,
    /// Past this it is not sent any more.
    pub(crate) send_by: Instant,
    pub(crate) turn: Arc<Turn>,
    /// For a command that tells rows until it is ended.
    pub(crate) follow: Option<Box<Follow>>,
}

/// How long a command is followed that would go on for ever, and who gets its rows as they come.
#[derive(Debug)]
pub(crate) struct Follow {
    /// It is ended after so long,
    pub(crate) lasts: Duration,
    /// or after so many rows.
    pub(crate) rows: Option<u64>,
    /// Gets sentences as they come, in wire format without their tags. When it is full they wait in the session.
    pub(crate) live: mpsc::Sender<Bytes>,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) end: StepEnd,
    /// The sentences, in wire format without their tags.
    pub(crate) sentences: Bytes,
}

#[derive(Debug)]
pub(crate) enum Message {
    Run(u64, Command),
    Cancel(u64),
    CloseIfIdle,
    /// Whoever gets the rows of a followed command has room again.
    Taken,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    Connecting,
    Ready,
    Closed(ConnectFailure),
}

/// What a session waits for: for people who ask why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Nothing but the device.
    #[default]
    Device = 0,
    /// A place among the worker's connections.
    Room = 1,
    /// The zone's rate of new connections.
    Zone = 2,
    /// The worker's rate of logins.
    Login = 3,
    /// Fewer connections in the making.
    Handshake = 4,
    /// TCP, TLS and login.
    Connecting = 5,
    /// The device's rate of commands.
    DeviceRate = 6,
    /// The worker's rate of commands.
    WorkerRate = 7,
    /// A label value's rate of bytes.
    Bytes = 8,
    /// The worker's budget of open answers.
    Budget = 9,
}

impl Stage {
    const ALL: [Self; 10] = [
        Self::Device,
        Self::Room,
        Self::Zone,
        Self::Login,
        Self::Handshake,
        Self::Connecting,
        Self::DeviceRate,
        Self::WorkerRate,
        Self::Bytes,
        Self::Budget,
    ];

    /// Whether it waits for its turn to connect.
    pub(crate) fn is_before_connecting(self) -> bool {
        matches!(self, Self::Room | Self::Zone | Self::Login | Self::Handshake)
    }
}

/// What a session tells its handles.
#[derive(Debug)]
pub(crate) struct Vitals {
    origin: Instant,
    /// When the device last said something, in milliseconds from the origin.
    heard: AtomicU64,
    stage: AtomicU8,
    /// Whether the router was found to be the one that the device is known as.
    known: AtomicBool,
    /// Whether somebody who only reads has looked which router it is.
    looked: AtomicBool,
    /// Whether it speaks REST, so that nothing belongs to the connection.
    pub(crate) rest: AtomicBool,
    /// Whether it stays open without work.
    kept: AtomicBool,
    state: Mutex<State>,
    settled: Notify,
    pub(crate) turns: Arc<RwLock<()>>,
}

impl Vitals {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            heard: AtomicU64::new(0),
            stage: AtomicU8::new(Stage::Device as u8),
            known: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            state: Mutex::new(State::Connecting),
            settled: Notify::new(),
            turns: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits.
    pub(crate) fn settle(&self, state: State) {
        *self.state() = state;
        self.settled.notify_waiters();
    }

    /// The device said something.
    pub(crate) fn touch(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.origin).as_millis();
        self.heard
            .store(millis.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the device last said something.
    pub(crate) fn heard(&self) -> Instant {
        self.origin + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// Whether it stays open without work.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }
}

/// A handle on a session; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    messages: Sender<Message>,
    vitals: Arc<Vitals>,
}

/// Names a running command on its session, for cancelling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunId(u64);

impl Handle {
    /// Waits until commands can be sent, or there is a reason why not.
    pub(crate) async fn ready(&self) -> Result<(), ConnectFailure> {
        loop {
            let mut settled = std::pin::pin!(self.vitals.settled.notified());
            // From here on nothing is missed.
            settled.as_mut().enable();
            match &*self.vitals.state() {
                State::Connecting => {}
                State::Ready => return Ok(()),
                State::Closed(failure) => return Err(failure.clone()),
            }
            settled.await;
        }
    }

    /// Whether the session may still be used for something new.
    pub(crate) fn is_open(&self) -> bool {
        !self.messages.is_closed() && !matches!(*self.vitals.state(), State::Closed(_))
    }

    /// Whether it is logged in.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.vitals.state(), State::Ready)
    }

    /// How long the device has said nothing.
    pub(crate) fn silent_for(&self) -> Duration {
        self.vitals.heard().elapsed()
    }

    /// Whether the router was found to be the one that the device is known as.
    pub(crate) fn is_known(&self) -> bool {
        self.vitals.known.load(Ordering::Relaxed)
    }

    /// Whether the router at the other end is yet to be looked at. Whoever asks is the one who looks.
    pub(crate) fn is_to_be_looked_at(&self) -> bool {
        !self.is_known() && !self.vitals.looked.swap(true, Ordering::Relaxed)
    }

    /// Whether it speaks the API, where a session is a connection.
    pub(crate) fn is_api(&self) -> bool {
        !self.vitals.rest.load(Ordering::Relaxed)
    }

    /// The router was found to be that one.
    pub(crate) fn recognised(&self) {
        self.vitals.known.store(true, Ordering::Relaxed);
    }

    /// Has it stay open without work, for as long as what is returned lives.
    pub(crate) fn kept(&self) -> Kept {
        self.vitals.kept.store(true, Ordering::Relaxed);
        Kept(self.vitals.clone())
    }

    /// What it waits for.
    pub(crate) fn stage(&self) -> Stage {
        let stage = usize::from(self.vitals.stage.load(Ordering::Relaxed));
        Stage::ALL.get(stage).copied().unwrap_or_default()
    }

    /// Waits for a turn. First come, first served.
    pub(crate) async fn turn(&self, alone: bool) -> Arc<Turn> {
        Arc::new(match alone {
            true => Turn::Alone {
                _guard: self.vitals.turns.clone().write_owned().await,
            },
            false => Turn::Shared {
                _guard: self.vitals.turns.clone().read_owned().await,
            },
        })
    }

    /// A turn together with others, unless somebody has the session alone or waits to.
    pub(crate) fn try_turn(&self) -> Option<Arc<Turn>> {
        let guard = self.vitals.turns.clone().try_read_owned().ok()?;
        Some(Arc::new(Turn::Shared { _guard: guard }))
    }

    /// Whether nobody has a turn.
    pub(crate) fn is_unused(&self) -> bool {
        self.vitals.turns.try_write().is_ok()
    }

    /// Whether both lead to the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.messages.same(&other.messages)
    }

    /// Whether nobody else has one.
    pub(crate) fn is_alone(&self) -> bool {
        self.messages.is_alone()
    }

    /// Whether it leads to the session that tells these.
    pub(crate) fn is_of(&self, vitals: &Arc<Vitals>) -> bool {
        Arc::ptr_eq(&self.vitals, vitals)
    }

    /// Sends a command. What is returned is ready with the answer, or with an error if the session ended before it looked at it.
    pub(crate) fn run(
        &self,
        words: Words,
        timeout: Duration,
        send_by: Instant,
        turn: Arc<Turn>,
        id: RunId,
    ) -> Awaited {
        self.follow(words, timeout, send_by, turn, id, None)
    }

    /// As [`run`](Self::run), for a command that may be one that tells rows until it is ended.
    pub(crate) fn follow(
        &self,
        words: Words,
        timeout: Duration,
        send_by: Instant,
        turn: Arc<Turn>,
        id: RunId,
        follow: Option<Box<Follow>>,
    ) -> Awaited {
        let (command, awaited) = command(Request {
            words,
            timeout,
            send_by,
            turn,
            follow,
        });
        // A closed queue drops the command, and whoever waits for it sees that.
        self.messages.send(Message::Run(id.0, command));
        awaited
    }

    /// Tells that rows of a followed command were taken.
    pub(crate) fn taken(&self) {
        self.messages.send(Message::Taken);
    }

    /// Asks for a running command's end.
    pub(crate) fn cancel(&self, id: RunId) {
        self.messages.send(Message::Cancel(id.0));
    }

    /// Closes the session unless it has work.
    pub(crate) fn close_if_idle(&self) {
        self.messages.send(Message::CloseIfIdle);
    }
}

/// Has a session stay open without work. It is no handle: a session that nobody has a handle on ends.
#[derive(Debug)]
pub(crate) struct Kept(Arc<Vitals>);

impl Kept {
    /// Waits until the session is over.
    pub(crate) async fn ended(&self) {
        loop {
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            if matches!(*self.0.state(), State::Closed(_)) {
                return;
            }
            settled.await;
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept.store(false, Ordering::Relaxed);
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

pub(crate) fn gone() -> DeviceError {
    DeviceError::new(ErrorClass::Reset, "the connection was closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_back() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number);
        }
    }
}
