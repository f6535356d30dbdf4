//! Tables as files: JSON lines, CSV, Parquet. Row by row, so that a table of any size takes the same memory.

pub(crate) mod audit;
mod csv;
pub(crate) mod job;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write};

use bytes::Bytes;
use muster_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::error;

/// Chunks that wait for a slow reader.
const AHEAD: usize = 4;

/// Who writes a file hands it over in chunks.
type Pieces = mpsc::Sender<Result<Bytes, Status>>;

/// A file as a stream of messages: its chunks as they are written, and in the end how many rows there were.
fn stream<M, W>(
    stop: CancellationToken,
    message: fn(Vec<u8>, u64) -> M,
    write: impl FnOnce(Pieces) -> W + Send + 'static,
) -> impl Stream<Item = Result<M, Status>> + Send
where
    M: Send + 'static,
    W: Future<Output = Result<u64, Status>> + Send,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (chunks, mut written) = mpsc::channel::<Result<Bytes, Status>>(1);
    tokio::spawn(async move {
        let writing = write(chunks);
        let passing = async {
            while let Some(chunk) = written.recv().await {
                if sender
                    .send(chunk.map(|data| message(data.into(), 0)))
                    .await
                    .is_err()
                {
                    break;
                }
            }
            // Whoever writes notices.
            drop(written);
        };
        let both = async { tokio::join!(writing, passing).0 };
        let done = tokio::select! {
            done = both => done,
            () = stop.cancelled() => Err(Status::unavailable("the engine stops")),
        };
        let _ = sender.send(done.map(|rows| message(Vec::new(), rows))).await;
    });
    ReceiverStream::new(receiver)
}

/// A column that every row has.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes, most of the time UTF-8.
    Text,
    Number,
    /// Unix milliseconds.
    Time,
}

/// What a row has in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    None,
    Text(&'a [u8]),
    Number(i64),
    /// Unix milliseconds.
    Time(i64),
}

/// A name and a value beside the columns that every row has.
pub(crate) type Attribute<'a> = (&'a [u8], &'a [u8]);

/// A file that is being written.
pub(crate) trait Sheet {
    /// Adds a row: its cells in the order of the columns, and its attributes, of which those without a column are left out.
    fn row(
        &mut self,
        cells: &[Cell<'_>],
        attributes: &mut dyn Iterator<Item = Attribute<'_>>,
    ) -> io::Result<()>;

    /// Writes what is left.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jsonl,
    Csv,
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// What a client asks for.
    pub(crate) fn parse(format: i32) -> Result<Self, Status> {
        match v1::ExportFormat::try_from(format) {
            Ok(v1::ExportFormat::Jsonl) => Ok(Self::Jsonl),
            Ok(v1::ExportFormat::Csv) => Ok(Self::Csv),
            #[cfg(feature = "parquet")]
            Ok(v1::ExportFormat::Parquet) => Ok(Self::Parquet),
            #[cfg(not(feature = "parquet"))]
            Ok(v1::ExportFormat::Parquet) => Err(error::not_there_yet(
                "Parquet, which this engine was built without,",
            )),
            Ok(v1::ExportFormat::Unspecified) | Err(_) => {
                let told = format!("{format} is no format; there are 1 JSONL, 2 CSV and 3 Parquet");
                Err(error::invalid_field("format", told))
            }
        }
    }

    /// Whether all attributes have to be known before the first row.
    pub(crate) fn has_columns(self) -> bool {
        self != Self::Jsonl
    }

    /// Begins a file with columns that every row has, and columns for these attributes.
    pub(crate) fn sheet<'w>(
        self,
        columns: &[Column],
        attributes: &[Vec<u8>],
        out: impl Write + Send + 'w,
    ) -> io::Result<Box<dyn Sheet + 'w>> {
        Ok(match self {
            Self::Jsonl => Box::new(jsonl::Jsonl::new(columns, out)),
            Self::Csv => Box::new(csv::Csv::new(columns, attributes, out)?),
            #[cfg(feature = "parquet")]
            Self::Parquet => Box::new(parquet::Parquet::new(columns, attributes, out)?),
        })
    }
}

/// The name of an attribute's column.
fn header<'a>(columns: &[Column], attribute: &'a [u8]) -> Cow<'a, str> {
    match std::str::from_utf8(attribute) {
        Ok(name) if columns.iter().any(|column| column.name == name) => format!("={name}").into(),
        Ok(name) => name.into(),
        Err(_) => hex(attribute).into(),
    }
}

