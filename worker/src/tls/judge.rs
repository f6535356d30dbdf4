//! Whether a device's certificate is taken.
//!
//! Whatever is demanded of the certificate, the handshake's signature is verified: a certificate is public, and only
//! who has its key may use it.

use std::sync::{Arc, Mutex, PoisonError};

use muster_model::{Demand, Pin};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::fingerprint::Presented;

/// Judges the certificate that a device presents.
#[derive(Debug)]
pub(crate) struct Judge {
    demand: Demand,
    /// For what demands a chain to a root.
    roots: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Mutex<Option<Presented>>,
}

impl Judge {
    pub(crate) fn new(
        demand: Demand,
        roots: Option<Arc<WebPkiServerVerifier>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            demand,
            roots,
            algorithms,
            seen: Mutex::default(),
        }
    }

    /// What was presented last. A resumed session presents nothing.
    pub(crate) fn seen(&self) -> Option<Presented> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = Presented::of(end_entity);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
        match (self.demand, &self.roots) {
            (Demand::Any | Demand::FirstUse, _) => Ok(ServerCertVerified::assertion()),
            (Demand::Pinned(Pin(pin)), _) if pin == presented.certificate || pin == presented.key => {
                Ok(ServerCertVerified::assertion())
            }
            (Demand::System | Demand::Roots, Some(roots)) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
            }
            (Demand::Pinned(_) | Demand::System | Demand::Roots | Demand::Legacy, _) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
