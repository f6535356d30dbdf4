//! Who may call. Over plain HTTP that is whoever is on this machine; over TLS whoever has the token for what is asked: a
//! worker's to be a worker, a client's for everything else.

use subtle::ConstantTimeEq as _;
use tonic::{Request, Status};

use crate::error;
use crate::listen::Peer;

/// Refuses every peer that is neither on this machine nor behind TLS.
pub(crate) fn here_or_secure(request: Request<()>) -> Result<Request<()>, Status> {
    match request.extensions().get::<Peer>() {
        Some(peer) if peer.is_secure || peer.is_here => Ok(request),
        peer => {
            let peer = peer.map_or_else(
                || "an unknown peer".to_owned(),
                |peer| peer.address.ip().to_string(),
            );
            let message = format!(
                "refused {peer}: without TLS the engine serves its own machine only; call it as https://, after \
                 `muster serve --tls-cert FILE --tls-key FILE`"
            );
            Err(error::permission("NOT_ON_LOOPBACK", message, [("peer", peer)]))
        }
    }
}

/// Checks a worker's token.
pub(crate) fn worker<T>(request: &Request<T>, token: &str) -> Result<(), Status> {
    match has(request, token) {
        true => Ok(()),
        false => Err(error::unauthenticated(
            "BAD_WORKER_TOKEN",
            "the worker token is missing or wrong; it is in the file worker.token of the engine's data directory",
        )),
    }
}

/// Checks a client's token. Without TLS it is on this machine and needs none.
pub(crate) fn client<T>(request: &Request<T>, token: &str) -> Result<(), Status> {
    let is_secure = request
        .extensions()
        .get::<Peer>()
        .is_none_or(|peer| peer.is_secure);
    match !is_secure || has(request, token) {
        true => Ok(()),
        false => Err(error::unauthenticated(
            "BAD_CLIENT_TOKEN",
            "the client token is missing or wrong; it is in the file client.token of the engine's data directory",
        )),
    }
}

fn has<T>(request: &Request<T>, token: &str) -> bool {
    let given = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    bool::from(given.as_bytes().ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn from(is_here: bool, is_secure: bool) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer {
            address: ([10, 0, 0, 1], 9).into(),
            is_here,
            is_secure,
        });
        request
    }

    fn with_token(mut request: Request<()>, token: &str) -> Request<()> {
        let value = format!("Bearer {token}").parse().expect("ascii");
        request.metadata_mut().insert("authorization", value);
        request
    }

    #[test]
    fn in_the_clear_only_this_machine_gets_in() {
        assert!(here_or_secure(from(true, false)).is_ok());
        assert!(here_or_secure(from(false, true)).is_ok());
        let refused = here_or_secure(from(false, false)).expect_err("elsewhere, in the clear");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(here_or_secure(Request::new(())).is_err());
    }

    #[test]
    fn a_worker_needs_its_token_wherever_it_is() {
        for (here, secure) in [(true, false), (true, true), (false, true)] {
            assert!(worker(&from(here, secure), "secret").is_err());
            assert!(worker(&with_token(from(here, secure), "secret2"), "secret").is_err());
            assert!(worker(&with_token(from(here, secure), "secret"), "secret").is_ok());
        }
    }

    #[test]
    fn a_client_needs_its_token_over_tls() {
        assert!(client(&from(true, false), "secret").is_ok());
        for here in [true, false] {
            let refused = client(&from(here, true), "secret").expect_err("no token");
            assert_eq!(refused.code(), Code::Unauthenticated);
            assert!(client(&with_token(from(here, true), "other"), "secret").is_err());
            assert!(client(&with_token(from(here, true), "secret"), "secret").is_ok());
        }
    }
}
