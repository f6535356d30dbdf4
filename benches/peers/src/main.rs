//! Another client beside ours: its decoder on the same bytes, in turns, on one thread's processor time; and all of it asking
//! many devices (see `commands`).
//!
//! `muster-peers STREAM ROUNDS`: reads the file STREAM, an answer whose sentences all have the tag 2, and prints one
//! line, `OURS PEER SENTENCES BYTES`: nanoseconds a pass, medians of ROUNDS, and the sentences and the bytes of all
//! attribute names and values that both found. The scoreboard starts it and compares these with what it wrote.

use std::hint::black_box;
use std::process::ExitCode;

use mikrotik_proto::command::CommandBuilder;
use mikrotik_proto::connection::{Connection, Event};
use mikrotik_proto::tag::Tag;
use routeros_wire::{Decoder, decode};

mod commands;
#[path = "../../src/cpu.rs"]
mod cpu;

/// What a socket gives mikrotik-rs at a time: it reads into a buffer of this size.
const READ: usize = 8 << 10;

/// Sentences, and the bytes of their attributes' names and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    sentences: u64,
    bytes: u64,
}

/// Every attribute as a view, by the decoder that is used again and again.
fn ours(decoder: &mut Decoder, stream: &[u8]) -> Found {
    let mut found = Found::default();
    let ended = decode::windows(decoder, stream, |decoder, window| {
        for sentence in decoder.sentences(window) {
            found.sentences += 1;
            found.bytes += sentence
                .attributes()
                .map(|(name, value)| (name.len() + value.len()) as u64)
                .sum::<u64>();
        }
    });
    // A stream that ends early is told by its sums.
    black_box(ended.is_ok());
    found
}

/// Hands every event of mikrotik-rs's own connection to `each`: a map of attributes a row.
fn peer(stream: &[u8], mut each: impl FnMut(&Event)) -> u64 {
    let mut events = 0;
    let mut connection = Connection::new();
    let print = CommandBuilder::with_tag(Tag::from_raw(2))
        .command("/x/print")
        .build();
    if connection.send_command(print).is_err() {
        return events;
    }
    for read in stream.chunks(READ) {
        if connection.receive(black_box(read)).is_err() {
            return events;
        }
        while let Some(event) = connection.poll_event() {
            events += 1;
            each(&event);
            black_box(event);
        }
    }
    events
}

/// What a peer's event has, so that its work can be checked.
fn bytes(event: &Event) -> u64 {
    let Event::Reply { response, .. } = event else {
        return 0;
    };
    let attributes = response.attributes_raw.iter();
    attributes
        .map(|(name, value)| (name.len() + value.as_ref().map_or(0, Vec::len)) as u64)
        .sum()
}

fn compare(stream: &[u8], rounds: usize) -> Result<String, String> {
    let mut decoder = Decoder::default();
    let mine = ours(&mut decoder, stream);
    let mut theirs = Found::default();
    theirs.sentences = peer(stream, |event| theirs.bytes += bytes(event));
    if mine != theirs {
        return Err(format!(
            "not the same work: {mine:?} by us, {theirs:?} by the peer"
        ));
    }
    // The peer is not charged for looking at what it found; we are, because a view that nobody looks at is no work.
    let [us, them] = cpu::medians(
        [
            Box::new(|| ours(&mut decoder, black_box(stream)).bytes),
            Box::new(|| peer(black_box(stream), |_| ())),
        ],
        rounds,
    );
    Ok(format!("{us} {them} {} {}", mine.sentences, mine.bytes))
}

fn run() -> Result<(), String> {
    let all = std::env::args().skip(1).collect::<Vec<_>>();
    if let Some(("commands", rest)) = all.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return commands::run(rest);
    }
    let mut words = std::env::args_os().skip(1);
    let (Some(path), Some(rounds)) = (words.next(), words.next()) else {
        return Err("usage: muster-peers STREAM ROUNDS".into());
    };
    let stream = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let rounds = rounds.to_str().and_then(|rounds| rounds.parse().ok());
    let told = compare(&stream, rounds.ok_or("ROUNDS is a number")?)?;
    println!("{told}");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            eprintln!("{told}");
            ExitCode::FAILURE
        }
    }
}
