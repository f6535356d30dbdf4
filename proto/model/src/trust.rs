//! What a device's certificate has to satisfy.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::transport::Transport;

/// How a device's certificate is judged, as an operator says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// A chain to a root that the worker's system trusts, and the device's address in the certificate.
    System,
    /// The same with the roots that the worker was given, and no others.
    Roots,
    /// The certificate or its key has this SHA-256.
    Pin,
    /// The first certificate that is seen, and no other after it.
    FirstUse,
    /// Any certificate: encrypted, not authenticated.
    Insecure,
    /// Any certificate or none, and every suite there ever was: encrypted, not authenticated.
    Legacy,
}

impl Trust {
    const ALL: [Self; 6] = [
        Self::System,
        Self::Roots,
        Self::Pin,
        Self::FirstUse,
        Self::Insecure,
        Self::Legacy,
    ];

    /// As written in inventories.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Roots => "roots",
            Self::Pin => "pin",
            Self::FirstUse => "first-use",
            Self::Insecure => "insecure",
            Self::Legacy => "legacy",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Trust {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| {
            format!("{text:?} says nothing about certificates; use system, roots, pin, first-use, insecure or legacy")
        })
    }
}

/// A SHA-256 of a certificate (DER) or of its public key (SubjectPublicKeyInfo, DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = String;

    /// 64 hex digits, with or without colons, as openssl and RouterOS print them.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no SHA-256 of a certificate or key: 64 hex digits are, with or without colons"
            )
        };
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let mut pin = [0; 32];
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        for (byte, pair) in pin.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(pin))
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What has to hold for a connection to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// [`Trust::System`].
    System,
    /// [`Trust::Roots`].
    Roots,
    /// [`Trust::Pin`], or [`Trust::FirstUse`] after the first use.
    Pinned(Pin),
    /// [`Trust::FirstUse`] before it.
    FirstUse,
    /// Nothing.
    Any,
    /// Nothing, of whatever OpenSSL can speak. See [`Trust::Legacy`].
    Legacy,
}

impl Demand {
    /// What an operator's words come to. What is said of certificates counts only where there is one, and is refused
    /// where there is none: a demand is never silently dropped.
    ///
    /// Without a word, `api-ssl` and `https` want a chain to a root of the system, and `auto` takes what it finds, in
    /// the clear too. The error names the field, `tls` or `pin`.
    pub fn of(
        transport: Transport,
        trust: Option<Trust>,
        pin: Option<Pin>,
    ) -> Result<Self, (&'static str, String)> {
        if !transport.has_tls() {
            let clear =
                |what: &str| format!("{what} is demanded, but transport {transport} has no certificate");
            return match (trust, pin) {
                (Some(trust), _) => Err(("tls", clear(&format!("{:?}", trust.as_str())))),
                (None, Some(_)) => Err(("pin", clear("a pin"))),
                (None, None) => Ok(Self::Any),
            };
        }
        match (trust, pin) {
            (None | Some(Trust::Pin | Trust::FirstUse), Some(pin)) => Ok(Self::Pinned(pin)),
            (Some(Trust::Pin), None) => Err((
                "pin",
                "tls is \"pin\", and there is no pin: a SHA-256 in hex".into(),
            )),
            (Some(Trust::FirstUse), None) => Ok(Self::FirstUse),
            (Some(other @ (Trust::System | Trust::Roots | Trust::Insecure | Trust::Legacy)), Some(_)) => {
                Err((
                    "pin",
                    format!("a pin is not looked at when tls is {:?}", other.as_str()),
                ))
            }
            (Some(Trust::System), None) => Ok(Self::System),
            (Some(Trust::Roots), None) => Ok(Self::Roots),
            (Some(Trust::Insecure), None) => Ok(Self::Any),
            (Some(Trust::Legacy), None) => Ok(Self::Legacy),
            (None, None) if transport == Transport::Auto => Ok(Self::Any),
            (None, None) => Ok(Self::System),
        }
    }

    /// Whether `auto` may speak in the clear: only where nothing would have been checked anyway.
    pub fn allows_clear(self) -> bool {
        self == Self::Any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn pins_are_read_with_and_without_colons() {
        let pin: Pin = HEX.parse().expect("a pin");
        assert_eq!(pin.to_string(), HEX);
        let bytes: Vec<String> = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(bytes.join(":").parse(), Ok(pin));
        for bad in ["", "00", &HEX[1..], &format!("{}zz", &HEX[2..])] {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_demand_is_never_dropped() {
        let pin: Pin = HEX.parse().expect("a pin");
        let of = |transport, trust, pin| Demand::of(transport, trust, pin).map_err(|(field, _)| field);
        use Transport::{Api, ApiSsl, Auto, Http, Https};
        assert_eq!(of(Api, None, None), Ok(Demand::Any));
        assert_eq!(of(Api, Some(Trust::System), None), Err("tls"));
        assert_eq!(of(Http, None, Some(pin)), Err("pin"));
        assert_eq!(of(ApiSsl, None, None), Ok(Demand::System));
        assert_eq!(of(Https, None, Some(pin)), Ok(Demand::Pinned(pin)));
        assert_eq!(of(Https, Some(Trust::Pin), None), Err("pin"));
        assert_eq!(of(Https, Some(Trust::Insecure), Some(pin)), Err("pin"));
        assert_eq!(
            of(ApiSsl, Some(Trust::FirstUse), Some(pin)),
            Ok(Demand::Pinned(pin))
        );
        assert_eq!(of(Auto, None, None), Ok(Demand::Any));
        assert_eq!(of(Auto, None, Some(pin)), Ok(Demand::Pinned(pin)));
        for demand in [
            Demand::System,
            Demand::Roots,
            Demand::Pinned(pin),
            Demand::FirstUse,
            Demand::Legacy,
        ] {
            assert!(!demand.allows_clear());
        }
    }
}
