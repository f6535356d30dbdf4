//! A device's connection as its session has it: a socket that tells once when something changes.

use std::cell::Cell;
use std::io::{self, Read as _, Write as _};

use mio::event::Event;
use mio::net::TcpStream;

use crate::stream::Stream;
#[cfg(feature = "legacy-tls")]
use crate::tls::LegacyStream;
use crate::tls::{Socket, TlsStream};

/// A connection in the clear or over TLS.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Edge),
    Tls(TlsStream<Edge>),
    #[cfg(feature = "legacy-tls")]
    Legacy(Box<LegacyStream<Edge>>),
}

/// A socket, and what was last heard of it: nobody is told twice that there is something to read.
#[derive(Debug)]
pub(super) struct Edge {
    socket: TcpStream,
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The end is told once, and stands behind what is to be read.
    hung_up: bool,
}

impl Edge {
    /// Nothing is tried before the socket has told that it is readable.
    fn of(socket: tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self {
            socket: TcpStream::from_std(socket.into_std()?),
            readable: Cell::new(false),
            writable: Cell::new(true),
            hung_up: false,
        })
    }
}

impl Socket for Edge {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.socket).read(buffer);
        // What did not fill the buffer was all there is, and whatever comes next is told.
        match &read {
            Ok(count) if *count < buffer.len() => self.readable.set(self.hung_up),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable.set(false),
            _ => {}
        }
        read
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&self.socket).write(bytes);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            self.writable.set(false);
        }
        written
    }
}

impl Wire {
    /// Takes a stream from the runtime.
    pub(super) fn of(stream: Stream) -> io::Result<Self> {
        Ok(match stream {
            Stream::Plain(socket) => Self::Plain(Edge::of(socket)?),
            Stream::Tls(stream) => Self::Tls(stream.over(Edge::of)?),
            #[cfg(feature = "legacy-tls")]
            Stream::Legacy(stream) => Self::Legacy(Box::new(stream.over(Edge::of)?)),
        })
    }

    fn edge(&self) -> &Edge {
        match self {
            Self::Plain(edge) => edge,
            Self::Tls(stream) => stream.socket(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.socket(),
        }
    }

    fn edge_mut(&mut self) -> &mut Edge {
        match self {
            Self::Plain(edge) => edge,
            Self::Tls(stream) => stream.socket_mut(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.socket_mut(),
        }
    }

    /// What is to be registered, for reading and writing.
    pub(super) fn source(&mut self) -> &mut TcpStream {
        &mut self.edge_mut().socket
    }

    /// The socket has told something.
    pub(super) fn on_event(&mut self, event: &Event) {
        let edge = self.edge_mut();
        edge.hung_up |= event.is_read_closed() || event.is_error();
        if event.is_readable() || edge.hung_up {
            edge.readable.set(true);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            edge.writable.set(true);
        }
    }

    /// Whether a read may bring something.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Self::Plain(edge) => edge.readable.get(),
            Self::Tls(stream) => stream.socket().readable.get() || stream.has_read(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.socket().readable.get() || stream.has_read(),
        }
    }

    /// Reads what has arrived. 0 is the end. After `WouldBlock` it is readable when there is more to be tried.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(edge) => edge.try_read(buffer),
            Self::Tls(stream) => stream.try_read(buffer),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.try_read(buffer),
        }
    }

    /// Writes what the connection takes, and returns how much of it counts as gone: of these bytes some may have
    /// reached the device, of the rest none has. `WouldBlock` when the socket has no room.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.edge().writable.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self {
            Self::Plain(edge) => edge.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.try_write(bytes),
        }
    }

    /// Whether bytes that count as gone wait for the socket.
    pub(super) fn wants_flush(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.wants_flush(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.wants_flush(),
        }
    }

    /// Writes what waits for the socket. `WouldBlock` when some is left.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            _ if !self.edge().writable.get() => Err(io::ErrorKind::WouldBlock.into()),
            Self::Tls(stream) => stream.flush(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.flush(),
        }
    }
}
