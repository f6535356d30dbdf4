//! The connection itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use routeros_wire::{
    DecodeError, Decoder, EncodeError, Kind, Limits, Sentence, TrapCategory, encode, length,
};
use thiserror::Error;

use crate::exchange::{DIGITS, Exchange, ExchangeId, Outcome, State, UnknownCause};
use crate::exchanges::Exchanges;
use crate::held::Held;
use crate::login::{Credentials, Login, LoginRefused, Progress};

/// What a connection is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who logs in.
    pub credentials: Credentials,
    /// Bounds on what the device may make us hold.
    pub limits: Limits,
    /// How long the device may take from the first byte to the end of the login. Default 10 s.
    pub login_timeout: Duration,
    /// How long a cancelled command may take to end before the connection is given up. Default 5 s.
    pub cancel_grace: Duration,
    /// Replies nobody asked for that are tolerated. Default 64: late replies after a `!done` have been seen, a
    /// flood of them is an attack or a lost synchronisation.
    pub stray_replies: u32,
}

impl Config {
    /// The defaults, for these credentials.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            limits: Limits::default(),
            login_timeout: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
            stray_replies: 64,
        }
    }
}

/// Why the connection is over.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CloseCause {
    /// The device said `!fatal`.
    #[error("the device ended the connection: {}", reason.escape_ascii())]
    Fatal {
        /// Its words.
        reason: Vec<u8>,
    },
    /// The login was refused.
    #[error("login refused: {}", .0.message.escape_ascii())]
    LoginRefused(LoginRefused),
    /// The login took too long.
    #[error("no answer to the login in {} ms", .0.as_millis())]
    LoginTimeout(Duration),
    /// The transport ended, as told by [`Connection::handle_close`].
    #[error("the connection was lost")]
    Lost,
    /// Bytes that are not the protocol.
    #[error("not the RouterOS API: {0}")]
    Decode(#[from] DecodeError),
    /// Sentences that are no replies: another protocol, or another end of this one.
    #[error("not the RouterOS API: where a reply should be stands \"{}\"", .0.escape_ascii())]
    NotAReply(Vec<u8>),
    /// More unasked-for replies than [`Config::stray_replies`].
    #[error("more than {0} replies that nobody asked for")]
    StrayReplies(u32),
    /// A cancelled command did not end within [`Config::cancel_grace`].
    #[error("a cancelled command did not end in {} ms", .0.as_millis())]
    CancelIgnored(Duration),
    /// We have no use for it any more.
    #[error("closed by us")]
    Requested,
    /// The credentials do not fit the wire format.
    #[error("login cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
}

/// What happened, in the order it happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Commands go out from now on.
    LoggedIn,
    /// A sentence for an open exchange: rows, traps, `!empty`, unknown `!words`, and the final `!done`.
    Reply {
        /// The exchange it belongs to.
        exchange: ExchangeId,
        /// The sentence, borrowed from the read buffer.
        sentence: Sentence<'a>,
    },
    /// An exchange is over; no event will name it again.
    Finished {
        /// The exchange.
        exchange: ExchangeId,
        /// How it ended.
        outcome: Outcome,
    },
    /// The connection is over. Comes once, after every exchange has finished.
    Closed(CloseCause),
}

/// A request that cannot be opened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The connection is over.
    #[error("the connection is closed")]
    Closed,
    /// A word that the format cannot carry.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// One connection to one device. See the crate's page for the calling order.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    cancel_grace: Duration,
    stray_replies: u32,
    phase: Phase,
    /// What was read and has not been told in full.
    held: Option<Box<Held>>,
    /// Position in the incoming stream of what is held, or of what comes next.
    taken: u64,
    output: Vec<u8>,
    /// Position in the outgoing stream of `output[0]`: what lies before has left.
    left: u64,
    /// Requests opened before the login was through; sent when it is.
    waiting: Vec<u8>,
    last_id: u64,
    exchanges: Exchanges,
    outcomes: VecDeque<(ExchangeId, Outcome)>,
    strays: u32,
    /// The login went through at some time, so that exchanges may have left.
    ready: bool,
    /// The transport is over; acted on when all input has been told.
    lost: bool,
}

#[derive(Debug)]
enum Phase {
    /// In a box that is gone when the login is through.
    Login(Box<LoggingIn>),
    Ready,
    Closing(CloseCause),
    Closed,
}

#[derive(Debug)]
struct LoggingIn {
    login: Login,
    credentials: Credentials,
    until: Instant,
    within: Duration,
}

/// What a sentence means, decided while it is borrowed, acted on when it is not.
enum Step {
    Nothing,
    LoggedIn,
    Tell(ExchangeId),
    Close(CloseCause),
}

