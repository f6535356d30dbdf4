//! A client that knows the grammar and nothing else, so that it hides nothing.
#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use md5::{Digest, Md5};
use muster_sim::{Fleet, FleetConfig};
use routeros_wire::{DecodeError, Decoder, Limits, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a test waits for an answer that does not come, before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A fleet on a free port, with the password `secret`.
pub(crate) async fn fleet(change: impl FnOnce(&mut FleetConfig)) -> Fleet {
    let mut config = FleetConfig {
        port: 0,
        password: "secret".to_owned(),
        versions: vec!["7.18.2".to_owned()],
        ..FleetConfig::default()
    };
    change(&mut config);
    Fleet::start(config).await.expect("the fleet starts")
}

/// Lets the fleet work until something is so.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it happens in time");
}

pub(crate) struct Client {
    /// None when the device's reset came before the connecting was over.
    stream: Option<TcpStream>,
    decoder: Decoder,
    buf: Vec<u8>,
    /// Sizes of what single reads gave.
    pub(crate) reads: Vec<usize>,
}

/// What a client reads.
#[derive(Debug, PartialEq)]
pub(crate) enum Read {
    /// A sentence: its words with a space between.
    Line(String),
    /// The end of the stream, with this many bytes of an unfinished sentence before it.
    End(usize),
    /// A reset, with this many bytes of an unfinished sentence before it.
    Reset(usize),
    /// Bytes that are no sentence.
    Garbled(DecodeError),
}

impl Client {
    pub(crate) async fn connect(fleet: &Fleet, device: usize) -> Self {
        let address = SocketAddr::from((fleet.address(device), fleet.port()));
        let stream = match TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            stream => Some(stream.expect("connects")),
        };
        Self {
            stream,
            decoder: Decoder::new(Limits::default()),
            buf: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// Connected and logged in to a device of version 6.43 or later.
    pub(crate) async fn login(fleet: &Fleet, device: usize) -> Self {
        let mut client = Self::connect(fleet, device).await;
        let replies = client.ask(&["/login", "=name=admin", "=password=secret"]).await;
        assert_eq!(replies, ["!done"]);
        client
    }

    pub(crate) async fn send(&mut self, words: &[&str]) {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("no empty words");
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let stream = self.stream.as_mut().expect("connected");
        stream.write_all(bytes).await.expect("the device takes it");
    }

    /// Sends as much of a sentence as the kernel takes at once.
    pub(crate) async fn send_in_part(&mut self, words: &[&str]) {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("no empty words");
        let stream = self.stream.as_ref().expect("connected");
        stream.writable().await.expect("open");
        stream.try_write(&bytes).expect("some of it");
    }

    /// Leaves with an RST.
    pub(crate) fn reset(self) {
        let stream = self.stream.expect("connected");
        stream.set_zero_linger().expect("a socket");
    }

    pub(crate) async fn read(&mut self) -> Read {
        let read = tokio::time::timeout(PATIENCE, self.read_patiently()).await;
        read.expect("the device answers in time")
    }

    async fn read_patiently(&mut self) -> Read {
        loop {
            let scanned = self.decoder.scan(&self.buf);
            if self.decoder.ready() > 0 {
                return Read::Line(self.take_line());
            }
            if let Err(error) = scanned {
                return Read::Garbled(error);
            }
            let before = self.buf.len();
            let Some(stream) = &mut self.stream else {
                return Read::Reset(0);
            };
            match stream.read_buf(&mut self.buf).await {
                Ok(0) => return Read::End(self.buf.len()),
                Ok(count) => self.reads.push(count),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Read::Reset(before),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The first sentence in the buffer; the others are decoded again, which is slow and simple.
    fn take_line(&mut self) -> String {
        let sentence = self.decoder.sentence(&self.buf, 0);
        let words: Vec<_> = sentence
            .words()
            .map(|word| word.escape_ascii().to_string())
            .collect();
        let mut length = Vec::new();
        encode::sentence(&mut length, sentence.words()).expect("it was read");
        self.buf.drain(..length.len());
        self.decoder = Decoder::new(Limits::default());
        words.join(" ")
    }

    /// The next sentence, which has to come.
    pub(crate) async fn line(&mut self) -> String {
        match self.read().await {
            Read::Line(line) => line,
            other => panic!("a sentence was expected, not {other:?}"),
        }
    }

    /// The replies to a command up to `!done` or `!fatal`.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Vec<String> {
        self.send(words).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let last = line.starts_with("!done") || line.starts_with("!fatal");
            lines.push(line);
            if last {
                return lines;
            }
        }
    }
}

/// The response to a challenge, as clients of version 6.42 work it out.
pub(crate) fn response(password: &str, challenge: &str) -> String {
    let challenge = (0..16).map(|at| u8::from_str_radix(&challenge[2 * at..2 * at + 2], 16).expect("hex"));
    let mut md5 = Md5::new();
    md5.update([0]);
    md5.update(password);
    md5.update(challenge.collect::<Vec<_>>());
    let digest: String = md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("=response=00{digest}")
}
