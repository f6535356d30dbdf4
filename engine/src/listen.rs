//! Who connects: TLS and plain HTTP on one port, told apart by the first byte. Plain is for this machine.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use muster_proto::dial::{self, DialError};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// Files for TLS on the engine's port.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM file with the engine's certificate, and those between it and its CA.
    pub certificate: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
    /// PEM file with the CA that must have signed the certificate of whoever calls over TLS; none asks for no certificate.
    pub client_ca: Option<PathBuf>,
}

/// From the first byte to the end of the handshake.
const SHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Connections in the making; those beyond wait in the system's queue.
const SHAKING: usize = 512;
/// Connections that wait to be served.
const AHEAD: usize = 64;
/// After the system could not give a connection, most likely for want of a descriptor.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The first byte of every TLS connection: the type of a record of the handshake.
const HANDSHAKE: u8 = 22;

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The engine's own TLS. Its files are read again when they have changed, so that certificates are renewed without a
/// restart; while what is there is of no use, what was there before goes on.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    now: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Of the files as they were read last, whether they were of use or not.
    written: [Option<SystemTime>; 3],
    looked: Instant,
}

impl Tls {
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, DialError> {
        let written = written(files);
        Ok(Self {
            files: files.clone(),
            now: Mutex::new(Loaded {
                config: config(files)?,
                written,
                looked: Instant::now(),
            }),
        })
    }

    /// With the files as they are now.
    fn acceptor(&self) -> TlsAcceptor {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() >= LOOK_EVERY {
            now.looked = Instant::now();
            let written = written(&self.files);
            if written != now.written {
                now.written = written;
                match config(&self.files) {
                    Ok(config) => {
                        now.config = config;
                        tracing::info!("the engine's certificate was read again");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the engine's certificate has changed, and the one from before goes on");
                    }
                }
            }
        }
        TlsAcceptor::from(now.config.clone())
    }
}

/// When each of the files was written; none for one that is not there.
fn written(files: &TlsFiles) -> [Option<SystemTime>; 3] {
    let written = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    [
        written(&files.certificate),
        written(&files.key),
        files.client_ca.as_deref().and_then(written),
    ]
}

/// Reads the files of the engine's own TLS.
fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, DialError> {
    let (chain, key) = dial::read_identity(&files.certificate, &files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let usage =
        |path: &Path, error: &dyn std::fmt::Display| DialError::Usage(format!("{}: {error}", path.display()));
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| usage(&files.certificate, &error))?;
    let config = match &files.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(dial::read_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| usage(path, &error))?)
        }
    };
    let mut config = config.with_single_cert(chain, key).map_err(|error| {
        DialError::Usage(format!(
            "{} and {} do not go together: {error}",
            files.certificate.display(),
            files.key.display()
        ))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// It is on the engine's own machine.
    pub(crate) is_here: bool,
    /// What is said cannot be read or changed on the way.
    pub(crate) is_secure: bool,
}

impl Peer {
    fn of(socket: &TcpStream) -> io::Result<Self> {
        let address = socket.peer_addr()?;
        let ip = address.ip().to_canonical();
        Ok(Self {
            address,
            // The system lets nobody else come from its own address.
            is_here: ip.is_loopback() || ip == socket.local_addr()?.ip().to_canonical(),
            is_secure: false,
        })
    }
}

/// A connection that can be served.
#[derive(Debug)]
pub(crate) struct Io {
    peer: Peer,
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepts until the engine stops. Handshakes go on beside each other, so that a slow one holds up nobody.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Io>> {
    let (ready, stream) = mpsc::channel(AHEAD);
    tokio::spawn(stop.run_until_cancelled_owned(accept(listener, tls, ready)));
    ReceiverStream::new(stream)
}

async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, ready: mpsc::Sender<io::Result<Io>>) {
    let shaking = Arc::new(Semaphore::new(SHAKING));
    while let Ok(permit) = shaking.clone().acquire_owned().await {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let peer = socket.peer_addr();
            match tokio::time::timeout(SHAKE_WITHIN, shake_hands(socket, tls)).await {
                Ok(Ok(io)) => {
                    let _ = ready.send(Ok(io)).await;
                }
                Ok(Err(error)) => {
                    let peer = peer.map_or_else(|_| "somebody".to_owned(), |peer| peer.to_string());
                    tracing::warn!(peer, %error, "no connection came about");
                }
                Err(_) => tracing::debug!(?peer, "said nothing after it connected"),
            }
            drop(permit);
        });
    }
}

async fn shake_hands(socket: TcpStream, tls: Option<Arc<Tls>>) -> io::Result<Io> {
    socket.set_nodelay(true)?;
    let peer = Peer::of(&socket)?;
    let Some(tls) = tls else {
        let stream = Stream::Plain(socket);
        return Ok(Io { peer, stream });
    };
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        let stream = Stream::Plain(socket);
        return Ok(Io { peer, stream });
    }
    let stream = Stream::Tls(Box::new(tls.acceptor().accept(socket).await?));
    let peer = Peer {
        is_secure: true,
        ..peer
    };
    Ok(Io { peer, stream })
}

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
