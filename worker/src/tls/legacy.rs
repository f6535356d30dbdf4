//! TLS by OpenSSL, for routers that agree on nothing that rustls speaks: anonymous DH, which is what `api-ssl` has without
//! a certificate, DHE, RSA key exchange, TLS 1.0. Encrypted, not authenticated: no certificate is looked at, where there is
//! one at all. Only in builds with the feature `legacy-tls`, and only for devices whose `tls` is `legacy`.

use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};
use tokio::net::TcpStream;

use super::Socket;

/// Everything that encrypts, anonymous or not, at the level at which OpenSSL still offers it.
const CIPHERS: &str = "ALL:aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0";
/// `SSL_OP_LEGACY_SERVER_CONNECT`: take servers that know nothing of secure renegotiation (RFC 5746).
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(0x4);
/// Plaintext encrypted at once: a record.
const RECORD: usize = 16 << 10;
/// Read from the socket at once.
const READ: usize = 16 << 10;

/// A connection that is through its handshake.
#[derive(Debug)]
pub(crate) struct LegacyStream<S = TcpStream> {
    ssl: SslStream<Pipe>,
    socket: S,
}

/// What OpenSSL reads from and writes to: it never waits, and the socket is ours.
#[derive(Debug, Default)]
struct Pipe {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    ended: bool,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.incoming.len());
        buffer[..count].copy_from_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One for all devices: nothing in it is a device's.
fn context() -> Result<&'static SslContext, ErrorStack> {
    static CONTEXT: OnceLock<Result<SslContext, ErrorStack>> = OnceLock::new();
    let make = || {
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        builder.set_cipher_list(CIPHERS)?;
        builder.set_min_proto_version(Some(SslVersion::TLS1))?;
        builder.set_options(LEGACY_SERVER_CONNECT);
        builder.set_verify(SslVerifyMode::NONE);
        Ok(builder.build())
    };
    CONTEXT.get_or_init(make).as_ref().map_err(Clone::clone)
}

