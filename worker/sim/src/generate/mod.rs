//! What a device is made of, out of its seed and its index.
//!
//! A table is generated when it is asked for and kept only once it has been changed, so a device that nobody
//! configures costs a few words of memory. The same profile gives the same tables, always.

mod board;
mod comment;
mod firewall;
mod hardening;
mod network;
mod system;

use std::time::Duration;

use crate::drift::{self, Drift};
use crate::menu::MenuId;
use crate::rng::Rng;
use crate::table::{Row, Table};
use crate::version::Version;

pub(crate) use board::Board;
pub(crate) use hardening::{item, set};

/// What a device is by birth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) seed: u64,
    /// Position in the fleet, from 0.
    pub(crate) index: usize,
    pub(crate) version: Version,
    /// The version it was made with: its hardware follows from that.
    pub(crate) born: Version,
    /// What is not as it should be, of a fleet that was hardened; none of one that never was.
    pub(crate) drift: Option<Drift>,
}

/// When the clocks of all devices say the fleet was started: 2026-01-01 00:00:00, in seconds since 1970. Fixed, so
/// that a fleet's answers depend on its seed and not on the day.
pub(crate) const FLEET_EPOCH_S: i64 = 1_767_225_600;

impl Profile {
    /// The name that the device was given, `sim-00001` for index 0.
    pub(crate) fn identity(&self) -> String {
        format!("sim-{:05}", self.index + 1)
    }

    pub(crate) fn board(&self) -> &'static Board {
        Board::of(self)
    }

    /// How long the device had been up when the fleet was started.
    pub(crate) fn uptime_before(&self) -> Duration {
        Duration::from_secs(self.rng(Purpose::Uptime).between(300, 60 * 86_400))
    }

    /// The items of a menu as they are by birth. `/user/active` has none.
    pub(crate) fn table(&self, menu: MenuId) -> Table {
        let mut table = self.delivered(menu);
        drift::apply(self, menu, &mut table);
        table
    }

    /// The same before anybody has hardened it.
    fn delivered(&self, menu: MenuId) -> Table {
        match menu {
            MenuId::Certificate | MenuId::ToolGraphingInterface => Table::default(),
            MenuId::InterfaceL2tpServer
            | MenuId::InterfacePptpServer
            | MenuId::IpCloud
            | MenuId::IpNeighborDiscovery
            | MenuId::IpProxy
            | MenuId::IpSettings
            | MenuId::IpSmb
            | MenuId::IpSocks
            | MenuId::IpSsh
            | MenuId::IpUpnp
            | MenuId::Snmp
            | MenuId::ToolBandwidthServer
            | MenuId::ToolMacServer
            | MenuId::ToolMacServerPing
            | MenuId::ToolMacServerWinbox
            | MenuId::ToolRomon
            | MenuId::ToolSniffer => singleton(hardening::defaults(self, menu)),
            MenuId::Ipv6FirewallFilter => hardening::ipv6_filter(self),
            MenuId::SnmpCommunity => hardening::communities(self),
            MenuId::File
            | MenuId::Partitions
            | MenuId::SystemHistory
            | MenuId::SystemScheduler
            | MenuId::SystemScript => Table::default(),
            MenuId::Interface => network::interfaces(self),
            MenuId::IpAddress => network::addresses(self),
            MenuId::IpDns => network::dns(self),
            MenuId::IpFirewallAddressList => Table::default(),
            MenuId::IpFirewallFilter => firewall::filter(self),
            MenuId::IpService => network::services(self),
            MenuId::PppSecret => system::secrets(self),
            MenuId::SystemClock => singleton(system::clock(self)),
            MenuId::SystemNtpClient => singleton(system::ntp_client(self)),
            MenuId::SystemIdentity => singleton(Row::default().with("name", self.identity())),
            MenuId::SystemPackage => system::packages(self),
            // What they show is the device's state.
            MenuId::SystemDeviceMode | MenuId::SystemPackageUpdate => Table::default(),
            MenuId::SystemResource => singleton(system::resource(self)),
            MenuId::SystemRouterboard => singleton(system::routerboard(self)),
            MenuId::User => system::users(self),
            MenuId::UserActive => Table::default(),
        }
    }

    fn rng(&self, purpose: Purpose) -> Rng {
        Rng::keyed(self.seed, &[self.index as u64, purpose as u64])
    }

    fn boolean(&self, value: bool) -> &'static str {
        self.version.boolean(value)
    }

    /// A point in time up to `days` before the fleet was started, as the device prints it.
    fn past(&self, rng: &mut Rng, days: u64) -> String {
        let back = rng.below(days * 86_400) as i64;
        self.version.date(FLEET_EPOCH_S - back)
    }
}

/// What random numbers are for, so that one more of them in one table changes no other.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Addresses,
    Board,
    Dns,
    Filter,
    Interfaces,
    Packages,
    Resource,
    Routerboard,
    Secrets,
    Services,
    Uptime,
    Users,
}

fn singleton(row: Row) -> Table {
    let mut table = Table::default();
    table.push(row);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::MENUS;

    fn profiles() -> impl Iterator<Item = Profile> {
        let versions = ["6.40", "6.49.17", "7.12.1", "7.16.2", "7.23"];
        (0..200).map(move |index| Profile {
            seed: 1,
            index,
            version: versions[index % versions.len()].parse().expect("a version"),
            born: versions[index % versions.len()].parse().expect("a version"),
            drift: None,
        })
    }

    #[test]
    fn every_value_is_of_a_property_that_the_version_has() {
        for profile in profiles() {
            for menu in &MENUS {
                for row in profile.table(menu.id).rows() {
                    for (name, _) in row.values() {
                        let field = menu.field(name.as_bytes());
                        assert!(
                            field.is_some_and(|field| field.exists_in(profile.version)),
                            "{} {name} {}",
                            menu.path,
                            profile.version
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn tables_are_as_large_as_promised_and_always_the_same() {
        for profile in profiles() {
            let size = |menu| profile.table(menu).rows().len();
            assert!(
                (2..=10).contains(&size(MenuId::Interface)),
                "{}",
                size(MenuId::Interface)
            );
            assert!((5..=20).contains(&size(MenuId::IpFirewallFilter)));
            assert!(
                size(MenuId::IpAddress) >= 1 && size(MenuId::SystemPackage) >= 1 && size(MenuId::User) >= 1
            );
            for menu in &MENUS {
                assert_eq!(profile.table(menu.id).rows(), profile.table(menu.id).rows());
            }
        }
    }

    #[test]
    fn comments_hold_what_parsers_trip_over() {
        for profile in profiles() {
            let table = profile.table(MenuId::IpFirewallFilter);
            let comments: Vec<&[u8]> = table
                .rows()
                .iter()
                .filter_map(|row| row.get(b"comment"))
                .collect();
            let some = |test: fn(&[u8]) -> bool| comments.iter().any(|comment| test(comment));
            assert!(some(|c| std::str::from_utf8(c).is_err()), "a code page");
            assert!(some(|c| c.contains(&b'=')) && some(|c| c.contains(&b'\n')));
        }
    }

    #[test]
    fn telnet_is_on_on_some() {
        let on = |profile: &Profile| {
            let table = profile.table(MenuId::IpService);
            let telnet = table.find(b"telnet", Some("name")).and_then(|id| table.row(id));
            telnet.expect("telnet is listed").get(b"disabled") == Some(profile.boolean(false).as_bytes())
        };
        let count = profiles().filter(on).count();
        assert!((10..150).contains(&count), "{count}");
    }
}
