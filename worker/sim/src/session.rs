//! Login: who is at the other end of a connection, by either scheme.
//!
//! ```text
//! 6.43 and later           /login name password ─→ !done
//! up to 6.42 (and 6.43-44  /login               ─→ !done =ret=<challenge, 32 hex>
//! if asked for)            /login name response ─→ !done      response = "00" + md5(00 ‖ password ‖ challenge)
//! ```
//!
//! A refused login leaves the connection open, four times; the fifth time it ends (facts §1.3).

use md5::{Digest, Md5};
use routeros_wire::Sentence;

use crate::device::{Device, Group};
use crate::reply::Replies;
use crate::rng::Rng;
use crate::trap::Trap;
use crate::version::LoginScheme;

/// Refused logins, and commands before login, that a connection survives.
const TOLERATED: u8 = 4;

/// The login state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Set once somebody has logged in.
    group: Option<Group>,
    /// The challenge that a response may answer, once.
    challenge: Option<Vec<u8>>,
    refusals: u8,
}

/// What a login came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// The user is in; the caller writes the `!done`.
    Accepted {
        /// Who.
        user: Vec<u8>,
        /// Of which group.
        group: Group,
    },
    /// A challenge was sent.
    Challenged,
    /// The connection goes on without a user.
    Refused,
    /// The connection ends.
    Fatal,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            group: None,
            challenge: None,
            refusals: 0,
        }
    }

    /// What the user may do, once there is one.
    pub(crate) fn group(&self) -> Option<Group> {
        self.group
    }

    /// Answers a `/login`, except for the `!done` of an accepted one.
    pub(crate) fn login(
        &mut self,
        request: Sentence<'_>,
        device: &Device,
        refuse_all: bool,
        rng: &mut Rng,
        replies: &mut Replies<'_>,
    ) -> Login {
        let (name, password) = (request.get(b"name"), request.get(b"password"));
        let response = request.get(b"response");
        let scheme = device.version().login_scheme();
        let asks_for_challenge = match scheme {
            LoginScheme::Challenge => response.is_none(),
            LoginScheme::Either => response.is_none() && name.is_none() && password.is_none(),
            LoginScheme::Password => false,
        };
        if asks_for_challenge {
            let challenge = rng.bytes(16);
            replies.returned(hex(&challenge).as_bytes());
            self.challenge = Some(challenge);
            return Login::Challenged;
        }
        let user = name.unwrap_or_default();
        let proves = |secret: &[u8]| match (response, scheme) {
            (Some(response), LoginScheme::Challenge | LoginScheme::Either) => {
                let challenge = self.challenge.as_deref();
                challenge.is_some_and(|c| response.eq_ignore_ascii_case(answer(secret, c).as_bytes()))
            }
            _ => password == Some(secret),
        };
        let group = device
            .credentials(user)
            .filter(|(secret, _)| !refuse_all && proves(secret))
            .map(|(_, group)| group);
        self.challenge = None;
        match group {
            Some(group) => {
                self.group = Some(group);
                Login::Accepted {
                    user: user.to_vec(),
                    group,
                }
            }
            None => self.refuse(&Trap::refused_login(device.version().login_refusal()), replies),
        }
    }

    /// Answers a command that comes before login.
    pub(crate) fn not_logged_in(&mut self, replies: &mut Replies<'_>) -> Login {
        self.refuse(&Trap::not_logged_in(), replies)
    }

    fn refuse(&mut self, trap: &Trap, replies: &mut Replies<'_>) -> Login {
        if self.refusals == TOLERATED {
            replies.fatal("too many commands before login");
            return Login::Fatal;
        }
        self.refusals += 1;
        replies.trap(trap);
        replies.done();
        Login::Refused
    }
}

/// The response to a challenge.
fn answer(password: &[u8], challenge: &[u8]) -> String {
    let mut md5 = Md5::new();
    md5.update([0]);
    md5.update(password);
    md5.update(challenge);
    format!("00{}", hex(&md5.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange in the vendor's page, section "/cancel, simultaneous commands": user admin, no password.
    #[test]
    fn the_recorded_challenge_has_the_recorded_answer() {
        let challenge = 0x8567_80b7_411e_efd3_abad_ee20_58c1_49a3_u128.to_be_bytes();
        assert_eq!(answer(b"", &challenge), "005062f7a5ef124d34675bf3e81f56c556");
    }
}
