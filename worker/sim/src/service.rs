//! The services of a device that clients connect to, and whom each lets in.

use std::net::Ipv4Addr;

use crate::device::Device;
use crate::menu::MenuId;
use crate::table::Row;

/// A service, as `/ip/service` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Api,
    ApiSsl,
    Www,
    WwwSsl,
}

/// What becomes of a connection to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// Accepted and closed: `address` does not name the client, or there are `max-sessions` already.
    Closed,
    /// The service is disabled.
    Refused,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Api, Self::ApiSsl, Self::Www, Self::WwwSsl];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ApiSsl => "api-ssl",
            Self::Www => "www",
            Self::WwwSsl => "www-ssl",
        }
    }
}

impl Device {
    /// Whether a service takes one more connection, from this client, beside those that are open. What nobody has set in
    /// `/ip/service` restricts nothing but the number of sessions, 20 from 7.16 on.
    pub(crate) fn admits(&self, service: Service, peer: Ipv4Addr, open: usize) -> Admission {
        const DEFAULT: usize = 20;
        let most = match self.version().since(7, 16) {
            true => self
                .set_for(service, b"max-sessions")
                .map_or(Some(DEFAULT), |most| parse(&most)),
            false => None,
        };
        let disabled = self.set_for(service, b"disabled");
        if disabled.as_deref() == Some(self.version().boolean(true).as_bytes()) {
            return Admission::Refused;
        }
        let may_come = self
            .set_for(service, b"address")
            .is_none_or(|allowed| names(&allowed, peer));
        match !may_come || most.is_some_and(|most| open >= most) {
            true => Admission::Closed,
            false => Admission::Admitted,
        }
    }

    /// The value of a service's property, if somebody has set it.
    fn set_for(&self, service: Service, name: &[u8]) -> Option<Vec<u8>> {
        let is_it = |row: &&Row| row.get(b"name") == Some(service.name().as_bytes());
        let now = self
            .changed(MenuId::IpService)?
            .rows()
            .iter()
            .find(is_it)?
            .get(name)?
            .to_vec();
        let born = self.profile.table(MenuId::IpService);
        let before = born.rows().iter().find(is_it).and_then(|row| row.get(name));
        (before != Some(&now[..])).then_some(now)
    }
}

fn parse(number: &[u8]) -> Option<usize> {
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Whether a list of prefixes names the client; an empty one names everybody.
fn names(allowed: &[u8], peer: Ipv4Addr) -> bool {
    let covers = |prefix: &[u8]| {
        let (address, length) = crate::field::prefix(prefix)?;
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        Some(u32::from(address) & mask == u32::from(peer) & mask)
    };
    allowed.is_empty()
        || allowed
            .split(|byte| *byte == b',')
            .any(|prefix| covers(prefix) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_prefixes_names_who_may_come() {
        let peer = Ipv4Addr::new(127, 0, 0, 1);
        for (allowed, named) in [
            ("", true),
            ("127.0.0.0/8", true),
            ("10.0.0.0/8,127.0.0.1", true),
            ("10.0.0.0/8", false),
            ("nonsense", false),
            ("0.0.0.0/0", true),
        ] {
            assert_eq!(names(allowed.as_bytes(), peer), named, "{allowed}");
        }
    }
}
