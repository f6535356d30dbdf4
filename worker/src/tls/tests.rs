//! The driver against a server that was made by others.

use std::sync::Arc;
use std::time::Duration;

use muster_model::{Demand, ErrorClass, Pin, Transport};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
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
        Self::presenting(vec![made.cert.der().clone()], &made.signing_key, versions).await
    }

    /// One with a chain, its own certificate first.
    async fn presenting(
        chain: Vec<CertificateDer<'static>>,
        key: &rcgen::KeyPair,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let presented = Presented::of(&chain[0]);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
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
        _ => unreachable!("it was TLS"),
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
    for (answer, class, told) in [
        (
            &b"\x15\x03\x03\x00\x02\x02\x28"[..],
            ErrorClass::Tls,
            "/ip/service set www-ssl certificate=",
        ),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            ErrorClass::Tls,
            "give it a newer RouterOS",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            ErrorClass::Protocol,
            "port of https",
        ),
        (b"", ErrorClass::Reset, "/ip/service set www-ssl certificate="),
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
        let error = refused.failure.error;
        assert_eq!(error.class, class, "{error}");
        assert!(error.message.contains(told), "{error}");
        serving.await.expect("served");
    }
}

/// A CA that signs others, and the key it does so with.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    /// Signed by another, or by itself.
    fn new(name: &str, by: Option<&Self>) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = match by {
            Some(by) => params.signed_by(&key, &by.issuer),
            None => params.self_signed(&key),
        };
        Self {
            certificate: certificate.expect("signed"),
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    /// The certificate of a server with this name, and its key.
    fn leaf(&self, name: &str) -> (CertificateDer<'static>, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.der().clone(), key)
    }
}

#[tokio::test]
async fn a_chain_to_a_given_root_is_taken_and_one_that_is_not_whole_or_for_another_is_told() {
    let root = Authority::new("root", None);
    let middle = Authority::new("middle", Some(&root));
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("roots.pem");
    std::fs::write(&file, root.certificate.pem()).expect("written");
    let (own, key) = middle.leaf("127.0.0.1");
    let (foreign, foreign_key) = middle.leaf("192.0.2.1");
    let between = middle.certificate.der().clone();
    let other = Authority::new("another root", None);
    let (unknown, unknown_key) = other.leaf("127.0.0.1");
    for (chain, key, told) in [
        (vec![own.clone(), between.clone()], &key, None),
        (vec![own], &key, Some("signed by nobody that is trusted")),
        (
            vec![foreign, between],
            &foreign_key,
            Some("for another name or address"),
        ),
        (
            vec![unknown, other.certificate.der().clone()],
            &unknown_key,
            Some("signed by nobody"),
        ),
    ] {
        let server = Echo::presenting(chain, key, &[&rustls::version::TLS13, &rustls::version::TLS12]).await;
        let tls = Tls::new(Some(file.clone()));
        match (server.connect(&tls, Demand::Roots).await, told) {
            (Ok((stream, _)), None) => drop(echo(stream, 10).await),
            (Err(refused), Some(told)) => {
                let error = refused.failure.error;
                assert_eq!(error.class, ErrorClass::Tls, "{error}");
                assert!(error.message.contains(told), "{error}");
            }
            (Ok(_), Some(told)) => panic!("taken, though it is {told}"),
            (Err(refused), None) => panic!("{}", refused.failure.error),
        }
    }
}
