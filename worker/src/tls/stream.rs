//! TLS over a socket without buffers of its own.
//!
//! rustls's unbuffered connection is driven over record buffers that all connections of a thread share. What a
//! connection keeps between calls is a record that has not arrived in full, records that the socket did not take, and
//! plaintext that the reader had no room for: mostly nothing.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::net::TcpStream;

/// Bytes of records read from a socket at once. A record has at most 16 KiB and some.
const READ: usize = 32 << 10;
/// Plaintext encrypted at once: four records of the largest size.
const WRITE: usize = 64 << 10;
/// What is held of a record that has not arrived in full. A handshake message may have this much; a record less.
const PARTIAL: usize = 128 << 10;

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket that does not block.
pub(crate) trait Socket {
    /// Reads what has arrived.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what there is room for.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl Socket for TcpStream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
}

/// A TLS connection that is through its handshake.
pub(crate) struct TlsStream<S = TcpStream> {
    socket: S,
    tls: Box<UnbufferedClientConnection>,
    /// The beginning of a record whose end has not arrived.
    partial: Vec<u8>,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    /// Records that count as gone and that the socket has not taken.
    waiting: Vec<u8>,
    ended: bool,
}

impl<S: std::fmt::Debug> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The socket failed, or ended.
    Socket(io::Error),
    /// What came is not to be taken.
    Tls(rustls::Error),
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl TlsStream {
    /// Goes through the handshake.
    pub(crate) async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let mut stream = Self {
            socket,
            tls: Box::new(UnbufferedClientConnection::new(config, name)?),
            partial: Vec::new(),
            plain: Vec::new(),
            waiting: Vec::new(),
            ended: false,
        };
        loop {
            let mut incoming = std::mem::take(&mut stream.partial);
            let step = stream.step(&mut incoming, &mut Sink::default());
            stream.partial = incoming;
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    // The device is told why, if it takes it.
                    let _ = stream.flush();
                    return Err(error.into());
                }
            };
            while stream.wants_flush() {
                match stream.flush() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        stream.socket.writable().await.map_err(HandshakeError::Socket)?;
                    }
                    other => other.map_err(HandshakeError::Socket)?,
                }
            }
            match step {
                Step::Through => break,
                Step::Closed => return Err(HandshakeError::Socket(io::ErrorKind::UnexpectedEof.into())),
                Step::WantsMore => stream.fill().await?,
            }
        }
        stream.partial.shrink_to_fit();
        Ok(stream)
    }

    /// Reads more of the handshake.
    async fn fill(&mut self) -> Result<(), HandshakeError> {
        loop {
            self.socket.readable().await.map_err(HandshakeError::Socket)?;
            let read = INCOMING.with_borrow_mut(|incoming| {
                incoming.resize(incoming.len().max(READ), 0);
                let count = self.socket.try_read(incoming)?;
                self.partial.extend_from_slice(&incoming[..count]);
                Ok(count)
            });
            match read {
                Ok(0) => return Err(HandshakeError::Socket(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if self.partial.len() > PARTIAL => {
                    return Err(rustls::Error::General("a handshake that does not end".into()).into());
                }
                Ok(_) => return Ok(()),
                Err(error) if io::Error::kind(&error) == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(HandshakeError::Socket(error)),
            }
        }
    }

    /// Whether the handshake was a short one.
    #[cfg(test)]
    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// The certificate that was presented, now or when the session began that was resumed.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Reads what has arrived. 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.plain.is_empty() && !self.ended {
                ready!(self.socket.poll_read_ready(cx))?;
            }
            match self.try_read(buffer) {
                // Of a record that is not there in full, or nothing at all: the socket tells which.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl<S: Socket> TlsStream<S> {
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    pub(crate) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The same over another form of the socket.
    pub(crate) fn over<T>(self, other: impl FnOnce(S) -> io::Result<T>) -> io::Result<TlsStream<T>> {
        let Self {
            socket,
            tls,
            partial,
            plain,
            waiting,
            ended,
        } = self;
        Ok(TlsStream {
            socket: other(socket)?,
            tls,
            partial,
            plain,
            waiting,
            ended,
        })
    }

    /// Whether there is something to read that the socket knows nothing of.
    pub(crate) fn has_read(&self) -> bool {
        !self.plain.is_empty() || self.ended
    }

    /// Reads what has arrived. 0 is the end. `WouldBlock` may also mean that what came is no whole record yet.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.plain.is_empty() {
            let count = self.plain.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.plain[..count]);
            self.plain.drain(..count);
            if self.plain.is_empty() {
                self.plain = Vec::new();
            }
            return Ok(count);
        }
        if self.ended {
            return Ok(0);
        }
        INCOMING.with_borrow_mut(|incoming| {
            let held = self.partial.len();
            incoming.resize(incoming.len().max(held + READ), 0);
            let count = self.socket.try_read(&mut incoming[held..])?;
            if count == 0 {
                self.ended = true;
                return Ok(0);
            }
            incoming[..held].copy_from_slice(&self.partial);
            let mut sink = Sink { buffer, filled: 0 };
            let left = self
                .take_in(&mut incoming[..held + count], &mut sink)
                .map_err(invalid)?;
            let filled = sink.filled;
            let left = &incoming[held + count - left..held + count];
            match left.len() {
                0 => self.partial = Vec::new(),
                1..=PARTIAL => {
                    self.partial.clear();
                    self.partial.extend_from_slice(left);
                }
                _ => return Err(invalid(rustls::Error::General("a message without end".into()))),
            }
            match filled {
                0 if !self.ended => Err(io::ErrorKind::WouldBlock.into()),
                filled => Ok(filled),
            }
        })
    }

    /// Processes records. Returns how many bytes at the end are not used yet.
    fn take_in(&mut self, records: &mut [u8], sink: &mut Sink<'_>) -> Result<usize, rustls::Error> {
        let (_, used) = self.run(records, sink)?;
        Ok(records.len() - used)
    }

    /// Processes what is held of the peer's records and takes out what was used.
    fn step(&mut self, held: &mut Vec<u8>, sink: &mut Sink<'_>) -> Result<Step, rustls::Error> {
        let (step, used) = self.run(held, sink)?;
        held.drain(..used);
        Ok(step)
    }

    /// Lets rustls look at records until it wants more, and returns how many bytes it has used.
    fn run(&mut self, records: &mut [u8], sink: &mut Sink<'_>) -> Result<(Step, usize), rustls::Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut records[used..]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        sink.take(record.payload, &mut self.plain);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.waiting, |room| data.encode(room))?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It stands before whatever is written later.
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    Some(Step::Closed)
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Step::WantsMore),
                // Whatever else rustls may know one day is no reason to wait.
                Ok(_) => Some(Step::Through),
                Err(error) => {
                    self.queue_alert();
                    return Err(error);
                }
            };
            used += discard;
            if let Some(step) = step {
                return Ok((step, used));
            }
        }
    }

    /// After an error rustls has an alert for the peer.
    fn queue_alert(&mut self) {
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            let _ = encode(&mut self.waiting, |room| data.encode(room));
        }
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let bytes = &bytes[..bytes.len().min(WRITE)];
        let mut held = std::mem::take(&mut self.partial);
        // What the peer's last records ask of us goes first.
        let stepped = self.step(&mut held, &mut Sink::default());
        self.partial = held;
        stepped.map_err(invalid)?;
        self.flush()?;
        OUTGOING.with_borrow_mut(|outgoing| {
            let count = self.encrypt(bytes, outgoing).map_err(invalid)?;
            let taken = match self.socket.try_write(&outgoing[..count]) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.waiting.extend_from_slice(&outgoing[taken..count]);
            Ok(bytes.len())
        })
    }

    fn encrypt(&mut self, bytes: &[u8], outgoing: &mut Vec<u8>) -> Result<usize, rustls::Error> {
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut self.partial);
        let ConnectionState::WriteTraffic(mut traffic) = state? else {
            return Err(rustls::Error::General("nothing can be sent any more".into()));
        };
        loop {
            match traffic.encrypt(bytes, outgoing) {
                Ok(count) => return Ok(count),
                Err(EncryptError::InsufficientSize(size)) => outgoing.resize(size.required_size, 0),
                Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
            }
        }
    }

    pub(crate) fn wants_flush(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let taken = self.socket.try_write(&self.waiting)?;
            self.waiting.drain(..taken);
        }
        self.waiting = Vec::new();
        Ok(())
    }
}

enum Step {
    /// Data may be sent.
    Through,
    /// The handshake goes on when more has arrived.
    WantsMore,
    Closed,
}

/// Where plaintext goes: into the reader's buffer as long as it has room.
#[derive(Default)]
struct Sink<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

impl Sink<'_> {
    fn take(&mut self, plain: &[u8], rest: &mut Vec<u8>) {
        let room = match rest.is_empty() {
            true => self.buffer.len() - self.filled,
            false => 0,
        };
        let (now, later) = plain.split_at(plain.len().min(room));
        self.buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
        self.filled += now.len();
        rest.extend_from_slice(later);
    }
}

/// Appends what rustls encodes, whatever room it takes.
fn encode(
    waiting: &mut Vec<u8>,
    mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let at = waiting.len();
    loop {
        match data(&mut waiting[at..]) {
            Ok(count) => {
                waiting.truncate(at + count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => waiting.resize(at + size.required_size, 0),
            Err(EncodeError::AlreadyEncoded) => return Err(rustls::Error::EncryptError),
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
