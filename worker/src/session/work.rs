//! The commands of a session: what waits, what is with the device, and what became of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::{ConnectFailure, StepEnd};
use routeros_conn::{CloseCause, Connection, Event, ExchangeId, Outcome, UnknownCause};

use super::cause::{too_late, unsent};
use super::open::{After, Open};
use super::opening::{Life, Tries};
use super::{Command, Reply, Request, Stage, Turn};
use crate::pace::Pace;
use crate::pacing::Limiter;

pub(super) struct Work {
    pub(super) life: Life,
    /// Until the login is through.
    pub(super) tries: Option<Box<Tries>>,
    pub(super) waiting: VecDeque<Waiting>,
    /// In the order they were opened, which is mostly that of their ends.
    pub(super) open: VecDeque<(ExchangeId, Open)>,
    /// Turns of commands that were given up while the device may still be at work on them.
    lingering: Vec<Arc<Turn>>,
    /// Our own question whether the device is still there.
    pub(super) probe: Option<ExchangeId>,
    pub(super) idle_since: Instant,
    /// When the limiter of commands that said no may be asked again.
    pub(super) send_at: Option<Instant>,
    pub(super) pace: Pace,
    in_flight: usize,
    /// Commands that have told enough.
    to_end: Vec<ExchangeId>,
    /// The device did not say that it is there.
    given_up: bool,
    closed: Option<Box<CloseCause>>,
}

/// Bytes that are kept while nothing is open: the place of one command.
pub(super) const KEPT: usize = size_of::<(ExchangeId, Open)>();

/// A command that waits for its turn.
pub(super) struct Waiting {
    run: u64,
    command: Command,
    /// Past this nobody wants it sent.
    pub(super) send_by: Instant,
}

impl Work {
    pub(super) fn new(life: Life, tries: Box<Tries>, now: Instant) -> Self {
        let in_flight = match life.target.care.in_flight {
            0 => life.world.limits.in_flight,
            own => own,
        };
        Self {
            pace: life.world.pacing.pace(life.key.0),
            life,
            tries: Some(tries),
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            lingering: Vec::new(),
            probe: None,
            idle_since: now,
            send_at: None,
            in_flight,
            to_end: Vec::new(),
            given_up: false,
            closed: None,
        }
    }

