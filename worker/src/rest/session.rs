//! The task of a REST session: commands one after the other over a connection that is made anew when it has ended.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Transport};
use muster_worker_core::{ConnectFailure, StepEnd};

use super::answer::Answer;
use super::asked::{Asked, ENDS_AFTER};
use super::client::Rest;
use crate::devices::World;
use crate::mailbox::Mailbox;
use crate::pace::Pace;
use crate::pacing::{Gate, Limiter};
use crate::reach::Way;
use crate::room::Place;
use crate::session::{Command, Message, Reply, Stage, Target, Turn, Vitals, connect_way, gone, too_late};

/// A command is not waited for longer than the router lets it run, and some for the way.
const WAITED: Duration = ENDS_AFTER.saturating_add(Duration::from_secs(5));

/// What has been opened for a REST session.
pub(crate) struct Opened {
    pub(crate) device: u64,
    pub(crate) target: Arc<Target>,
    pub(crate) way: Way,
    pub(crate) world: Arc<World>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) pace: Pace,
    pub(crate) _place: Place,
}

/// A session with a router over REST.
pub(crate) struct RestSession {
    opened: Opened,
    rest: Rest,
    /// The router ends each connection after one answer: each request gets a connection of its own, and none that only
    /// looks who is there.
    one_each: bool,
    waiting: VecDeque<(u64, Command)>,
    /// Turns of commands that were given up, and until when the router may be at work on them.
    lingering: Vec<(Instant, Arc<Turn>)>,
    idle_since: Instant,
    /// Bytes that were read and have to be paid for.
    tolls: Vec<(Arc<Gate>, u32)>,
}

/// What a command came to.
enum Ran {
    Answered(Answer),
    /// By whoever asked.
    Cancelled,
    /// It was not answered in time.
    Late,
}

impl RestSession {
    pub(crate) fn new(opened: Opened, rest: Rest) -> Self {
        let tolls = opened
            .target
            .care
            .paced
            .iter()
            .map(|label| (opened.world.pacing.bytes(label), 0));
        Self {
            tolls: tolls.collect(),
            rest,
            one_each: false,
            waiting: VecDeque::new(),
            lingering: Vec::new(),
            idle_since: Instant::now(),
            opened,
        }
    }

    /// Serves until nobody needs it any more, or the router cannot be reached again. Says which.
    pub(crate) async fn serve(mut self, mailbox: &mut Mailbox<Message>) -> ConnectFailure {
        let failure = self.run(mailbox).await;
        for (_, command) in self.waiting {
            command.answer(reply(StepEnd::NotSent(failure.error.clone())));
        }
        failure
    }

