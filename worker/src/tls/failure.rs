//! What is said when no secure connection comes about: what happened, and what to do about it.

use muster_model::{Demand, DeviceError, ErrorClass, Transport};
use muster_worker_core::ConnectFailure;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::fingerprint::Presented;

/// What to do on a router that agrees on no cipher suite.
fn certificate_advice(transport: Transport) -> String {
    let service = if transport == Transport::Https {
        "www-ssl"
    } else {
        "api-ssl"
    };
    format!(
        "the router offers only anonymous DH, as {service} does without a certificate, or DHE. Give it a certificate, on \
         the router: /certificate add name=muster common-name=muster; /certificate sign muster; \
         /ip/service set {service} certificate=muster"
    )
}

/// A handshake that failed.
pub(crate) fn failure(
    error: &Error,
    presented: Option<Presented>,
    demand: Demand,
    transport: Transport,
) -> ConnectFailure {
    let told = |class, text: String, may_pass| ConnectFailure {
        error: DeviceError::new(class, text),
        may_pass,
    };
    match error {
        // No pin helps.
        Error::InvalidCertificate(CertificateError::BadSignature) => told(
            ErrorClass::Tls,
            "the router does not prove that it has its certificate's key (BadSignature), or the key is of a kind that is \
             not taken: RSA of 2,048 bits or more, ECDSA and Ed25519 are. Make a new certificate on it, or say tls = \
             \"legacy\""
                .to_owned(),
            false,
        ),
        Error::InvalidCertificate(reason) => {
            let hex = |digest: [u8; 32]| muster_model::Pin(digest).to_string();
            let sha = presented.map_or_else(String::new, |presented| {
                format!(
                    "; it has the SHA-256 {} and its key {}, and muster device trust accepts it",
                    hex(presented.certificate),
                    hex(presented.key)
                )
            });
            told(
                ErrorClass::Tls,
                format!("{}{sha}", certificate_text(reason, demand)),
                false,
            )
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => told(
            ErrorClass::Tls,
            format!(
                "no TLS version in common ({error}): the router speaks neither 1.2 nor 1.3; give it a newer RouterOS, or \
                 say tls = \"legacy\""
            ),
            false,
        ),
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
        | Error::PeerIncompatible(_) => told(
            ErrorClass::Tls,
            format!(
                "no cipher suite in common ({error}): {}",
                certificate_advice(transport)
            ),
            false,
        ),
        Error::AlertReceived(alert) => told(
            ErrorClass::Tls,
            format!("the router ends the handshake: {alert:?}"),
            false,
        ),
        Error::InvalidMessage(_) => told(
            ErrorClass::Protocol,
            format!("what answers does not speak TLS ({error}); is it the port of {transport}?"),
            false,
        ),
        other => told(ErrorClass::Tls, format!("TLS: {other}"), false),
    }
}

/// The router went away in the middle of the handshake.
pub(crate) fn ended(transport: Transport) -> ConnectFailure {
    let text = format!(
        "the router ended the connection during the TLS handshake; some do when {}",
        certificate_advice(transport)
    );
    ConnectFailure {
        error: DeviceError::new(ErrorClass::Reset, text),
        may_pass: true,
    }
}

fn certificate_text(reason: &CertificateError, demand: Demand) -> String {
    match (reason, demand) {
        (CertificateError::ApplicationVerificationFailure, Demand::Pinned(pin)) => {
            format!("the router's certificate is another than the one that is pinned, {pin}")
        }
        (CertificateError::UnknownIssuer, _) => "the router's certificate is signed by nobody that is trusted".into(),
        (CertificateError::Other(other), _) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the router's certificate is a CA's and no server's, as RouterOS makes them: it can only be pinned".into()
        }
        (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }, _) => {
            format!("the router's certificate is for another name or address: {reason}")
        }
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            format!("the router's certificate has expired: {reason}")
        }
        (reason, _) => format!("the router's certificate is not taken: {reason}"),
    }
}
