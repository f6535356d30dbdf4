//! The least that a client can do: connect, log in, ask, read to the end. No engine, no disk, no retries, no pacing.
//!
//! It is written on the wire grammar alone and asks all devices at once. Whatever muster does beyond this, it does on
//! top of this cost, so the distance between the two is what the engine costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use routeros_wire::{Decoder, Kind, Sentence, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sim::{self, Device};
use crate::tally::Tally;

/// Room for one read.
const READ: usize = 4096;

/// Asks every device the same. Returns how long it took until the last answer was complete, and what was told.
pub async fn ask(devices: Vec<Device>, words: &'static [&'static str]) -> anyhow::Result<(Duration, Tally)> {
    let (user, password) = sim::login();
    let login = [
        "/login".into(),
        format!("=name={user}"),
        format!("=password={password}"),
    ];
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for device in devices {
        let login = login.clone();
        tasks.spawn(async move {
            let asked = ask_one(&device, &login, words).await;
            asked.with_context(|| format!("{} at {}", device.name, device.address))
        });
    }
    let (mut tally, mut open) = (Tally::default(), Vec::new());
    while let Some(asked) = tasks.join_next().await {
        let (answer, connection) = asked??;
        tally.add(answer);
        // Closing is not part of asking: muster keeps its connections too.
        open.push(connection);
    }
    Ok((began.elapsed(), tally))
}

async fn ask_one(device: &Device, login: &[String], words: &[&str]) -> anyhow::Result<(Tally, Connection)> {
    let stream = TcpStream::connect(device.address).await?;
    stream.set_nodelay(true)?;
    let mut connection = Connection {
        stream,
        decoder: Decoder::default(),
        buf: Vec::with_capacity(READ),
    };
    connection.exchange(login, |_| {}).await?;
    let mut tally = Tally::default();
    let row = |row: Sentence<'_>| tally.row(&device.name, row.attributes());
    connection.exchange(words, row).await?;
    tally.devices = 1;
    Ok((tally, connection))
}

struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    buf: Vec<u8>,
}

impl Connection {
    /// One command and its answer, which has to end well.
    async fn exchange<W: AsRef<[u8]>>(
        &mut self,
        words: &[W],
        mut each: impl FnMut(Sentence<'_>),
    ) -> anyhow::Result<()> {
        let mut request = Vec::new();
        encode::sentence(&mut request, words)?;
        self.stream.write_all(&request).await?;
        loop {
            self.buf.reserve(READ);
            ensure!(
                self.stream.read_buf(&mut self.buf).await? > 0,
                "the device hung up"
            );
            self.decoder.scan(&self.buf)?;
            let mut done = false;
            for sentence in self.decoder.sentences(&self.buf) {
                match sentence.kind() {
                    Kind::Re => each(sentence),
                    Kind::Done => done = true,
                    Kind::Empty => {}
                    _ => bail!("the device said {sentence:?}"),
                }
            }
            self.buf.drain(..self.decoder.consume());
            if done {
                return Ok(());
            }
        }
    }
}
