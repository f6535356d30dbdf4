//! The certificates that chains may end in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Where systems keep the roots that they trust. `SSL_CERT_FILE` names another file, as it does for OpenSSL.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The roots that the system trusts.
pub(crate) fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let named = std::env::var_os("SSL_CERT_FILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let known = || SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
    let path = named.or_else(known).ok_or_else(|| {
        format!(
            "no roots of the system: none of {} exists and SSL_CERT_FILE is not set",
            SYSTEM.join(", ")
        )
    })?;
    read(&path, provider)
}

/// The roots in a PEM file.
pub(crate) fn read(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let told = |what: String| format!("roots in {}: {what}", path.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| told(error.to_string()))?;
    let mut unread = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| told(error.to_string()))?;
        // A system's bundle has certificates that no current library reads, and is of use all the same.
        unread += usize::from(roots.add(certificate).is_err());
    }
    if roots.is_empty() {
        return Err(told(format!(
            "no certificate that can be used as a root ({unread} that cannot)"
        )));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| told(error.to_string()))
}
