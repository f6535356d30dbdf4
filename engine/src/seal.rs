//! Passwords and backups at rest: XChaCha20-Poly1305, bound to what they belong to.
//!
//! ```text
//! 01 | nonce, 24 random bytes | ciphertext and tag;  associated data: "credential/" name, or "kept/" SHA-256
//! ```

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE: usize = 24;

pub(crate) struct Seal(XChaCha20Poly1305);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[derive(Debug, Error)]
pub(crate) enum SealError {
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("the password of credential {0:?} cannot be sealed")]
    Seal(String),
    #[error("the password of credential {0:?} cannot be unsealed: it was sealed with another key")]
    Unseal(String),
    #[error("the file of a device cannot be sealed, or was sealed with another key")]
    File,
}

impl Seal {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(*key)))
    }

    pub(crate) fn seal(&self, credential: &str, password: &str) -> Result<Vec<u8>, SealError> {
        let failed = || SealError::Seal(credential.to_owned());
        self.envelope(&associated(credential), password.as_bytes(), failed)
    }

    fn envelope(
        &self,
        aad: &[u8],
        msg: &[u8],
        failed: impl FnOnce() -> SealError,
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg, aad });
        let sealed = sealed.map_err(|_| failed())?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.strip_prefix(&[VERSION])?.split_first_chunk::<NONCE>()?;
        self.0.decrypt(&XNonce::from(*nonce), Payload { msg, aad }).ok()
    }

    /// A file of a device, which has this digest: compressed, because afterwards it cannot be.
    pub(crate) fn seal_file(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let packed = lz4_flex::compress_prepend_size(bytes);
        self.envelope(&file(digest), &packed, || SealError::File)
    }

    /// The file again.
    pub(crate) fn unseal_file(&self, digest: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let packed = self.open(&file(digest), sealed).ok_or(SealError::File)?;
        lz4_flex::decompress_size_prepended(&packed).map_err(|_| SealError::File)
    }

    pub(crate) fn unseal(&self, credential: &str, sealed: &[u8]) -> Result<Zeroizing<String>, SealError> {
        let failed = || SealError::Unseal(credential.to_owned());
        let bytes = self.open(&associated(credential), sealed).ok_or_else(failed)?;
        String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| failed())
    }
}

fn file(digest: &[u8; 32]) -> Vec<u8> {
    [b"kept/", &digest[..]].concat()
}

fn associated(credential: &str) -> Vec<u8> {
    [b"credential/", credential.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_back_only_under_its_own_name_and_key() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal("ops", "hunter2").expect("sealed");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(*seal.unseal("ops", &sealed).expect("unsealed"), "hunter2");
        assert!(seal.unseal("root", &sealed).is_err());
        assert!(Seal::new(&[8; 32]).unseal("ops", &sealed).is_err());
        assert!(seal.unseal("ops", &sealed[..10]).is_err());
        let file = seal.seal_file(&[1; 32], b"secret secret secret").expect("sealed");
        assert!(!file.windows(6).any(|window| window == b"secret"));
        assert_eq!(
            seal.unseal_file(&[1; 32], &file).expect("unsealed"),
            b"secret secret secret"
        );
        assert!(seal.unseal_file(&[2; 32], &file).is_err());
        assert_ne!(
            sealed,
            seal.seal("ops", "hunter2").expect("sealed"),
            "no nonce is used twice"
        );
    }
}
