//! A session that has a connection: it moves bytes and time between the socket and the connection machine.
//!
//! Everything it waits for is looked at in one place, [`Session::poll`]: messages first, so that commands that came
//! together leave in one write; then what the device said. It is called when something of that happened, and told the
//! time when what it waits for is due.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use muster_worker_core::ConnectFailure;
use routeros_conn::{CloseCause, Connection};
use routeros_wire::Decoder;

use super::cause;
use super::opening::{Life, Tries};
use super::wire::Wire;
use super::work::Work;
use super::{Message, Stage};
use crate::budget::Share;
use crate::pacing::Gate;
use crate::room::Place;

pub(super) struct Session {
    pub(super) wire: Wire,
    machine: Connection,
    work: Work,
    /// The rates of bytes that hold for the device.
    tolls: Box<[Toll]>,
    /// When the one that is not paid may be asked again.
    pay_at: Option<Instant>,
    share: Share,
    over_budget: bool,
    /// Whether it would read if there were anything.
    reads: bool,
    _place: Place,
}

/// Bytes that were read and have to be paid for before more are.
struct Toll {
    gate: Arc<Gate>,
    unpaid: u32,
}

/// What the sessions of a thread read with: an idle session owns none of it.
pub(super) struct Desk {
    buffer: Vec<u8>,
    decoder: Decoder,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; READ],
            decoder: Decoder::default(),
        }
    }
}

/// Bytes read from a socket at once.
const READ: usize = 64 << 10;
/// A read of many rows.
const LARGE: usize = 4 << 10;
/// Reads after which it is the turn of other sessions.
const READS: usize = 16;

/// Asked of a device that was not heard for long, to see whether it is there.
const PROBE: [&[u8]; 2] = [b"/system/identity/print", b"=.proplist=name"];
/// How long it may take to answer that.
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// A deadline where there is none.
pub(super) const FAR: Duration = Duration::from_secs(24 * 60 * 60);

impl Session {
    /// A session whose login is about to be sent.
    pub(super) fn new(
        wire: Wire,
        machine: Connection,
        life: Life,
        tries: Box<Tries>,
        place: Place,
        now: Instant,
    ) -> Box<Self> {
        let world = &life.world;
        let tolls = life.target.care.paced.iter().map(|label| Toll {
            gate: world.pacing.bytes(label),
            unpaid: 0,
        });
        Box::new(Self {
            wire,
            machine,
            tolls: tolls.collect(),
            pay_at: None,
            share: world.budget.share(),
            over_budget: false,
            reads: true,
            work: Work::new(life, tries, now),
            _place: place,
        })
    }

    pub(super) fn device(&self) -> u64 {
        self.work.life.key.0
    }

