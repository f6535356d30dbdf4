//! How devices are reached: which transport, over which certificate, and what of it is news to the engine.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use muster_model::transport::AUTO;
use muster_model::{Demand, DeviceError, ErrorClass, Transport};
use muster_proto::v1;
use muster_worker_core::ConnectFailure;
use tokio::net::TcpStream;

use crate::held::Held;
use crate::session::Target;
use crate::stream::Stream;
use crate::tls::{self, Peer, Presented, Tls};

/// What a worker knows of reaching its devices.
#[derive(Debug)]
pub(crate) struct Reach {
    tls: Tls,
    held: Held,
    /// What `auto` found, by device.
    worked: Mutex<HashMap<u64, Transport>>,
    /// Devices whose certificate was not taken the last time.
    refused: Mutex<HashSet<u64>>,
}

/// One way to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) transport: Transport,
    pub(crate) port: u16,
}

impl Reach {
    /// `roots` is a PEM file for devices whose certificates chain to the operator's own.
    pub(crate) fn new(roots: Option<PathBuf>, held: Held) -> Self {
        Self {
            tls: Tls::new(roots),
            held,
            worked: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// The ways to try, in order. For `auto` what worked before comes first, and the clear is left out where a
    /// certificate is demanded.
    pub(crate) fn ways(&self, device: u64, target: &Target) -> Vec<Way> {
        if target.transport != Transport::Auto {
            return vec![Way {
                transport: target.transport,
                port: target.port,
            }];
        }
        let here = self
            .worked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&device)
            .copied();
        let worked = here.or(target.worked);
        let allowed = |transport: &Transport| transport.has_tls() || target.demand.allows_clear();
        let mut ways: Vec<Transport> = AUTO.into_iter().filter(allowed).collect();
        // Stable: the others keep their order.
        ways.sort_by_key(|transport| Some(*transport) != worked);
        let way = |transport| Way {
            transport,
            port: target.ports.of(transport),
        };
        ways.into_iter().map(way).collect()
    }

    /// Makes a stream of a socket: shakes hands where the way has TLS.
    pub(crate) async fn secure(
        &self,
        socket: TcpStream,
        device: u64,
        target: &Target,
        way: Way,
    ) -> Result<Stream, ConnectFailure> {
        if !way.transport.has_tls() {
            return Ok(Stream::Plain(socket));
        }
        if target.demand == Demand::Legacy {
            return tls::legacy(socket, way.transport).await;
        }
        let peer = Peer {
            device,
            address: &target.address,
            port: way.port,
            transport: way.transport,
            demand: target.demand,
        };
        match self.tls.connect(socket, peer).await {
            Ok((stream, presented, first)) => {
                let before = self
                    .refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&device);
                if first || before {
                    self.tell(device, None, Some(presented), true);
                }
                Ok(Stream::Tls(stream))
            }
            Err(refused) => {
                if refused.failure.error.class == ErrorClass::Tls && refused.presented.is_some() {
                    self.refused
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(device);
                    self.tell(device, None, refused.presented, false);
                }
                Err(refused.failure)
            }
        }
    }

    /// A device is logged in over this transport. For `auto` it is remembered.
    pub(crate) fn worked(&self, device: u64, asked: Transport, transport: Transport) {
        if asked != Transport::Auto {
            return;
        }
        let mut worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        if worked.insert(device, transport) != Some(transport) {
            self.tell(device, Some(transport), None, true);
        }
    }

    /// Nothing worked. `auto` looks anew the next time.
    pub(crate) fn failed(&self, device: u64, asked: Transport) {
        let known = self
            .worked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&device);
        if asked == Transport::Auto && known.is_some() {
            self.tell(device, None, None, false);
        }
    }

    fn tell(&self, device: u64, worked: Option<Transport>, presented: Option<Presented>, reached: bool) {
        self.held.tell_contact(v1::DeviceContact {
            device,
            worked: worked.map(|transport| transport.to_string()).unwrap_or_default(),
            certificate: presented
                .map(|presented| presented.certificate.to_vec())
                .unwrap_or_default(),
            key: presented
                .map(|presented| presented.key.to_vec())
                .unwrap_or_default(),
            reached,
        });
    }
}

/// Whether another way may be tried after this failure. A wrong password is as wrong on every way, and each try counts.
pub(crate) fn goes_on(failure: &ConnectFailure) -> bool {
    failure.error.class != ErrorClass::Auth
}

/// One failure for those of several ways.
pub(crate) fn all(failures: Vec<(Way, ConnectFailure)>) -> ConnectFailure {
    let mut failures = failures.into_iter();
    let Some((first, failure)) = failures.next() else {
        return ConnectFailure {
            error: DeviceError::new(ErrorClass::Worker, "there is no way to try"),
            may_pass: false,
        };
    };
    let mut rest = failures.peekable();
    if rest.peek().is_none() {
        return failure;
    }
    let mut text = first.transport.to_string();
    let mut last = failure.error.message.clone();
    let mut whole = failure;
    for (way, failure) in rest {
        if failure.error.message != last {
            text.push_str(&format!(": {last}; "));
            last = failure.error.message.clone();
        } else {
            text.push_str(", ");
        }
        text.push_str(way.transport.as_str());
        // What does not pass is what somebody has to look at.
        if whole.may_pass && !failure.may_pass {
            whole = failure;
        }
    }
    text.push_str(&format!(": {last}"));
    whole.error.message = text;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_tells_of_all_ways_and_is_the_one_that_does_not_pass() {
        let way = |transport| Way { transport, port: 1 };
        let failed = |class, text: &str, may_pass| ConnectFailure {
            error: DeviceError::new(class, text),
            may_pass,
        };
        let refused = || failed(ErrorClass::Refused, "refused", true);
        let wrong = failed(ErrorClass::Tls, "wrong", false);
        let whole = all(vec![
            (way(Transport::ApiSsl), refused()),
            (way(Transport::Api), refused()),
            (way(Transport::Https), wrong),
        ]);
        assert_eq!(whole.error.message, "api-ssl, api: refused; https: wrong");
        assert_eq!((whole.error.class, whole.may_pass), (ErrorClass::Tls, false));
        let one = all(vec![(way(Transport::Api), refused())]);
        assert_eq!(one, refused());
    }
}
