//! The way to an engine: plain on this machine, TLS to everywhere else.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// TCP connect and TLS handshake each may take this long.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where systems keep the roots that they trust. `SSL_CERT_FILE` names another file, as it does for OpenSSL.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// PEM files for TLS to an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The CA that the engine's certificate chains to; the system's roots when it is none.
    pub ca: Option<PathBuf>,
    /// Our own certificate, when the engine wants one, and its key.
    pub certificate: Option<PathBuf>,
    /// See there.
    pub key: Option<PathBuf>,
}

/// An engine that can be called. Cheap to clone.
#[derive(Clone)]
pub struct Dial {
    url: String,
    uri: Uri,
    tls: Option<Arc<Tls>>,
}

struct Tls {
    config: Arc<ClientConfig>,
    host: String,
    name: ServerName<'static>,
    /// Of whom the engine's certificate has to be, as people read it.
    trusted: String,
}

/// No connection to an engine.
#[derive(Clone, Debug, Error)]
pub enum DialError {
    /// What was given cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers, for now.
    #[error("{0}")]
    Away(String),
    /// Who answers is not to be trusted, does not trust us, or speaks something else. It stays so until somebody acts.
    #[error("{0}")]
    Refused(String),
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("url", &self.url)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Dial {
    /// Reads the files. Over plain HTTP only an engine on this machine is called: what is said has passwords in it.
    pub fn new(url: &str, files: &Files) -> Result<Self, DialError> {
        let usage = |text: String| DialError::Usage(text);
        let uri: Uri = url.parse().map_err(|error| {
            usage(format!(
                "--engine {url:?} is no URL ({error}); write for example http://127.0.0.1:7600"
            ))
        })?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => Some(Arc::new(Tls::new(host, files)?)),
            Some("http") if *files != Files::default() => {
                return Err(usage(format!(
                    "--engine {url:?} is without TLS, so --ca, --cert and --key mean nothing; write https://"
                )));
            }
            Some("http") if is_loopback(&host) => None,
            Some("http") => {
                return Err(usage(format!(
                    "--engine {url:?}: without TLS an engine serves this machine only; write https:// and name its CA with \
                     --ca (`muster admin certs` makes one)"
                )));
            }
            _ => {
                return Err(usage(format!(
                    "--engine {url:?} is no URL of an engine; write for example http://127.0.0.1:7600, or https:// and a \
                     name for one elsewhere"
                )));
            }
        };
        let url = url.to_owned();
        Ok(Self { url, uri, tls })
    }

    /// An engine on this machine, by its URL: in the clear, whatever the address.
    pub fn here(url: &str) -> Result<Self, DialError> {
        let uri = url
            .parse()
            .map_err(|error| DialError::Usage(format!("{url:?} is no URL: {error}")))?;
        let url = url.to_owned();
        Ok(Self { url, uri, tls: None })
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is called over TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects, with the settings that `tune` adds.
    pub async fn connect(&self, tune: impl FnOnce(Endpoint) -> Endpoint) -> Result<Channel, DialError> {
        let endpoint = tune(Endpoint::from(self.uri.clone())).tcp_nodelay(true);
        let channel = match &self.tls {
            None => endpoint.connect_timeout(CONNECT_WITHIN).connect().await,
            Some(tls) => endpoint.connect_with_connector(Connector(tls.clone())).await,
        };
        channel.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &(dyn StdError + 'static)) -> DialError {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(told) = error.downcast_ref::<DialError>() {
                return told.clone();
            }
            if let (Some(tls), Some(told)) = (&self.tls, rustls_error(error)) {
                return tls.error(told);
            }
            cause = error.source();
            if cause.is_none() {
                return DialError::Away(format!("{}: {error}", self.url));
            }
        }
        DialError::Away(format!("{}: {error}", self.url))
    }
}

/// An engine that does not take our certificate, or wants one.
fn refused_with(alert: AlertDescription) -> DialError {
    DialError::Refused(match alert {
        AlertDescription::CertificateRequired => {
            "the engine wants a certificate of us: give one with --cert and --key".into()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the engine does not take our certificate: its --tls-client-ca did not sign it".into()
        }
        AlertDescription::CertificateExpired => {
            "the engine does not take our certificate: it has expired".into()
        }
        other => format!("the engine ends the connection: {other:?}"),
    })
}