    /// Does what can be done now, and says why the connection is over, once it is. The waker is called when there are
    /// messages, or room in the budget; `called` tells that it was.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        called: bool,
        desk: &mut Desk,
        now: Instant,
    ) -> Poll<CloseCause> {
        if called {
            self.take_messages(cx, now);
        }
        let mut reads = 0;
        loop {
            if let Some(cause) = self.work.settle(&mut self.machine, now) {
                return Poll::Ready(cause);
            }
            self.share.hold(self.work.held() + self.machine.buffered());
            if self.write().is_err() {
                self.machine.handle_close();
                continue;
            }
            self.reads = self.may_read(cx, now);
            if !self.reads || !self.wire.is_readable() {
                return Poll::Pending;
            }
            if reads == READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            self.read(desk, now);
        }
    }

    fn take_messages(&mut self, cx: &mut Context<'_>, now: Instant) {
        let (messages, more) = self.work.life.mailbox.take_all(cx);
        for message in messages {
            match message {
                Message::Run(run, command) => self.work.ask(run, command, &mut self.machine, now),
                Message::CloseIfIdle if self.is_idle() => self.machine.close(),
                Message::CloseIfIdle | Message::Taken => {}
                Message::Cancel(run) => self.work.cancel(run, &mut self.machine, now),
            }
        }
        if !more {
            // Every handle is gone: nobody can ask for anything any more.
            self.machine.close();
        }
    }

    fn is_free(&self) -> bool {
        self.work.is_none() && self.machine.in_flight() == 0
    }

    fn is_idle(&self) -> bool {
        // Between two steps of a plan nothing is in flight, and the connection is in use all the same.
        self.is_free() && self.work.life.vitals.turns.try_write().is_ok()
    }

    /// When [`handle_timeout`](Self::handle_timeout) will have something to do.
    pub(super) fn next_deadline(&self, now: Instant) -> Instant {
        let Work {
            life,
            open,
            waiting,
            send_at,
            idle_since,
            ..
        } = &self.work;
        let limits = &life.world.limits;
        let mut next = self.machine.poll_timeout().unwrap_or(now + FAR);
        for (_, open) in open {
            next = open.until().map_or(next, |until| until.min(next));
        }
        if self.is_free() && self.machine.is_ready() {
            next = next.min(self.probe_at());
            if !life.vitals.is_kept() {
                next = next.min(*idle_since + limits.idle);
            }
        }
        let send_at = send_at.filter(|_| !waiting.is_empty());
        let give_up_at = waiting.iter().map(|waiting| waiting.send_by);
        let pay_at = self.pay_at.filter(|_| !self.reads);
        let others = send_at.into_iter().chain(pay_at).chain(give_up_at);
        others.fold(next, Instant::min)
    }

    /// Time has passed; to be polled after it.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
        self.work.give_up_late(now);
        for (exchange, open) in &mut self.work.open {
            if open.is_over(now) {
                self.machine.cancel(*exchange, now);
            }
        }
        if !self.is_free() || !self.machine.is_ready() {
            return;
        }
        let Life { world, vitals, .. } = &self.work.life;
        if now >= self.work.idle_since + world.limits.idle && !vitals.is_kept() {
            match self.is_idle() {
                true => self.machine.close(),
                // Somebody has it and is about to use it, or wants it kept.
                false => self.work.idle_since = now,
            }
        } else if now >= self.probe_at() {
            match world.pacing.command(&self.work.pace) {
                Ok(()) => self.work.probe = self.machine.open(PROBE, Some(now + PROBE_WITHIN)).ok(),
                Err((at, _)) => self.work.send_at = Some(at),
            }
        }
    }

    /// When a device that says nothing is asked whether it is there.
    fn probe_at(&self) -> Instant {
        let Work { life, send_at, .. } = &self.work;
        let at = life.vitals.heard() + life.world.limits.keepalive;
        send_at.map_or(at, |allowed| at.max(allowed))
    }

    /// The connection is over. Before the login there may be another way.
    pub(super) fn end(self, failure: ConnectFailure) {
        let Self { work, wire, .. } = self;
        // Its place is free before somebody hears of it.
        drop(wire);
        drop(self._place);
        work.fail(failure);
    }

    /// The same, for what the machine says.
    pub(super) fn close(self, cause: &CloseCause) {
        let failure = cause::failure(cause, self.work.life.is_ready());
        self.end(failure);
    }

    /// Whether the device may be read further: not while its bytes wait for somebody, or are too many.
    fn may_read(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        if !self.pay(now) {
            return false;
        }
        let within = self.share.may_read(cx.waker());
        if within == self.over_budget {
            self.over_budget = !within;
            let stage = if within { Stage::Device } else { Stage::Budget };
            self.work.life.vitals.enter(stage);
        }
        if !within {
            return false;
        }
        // Whoever takes rows slowly is waited for, unless somebody else waits for this device as well: then the rows
        // are kept up to the limit of an answer.
        let is_behind = self.work.only().is_some_and(|only| only.is_behind());
        !(is_behind && self.work.waiting.is_empty())
    }

    /// Pays for what was read. Returns whether that could be done now.
    fn pay(&mut self, now: Instant) -> bool {
        if self.pay_at.is_some_and(|at| at > now) {
            return false;
        }
        self.pay_at = None;
        let Life { world, vitals, .. } = &self.work.life;
        for toll in self.tolls.iter_mut().filter(|toll| toll.unpaid > 0) {
            if let Err(at) = world.pacing.pay(&toll.gate, toll.unpaid) {
                self.pay_at = Some(at);
                vitals.enter(Stage::Bytes);
                return false;
            }
            toll.unpaid = 0;
            vitals.enter(Stage::Device);
        }
        true
    }

    fn read(&mut self, desk: &mut Desk, now: Instant) {
        let count = match self.wire.read(&mut desk.buffer) {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            _ => return self.machine.handle_close(),
        };
        self.work.life.vitals.touch(now);
        for toll in self.tolls.iter_mut().filter(|toll| !toll.gate.is_open()) {
            toll.unpaid += count as u32;
        }
        if count >= LARGE
            && let Some(only) = self.work.only()
        {
            only.reserve(count);
        }
        let (bytes, work) = (&desk.buffer[..count], &mut self.work);
        self.machine
            .read(bytes, &mut desk.decoder, |event| work.on_event(event, now));
    }

    fn wants_write(&self) -> bool {
        !self.machine.transmit().is_empty() || self.wire.wants_flush()
    }

    /// Writes what the socket takes. An error is the connection's end.
    fn write(&mut self) -> io::Result<()> {
        while self.wants_write() {
            let written = match self.machine.transmit().is_empty() {
                true => self.wire.flush().map(|()| 0),
                false => self.wire.write(self.machine.transmit()),
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
