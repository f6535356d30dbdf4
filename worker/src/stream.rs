//! A device's connection as bytes, in the clear or over TLS.
//!
//! Nothing here is buffered for longer than a call, but for what TLS has to keep whole: whoever owns a stream waits
//! until it is readable or writable, and reads into and writes from buffers of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[cfg(feature = "legacy-tls")]
use crate::tls::LegacyStream;
use crate::tls::TlsStream;

/// A connection to a device.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Over TLS.
    Tls(TlsStream),
    /// Over TLS that nobody should speak any more.
    #[cfg(feature = "legacy-tls")]
    Legacy(Box<LegacyStream>),
}

impl Stream {
    /// Reads what has arrived. 0 is the end. A read that did not fill the buffer is not followed by one that finds
    /// nothing: the task is woken by what comes next.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Self::Tls(stream) => stream.poll_read(cx, buffer),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Ready when [`try_write`](Self::try_write) or [`flush`](Self::flush) may get on. An error shows itself in the
    /// write that follows.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.socket(),
        };
        socket.poll_write_ready(cx).map(|_| ())
    }

    /// Writes what the connection takes, and returns how much of it counts as gone: of these bytes some may have
    /// reached the device, of the rest none has.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.try_write(bytes),
        }
    }

    /// Whether bytes that count as gone wait for the socket: [`flush`](Self::flush) when it is writable.
    pub(crate) fn wants_flush(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.wants_flush(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.wants_flush(),
        }
    }

    /// Writes what waits for the socket. `WouldBlock` when some is left.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
            #[cfg(feature = "legacy-tls")]
            Self::Legacy(stream) => stream.flush(),
        }
    }
}

/// For HTTP, which is spoken by hyper.
impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(Stream::poll_read(
            self.get_mut(),
            cx,
            buffer.initialize_unfilled()
        ))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_writable(cx)),
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.wants_flush() {
            match stream.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_writable(cx)),
                done => return Poll::Ready(done),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
