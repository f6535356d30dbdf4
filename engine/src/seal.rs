//! Passwords at rest: XChaCha20-Poly1305, bound to the credential they belong to.
//!
//! ```text
//! 01 | nonce, 24 random bytes | ciphertext and tag;  associated data: "credential/" name
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
}

impl Seal {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(*key)))
    }

    pub(crate) fn seal(&self, credential: &str, password: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let aad = associated(credential);
        let payload = Payload {
            msg: password.as_bytes(),
            aad: &aad,
        };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| SealError::Seal(credential.to_owned()))?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn unseal(&self, credential: &str, sealed: &[u8]) -> Result<Zeroizing<String>, SealError> {
        let failed = || SealError::Unseal(credential.to_owned());
        let rest = sealed.strip_prefix(&[VERSION]).ok_or_else(failed)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(failed)?;
        let aad = associated(credential);
        let bytes = self
            .0
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: &aad,
                },
            )
            .map_err(|_| failed())?;
        String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| failed())
    }
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
        assert_ne!(
            sealed,
            seal.seal("ops", "hunter2").expect("sealed"),
            "no nonce is used twice"
        );
    }
}
