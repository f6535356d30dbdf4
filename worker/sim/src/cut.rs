//! Whether a change has cut the way by which clients come in.
//!
//! Only what somebody has changed can do that: what a device was born with lets its clients in. There are three ways: a
//! rule of the input chain that drops their packets, the address they come in by gone or disabled, or its interface
//! disabled. (A service that is disabled refuses instead: `service`.)

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::device::Device;
use crate::field::prefix;
use crate::menu::MenuId;
use crate::table::{Row, Table};

/// Packets of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) peer: Ipv4Addr,
    /// Of the service as the client knows it, and as the device lists it.
    pub(crate) ports: [u16; 2],
    /// Whether its connection stands already.
    pub(crate) established: bool,
}

/// Chains that lead to one another at most.
const DEEP: usize = 8;

impl Device {
    /// Whether packets of connections that stand are dropped.
    pub(crate) fn is_cut(&self) -> bool {
        self.cuts(Client {
            peer: Ipv4Addr::LOCALHOST,
            ports: [self.api_port, 8728],
            established: true,
        })
    }

    /// Whether a client's packets do not arrive.
    pub(crate) fn cuts(&self, client: Client) -> bool {
        self.is_off_the_net() || self.drops(client)
    }

    fn is_off_the_net(&self) -> bool {
        let (now, yes) = (Duration::ZERO, self.version().boolean(true).as_bytes());
        if self.changed(MenuId::IpAddress).is_none() && self.changed(MenuId::Interface).is_none() {
            return false;
        }
        let born = self.profile.table(MenuId::IpAddress);
        let is_on = |row: &&Row| row.get(b"disabled") != Some(yes);
        // The address that clients come in by: the first that was not disabled.
        let Some(ours) = born.rows().iter().find(is_on) else {
            return false;
        };
        let addresses = self.table(MenuId::IpAddress, now);
        let Some(row) = addresses.row(ours.id).filter(is_on) else {
            return true;
        };
        let name = row.get(b"interface").unwrap_or_default();
        let disabled = |table: &Table| {
            let id = table.find(name, Some("name"));
            let row = id.and_then(|id| table.row(id));
            row.is_none_or(|row| row.get(b"disabled") == Some(yes))
        };
        let interface_went = disabled(&self.table(MenuId::Interface, now))
            && !disabled(&self.profile.table(MenuId::Interface));
        row.get(b"address") != ours.get(b"address") || interface_went
    }

    fn drops(&self, client: Client) -> bool {
        let Some(filter) = self.changed(MenuId::IpFirewallFilter) else {
            return false;
        };
        self.walk(filter, b"input", client, DEEP) == Some(true)
    }

    /// What a chain does with a packet: drops it, takes it, or nothing.
    fn walk(&self, filter: &Table, chain: &[u8], client: Client, deep: usize) -> Option<bool> {
        let born = self.profile.table(MenuId::IpFirewallFilter);
        let yes = self.version().boolean(true).as_bytes();
        let rules = filter
            .rows()
            .iter()
            .filter(|row| row.get(b"chain") == Some(chain));
        for rule in rules.filter(|row| row.get(b"disabled") != Some(yes)) {
            if !matches(rule, client) {
                continue;
            }
            match rule.get(b"action").unwrap_or(b"accept") {
                b"accept" | b"fasttrack-connection" => return Some(false),
                b"drop" | b"reject" | b"tarpit" if born.row(rule.id) != Some(rule) => return Some(true),
                b"return" => return None,
                b"jump" if deep > 0 => {
                    let to = rule.get(b"jump-target").unwrap_or_default();
                    if let Some(verdict) = self.walk(filter, to, client, deep - 1) {
                        return Some(verdict);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether a rule is about a client's packets. What clients come in by is not simulated, so an interface or a list
/// matches nothing.
fn matches(rule: &Row, client: Client) -> bool {
    let is = |name: &str, holds: &dyn Fn(&[u8]) -> bool| {
        rule.get(name.as_bytes())
            .is_none_or(|value| value.is_empty() || holds(value))
    };
    let covers = |value: &[u8]| {
        let (address, length) = prefix(value)?;
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        Some(u32::from(address) & mask == u32::from(client.peer) & mask)
    };
    let port = |value: &[u8]| {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let within = |part: &str, port: u16| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            matches!((low.parse(), high.parse()), (Ok(low), Ok(high)) if (low..=high).contains(&port))
        };
        let mut parts = text.split(',');
        parts.any(|part| client.ports.iter().any(|port| within(part, *port)))
    };
    let state = |value: &[u8]| {
        let wanted: &[u8] = if client.established {
            b"established"
        } else {
            b"new"
        };
        value.split(|byte| *byte == b',').any(|state| state == wanted)
    };
    is("protocol", &|value| value == b"tcp" || value == b"6")
        && is("src-address", &|value| covers(value) == Some(true))
        && is("dst-port", &port)
        && is("connection-state", &state)
        && [
            "dst-address",
            "src-address-list",
            "dst-address-list",
            "src-port",
            "in-interface",
            "in-interface-list",
        ]
        .iter()
        .all(|name| is(name, &|_| false))
}
