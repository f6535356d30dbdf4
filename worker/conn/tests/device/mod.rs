//! The machine on one side, a device of hand-written bytes on the other, virtual time.

use std::time::{Duration, Instant};

use routeros_conn::{CloseCause, Config, Connection, Credentials, Event, ExchangeId, Outcome};
use routeros_wire::{Limits, decode_all, encode};

/// A connection and the time it has been told.
pub(crate) struct Device {
    pub(crate) conn: Connection,
    pub(crate) now: Instant,
}

/// An event, owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    LoggedIn,
    Reply(ExchangeId, Vec<Vec<u8>>),
    Finished(ExchangeId, Outcome),
    Closed(CloseCause),
}

impl Device {
    /// A device that has said nothing yet.
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// One that is met with another configuration than the default.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let now = Instant::now();
        let mut config = Config::new(Credentials::new("admin", "secret"));
        change(&mut config);
        let conn = Connection::new(config, now);
        Self { conn, now }
    }

    /// The login is through, and read.
    pub(crate) fn log_in(mut self) -> Self {
        self.hears();
        self.says(b"\x05!done\x00");
        assert_eq!(self.told(), [Told::LoggedIn]);
        self
    }

    /// Opens a command with half a minute of time, and lets it leave.
    pub(crate) fn asked(&mut self, words: &[&str]) -> ExchangeId {
        let deadline = self.now + Duration::from_secs(30);
        let id = self.conn.open(words, Some(deadline)).expect("can be opened");
        self.hears();
        id
    }

    /// Takes what was written, as sentences of words.
    pub(crate) fn hears(&mut self) -> Vec<Vec<String>> {
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        let mut sentences = Vec::new();
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        decode_all(&bytes, Limits::default(), |sentence| {
            sentences.push(sentence.words().map(text).collect());
        })
        .expect("what we write can be read");
        sentences
    }

    /// The device's bytes as they are.
    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.conn.handle_input(bytes);
    }

    /// The device's words, a sentence.
    pub(crate) fn says_words(&mut self, words: &[&str]) {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("no empty words");
        self.says(&bytes);
    }

    /// Everything there is to be told.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(event) = self.conn.poll_event() {
            told.push(match event {
                Event::LoggedIn => Told::LoggedIn,
                Event::Reply { exchange, sentence } => Told::Reply(exchange, sentence.to_vec()),
                Event::Finished { exchange, outcome } => Told::Finished(exchange, outcome),
                Event::Closed(cause) => Told::Closed(cause),
            });
        }
        told
    }

    /// Lets time pass.
    pub(crate) fn after(&mut self, time: Duration) {
        self.now += time;
        self.conn.handle_timeout(self.now);
    }
}
