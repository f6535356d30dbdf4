//! A router in the inventory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::label::Labels;

/// A device as the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Unique in the inventory.
    pub name: String,
    /// IP address or host name.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// How it is spoken to.
    pub transport: Transport,
    /// The name of the credential to log in with.
    pub credential: String,
    /// Where a worker can reach it from.
    pub zone: String,
    /// What people know about it.
    pub labels: Labels,
}

/// The zone and the credential of a device that names none.
pub const DEFAULT: &str = "default";

/// How a device is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// The binary API in the clear, port 8728 unless told otherwise.
    #[default]
    Api,
}

impl Transport {
    /// The port RouterOS serves it on unless told otherwise.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Api => 8728,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "api" => Ok(Self::Api),
            "api-ssl" | "https" | "auto" => Err(format!(
                "transport {text:?} is not supported by this version yet; use \"api\""
            )),
            _ => Err(format!("{text:?} is no transport; use \"api\"")),
        }
    }
}

/// Checks an address: an IP address, or a host name made of letters, digits, dots and hyphens.
pub fn check_address(address: &str) -> Result<(), String> {
    if address.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let looks_like_ip = address.chars().all(|c| c.is_ascii_digit() || c == '.');
    let trimmed = address.strip_suffix('.').unwrap_or(address);
    match !looks_like_ip && address.len() <= 253 && trimmed.split('.').all(label_ok) {
        true => Ok(()),
        false => Err(format!("{address:?} is neither an IP address nor a host name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["10.0.0.1", "fe80::1", "r1", "r1.example.net", "r1.example.net."] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "10.0.0.256",
            "10.0.0",
            "a b",
            "-a",
            "a..b",
            "10.0.0.1:8728",
            "host:1",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_transport_that_is_not_there_yet_says_so() {
        assert!(
            "api-ssl"
                .parse::<Transport>()
                .expect_err("not yet")
                .contains("not supported by this version yet")
        );
        assert!(
            "ssh"
                .parse::<Transport>()
                .expect_err("never")
                .contains("is no transport")
        );
    }
}
