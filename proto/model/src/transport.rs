//! How a device is spoken to, and on which ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a device is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// The binary API in the clear.
    #[default]
    Api,
    /// The binary API over TLS.
    ApiSsl,
    /// REST in the clear.
    Http,
    /// REST over TLS.
    Https,
    /// The first of [`AUTO`] that works, remembered.
    Auto,
}

/// What [`Transport::Auto`] tries, in this order. The API in the clear is left out where a certificate is demanded.
pub const AUTO: [Transport; 3] = [Transport::ApiSsl, Transport::Api, Transport::Https];

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 5] = [Self::Api, Self::ApiSsl, Self::Http, Self::Https, Self::Auto];

    /// The port RouterOS serves it on unless told otherwise; 0 for `auto`, which has none of its own.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Api => 8728,
            Self::ApiSsl => 8729,
            Self::Http => 80,
            Self::Https => 443,
            Self::Auto => 0,
        }
    }

    /// As written in inventories.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ApiSsl => "api-ssl",
            Self::Http => "http",
            Self::Https => "https",
            Self::Auto => "auto",
        }
    }

    /// Whether a certificate is looked at. Of `auto`, whether it may be.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::ApiSsl | Self::Https | Self::Auto)
    }

    /// Whether it is REST. Of `auto`, no: it ends as one of the others.
    pub fn is_rest(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is no transport; use api, api-ssl, http, https or auto"))
    }
}

/// Ports of a device whose transport is `auto`, where they are not the usual ones: `api-ssl=18729;https=8443`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports([Option<u16>; AUTO.len()]);

impl Ports {
    /// Whether all are the usual ones.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The port of one of [`AUTO`].
    pub fn of(&self, transport: Transport) -> u16 {
        let given = AUTO
            .iter()
            .position(|known| *known == transport)
            .and_then(|at| self.0[at]);
        given.unwrap_or_else(|| transport.default_port())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (transport, port) in AUTO.iter().zip(self.0) {
            if let Some(port) = port {
                write!(f, "{separator}{transport}={port}")?;
                separator = ";";
            }
        }
        Ok(())
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ports = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || {
                format!(
                    "{part:?} is not TRANSPORT=PORT with api-ssl, api or https; several are separated by ;, such as \
                     api-ssl=18729;https=18443"
                )
            };
            let (transport, port) = part.split_once('=').ok_or_else(wrong)?;
            let at = AUTO
                .iter()
                .position(|known| known.as_str() == transport.trim())
                .ok_or_else(wrong)?;
            let port = port
                .trim()
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(wrong)?;
            if ports.0[at].replace(port).is_some() {
                return Err(format!("{transport} is given twice"));
            }
        }
        Ok(ports)
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_read_back_and_others_are_refused_with_a_list() {
        for transport in Transport::ALL {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
        let error = "ssh".parse::<Transport>().expect_err("none");
        assert_eq!(
            error,
            "\"ssh\" is no transport; use api, api-ssl, http, https or auto"
        );
    }

    #[test]
    fn ports_are_read_back() {
        let ports: Ports = "https=8443; api-ssl=18729".parse().expect("two ports");
        assert_eq!(ports.to_string(), "api-ssl=18729;https=8443");
        let all = AUTO.map(|transport| ports.of(transport));
        assert_eq!(all, [18_729, 8728, 8443]);
        assert!("".parse::<Ports>().expect("none").is_empty());
        for bad in ["http=80", "api", "api=0", "api=70000", "api=1;api=2", "8728"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }
}
