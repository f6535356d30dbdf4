//! The connection machine between a worker that does anything it may and a device that says anything it can.
//!
//! The input is a script; see [`Peer::step`]. What has to hold whatever it says:
//!
//! * Every exchange that was opened ends exactly once, and nothing is told of it after that. The connection closes
//!   once, and nothing is told after that.
//! * An exchange of which no byte left is `NotSent`, and only such a one, unless the device ended it itself.
//! * Tags on the wire only go up.
//! * What is held between two reads is bounded by the limits and what is open, not by what was said.
//! * The same bytes cut otherwise tell the same.
#![no_main]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use routeros_conn::{CloseCause, Config, Connection, Credentials, Event, ExchangeId, Outcome};
use routeros_wire::{Limits, Sentence, decode_all, encode};

const LIMITS: Limits = Limits {
    word_bytes: 200,
    sentence_words: 12,
    sentence_bytes: 600,
};

/// What an open exchange, its tag and its request in line may take.
const AN_EXCHANGE: i64 = 1_000;

/// What a connection may hold otherwise: a sentence with its tape, twice for buffers that grow, and its own words.
const ITSELF: i64 = 16 << 10;

#[derive(Clone, Debug, PartialEq)]
enum Told {
    LoggedIn,
    Reply(ExchangeId, u64),
    Finished(ExchangeId, Outcome),
    Closed(CloseCause),
}

struct Peer {
    conn: Connection,
    now: Instant,
    /// Pieces in which bytes are heard; 0 for as they come.
    piece: usize,
    open: BTreeMap<ExchangeId, bool>,
    ids: Vec<ExchangeId>,
    told: Vec<Told>,
    wire: Vec<u8>,
    closed: bool,
    held: i64,
}

impl Peer {
    fn new(now: Instant, piece: usize) -> Self {
        let config = Config {
            limits: LIMITS,
            ..Config::new(Credentials::new("admin", "secret"))
        };
        Self {
            conn: Connection::new(config, now),
            now,
            piece,
            open: BTreeMap::new(),
            ids: Vec::new(),
            told: Vec::new(),
            wire: Vec::new(),
            closed: false,
            held: 0,
        }
    }

    /// Takes one step of the script off its front. Returns false at its end.
    fn step(&mut self, script: &mut &[u8]) -> bool {
        let Some((&what, rest)) = script.split_first() else {
            return false;
        };
        *script = rest;
        let mut byte = || {
            let (first, rest) = script.split_first().unwrap_or((&0, &[]));
            *script = rest;
            *first
        };
        match what % 16 {
            0 | 1 => {
                let seconds = byte();
                let deadline = (seconds > 0).then(|| self.now + Duration::from_secs(seconds.into()));
                let opened = self.keep(|peer| peer.conn.open(["/x", "=a=b"], deadline));
                assert_eq!(opened.is_err(), self.closed);
                if let Ok(id) = opened {
                    assert!(self.ids.last().is_none_or(|last| *last < id));
                    self.ids.push(id);
                    self.open.insert(id, false);
                }
            }
            2 => {
                let nth = usize::from(byte());
                if let Some(&id) = self.ids.get(nth % self.ids.len().max(1)) {
                    let now = self.now;
                    self.keep(|peer| peer.conn.cancel(id, now));
                }
            }
            3 => {
                let time = Duration::from_millis(u64::from(byte()) * 100);
                self.now += time;
                let now = self.now;
                self.keep(|peer| peer.conn.handle_timeout(now));
            }
            4 => {
                let count = usize::from(byte());
                self.transmit(count);
            }
            5 => self.transmit(usize::MAX),
            6 => self.keep(|peer| peer.conn.handle_close()),
            7 if byte() == 7 => self.keep(|peer| peer.conn.close()),
            7 | 8 => self.hear(b"\x05!done\x00"),
            9 => {
                let count = usize::from(byte()).min(script.len());
                let (bytes, rest) = script.split_at(count);
                *script = rest;
                self.hear(bytes);
            }
            10 => self.hear(b"\x05!done\x25=ret=856780b7411eefd3abadee2058c149a3\x00"),
            _ => {
                let word = ["!re", "!done", "!trap", "!empty", "!new", "!done"][usize::from(what / 16) % 6];
                let tag = format!(".tag={}", byte());
                let more = ["=category=2", "=ret=*1", "=a="][usize::from(what) % 3];
                let mut bytes = Vec::new();
                encode::sentence(&mut bytes, [word, more, &tag]).expect("no empty words");
                self.hear(&bytes);
            }
        }
        self.read();
        true
    }

