//! A device's connection as bytes, in the clear or over TLS.
//!
//! Nothing here is buffered for longer than a call: whoever owns a stream waits until it is readable or writable,
//! and reads into and writes from buffers of its own.

use std::io;

use tokio::net::TcpStream;

/// A connection to a device.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In the clear.
    Plain(TcpStream),
}

impl Stream {
    /// Waits until [`try_read`](Self::try_read) may give something. An error shows itself in the read that follows.
    pub(crate) async fn readable(&self) {
        match self {
            Self::Plain(socket) => {
                let _ = socket.readable().await;
            }
        }
    }

    /// Waits until [`try_write`](Self::try_write) or [`flush`](Self::flush) may get on. An error shows itself in
    /// the write that follows.
    pub(crate) async fn writable(&self) {
        match self {
            Self::Plain(socket) => {
                let _ = socket.writable().await;
            }
        }
    }

    /// Reads what has arrived. 0 is the end; `WouldBlock` that nothing is there.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
        }
    }

    /// Writes what the connection takes, and returns how much of it counts as gone: of these bytes some may have
    /// reached the device, of the rest none has.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
        }
    }

    /// Whether bytes that count as gone wait for the socket: [`flush`](Self::flush) when it is writable.
    pub(crate) fn wants_flush(&self) -> bool {
        match self {
            Self::Plain(_) => false,
        }
    }

    /// Writes what waits for the socket. `WouldBlock` when some is left.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
        }
    }
}
