//! The two logins of RouterOS.
//!
//! From 6.43 on: `/login` with name and password, `!done`. Up to 6.42 the device ignores both and answers `!done`
//! with a challenge of 32 hex digits, to be answered with `00` + md5(0x00 ‖ password ‖ challenge). Sending the new
//! form first serves both (the vendor's own example does so), at the price that a device of 6.42 or older sees
//! the password in clear.

use std::fmt;

use md5::{Digest, Md5};
use routeros_wire::{Kind, Sentence, encode};
use zeroize::Zeroizing;

/// Who logs in.
#[derive(Clone)]
pub struct Credentials {
    /// User name, bytes as the device stores them.
    pub user: Vec<u8>,
    /// Password; wiped from memory when dropped.
    pub password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// From a name and a password.
    pub fn new(user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Self {
        Self {
            user: user.into(),
            password: Zeroizing::new(password.into()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// The device said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRefused {
    /// The trap's message, as sent.
    pub message: Vec<u8>,
}

impl LoginRefused {
    /// Whether the device could not decide (its RADIUS server was silent), rather than decided against us.
    pub fn is_transient(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        [&b"radius timeout"[..], b"session closed"]
            .iter()
            .any(|text| message.windows(text.len()).any(|w| w == *text))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Login {
    challenged: bool,
}

pub(crate) enum Progress {
    /// More replies are needed, or bytes were written that ask for them.
    Pending,
    Accepted,
    Refused(LoginRefused),
}

impl Login {
    pub(crate) fn start(credentials: &Credentials, out: &mut Vec<u8>) -> Result<Self, encode::EncodeError> {
        encode::word(out, b"/login")?;
        encode::attribute(out, b"name", &credentials.user)?;
        encode::attribute(out, b"password", &credentials.password)?;
        encode::end(out);
        Ok(Self::default())
    }

    pub(crate) fn on_reply(
        &mut self,
        reply: Sentence<'_>,
        credentials: &Credentials,
        out: &mut Vec<u8>,
    ) -> Result<Progress, encode::EncodeError> {
        match reply.kind() {
            Kind::Done => match reply.get(b"ret").and_then(challenge) {
                Some(_) if self.challenged => Ok(Progress::Refused(LoginRefused {
                    message: b"challenged twice".to_vec(),
                })),
                Some(challenge) => {
                    self.challenged = true;
                    encode::word(out, b"/login")?;
                    encode::attribute(out, b"name", &credentials.user)?;
                    encode::attribute(out, b"response", &response(&credentials.password, &challenge))?;
                    encode::end(out);
                    Ok(Progress::Pending)
                }
                None => Ok(Progress::Accepted),
            },
            // The `!done` that follows would only repeat it.
            Kind::Trap => {
                let message = reply
                    .get(b"message")
                    .unwrap_or(b"login refused without a message")
                    .to_vec();
                Ok(Progress::Refused(LoginRefused { message }))
            }
            _ => Ok(Progress::Pending),
        }
    }
}

fn challenge(ret: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let text = std::str::from_utf8(ret)
        .ok()
        .filter(|text| text.len() == 32 && text.is_ascii())?;
    for (byte, at) in bytes.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn response(password: &[u8], challenge: &[u8; 16]) -> Vec<u8> {
    let mut md5 = Md5::new();
    md5.update([0]);
    md5.update(password);
    md5.update(challenge);
    let hex = md5
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!("00{hex}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dialogue in the vendor's page does not give its password; this vector was computed with Python's
    /// hashlib.
    #[test]
    fn the_response_to_a_challenge() {
        let challenge = challenge(b"856780b7411eefd3abadee2058c149a3").expect("32 hex digits");
        assert_eq!(
            response(b"secret", &challenge),
            b"009622e621f0892961a28bcf7a0cea13e4"
        );
        assert_eq!(super::challenge(b"*1"), None);
    }

    #[test]
    fn a_silent_radius_server_is_not_a_wrong_password() {
        let refused = |text: &[u8]| {
            LoginRefused {
                message: text.to_vec(),
            }
            .is_transient()
        };
        assert!(refused(b"could not authenticate - RADIUS timeout"));
        assert!(!refused(b"invalid user name or password (6)"));
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", Credentials::new("admin", "hunter2")).contains("hunter2"));
    }
}
