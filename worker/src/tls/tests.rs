//! The driver against a server that was made by others.

use std::sync::Arc;
use std::time::Duration;

use muster_model::{Demand, ErrorClass, Pin, Transport};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::stream::Stream;

/// A server that answers with what it is sent; with its port, certificate and key digests.
struct Echo {
    port: u16,
    presented: Presented,
}

impl Echo {
    async fn start(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let made = rcgen::generate_simple_self_signed(["router".to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let presented = Presented::of(&certificate);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let mut bytes = vec![0; 20_000];
                    while let Ok(count) = stream.read(&mut bytes).await
                        && count > 0
                        && stream.write_all(&bytes[..count]).await.is_ok()
                        && stream.flush().await.is_ok()
                    {}
                });
            }
        });
        Self { port, presented }
    }

    async fn connect(&self, tls: &Tls, demand: Demand) -> Result<(TlsStream, bool), Refused> {
        let socket = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .expect("a socket");
        let peer = Peer {
            device: 7,
            address: "127.0.0.1",
            port: self.port,
            transport: Transport::ApiSsl,
            demand,
        };
        let (stream, presented, first) = tls.connect(socket, peer).await?;
        assert_eq!(presented, self.presented);
        Ok((stream, first))
    }
}

/// Sends so much and reads it back, so that both sides wait for each other.
async fn echo(stream: TlsStream, bytes: usize) -> TlsStream {
    let sent: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
    let stream = Stream::Tls(stream);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let expected = sent.clone();
    let mut back = vec![0; bytes];
    let (wrote, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.flush().await
        },
        reader.read_exact(&mut back)
    );
    wrote.expect("written");
    read.expect("read");
    assert!(back == expected, "what came back is what was sent");
    match reader.unsplit(writer) {
        Stream::Tls(stream) => stream,
        Stream::Plain(_) => unreachable!("it was TLS"),
    }
}

#[tokio::test]
async fn bytes_go_there_and_back_over_both_versions_and_the_second_time_the_session_is_resumed() {
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let server = Echo::start(versions).await;
        let tls = Tls::new(None);
        let (stream, _) = server.connect(&tls, Demand::Any).await.expect("connected");
        assert!(!stream.is_resumed());
        // Small, and more than the sockets hold.
        let stream = echo(stream, 10).await;
        let stream = echo(stream, 4 << 20).await;
        drop(echo(stream, 1).await);
        let (stream, _) = server.connect(&tls, Demand::Any).await.expect("connected");
        assert!(stream.is_resumed(), "{versions:?}");
        drop(echo(stream, 1000).await);
        // Under another demand the certificate is looked at again.
        let (stream, _) = server
            .connect(&tls, Demand::Pinned(Pin(server.presented.key)))
            .await
            .expect("connected");
        assert!(!stream.is_resumed());
    }
}

#[tokio::test]
async fn a_pin_is_the_certificate_or_its_key_and_nothing_else() {
    let server = Echo::start(&[&rustls::version::TLS13]).await;
    let tls = Tls::new(None);
    for pin in [server.presented.certificate, server.presented.key] {
        assert!(server.connect(&tls, Demand::Pinned(Pin(pin))).await.is_ok());
    }
    let refused = server
        .connect(&tls, Demand::Pinned(Pin([7; 32])))
        .await
        .expect_err("another");
    assert_eq!(
        (refused.failure.error.class, refused.failure.may_pass),
        (ErrorClass::Tls, false)
    );
    assert_eq!(refused.presented, Some(server.presented));
}

#[tokio::test]
async fn after_the_first_use_another_certificate_is_refused() {
    let (server, other) = (
        Echo::start(&[&rustls::version::TLS13]).await,
        Echo::start(&[&rustls::version::TLS13]).await,
    );
    let tls = Tls::new(None);
    assert!(server.connect(&tls, Demand::FirstUse).await.expect("the first").1);
    assert!(!server.connect(&tls, Demand::FirstUse).await.expect("the same").1);
    let refused = other.connect(&tls, Demand::FirstUse).await.expect_err("another");
    assert_eq!(refused.failure.error.class, ErrorClass::Tls);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_or_nothing_is_told_apart() {
    for (answer, class) in [
        (&b"\x15\x03\x03\x00\x02\x02\x28"[..], ErrorClass::Tls),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorClass::Protocol),
        (b"", ErrorClass::Reset),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serving = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let mut hello = [0; 4096];
            let _ = socket.read(&mut hello).await;
            let _ = socket.write_all(answer).await;
        });
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("a socket");
        let peer = Peer {
            device: 1,
            address: "127.0.0.1",
            port,
            transport: Transport::Https,
            demand: Demand::Any,
        };
        let tls = Tls::new(None);
        let connecting = tokio::time::timeout(Duration::from_secs(10), tls.connect(socket, peer));
        let refused = connecting.await.expect("in time").expect_err("refused");
        assert_eq!(refused.failure.error.class, class, "{}", refused.failure.error);
        if class == ErrorClass::Tls {
            let told = refused.failure.error.message;
            assert!(told.contains("/ip/service set www-ssl certificate="), "{told}");
        }
        serving.await.expect("served");
    }
}