impl LegacyStream {
    /// Goes through the handshake. `InvalidData` is an error of TLS, everything else the socket's.
    pub(crate) async fn connect(socket: TcpStream) -> io::Result<Self> {
        let broken = |error: ErrorStack| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let ssl = Ssl::new(context().map_err(broken)?).map_err(broken)?;
        let ssl = SslStream::new(ssl, Pipe::default()).map_err(broken)?;
        let mut stream = Self { ssl, socket };
        loop {
            let done = stream.ssl.connect();
            while stream.wants_flush() {
                stream.socket.writable().await?;
                match stream.flush() {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            match done {
                Ok(()) => return Ok(stream),
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    stream.socket.readable().await?;
                    match stream.fill() {
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        _ => {}
                    }
                    if stream.ssl.get_ref().ended {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            }
        }
    }

    /// See [`Stream`](crate::stream::Stream), as for the others.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_read_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

impl<S: Socket> LegacyStream<S> {
    /// The same over another form of the socket.
    pub(crate) fn over<T>(self, other: impl FnOnce(S) -> io::Result<T>) -> io::Result<LegacyStream<T>> {
        Ok(LegacyStream {
            ssl: self.ssl,
            socket: other(self.socket)?,
        })
    }

    /// Whether there is something to read that the socket knows nothing of.
    pub(crate) fn has_read(&self) -> bool {
        let pipe = self.ssl.get_ref();
        self.ssl.ssl().pending() > 0 || !pipe.incoming.is_empty() || pipe.ended
    }

    /// Takes what has arrived at the socket.
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ];
        let count = self.socket.try_read(&mut bytes)?;
        let pipe = self.ssl.get_mut();
        pipe.incoming.extend_from_slice(&bytes[..count]);
        pipe.ended |= count == 0;
        Ok(())
    }

    /// Reads what has arrived. 0 is the end.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.ssl.ssl_read(buffer) {
                Ok(count) => return Ok(count),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Ok(0),
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(_) if self.ssl.get_ref().ended => return Ok(0),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            }
            self.fill()?;
        }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// A record that is encrypted counts as gone.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let record = &bytes[..bytes.len().min(RECORD)];
        let count = self
            .ssl
            .ssl_write(record)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    pub(crate) fn wants_flush(&self) -> bool {
        !self.ssl.get_ref().outgoing.is_empty()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.wants_flush() {
            let pipe = self.ssl.get_mut();
            let count = self.socket.try_write(&pipe.outgoing)?;
            pipe.outgoing.drain(..count);
        }
        self.ssl.get_mut().outgoing = Vec::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use muster_model::{Demand, ErrorClass, Transport};
    use openssl::dh::Dh;
    use openssl::ssl::SslContextBuilder;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::stream::Stream;
    use crate::tls::{Peer, Tls};

    /// A server with what a router without a certificate has; it gives back what it gets, and ends with its client.
    fn anonymous(ciphers: &str) -> u16 {
        let mut builder: SslContextBuilder = SslContext::builder(SslMethod::tls_server()).expect("a context");
        builder
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .expect("a version");
        builder.set_cipher_list(ciphers).expect("ciphers");
        builder
            .set_tmp_dh(&Dh::get_2048_256().expect("parameters"))
            .expect("taken");
        let context = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let ssl = Ssl::new(&context).expect("a session");
                let Ok(mut stream) = SslStream::new(ssl, socket) else {
                    return;
                };
                if stream.accept().is_err() {
                    continue;
                }
                let mut bytes = vec![0; 20_000];
                while let Ok(count) = stream.read(&mut bytes)
                    && count > 0
                    && stream.write_all(&bytes[..count]).is_ok()
                {}
            }
        });
        port
    }

    async fn socket(port: u16) -> TcpStream {
        TcpStream::connect(("127.0.0.1", port)).await.expect("a socket")
    }

    #[tokio::test]
    async fn a_router_without_a_certificate_is_reached_and_only_on_request() {
        for ciphers in ["ADH-AES256-SHA256:@SECLEVEL=0", "ADH-AES128-SHA:@SECLEVEL=0"] {
            let port = anonymous(ciphers);
            let peer = Peer {
                device: 1,
                address: "127.0.0.1",
                port,
                transport: Transport::ApiSsl,
                demand: Demand::Any,
            };
            let refused = Tls::new(None).connect(socket(port).await, peer).await;
            let error = refused.expect_err("no suite in common").failure.error;
            assert_eq!(error.class, ErrorClass::Tls, "{error}");
            let stream = LegacyStream::connect(socket(port).await)
                .await
                .expect("connected");
            let mut stream = Stream::Legacy(Box::new(stream));
            // Of one record, and of more than the sockets hold.
            for bytes in [10, 3 << 20] {
                let sent: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
                let (mut reader, mut writer) = tokio::io::split(&mut stream);
                let mut back = vec![0; bytes];
                let wrote = async {
                    writer.write_all(&sent).await?;
                    writer.flush().await
                };
                let (wrote, read) = tokio::join!(wrote, reader.read_exact(&mut back));
                wrote.expect("written");
                read.expect("read");
                assert!(back == sent, "what came back is what was sent");
            }
        }
    }

    #[tokio::test]
    async fn what_does_not_speak_tls_is_an_error_and_the_end_is_the_end() {
        for (answer, kind) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                io::ErrorKind::InvalidData,
            ),
            (b"", io::ErrorKind::UnexpectedEof),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let serving = std::thread::spawn(move || {
                let (mut socket, _) = listener.accept().expect("a client");
                let mut hello = [0; 4096];
                let _ = socket.read(&mut hello);
                let _ = socket.write_all(answer);
            });
            let refused = LegacyStream::connect(socket(port).await)
                .await
                .expect_err("refused");
            assert_eq!(refused.kind(), kind, "{refused}");
            serving.join().expect("served");
        }
    }
}
