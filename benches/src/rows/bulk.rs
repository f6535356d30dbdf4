//! W5: a large table over one connection, read and decoded.
//!
//! The device is a process of its own that answers every print with corpus b. The client is one thread, and its
//! processor time counts with the kernel's part of it. The baseline reads the same answers and throws them away.

use std::hint::black_box;
use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::ensure;
use routeros_wire::{Decoder, Kind};

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::corpus::Corpus;
use crate::cpu::{median, thread_time};
use crate::server::{self, Server};

/// Prints in one turn of a client: 50 MB of answers, above what the clock is too coarse for.
const PRINTS: usize = 40;

/// Bulk print over one loopback connection.
#[derive(Debug)]
pub(super) struct W5;

impl Row for W5 {
    fn spec(&self) -> Spec {
        Spec {
            id: "W5",
            what: "bulk print over one loopback connection, all attributes of corpus b split: rows per processor second \
                   of the client, the kernel's part included, relative to the baseline",
            unit: "x rows",
            better: Better::Higher,
            floor: 0.38,
            goal: 0.6,
            baseline: "a loop of recv of 128 KiB over the same answers that looks at no byte",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let server = Server::start(&run.program)?;
        let corpus = Corpus::firewall();
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_nodelay(true)?;
        let mut client = Client::default();
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        // The first turn warms up.
        for turn in 0..=run.pick(5, 21) {
            let times = [recv(&mut stream, &corpus)?, client.print(&mut stream, &corpus)?];
            if turn > 0 {
                bare.push(times[0]);
                ours.push(times[1]);
            }
        }
        let (bare, ours) = (median(&mut bare), median(&mut ours));
        ensure!(bare > 0.0 && ours > 0.0, "the clock does not move");
        run.progress(&format!("W5: {ours:.1} ns a row, recv alone {bare:.1}"));
        Ok(Outcome::Measured {
            measured: bare / ours,
            // A ratio to the baseline: the baseline's own is one.
            baseline: 1.0,
        })
    }
}

/// The most that the baseline reads at once.
const BARE_READ: usize = 128 << 10;

/// The most that a worker's session reads at once: the second-level cache holds it with its tape.
const READ: usize = 64 << 10;

/// Asks, reads as many bytes as the answers have, looks at none. Returns nanoseconds a row.
fn recv(stream: &mut TcpStream, corpus: &Corpus) -> anyhow::Result<f64> {
    let mut buffer = vec![0; BARE_READ];
    let began = thread_time();
    for _ in 0..PRINTS {
        server::ask(stream)?;
        let mut left = corpus.bytes.len();
        while left > 0 {
            let count = stream.read(&mut buffer)?;
            ensure!(count > 0 && count <= left, "the answer has another length");
            black_box(&buffer);
            left -= count;
        }
    }
    Ok(a_row(began, corpus))
}

/// A client that keeps what a worker keeps between reads: the bytes of an unfinished sentence.
#[derive(Default)]
struct Client {
    decoder: Decoder,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are not decoded yet.
    filled: usize,
}

impl Client {
    /// Asks, decodes each read while it is in the cache, splits every attribute. Returns nanoseconds a row.
    fn print(&mut self, stream: &mut TcpStream, corpus: &Corpus) -> anyhow::Result<f64> {
        let began = thread_time();
        for _ in 0..PRINTS {
            server::ask(stream)?;
            let (mut sentences, mut bytes, mut done) = (0, 0, false);
            while !done {
                self.read(stream)?;
                for sentence in self.decoder.sentences(&self.buffer[..self.filled]) {
                    sentences += 1;
                    done = sentence.kind() == Kind::Done;
                    let sizes = sentence
                        .attributes()
                        .map(|(name, value)| name.len() + value.len());
                    bytes += sizes.sum::<usize>() as u64;
                }
                let used = self.decoder.consume();
                self.buffer.copy_within(used..self.filled, 0);
                self.filled -= used;
            }
            let facts = &corpus.facts;
            ensure!(
                (sentences, bytes) == (facts.sentences, facts.attribute_bytes),
                "{sentences} sentences with {bytes} bytes of attributes are not what the server sent"
            );
        }
        Ok(a_row(began, corpus))
    }

    fn read(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        // Rows of a table are small beside a read; there is always room for another.
        self.buffer.resize((self.filled + READ).max(self.buffer.len()), 0);
        let count = stream.read(&mut self.buffer[self.filled..][..READ])?;
        ensure!(count > 0, "the server is gone");
        self.filled += count;
        self.decoder.scan(&self.buffer[..self.filled])?;
        Ok(())
    }
}

fn a_row(began: Duration, corpus: &Corpus) -> f64 {
    let rows = PRINTS as u64 * corpus.facts.sentences;
    (thread_time() - began).as_nanos() as f64 / rows as f64
}