impl Tls {
    fn new(host: String, files: &Files) -> Result<Self, DialError> {
        let (roots, trusted) = match &files.ca {
            Some(path) => (read_roots(path)?, format!("the CA in {}", path.display())),
            None => {
                let path = system_roots()
                    .map_err(|error| DialError::Usage(format!("{error}; name the engine's CA with --ca")))?;
                (
                    read_roots(&path)?,
                    "anyone the system trusts; name its CA with --ca".to_owned(),
                )
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DialError::Usage(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match (&files.certificate, &files.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let (chain, private) = read_identity(certificate, key)?;
                config.with_client_auth_cert(chain, private).map_err(|error| {
                    DialError::Usage(format!(
                        "{} and {} do not go together: {error}",
                        certificate.display(),
                        key.display()
                    ))
                })?
            }
            _ => {
                return Err(DialError::Usage(
                    "--cert and --key go together: one is missing".into(),
                ));
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(host.clone()).map_err(|_| {
            DialError::Usage(format!("--engine: {host:?} is neither a name nor an IP address"))
        })?;
        Ok(Self {
            config: Arc::new(config),
            host,
            name,
            trusted,
        })
    }

    fn error(&self, error: &rustls::Error) -> DialError {
        let host = &self.host;
        DialError::Refused(match error {
            // The latter where another CA has the same name.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => {
                format!("the certificate of {host} is not signed by {}", self.trusted)
            }
            rustls::Error::InvalidCertificate(
                reason
                @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            ) => format!(
                "the certificate of {host} is for another name: {reason}; call the engine by the name in it, or make one with \
                 `muster admin certs --name {host}`"
            ),
            rustls::Error::InvalidCertificate(
                reason @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            ) => format!("the certificate of {host} is not valid now: {reason}"),
            rustls::Error::InvalidCertificate(reason) => {
                format!("the certificate of {host} is not taken: {reason}")
            }
            rustls::Error::AlertReceived(alert) => return refused_with(*alert),
            rustls::Error::InvalidMessage(_) => {
                format!("what answers at {host} does not speak TLS; is it an engine with --tls-cert?")
            }
            other => format!("TLS with {host}: {other}"),
        })
    }
}

/// The file with the roots that the system trusts.
pub fn system_roots() -> Result<PathBuf, String> {
    let named = std::env::var_os("SSL_CERT_FILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let known = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    named.or_else(known).ok_or_else(|| {
        format!(
            "no roots of the system: none of {} exists and SSL_CERT_FILE is not set",
            SYSTEM_ROOTS.join(", ")
        )
    })
}

/// The certificates in a PEM file that chains may end in.
pub fn read_roots(path: &Path) -> Result<RootCertStore, DialError> {
    let told = |what: String| DialError::Usage(format!("{}: {what}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| told(error.to_string()))? {
        let certificate = certificate.map_err(|error| told(error.to_string()))?;
        // A system's bundle has certificates that no current library reads, and is of use all the same.
        let _ = roots.add(certificate);
    }
    match roots.is_empty() {
        true => Err(told("no certificate of a CA in it".into())),
        false => Ok(roots),
    }
}

/// A certificate with its chain, and its key, from PEM files.
pub fn read_identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), DialError> {
    let told = |path: &Path, what: String| DialError::Usage(format!("{}: {what}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| told(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(told(certificate, "no certificate in it".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error.to_string()))?;
    Ok((chain, private))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn rustls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(told) = error.downcast_ref::<rustls::Error>() {
        return Some(told);
    }
    let io = error.downcast_ref::<io::Error>()?;
    io.get_ref()?.downcast_ref::<rustls::Error>()
}

/// Makes the connections of a channel.
#[derive(Clone)]
struct Connector(Arc<Tls>);

type Connecting =
    Pin<Box<dyn Future<Output = Result<TokioIo<TlsStream<TcpStream>>, DialError>> + Send + 'static>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = DialError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let tls = self.0.clone();
        Box::pin(async move {
            let port = uri.port_u16().unwrap_or(443);
            let (host, late) = (tls.host.as_str(), "nothing was heard for 5 s");
            let away = |error: &dyn fmt::Display| DialError::Away(format!("{host}:{port}: {error}"));
            let connecting = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect((host, port)));
            let socket = connecting
                .await
                .map_err(|_| away(&late))?
                .map_err(|error| away(&error))?;
            socket.set_nodelay(true).map_err(|error| away(&error))?;
            let shaking = async {
                let connector = TlsConnector::from(tls.config.clone());
                let mut stream = connector.connect(tls.name.clone(), socket).await?;
                // An engine speaks first. With TLS 1.3 it is only here that it says what it thinks of our certificate.
                match stream.fill_buf().await?.is_empty() {
                    true => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    false => Ok(stream),
                }
            };
            match tokio::time::timeout(CONNECT_WITHIN, shaking).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(stream)),
                Ok(Err(error)) => Err(match rustls_error(&error) {
                    Some(told) => tls.error(told),
                    None => away(&format_args!("during the TLS handshake: {error}")),
                }),
                Err(_) => Err(away(&format_args!("during the TLS handshake: {late}"))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_called() {
        for good in ["http://127.0.0.1:7600", "http://localhost:1", "http://[::1]:7600"] {
            assert!(Dial::new(good, &Files::default()).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://10.0.0.1:7600", "write https://"),
            ("ftp://127.0.0.1:7600", "no URL of an engine"),
            ("127.0.0.1:7600", "no URL"),
            ("nonsense ", "no URL"),
        ] {
            let error = Dial::new(bad, &Files::default()).expect_err(bad).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn files_that_are_of_no_use_are_told() {
        let files = Files {
            ca: Some("/nowhere/ca.pem".into()),
            ..Files::default()
        };
        let error = Dial::new("https://engine:7600", &files)
            .expect_err("no file")
            .to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
        let error = Dial::new("http://127.0.0.1:7600", &files)
            .expect_err("no TLS")
            .to_string();
        assert!(error.contains("--ca"), "{error}");
    }
}
