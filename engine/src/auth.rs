//! Who may call. Without TLS (it comes later) the engine talks to loopback only; a worker also needs the token.

use std::net::IpAddr;

use subtle::ConstantTimeEq as _;
use tonic::{Request, Status};

use crate::error;

/// Refuses every peer that is not on loopback.
pub(crate) fn loopback_only(request: Request<()>) -> Result<Request<()>, Status> {
    match request.remote_addr().map(|address| address.ip().to_canonical()) {
        Some(address) if address.is_loopback() => Ok(request),
        peer => Err(refusal(peer)),
    }
}

fn refusal(peer: Option<IpAddr>) -> Status {
    let peer = peer.map_or_else(|| "an unknown peer".to_owned(), |peer| peer.to_string());
    let message = format!("refused {peer}: without TLS the engine serves loopback only");
    error::permission("NOT_ON_LOOPBACK", message, [("peer", peer)])
}

/// Checks a worker's token.
pub(crate) fn worker<T>(request: &Request<T>, token: &str) -> Result<(), Status> {
    let given = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    match bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        true => Ok(()),
        false => Err(error::unauthenticated(
            "BAD_WORKER_TOKEN",
            "the worker token is missing or wrong; it is in the file worker.token of the engine's data directory",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic::transport::server::TcpConnectInfo;

    fn from(peer: &str) -> Request<()> {
        let mut request = Request::new(());
        let remote_addr = Some(peer.parse().expect("an address"));
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr,
        });
        request
    }

    #[test]
    fn only_loopback_gets_in() {
        for peer in ["127.0.0.1:9", "127.9.9.9:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert!(loopback_only(from(peer)).is_ok(), "{peer}");
        }
        for peer in ["10.0.0.1:9", "[2001:db8::1]:9"] {
            assert_eq!(
                loopback_only(from(peer)).expect_err(peer).code(),
                Code::PermissionDenied
            );
        }
        assert!(loopback_only(Request::new(())).is_err());
    }

    #[test]
    fn a_worker_needs_the_token() {
        let mut request = Request::new(());
        assert!(worker(&request, "secret").is_err());
        request
            .metadata_mut()
            .insert("authorization", "Bearer secret".parse().expect("ascii"));
        assert!(worker(&request, "secret").is_ok());
        assert!(worker(&request, "secret2").is_err());
    }
}