    /// Whether nothing waits and nothing is with the device.
    pub(super) fn is_none(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    pub(super) fn on_event(&mut self, event: Event<'_>, now: Instant) {
        match event {
            Event::LoggedIn => {
                self.idle_since = now;
                if let Some(tries) = self.tries.take() {
                    self.life.logged_in(&tries);
                }
            }
            Event::Reply { exchange, sentence } => {
                let limit = self.life.world.limits.answer_bytes;
                if let Some((_, open)) = self.open.iter_mut().find(|(id, _)| *id == exchange)
                    && open.on_reply(sentence, limit) == After::End
                {
                    self.to_end.push(exchange);
                }
            }
            Event::Finished { exchange, outcome } => self.on_finished(exchange, outcome, now),
            Event::Closed(cause) => self.closed = Some(Box::new(cause)),
        }
    }

    fn on_finished(&mut self, exchange: ExchangeId, outcome: Outcome, now: Instant) {
        if self.probe == Some(exchange) {
            self.probe = None;
            self.given_up |= outcome == Outcome::Unknown(UnknownCause::Deadline);
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
        let Some((_, open)) = self.open.remove(at) else {
            return;
        };
        if outcome == Outcome::Unknown(UnknownCause::Deadline) {
            self.lingering.push(open.turn.clone());
        }
        open.answer(outcome, None, &self.life.world.budget);
    }

    /// Hears what the machine has to tell and opens what may be opened, until there is nothing more. Returns why the
    /// connection is over, once it is.
    pub(super) fn settle(&mut self, machine: &mut Connection, now: Instant) -> Option<CloseCause> {
        loop {
            while let Some(event) = machine.poll_event() {
                self.on_event(event, now);
            }
            if let Some(cause) = self.closed.take() {
                return Some(*cause);
            }
            for exchange in std::mem::take(&mut self.to_end) {
                machine.cancel(exchange, now);
            }
            if !std::mem::take(&mut self.given_up) {
                break;
            }
            machine.close();
        }
        self.open_waiting(machine, now);
        if !self.lingering.is_empty() && machine.in_flight() == self.open.len() {
            self.lingering.clear();
        }
        self.open.iter_mut().for_each(|(_, open)| open.tell_live());
        None
    }

    /// A command came: it is opened at once when nothing is in its way.
    pub(super) fn ask(&mut self, run: u64, command: Command, machine: &mut Connection, now: Instant) {
        match self.waiting.is_empty() && self.may_open(machine, now) {
            true => self.open_one(run, command, machine, now),
            false => {
                let send_by = command.send_by().unwrap_or(now);
                self.waiting.push_back(Waiting {
                    run,
                    command,
                    send_by,
                });
            }
        }
    }

    /// Answers those that waited for so long that nobody wants them sent: what is before them may be followed for hours.
    pub(super) fn give_up_late(&mut self, now: Instant) {
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.send_by <= now)
            && let Some(late) = self.waiting.remove(at)
        {
            let mut error = too_late();
            if self.open.len() >= self.in_flight {
                let open = self.open.len();
                error.message +=
                    &format!(": {open} of {open} commands that the device may have at once are open");
            }
            late.command.answer(unsent(error));
        }
    }

    fn open_waiting(&mut self, machine: &mut Connection, now: Instant) {
        while !self.waiting.is_empty() && self.may_open(machine, now) {
            let Some(Waiting { run, command, .. }) = self.waiting.pop_front() else {
                return;
            };
            self.open_one(run, command, machine, now);
        }
    }

    /// Whether one more command may go to the device now; the limiters count it then.
    fn may_open(&mut self, machine: &Connection, now: Instant) -> bool {
        if !machine.is_ready() || self.open.len() >= self.in_flight || self.send_at.is_some_and(|at| at > now)
        {
            return false;
        }
        let Life { world, vitals, .. } = &self.life;
        match world.pacing.command(&self.pace) {
            Ok(()) => {
                self.send_at = None;
                vitals.enter(Stage::Device);
                true
            }
            Err((at, limiter)) => {
                self.send_at = Some(at);
                vitals.enter(match limiter {
                    Limiter::Device => Stage::DeviceRate,
                    Limiter::Worker => Stage::WorkerRate,
                });
                false
            }
        }
    }

    fn open_one(&mut self, run: u64, mut command: Command, machine: &mut Connection, now: Instant) {
        let Some(Request {
            words,
            timeout,
            send_by,
            turn,
            follow,
        }) = command.take()
        else {
            return;
        };
        if send_by < now {
            return command.answer(unsent(too_late()));
        }
        let lasts = follow.as_ref().map_or(Duration::ZERO, |follow| follow.lasts);
        match machine.open(words.iter(), Some(now + timeout + lasts)) {
            Ok(exchange) => {
                if self.open.capacity() == 0 {
                    // Most have one at a time.
                    self.open.reserve_exact(1);
                }
                self.open
                    .push_back((exchange, Open::new(run, turn, command, follow, now)));
            }
            Err(error) => {
                let error = DeviceError::new(ErrorClass::Protocol, error.to_string());
                command.answer(unsent(error));
            }
        }
    }

    /// Whoever asked wants the end of it.
    pub(super) fn cancel(&mut self, run: u64, machine: &mut Connection, now: Instant) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.run == run)
            && let Some(Waiting { command, .. }) = self.waiting.remove(at)
        {
            command.answer(Reply {
                end: StepEnd::Cancelled,
                sentences: Bytes::new(),
            });
        }
        if let Some((exchange, _)) = self.open.iter().find(|(_, open)| open.run == run) {
            machine.cancel(*exchange, now);
        }
    }

    /// The command that is open, when there is but one.
    pub(super) fn only(&mut self) -> Option<&mut Open> {
        match self.open.len() {
            1 => self.open.front_mut().map(|(_, only)| only),
            _ => None,
        }
    }

    /// Bytes of answers that are not complete.
    pub(super) fn held(&self) -> usize {
        self.open.iter().map(|(_, open)| open.sentences.len()).sum()
    }

    /// The connection is over: what was open is answered with the cause, what waited was never sent.
    pub(super) fn fail(self, failure: ConnectFailure) {
        let budget = &self.life.world.budget;
        for (_, open) in self.open {
            let outcome = open
                .outcome
                .unwrap_or(Outcome::Unknown(UnknownCause::ConnectionLost));
            open.answer(outcome, Some(&failure.error), budget);
        }
        for Waiting { command, .. } in self.waiting {
            command.answer(unsent(failure.error.clone()));
        }
        self.life.failed(failure, self.tries);
    }
}