impl Connection {
    /// Bytes beside itself that an idle connection keeps at most.
    pub const KEPT: usize = Exchanges::KEPT_BYTES;

    /// A connection whose transport has just been established; its login is in [`transmit`](Self::transmit).
    pub fn new(config: Config, now: Instant) -> Self {
        let Config {
            credentials,
            limits,
            login_timeout,
            cancel_grace,
            stray_replies,
        } = config;
        let mut output = Vec::new();
        let phase = match Login::start(&credentials, &mut output) {
            Ok(login) => Phase::Login(Box::new(LoggingIn {
                login,
                credentials,
                until: now + login_timeout,
                within: login_timeout,
            })),
            Err(error) => Phase::Closing(error.into()),
        };
        Self {
            limits,
            cancel_grace,
            stray_replies,
            phase,
            held: None,
            taken: 0,
            output,
            left: 0,
            waiting: Vec::new(),
            last_id: 0,
            exchanges: Exchanges::default(),
            outcomes: VecDeque::new(),
            strays: 0,
            ready: false,
            lost: false,
        }
    }

    /// Opens an exchange for the words of a request. Its bytes join those of the requests opened before the next
    /// [`transmit`](Self::transmit); before the login is through they wait.
    ///
    /// The words must not hold a tag of their own.
    pub fn open<I>(&mut self, words: I, deadline: Option<Instant>) -> Result<ExchangeId, OpenError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        if self.is_closing() {
            return Err(OpenError::Closed);
        }
        let id = ExchangeId(self.last_id + 1);
        let ready = matches!(self.phase, Phase::Ready);
        let out = if ready {
            &mut self.output
        } else {
            &mut self.waiting
        };
        if out.capacity() == 0 {
            out.reserve(SMALL_REQUEST);
        }
        let before = out.len() as u64;
        if let Err(error) = encode_tagged(out, words, id) {
            out.truncate(before as usize);
            return Err(error.into());
        }
        // While the login runs this counts from the start of `waiting`; `logged_in` adds what lies before.
        let first_byte = if ready { self.left + before } else { before };
        self.last_id = id.0;
        let exchange = Exchange {
            first_byte,
            deadline,
            state: State::Open,
            trapped: false,
            interrupted: false,
        };
        self.exchanges.push(id, exchange);
        Ok(id)
    }

    /// Asks the device to end an exchange. What it answers decides how the exchange ends; if it does not answer
    /// in time the connection is given up. An exchange that has not left is withdrawn only in its outcome: its
    /// bytes are already in line, so the device is asked all the same.
    pub fn cancel(&mut self, exchange: ExchangeId, now: Instant) {
        let give_up_at = now + self.cancel_grace;
        match self.exchanges.get_mut(exchange) {
            Some(open) if open.state == State::Open => open.state = State::Cancelling { give_up_at },
            _ => return,
        }
        self.send_cancel(exchange, give_up_at);
    }

    fn send_cancel(&mut self, exchange: ExchangeId, give_up_at: Instant) {
        let target = [b"=tag=".as_slice(), &exchange.tag()].concat();
        if let Ok(id) = self.open([b"/cancel".as_slice(), &target], None)
            && let Some(cancel) = self.exchanges.get_mut(id)
        {
            cancel.state = State::Cancel { give_up_at };
        }
    }

    /// Bytes came from the device. They are kept until [`poll_event`](Self::poll_event) has told what they say.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        if self.is_closing() {
            return;
        }
        let held = self
            .held
            .get_or_insert_with(|| Box::new(Held::at(self.taken, self.limits)));
        held.take(bytes);
    }

    /// Bytes came from the device: tells at once what they say, from where they lie. What is left of a sentence that is
    /// not complete is kept, and so is what is wrong with the bytes: [`poll_event`](Self::poll_event) is to be drained
    /// after it. `decoder` is anybody's: what it knew is forgotten.
    pub fn read(&mut self, bytes: &[u8], decoder: &mut Decoder, mut tell: impl FnMut(Event<'_>)) {
        if self.held.is_some() || !self.outcomes.is_empty() || self.is_closing() {
            return self.handle_input(bytes);
        }
        decoder.restart_at(self.taken, self.limits);
        // An error is found again where it stands, after the sentences before it.
        let _ = decoder.scan(bytes);
        for sentence in decoder.sentences(bytes) {
            match self.on_sentence(sentence) {
                Step::Nothing => {}
                Step::LoggedIn => tell(Event::LoggedIn),
                Step::Tell(exchange) => tell(Event::Reply { exchange, sentence }),
                Step::Close(cause) => return self.begin_close(cause),
            }
            while let Some((exchange, outcome)) = self.outcomes.pop_front() {
                tell(Event::Finished { exchange, outcome });
            }
        }
        let told = decoder.consume();
        self.taken += told as u64;
        if told < bytes.len() {
            self.handle_input(&bytes[told..]);
        }
    }

    /// The transport is over: end of file, reset, or a failed write. What the device had said before still
    /// counts and is told first.
    pub fn handle_close(&mut self) {
        self.lost = true;
    }

    /// We have no use for the connection any more.
    pub fn close(&mut self) {
        self.begin_close(CloseCause::Requested);
    }

    /// Time has passed. To be called at [`poll_timeout`](Self::poll_timeout) or any time after.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Login(login) = &self.phase
            && login.until <= now
        {
            let within = login.within;
            return self.begin_close(CloseCause::LoginTimeout(within));
        }
        let due = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.due().is_some_and(|due| due <= now));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.handle_due(id, now);
        }
    }

    fn handle_due(&mut self, id: ExchangeId, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        match exchange.state {
            State::Open => {
                let give_up_at = now + self.cancel_grace;
                exchange.state = State::Quarantined { give_up_at };
                let left = self.ready && exchange.first_byte < self.left;
                let outcome = if left {
                    Outcome::Unknown(UnknownCause::Deadline)
                } else {
                    Outcome::NotSent
                };
                self.outcomes.push_back((id, outcome));
                if left {
                    self.send_cancel(id, give_up_at);
                } else {
                    // Its bytes are still in line and would be executed later: only ending the connection
                    // takes them back.
                    self.begin_close(CloseCause::CancelIgnored(Duration::ZERO));
                }
            }
            State::Cancelling { .. } | State::Quarantined { .. } | State::Cancel { .. } => {
                self.begin_close(CloseCause::CancelIgnored(self.cancel_grace));
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) will have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let login = match &self.phase {
            Phase::Login(login) => Some(login.until),
            Phase::Ready | Phase::Closing(_) | Phase::Closed => None,
        };
        self.exchanges
            .iter()
            .filter_map(|(_, exchange)| exchange.due())
            .chain(login)
            .min()
    }

    /// The bytes to write next.
    pub fn transmit(&self) -> &[u8] {
        &self.output
    }

    /// The transport took the first `count` bytes of [`transmit`](Self::transmit). An exchange has left with its
    /// first byte.
    pub fn transmitted(&mut self, count: usize) {
        let count = count.min(self.output.len());
        self.left += count as u64;
        if count == self.output.len() {
            // An idle connection owns no buffer.
            self.output = Vec::new();
        } else {
            self.output.drain(..count);
        }
    }

    /// Exchanges that still hold a tag: open, being cancelled, or set aside.
    pub fn in_flight(&self) -> usize {
        self.exchanges.len()
    }

    /// Bytes of a sentence that is not complete yet.
    pub fn buffered(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.input.len())
    }

    /// Whether the login is through and the connection is not closing.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// What happened next, or `None` when everything has been told. To be drained after every `handle_…` call.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        loop {
            if let Some((exchange, outcome)) = self.outcomes.pop_front() {
                return Some(Event::Finished { exchange, outcome });
            }
            if let Phase::Closing(_) = self.phase {
                return self.finish_close();
            }
            if matches!(self.phase, Phase::Closed) {
                return None;
            }
            let Some(index) = self.held.as_mut().and_then(|held| held.next()) else {
                let error = self.held.as_ref().and_then(|held| held.decoder.error());
                self.release();
                if let Some(word) = self.open_word() {
                    self.begin_close(CloseCause::NotAReply(word));
                } else if let Some(error) = error {
                    self.begin_close(CloseCause::Decode(error));
                } else if self.lost {
                    self.begin_close(CloseCause::Lost);
                } else {
                    return None;
                }
                continue;
            };
            // Out of the way, so that the sentence borrows nothing of what it changes.
            let Some(held) = self.held.take() else { continue };
            let step = self.on_sentence(held.decoder.sentence(&held.input, index));
            self.held = Some(held);
            match step {
                Step::Nothing => {}
                Step::LoggedIn => return Some(Event::LoggedIn),
                Step::Tell(exchange) => {
                    let held = self.held.as_ref()?;
                    let sentence = held.decoder.sentence(&held.input, index);
                    return Some(Event::Reply { exchange, sentence });
                }
                Step::Close(cause) => self.begin_close(cause),
            }
        }
    }

    fn on_sentence(&mut self, sentence: Sentence<'_>) -> Step {
        if sentence.is_empty() {
            return Step::Nothing;
        }
        let kind = sentence.kind();
        if kind == Kind::NotAReply {
            return Step::Close(CloseCause::NotAReply(shown(sentence.word(0).unwrap_or_default())));
        }
        if kind == Kind::Fatal {
            return Step::Close(CloseCause::Fatal {
                reason: sentence.fatal_reason().to_vec(),
            });
        }
        if let Phase::Login(logging_in) = &mut self.phase
            // The login has no tag, and nothing else was asked.
            && sentence.tag().is_none()
        {
            let LoggingIn {
                login, credentials, ..
            } = &mut **logging_in;
            return match login.on_reply(sentence, credentials, &mut self.output) {
                Ok(Progress::Pending) => Step::Nothing,
                Ok(Progress::Accepted) => {
                    self.logged_in();
                    Step::LoggedIn
                }
                Ok(Progress::Refused(refused)) => Step::Close(CloseCause::LoginRefused(refused)),
                Err(error) => Step::Close(error.into()),
            };
        }
        let asked = self.ready.then(|| sentence.tag()).flatten();
        let id = asked.and_then(ExchangeId::from_tag);
        let Some((id, exchange)) = id.and_then(|id| Some((id, self.exchanges.get_mut(id)?))) else {
            self.strays += 1;
            return match self.strays > self.stray_replies {
                true => Step::Close(CloseCause::StrayReplies(self.stray_replies)),
                false => Step::Nothing,
            };
        };
        let awaited = exchange.is_awaited();
        match kind {
            Kind::Trap => {
                exchange.trapped = true;
                let category = sentence.get(b"category").and_then(TrapCategory::parse);
                exchange.interrupted |= category == Some(TrapCategory::Interrupted);
            }
            Kind::Done => {
                if awaited {
                    self.outcomes.push_back((id, exchange.final_outcome()));
                }
                self.exchanges.remove(id);
            }
            _ => {}
        }
        if awaited { Step::Tell(id) } else { Step::Nothing }
    }

    fn logged_in(&mut self) {
        self.phase = Phase::Ready;
        self.ready = true;
        let before = self.left + self.output.len() as u64;
        for exchange in self.exchanges.values_mut() {
            exchange.first_byte += before;
        }
        self.output.append(&mut self.waiting);
        self.waiting = Vec::new();
    }

    /// Forgets what has been told. An idle connection owns no buffer.
    fn release(&mut self) {
        if let Some(held) = &mut self.held {
            self.taken += held.release() as u64;
            if held.input.is_empty() {
                self.held = None;
            }
        }
    }

    /// The beginning of the unfinished sentence, when it shows already that it is no reply. Without this, a peer
    /// that speaks another protocol would be waited for until the deadline: its first letter, read as a length,
    /// announces more than it says.
    fn open_word(&self) -> Option<Vec<u8>> {
        let input = &self.held.as_ref()?.input;
        let (length, width) = length::read(input).ok()??;
        let limits = &self.limits;
        if length > limits.word_bytes || width + length as usize > limits.sentence_bytes {
            // Refused for that, however much of it is there.
            return None;
        }
        let word = input.get(width..)?;
        let word = &word[..word.len().min(length as usize)];
        word.first().filter(|first| **first != b'!').map(|_| shown(input))
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Closed)
    }

    fn begin_close(&mut self, cause: CloseCause) {
        if !self.is_closing() {
            self.phase = Phase::Closing(cause);
        }
    }

    /// Ends what is open, then the connection.
    fn finish_close(&mut self) -> Option<Event<'_>> {
        for (id, exchange) in self.exchanges.take() {
            if exchange.is_awaited() {
                let left = self.ready && exchange.first_byte < self.left;
                let outcome = if left {
                    Outcome::Unknown(UnknownCause::ConnectionLost)
                } else {
                    Outcome::NotSent
                };
                self.outcomes.push_back((id, outcome));
            }
        }
        if let Some((exchange, outcome)) = self.outcomes.pop_front() {
            return Some(Event::Finished { exchange, outcome });
        }
        self.held = None;
        self.output = Vec::new();
        self.waiting = Vec::new();
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closing(cause) => Some(Event::Closed(cause)),
            _ => None,
        }
    }
}

/// Room for a request of a few words.
const SMALL_REQUEST: usize = 96;

/// As much of a stranger's words as helps to recognise them.
fn shown(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(32)].to_vec()
}

/// Appends a request with its tag.
fn encode_tagged<I>(out: &mut Vec<u8>, words: I, id: ExchangeId) -> Result<(), EncodeError>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    for word in words {
        encode::word(out, word.as_ref())?;
    }
    encode::tag(out, id.digits(&mut [0; DIGITS]))?;
    encode::end(out);
    Ok(())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