    async fn run(&mut self, mailbox: &mut Mailbox<Message>) -> ConnectFailure {
        self.one_each = !self.rest.is_open().await;
        let idle = self.opened.world.limits.idle;
        loop {
            while let Some(message) = mailbox.try_recv() {
                if self.on_message(message) {
                    return closed();
                }
            }
            let now = Instant::now();
            self.lingering.retain(|(until, _)| *until > now);
            let wait = match self.may_send(now) {
                Ok(()) => match self.waiting.pop_front() {
                    Some((id, command)) => {
                        if let Err(failure) = self.command(id, command, mailbox).await {
                            return failure;
                        }
                        self.idle_since = Instant::now();
                        continue;
                    }
                    None if self.is_idle()
                        && now >= self.idle_since + idle
                        && !self.opened.vitals.is_kept() =>
                    {
                        return closed();
                    }
                    None => self
                        .lingering
                        .iter()
                        .map(|(until, _)| *until)
                        .fold(self.idle_since + idle, Instant::min),
                },
                Err(at) => at,
            };
            // Somebody has a turn and is about to use it: it is looked again a little later.
            let wait = wait.max(now + Duration::from_millis(10));
            tokio::select! {
                message = poll_fn(|cx| mailbox.poll_recv(cx)) => {
                    let Some(message) = message else { return closed() };
                    if self.on_message(message) {
                        return closed();
                    }
                }
                // The next command makes a new one: REST knows no session.
                () = self.rest.closed() => {}
                () = tokio::time::sleep_until(wait.into()) => {
                    if !self.is_idle() && self.waiting.is_empty() {
                        self.idle_since = Instant::now();
                    }
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.lingering.is_empty() && self.opened.vitals.turns.try_write().is_ok()
    }

    /// Returns whether the session is to end.
    fn on_message(&mut self, message: Message) -> bool {
        match message {
            Message::Run(id, command) => self.waiting.push_back((id, command)),
            Message::CloseIfIdle => return self.is_idle(),
            Message::Taken => {}
            Message::Cancel(id) => cancel(&mut self.waiting, id),
        }
        false
    }

    /// Whether the limits let a command go, or when to ask again.
    fn may_send(&mut self, now: Instant) -> Result<(), Instant> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Opened {
            world, vitals, pace, ..
        } = &self.opened;
        for (gate, unpaid) in self.tolls.iter_mut().filter(|(_, unpaid)| *unpaid > 0) {
            if let Err(at) = world.pacing.pay(gate, *unpaid) {
                vitals.enter(Stage::Bytes);
                return Err(at.max(now));
            }
            *unpaid = 0;
        }
        match world.pacing.command(pace) {
            Ok(()) => {
                vitals.enter(Stage::Device);
                Ok(())
            }
            Err((at, limiter)) => {
                vitals.enter(match limiter {
                    Limiter::Device => Stage::DeviceRate,
                    Limiter::Worker => Stage::WorkerRate,
                });
                Err(at)
            }
        }
    }

    /// Carries out one command. An error is the session's end.
    async fn command(
        &mut self,
        id: u64,
        mut command: Command,
        mailbox: &mut Mailbox<Message>,
    ) -> Result<(), ConnectFailure> {
        let Some(request) = command.take() else {
            return Ok(());
        };
        if request.send_by < Instant::now() {
            command.answer(reply(StepEnd::NotSent(too_late())));
            return Ok(());
        }
        let asked = match Asked::of(&request.words.to_vec()) {
            Ok(_) if request.follow.is_some() => Err(DeviceError::new(
                ErrorClass::Protocol,
                "REST tells no rows as they come; use transport api or api-ssl",
            )),
            asked => asked,
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => {
                command.answer(reply(StepEnd::Refused(error)));
                return Ok(());
            }
        };
        let sent_at = Instant::now();
        let deadline = sent_at + request.timeout.min(WAITED);
        let send_by = request.send_by;
        let ran = self.ask_anew(id, &asked, send_by, deadline, mailbox).await;
        // A question put as a filter may be one that the router does not take as such.
        let ran = match (ran, asked.otherwise) {
            (
                Ok(Ran::Answered(Answer {
                    end: StepEnd::Trapped(_),
                    ..
                })),
                Some(otherwise),
            ) => self.ask_anew(id, &otherwise, send_by, deadline, mailbox).await,
            (ran, _) => ran,
        };
        let ran = match ran {
            Ok(ran) => ran,
            Err(failure) => {
                command.answer(reply(StepEnd::NotSent(failure.error.clone())));
                return Err(failure);
            }
        };
        let given_up = matches!(ran, Ran::Cancelled | Ran::Late);
        let Answer {
            end,
            sentences,
            is_over,
        } = match ran {
            Ran::Answered(answer) => answer,
            Ran::Cancelled => Answer {
                end: StepEnd::Cancelled,
                sentences: Vec::new(),
                is_over: false,
            },
            Ran::Late => {
                let text = "no final answer to the command within its deadline";
                Answer {
                    end: StepEnd::NoAnswer(DeviceError::new(ErrorClass::Timeout, text)),
                    sentences: Vec::new(),
                    is_over: false,
                }
            }
        };
        // A router goes on with what was given up, and may go on with a change whose answer was lost.
        let unfinished = !is_over && !matches!(end, StepEnd::NotSent(_));
        if given_up || unfinished && matches!(*request.turn, Turn::Alone { .. }) {
            self.lingering.push((sent_at + ENDS_AFTER, request.turn.clone()));
        }
        let sentences = self.opened.world.budget.answer(sentences);
        command.answer(Reply { end, sentences });
        Ok(())
    }

    /// Asks, and again over a new connection when the one there was had ended unnoticed: nothing had left, or it was a
    /// question and nothing came back.
    async fn ask_anew(
        &mut self,
        id: u64,
        asked: &Asked,
        send_by: Instant,
        deadline: Instant,
        mailbox: &mut Mailbox<Message>,
    ) -> Result<Ran, ConnectFailure> {
        if self.one_each && self.rest.has_answered() {
            self.rest.give_up();
        }
        let mut is_again = false;
        loop {
            let is_first = !self.rest.has_answered();
            let ran = self.ask(id, asked, deadline, mailbox).await;
            let had_ended = match &ran {
                Ran::Answered(answer) => match answer.end {
                    StepEnd::NotSent(_) => true,
                    StepEnd::NoAnswer(_) => asked.is_question() && self.rest.ended_unheard(),
                    _ => false,
                },
                Ran::Cancelled | Ran::Late => false,
            };
            // A connection that ends at its first request was not kept for too long.
            if is_first || !had_ended {
                return Ok(ran);
            }
            if send_by < Instant::now() {
                return Ok(Ran::Answered(Answer {
                    end: StepEnd::NotSent(too_late()),
                    sentences: Vec::new(),
                    is_over: true,
                }));
            }
            self.one_each |= is_again;
            is_again = true;
            self.connect(deadline).await?;
        }
    }

    /// Asks, and listens meanwhile to whoever wants it ended.
    async fn ask(
        &mut self,
        id: u64,
        asked: &Asked,
        deadline: Instant,
        mailbox: &mut Mailbox<Message>,
    ) -> Ran {
        if !self.rest.is_open().await {
            let error = DeviceError::new(ErrorClass::Reset, "the connection was lost");
            return Ran::Answered(Answer {
                end: StepEnd::NotSent(error),
                sentences: Vec::new(),
                is_over: true,
            });
        }
        let limit = self.opened.world.limits.answer_bytes;
        let ran = {
            let mut exchange = std::pin::pin!(self.rest.exchange(asked, limit));
            let mut abandoned = false;
            loop {
                tokio::select! {
                    biased;
                    answer = &mut exchange => break Ran::Answered(answer),
                    message = poll_fn(|cx| mailbox.poll_recv(cx)), if !abandoned => match message {
                        Some(Message::Cancel(run)) if run == id => break Ran::Cancelled,
                        Some(Message::Run(run, command)) => self.waiting.push_back((run, command)),
                        Some(Message::Cancel(run)) => cancel(&mut self.waiting, run),
                        Some(Message::CloseIfIdle | Message::Taken) => {}
                        None => abandoned = true,
                    },
                    () = tokio::time::sleep_until(deadline.into()) => break Ran::Late,
                }
            }
        };
        match &ran {
            Ran::Answered(answer) => {
                if !matches!(answer.end, StepEnd::NotSent(_) | StepEnd::NoAnswer(_)) {
                    self.opened.vitals.touch(Instant::now());
                }
                let read = u32::try_from(answer.sentences.len()).unwrap_or(u32::MAX);
                for (_, unpaid) in self.tolls.iter_mut().filter(|(gate, _)| !gate.is_open()) {
                    *unpaid = unpaid.saturating_add(read);
                }
            }
            Ran::Cancelled | Ran::Late => self.rest.give_up(),
        }
        ran
    }

    /// Connects again, and looks who is there unless that would use the connection up.
    async fn connect(&mut self, deadline: Instant) -> Result<(), ConnectFailure> {
        self.rest = connected(&self.opened, self.one_each, deadline).await?;
        if !self.one_each && !self.rest.is_open().await {
            self.one_each = true;
            self.rest = connected(&self.opened, self.one_each, deadline).await?;
        }
        Ok(())
    }
}

/// Connects when it is its turn. Who is there is looked at first, unless each connection is good for one request.
async fn connected(opened: &Opened, one_each: bool, deadline: Instant) -> Result<Rest, ConnectFailure> {
    let Opened {
        device,
        target,
        way,
        world,
        vitals,
        ..
    } = opened;
    let within = world.limits.connect_timeout;
    let turn = async {
        vitals.enter(Stage::Zone);
        world.pacing.connect(&target.care.zone).await;
        vitals.enter(Stage::Login);
        world.pacing.login().await;
        vitals.enter(Stage::Handshake);
        world.pacing.handshake().await
    };
    let turn = tokio::time::timeout_at(deadline.into(), turn).await;
    let _turn = turn.map_err(|_| ConnectFailure {
        error: DeviceError::new(ErrorClass::Timeout, "it was not its turn to connect in time"),
        may_pass: true,
    })?;
    vitals.enter(Stage::Connecting);
    let connecting = async {
        let stream = connect_way(*device, target, *way, world).await?;
        match one_each {
            true => Rest::over(stream, &target.address, way.port, &target.credentials).await,
            false => Rest::open(stream, &target.address, way.port, &target.credentials).await,
        }
    };
    let until = deadline.min(Instant::now() + within);
    let connected = tokio::time::timeout_at(until.into(), connecting).await;
    let rest = connected.unwrap_or_else(|_| Err(late(way.transport, within)))?;
    vitals.enter(Stage::Device);
    Ok(rest)
}

fn cancel(waiting: &mut VecDeque<(u64, Command)>, id: u64) {
    if let Some(at) = waiting.iter().position(|(run, _)| *run == id)
        && let Some((_, command)) = waiting.remove(at)
    {
        command.answer(reply(StepEnd::Cancelled));
    }
}

fn reply(end: StepEnd) -> Reply {
    Reply {
        end,
        sentences: Bytes::new(),
    }
}

fn closed() -> ConnectFailure {
    ConnectFailure {
        error: gone(),
        may_pass: true,
    }
}

fn late(transport: Transport, within: Duration) -> ConnectFailure {
    let text = format!("{transport}: no answer to connect in {} ms", within.as_millis());
    ConnectFailure {
        error: DeviceError::new(ErrorClass::Timeout, text),
        may_pass: true,
    }
}

#[cfg(test)]
mod tests;
