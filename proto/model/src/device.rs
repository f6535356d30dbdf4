//! A router in the inventory.

use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::transport::{Ports, Transport};
use crate::trust::{Pin, Trust};

/// A device as the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Unique in the inventory.
    pub name: String,
    /// IP address or host name.
    pub address: String,
    /// TCP port; 0 where the transport is `auto`.
    pub port: u16,
    /// How it is spoken to.
    pub transport: Transport,
    /// The name of the credential to log in with.
    pub credential: String,
    /// Where a worker can reach it from.
    pub zone: String,
    /// What people know about it.
    pub labels: Labels,
    /// How its certificate is judged; none for the transport's own habit.
    pub tls: Option<Trust>,
    /// The SHA-256 of its certificate or key.
    pub pin: Option<Pin>,
    /// Ports for `auto` that are not the usual ones.
    pub ports: Ports,
    /// Commands in flight on one connection to it, [`IN_FLIGHT`]; none for as many as the limits say.
    pub in_flight: Option<u32>,
}

/// How many commands may be in flight on one connection.
pub const IN_FLIGHT: std::ops::RangeInclusive<u32> = 1..=1000;

/// The zone and the credential of a device that names none.
pub const DEFAULT: &str = "default";

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
}
