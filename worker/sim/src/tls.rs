//! Certificates of devices: self-signed, a CA used as a leaf, without a name that anybody would check, as RouterOS makes
//! them. All of them follow from the fleet's seed, so a device that is started again has the one it had.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::rng::Rng;

/// Which certificate a device presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its own.
    Usual,
    /// Its own key, in a certificate that expired in 2021.
    Expired,
    /// One of another key.
    Other,
}

/// What random numbers are for: keys. Keys of devices are indices, and fewer than this.
const KEYS: u64 = 1 << 41;
/// The beginning of an Ed25519 key in PKCS #8 (RFC 8410); its 32 bytes follow.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// The certificate of a device. Ed25519 signs the same way each time, and so is the same each time.
    pub(crate) fn of(seed: u64, device: usize, kind: Kind) -> Result<Self, rcgen::Error> {
        let purpose = if kind == Kind::Other { 2 } else { 1 };
        let secret = Rng::keyed(seed, &[KEYS, device as u64, purpose]).bytes(32);
        let key = [&PKCS8[..], &secret].concat();
        let pair = KeyPair::try_from(&key[..])?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("router-{device}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from(device as u64 + 1));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = match kind {
            Kind::Expired => date_time_ymd(2021, 1, 1),
            Kind::Usual | Kind::Other => date_time_ymd(2040, 1, 1),
        };
        let certificate = params.self_signed(&pair)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            public_key: pair.subject_public_key_info(),
            key,
        })
    }

    /// What a server with this certificate needs.
    pub(crate) fn server(self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], key)?;
        Ok(Arc::new(config))
    }
}

/// What a server says that has no certificate and so offers only anonymous DH: that no suite is in common.
pub(crate) const NO_SUITE: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_same_certificate_each_time_and_no_other_device_has_it() {
        let of = |device, kind| Identity::of(7, device, kind).expect("made");
        assert_eq!(of(3, Kind::Usual).certificate, of(3, Kind::Usual).certificate);
        assert_eq!(of(3, Kind::Usual).public_key, of(3, Kind::Expired).public_key);
        assert_ne!(of(3, Kind::Usual).certificate, of(3, Kind::Expired).certificate);
        assert_ne!(of(3, Kind::Usual).public_key, of(4, Kind::Usual).public_key);
        assert_ne!(of(3, Kind::Usual).public_key, of(3, Kind::Other).public_key);
        assert!(of(3, Kind::Usual).server().is_ok());
    }
}