/// What marks a value that is in hex.
const HEX: &[u8] = b"hex:";

/// A value as text, so that it can be told from it whatever it is.
fn text(value: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(value) {
        Ok(_) if !value.starts_with(HEX) => Cow::Borrowed(value),
        _ => Cow::Owned(hex(value).into_bytes()),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(4 + 2 * bytes.len());
    hex.push_str("hex:");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// RFC 3339 in UTC, to the millisecond.
fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// Where attributes have their columns. Rows have theirs in the same order most of the time.
#[derive(Debug)]
struct Places {
    names: Vec<Vec<u8>>,
    by_name: HashMap<Vec<u8>, usize>,
    next: usize,
}

impl Places {
    fn new(names: &[Vec<u8>]) -> Self {
        Self {
            names: names.to_vec(),
            by_name: names.iter().cloned().zip(0..).collect(),
            next: 0,
        }
    }

    fn find(&mut self, name: &[u8]) -> Option<usize> {
        let found = match self.names.get(self.next) {
            Some(next) if next == name => self.next,
            _ => *self.by_name.get(name)?,
        };
        self.next = found + 1;
        Some(found)
    }
}

/// Bytes of a file, on their way to whoever asked for it.
#[derive(Debug)]
pub(crate) struct Chunks {
    sender: mpsc::Sender<Result<Bytes, Status>>,
    waiting: Vec<u8>,
}

/// Bytes that travel together.
const CHUNK: usize = 128 << 10;

impl Chunks {
    pub(crate) fn new(sender: mpsc::Sender<Result<Bytes, Status>>) -> Self {
        Self {
            sender,
            waiting: Vec::with_capacity(CHUNK),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(&mut self.waiting, Vec::with_capacity(CHUNK)));
        let sent = self.sender.blocking_send(Ok(chunk));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, kind| Column {
            name: name.into(),
            kind,
        };
        vec![
            column("device", Kind::Text),
            column("step", Kind::Number),
            column("at", Kind::Time),
        ]
    }

    pub(super) fn written(format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        let attributes = [b"name".to_vec(), b"device".to_vec(), b"mtu".to_vec()];
        let mut sheet = format.sheet(&columns(), &attributes, &mut out).expect("begun");
        let mut row = |cells: [Cell<'_>; 3], attributes: &[Attribute<'_>]| {
            sheet
                .row(&cells, &mut attributes.iter().copied())
                .expect("written");
        };
        row(
            [Cell::Text(b"r1"), Cell::Number(1), Cell::Time(1_500)],
            &[
                (b"name", b"caf\xE9"),
                (b"mtu", b"1500"),
                (b"device", b"a,\"b\"\n"),
            ],
        );
        row(
            [Cell::Text(b"r2"), Cell::None, Cell::None],
            &[(b"mtu", b""), (b"name", b"hex:00"), (b"name", b"last")],
        );
        row([Cell::Text(b"r3"), Cell::None, Cell::None], &[]);
        sheet.finish().expect("finished");
        out
    }

    #[test]
    fn json_has_what_a_row_has() {
        let text = String::from_utf8(written(Format::Jsonl)).expect("UTF-8");
        assert_eq!(
            text,
            "{\"device\":\"r1\",\"step\":1,\"at\":\"1970-01-01T00:00:01.500Z\",\"name\":{\"hex\":\"636166e9\"},\
             \"mtu\":\"1500\",\"=device\":\"a,\\\"b\\\"\\n\"}\n\
             {\"device\":\"r2\",\"step\":null,\"at\":null,\"mtu\":\"\",\"name\":\"last\"}\n\
             {\"device\":\"r3\",\"step\":null,\"at\":null}\n"
        );
    }

    #[test]
    fn csv_has_a_column_for_each() {
        let text = String::from_utf8(written(Format::Csv)).expect("UTF-8");
        assert_eq!(
            text,
            "device,step,at,name,=device,mtu\n\
             r1,1,1970-01-01T00:00:01.500Z,hex:636166e9,\"a,\"\"b\"\"\n\",1500\n\
             r2,,,last,,\n\
             r3,,,,,\n"
        );
    }

    #[test]
    fn every_value_can_be_told_from_its_text() {
        for value in [&b"plain"[..], b"", b"hex:41", b"\xFF\x00", "ж".as_bytes()] {
            let written = text(value);
            let read = match written.strip_prefix(HEX) {
                None => written.to_vec(),
                Some(digits) => digits
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
                    .collect(),
            };
            assert_eq!(read, value);
        }
    }
}