    /// Runs what the machine does and keeps account of what it holds.
    fn keep<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let mut done = None;
        let count = allocation_counter::measure(|| done = Some(run(self)));
        self.held += count.bytes_current;
        done.expect("it ran")
    }

    fn hear(&mut self, bytes: &[u8]) {
        let size = if self.piece == 0 { bytes.len() } else { self.piece };
        for piece in bytes.chunks(size.max(1)) {
            self.keep(|peer| peer.conn.handle_input(piece));
            self.read();
        }
    }

    fn transmit(&mut self, count: usize) {
        let bytes = self.conn.transmit();
        self.wire.extend_from_slice(&bytes[..bytes.len().min(count)]);
        self.keep(|peer| peer.conn.transmitted(count));
    }

    /// Reads all events, and looks at what is held then.
    fn read(&mut self) {
        loop {
            let told = self.keep(|peer| {
                Some(match peer.conn.poll_event()? {
                    Event::LoggedIn => Told::LoggedIn,
                    // Copied words would count as held.
                    Event::Reply { exchange, sentence } => Told::Reply(exchange, digest(sentence)),
                    Event::Finished { exchange, outcome } => Told::Finished(exchange, outcome),
                    Event::Closed(cause) => Told::Closed(cause),
                })
            });
            let Some(told) = told else { break };
            self.note(told);
        }
        let allowed =
            ITSELF + AN_EXCHANGE * self.conn.in_flight() as i64 + 2 * self.conn.transmit().len() as i64;
        assert!(
            self.held <= allowed,
            "{} bytes are held, {allowed} allowed",
            self.held
        );
    }

    fn note(&mut self, told: Told) {
        assert!(!self.closed, "{told:?} after the end");
        match &told {
            Told::LoggedIn => assert!(!self.told.contains(&told), "twice"),
            Told::Reply(id, _) => assert_eq!(self.open.get(id), Some(&false), "of an ended exchange"),
            Told::Finished(id, _) => {
                assert_eq!(self.open.insert(*id, true), Some(false), "it ends once");
            }
            Told::Closed(_) => self.closed = true,
        }
        self.told.push(told);
    }

    /// Ends what is left, and looks at what went over the wire.
    fn finish(mut self) -> Vec<Told> {
        self.keep(|peer| peer.conn.handle_close());
        self.read();
        assert!(self.closed && self.open.values().all(|ended| *ended));
        let (mut tags, mut read) = (Vec::new(), 0);
        let whole = decode_all(&self.wire, Limits::default(), |sentence| {
            read += 1 + sentence.words().map(|word| word.len() + 1).sum::<usize>();
            tags.extend(
                sentence
                    .tag()
                    .map(|tag| String::from_utf8_lossy(tag).into_owned()),
            );
        });
        assert_eq!(whole, Ok(()), "what we write can be read");
        let numbers = tags.iter().map(|tag| tag.parse::<u64>().expect("a number"));
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "a tag goes out once: {tags:?}"
        );
        for told in &self.told {
            if let Told::Finished(id, outcome) = told {
                let whole = tags.contains(&id.to_string());
                let partly = read < self.wire.len();
                match outcome {
                    Outcome::NotSent => assert!(!whole, "{id} had left"),
                    Outcome::Unknown(_) => assert!(whole || partly, "{id} had not left"),
                    Outcome::Completed | Outcome::Trapped | Outcome::Cancelled => {}
                }
            }
        }
        self.told
    }
}

fn digest(sentence: Sentence<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    sentence.words().for_each(|word| word.hash(&mut hasher));
    hasher.finish()
}

fn run(script: &[u8], now: Instant, piece: usize) -> Vec<Told> {
    let mut peer = Peer::new(now, piece);
    let mut rest = script;
    while peer.step(&mut rest) {}
    let mut told = peer.finish();
    for told in &mut told {
        // What is shown of a stranger's words is what there was of them.
        if let Told::Closed(CloseCause::NotAReply(words)) = told {
            words.clear();
        }
    }
    told
}

fuzz_target!(|script: &[u8]| {
    let now = Instant::now();
    let whole = run(script, now, 0);
    for piece in [1, 7] {
        assert_eq!(run(script, now, piece), whole, "in pieces of {piece}");
    }
});
