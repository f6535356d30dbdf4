//! TLS to devices: whom to trust, and connections without buffers of their own.

mod failure;
mod fingerprint;
mod judge;
#[cfg(feature = "legacy-tls")]
mod legacy;
mod roots;
mod stream;
mod tickets;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use muster_model::{Demand, DeviceError, ErrorClass, Pin, Transport};
use muster_worker_core::ConnectFailure;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

pub(crate) use fingerprint::Presented;
#[cfg(feature = "legacy-tls")]
pub(crate) use legacy::LegacyStream;
pub(crate) use stream::{Socket, TlsStream};

use crate::stream::Stream;
use judge::Judge;
use stream::HandshakeError;
use tickets::{Key, Known, Ticket, Tickets};

/// What the TLS connections of a worker share; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The only mention of a provider: ring.
    provider: Arc<CryptoProvider>,
    /// Read when first needed.
    system: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
    roots: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
    roots_file: Option<PathBuf>,
    /// What is the same for all devices: a copy shares it.
    base: OnceLock<Result<ClientConfig, rustls::Error>>,
    tickets: Tickets,
    /// Certificates taken at their first use: the engine keeps them too, but later.
    first: Mutex<HashMap<u64, Pin>>,
}

/// A device to shake hands with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) device: u64,
    /// IP address or host name.
    pub(crate) address: &'a str,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
    pub(crate) demand: Demand,
}

/// No secure connection, and what was presented until then.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) failure: ConnectFailure,
    pub(crate) presented: Option<Presented>,
}

/// A handshake under way: the stream, what was presented, and whether it was taken because it was the first.
type Shaking<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<(TlsStream, Presented, bool), Refused>> + Send + 'a>>;

impl Tls {
    /// `roots` is a PEM file for devices whose certificates chain to roots of the operator's own.
    pub(crate) fn new(roots: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            system: OnceLock::new(),
            roots: OnceLock::new(),
            roots_file: roots,
            base: OnceLock::new(),
            tickets: Tickets::default(),
            first: Mutex::default(),
        }))
    }

    /// Shakes hands over a socket. Boxed, so that who waits for it is no larger for it afterwards.
    pub(crate) fn connect<'a>(&'a self, socket: TcpStream, peer: Peer<'a>) -> Shaking<'a> {
        Box::pin(self.shake_hands(socket, peer))
    }

    async fn shake_hands(
        &self,
        socket: TcpStream,
        peer: Peer<'_>,
    ) -> Result<(TlsStream, Presented, bool), Refused> {
        let demand = self.demand(&peer);
        let refused = |class, text: String| Refused {
            failure: ConnectFailure {
                error: DeviceError::new(class, text),
                may_pass: false,
            },
            presented: None,
        };
        let roots = self
            .roots(demand)
            .map_err(|error| refused(ErrorClass::Worker, error))?;
        let key = Key {
            device: peer.device,
            address: peer.address.into(),
            port: peer.port,
            demand,
        };
        let known = self.0.tickets.known(key, || self.make(demand, roots));
        let Known { config, judge } =
            known.map_err(|error| refused(ErrorClass::Worker, format!("TLS: {error}")))?;
        let name = server_name(&peer, &socket).ok_or_else(|| {
            refused(
                ErrorClass::Address,
                format!("{:?} is no name for TLS", peer.address),
            )
        })?;
        let stream = match TlsStream::connect(socket, config, name).await {
            Ok(stream) => stream,
            Err(HandshakeError::Tls(error)) => {
                let presented = judge.seen();
                let failure = failure::failure(&error, presented, demand, peer.transport);
                return Err(Refused { failure, presented });
            }
            Err(HandshakeError::Socket(error)) => {
                let failure = match error.kind() {
                    io::ErrorKind::TimedOut => ConnectFailure {
                        error: DeviceError::new(ErrorClass::Timeout, error.to_string()),
                        may_pass: true,
                    },
                    _ => failure::ended(peer.transport),
                };
                return Err(Refused {
                    failure,
                    presented: judge.seen(),
                });
            }
        };
        let presented = stream.certificate().map(|certificate| Presented::of(certificate));
        let Some(presented) = presented else {
            return Err(refused(
                ErrorClass::Tls,
                "the router presented no certificate".into(),
            ));
        };
        let is_first = demand == Demand::FirstUse;
        if is_first {
            let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.insert(peer.device, Pin(presented.certificate));
        }
        Ok((stream, presented, is_first))
    }

    /// What is demanded, after a first use that the engine may not have on disk yet.
    fn demand(&self, peer: &Peer<'_>) -> Demand {
        let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        match (peer.demand, first.get(&peer.device)) {
            (Demand::FirstUse, Some(pin)) => Demand::Pinned(*pin),
            (Demand::FirstUse, None) => Demand::FirstUse,
            (other, _) => {
                first.remove(&peer.device);
                other
            }
        }
    }

    fn roots(&self, demand: Demand) -> Result<Option<Arc<WebPkiServerVerifier>>, String> {
        let shared = &self.0;
        match demand {
            Demand::System => shared
                .system
                .get_or_init(|| roots::system(&shared.provider))
                .clone()
                .map(Some),
            Demand::Roots => {
                let read = || match &shared.roots_file {
                    Some(path) => roots::read(path, &shared.provider),
                    None => Err(
                        "tls is \"roots\", and this worker was given none; start it with --device-roots"
                            .into(),
                    ),
                };
                shared.roots.get_or_init(read).clone().map(Some)
            }
            Demand::Pinned(_) | Demand::FirstUse | Demand::Any | Demand::Legacy => Ok(None),
        }
    }

    fn make(&self, demand: Demand, roots: Option<Arc<WebPkiServerVerifier>>) -> Result<Known, rustls::Error> {
        let algorithms = self.0.provider.signature_verification_algorithms;
        let judge = Arc::new(Judge::new(demand, roots, algorithms));
        let base = self.0.base.get_or_init(|| {
            Ok(ClientConfig::builder_with_provider(self.0.provider.clone())
                .with_safe_default_protocol_versions()?
                .dangerous()
                .with_custom_certificate_verifier(judge.clone())
                .with_no_client_auth())
        });
        let mut config = base.clone()?;
        config.dangerous().set_certificate_verifier(judge.clone());
        config.resumption = Resumption::store(Arc::new(Ticket::default()));
        Ok(Known {
            config: Arc::new(config),
            judge,
        })
    }
}

