//! The certificates that chains may end in.

use std::path::Path;
use std::sync::Arc;

use muster_proto::dial;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The roots that the system trusts.
pub(crate) fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    read(&dial::system_roots()?, provider)
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