/// Shakes hands with a router that speaks nothing better.
#[cfg(feature = "legacy-tls")]
pub(crate) async fn legacy(socket: TcpStream, transport: Transport) -> Result<Stream, ConnectFailure> {
    match LegacyStream::connect(socket).await {
        Ok(stream) => Ok(Stream::Legacy(Box::new(stream))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(ConnectFailure {
            error: DeviceError::new(
                ErrorClass::Tls,
                format!("TLS: {error}; is it the port of {transport}?"),
            ),
            may_pass: false,
        }),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ConnectFailure {
            error: DeviceError::new(ErrorClass::Timeout, error.to_string()),
            may_pass: true,
        }),
        Err(_) => Err(failure::ended(transport)),
    }
}

/// The same where it was left out.
#[cfg(not(feature = "legacy-tls"))]
pub(crate) async fn legacy(_: TcpStream, _: Transport) -> Result<Stream, ConnectFailure> {
    let text = "tls is \"legacy\", and this worker was built without it; build muster with --features legacy-tls, which \
                needs OpenSSL";
    Err(ConnectFailure {
        error: DeviceError::new(ErrorClass::Worker, text),
        may_pass: false,
    })
}

/// Reads roots as a worker would, for whoever starts one. Says what is wrong with the file.
pub fn check_roots(path: &Path) -> Result<(), String> {
    roots::read(path, &Arc::new(rustls::crypto::ring::default_provider())).map(|_| ())
}

/// The name that the certificate has to be for: the device's address as the inventory has it, or where a name cannot
/// stand in a certificate, the address it resolved to.
fn server_name(peer: &Peer<'_>, socket: &TcpStream) -> Option<ServerName<'static>> {
    if let Ok(address) = peer.address.parse::<IpAddr>() {
        return Some(ServerName::from(address));
    }
    let name = peer.address.trim_end_matches('.').to_owned();
    let resolved = || {
        socket
            .peer_addr()
            .ok()
            .map(|address| ServerName::from(address.ip()))
    };
    ServerName::try_from(name).ok().or_else(resolved)
}

#[cfg(test)]
mod tests;
