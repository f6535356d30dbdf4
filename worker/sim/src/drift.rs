//! Drift: a fleet that was hardened once, and what went wrong on it since.
//!
//! With a share of drift, devices are born as a hardening guide wants them, and each deviation is planted on that share of
//! the devices that can have it. Which devices follows from the seed, so what an audit should find is known beforehand.

use serde::Serialize;

use crate::generate::{Profile, item, set};
use crate::menu::MenuId;
use crate::rng::Rng;
use crate::table::Table;
use crate::version::Version;

/// Something that is not as it should be.
struct Deviation {
    name: &'static str,
    menu: MenuId,
    what: What,
}

type Properties = &'static [(&'static str, &'static str)];

enum What {
    /// The device's address is also another's.
    Address,
    /// The configuration is flagged.
    Flagged,
    /// One more item, which is the first.
    Item(Properties),
    /// Properties of an item, found by one of them: as they should be, as they are.
    Of(
        (&'static str, &'static str),
        &'static [(&'static str, &'static str, &'static str)],
    ),
    /// The same of a menu that is one item.
    Set(&'static str, &'static str, &'static str),
    /// A user with the name that everybody knows.
    User,
    /// The version is too old.
    Version,
}

use What::{Address, Flagged, Item, Of, Set, User};

const REST: &str = "drop the rest";

/// All of them. A set of them is a number with a bit for each.
const ALL: [Deviation; 38] = [
    of(
        "telnet",
        MenuId::IpService,
        ("name", "telnet"),
        &[("disabled", "yes", "no")],
    ),
    of(
        "ftp",
        MenuId::IpService,
        ("name", "ftp"),
        &[("disabled", "yes", "no")],
    ),
    of(
        "http",
        MenuId::IpService,
        ("name", "www"),
        &[("disabled", "yes", "no"), ("address", "", "")],
    ),
    one("default-user", MenuId::User, User),
    set_to(
        "open-resolver",
        MenuId::IpDns,
        "allow-remote-requests",
        "no",
        "yes",
    ),
    set_to("unverified-doh", MenuId::IpDns, "verify-doh-cert", "yes", "no"),
    set_to("no-ntp", MenuId::SystemNtpClient, "enabled", "yes", "no"),
    set_to(
        "no-ntp-server",
        MenuId::SystemNtpClient,
        "servers",
        "10.0.0.1",
        "",
    ),
    set_to(
        "no-ntp-server",
        MenuId::SystemNtpClient,
        "primary-ntp",
        "10.0.0.1",
        "0.0.0.0",
    ),
    one("old-version", MenuId::SystemResource, What::Version),
    one("flagged", MenuId::SystemDeviceMode, Flagged),
    of(
        "open-input",
        MenuId::IpFirewallFilter,
        ("comment", REST),
        &[("disabled", "no", "yes")],
    ),
    one(
        "accept-all",
        MenuId::IpFirewallFilter,
        Item(&[
            ("chain", "input"),
            ("action", "accept"),
            ("comment", "test, remove me"),
        ]),
    ),
    of(
        "open-ipv6-input",
        MenuId::Ipv6FirewallFilter,
        ("in-interface-list", "!LAN"),
        &[("disabled", "no", "yes")],
    ),
    set_to(
        "source-route",
        MenuId::IpSettings,
        "accept-source-route",
        "no",
        "yes",
    ),
    set_to("redirects", MenuId::IpSettings, "accept-redirects", "no", "yes"),
    set_to(
        "mac-telnet",
        MenuId::ToolMacServer,
        "allowed-interface-list",
        "none",
        "all",
    ),
    set_to(
        "mac-winbox",
        MenuId::ToolMacServerWinbox,
        "allowed-interface-list",
        "mgmt",
        "all",
    ),
    set_to("mac-ping", MenuId::ToolMacServerPing, "enabled", "no", "yes"),
    set_to(
        "discovery",
        MenuId::IpNeighborDiscovery,
        "discover-interface-list",
        "mgmt",
        "!dynamic",
    ),
    set_to("romon", MenuId::ToolRomon, "enabled", "no", "yes"),
    set_to(
        "bandwidth-server",
        MenuId::ToolBandwidthServer,
        "enabled",
        "no",
        "yes",
    ),
    set_to("web-proxy", MenuId::IpProxy, "enabled", "no", "yes"),
    set_to("socks", MenuId::IpSocks, "enabled", "no", "yes"),
    set_to("upnp", MenuId::IpUpnp, "enabled", "no", "yes"),
    set_to("dynamic-dns", MenuId::IpCloud, "ddns-enabled", "no", "yes"),
    set_to("smb", MenuId::IpSmb, "enabled", "no", "yes"),
    set_to("pptp", MenuId::InterfacePptpServer, "enabled", "no", "yes"),
    set_to(
        "bare-l2tp",
        MenuId::InterfaceL2tpServer,
        "use-ipsec",
        "required",
        "no",
    ),
    set_to("sniffer", MenuId::ToolSniffer, "streaming-enabled", "no", "yes"),
    of(
        "open-graphs",
        MenuId::ToolGraphingInterface,
        ("interface", "all"),
        &[("allow-address", "10.0.0.0/8", "0.0.0.0/0")],
    ),
    one(
        "snmp-public",
        MenuId::SnmpCommunity,
        Item(&[("name", "public"), ("addresses", "::/0")]),
    ),
    of(
        "snmp-write",
        MenuId::SnmpCommunity,
        ("name", "fleet"),
        &[("write-access", "no", "yes")],
    ),
    set_to("weak-ssh", MenuId::IpSsh, "strong-crypto", "yes", "no"),
    set_to("bare-ssh", MenuId::IpSsh, "allow-none-crypto", "no", "yes"),
    set_to(
        "ssh-forwarding",
        MenuId::IpSsh,
        "forwarding-enabled",
        "no",
        "both",
    ),
    of(
        "expired-certificate",
        MenuId::Certificate,
        ("name", "web"),
        &[("expired", "no", "yes")],
    ),
    one("duplicate-address", MenuId::IpAddress, Address),
];

const fn one(name: &'static str, menu: MenuId, what: What) -> Deviation {
    Deviation { name, menu, what }
}

const fn set_to(
    name: &'static str,
    menu: MenuId,
    property: &'static str,
    good: &'static str,
    bad: &'static str,
) -> Deviation {
    one(name, menu, Set(property, good, bad))
}

const fn of(
    name: &'static str,
    menu: MenuId,
    item: (&'static str, &'static str),
    values: &'static [(&'static str, &'static str, &'static str)],
) -> Deviation {
    one(name, menu, Of(item, values))
}

/// What a device was found to be, by its place in [`ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift(u64);

/// A deviation of a device, for whoever wants to know what an audit should find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planted {
    /// Its name, such as `telnet`.
    pub deviation: &'static str,
    /// Where it shows.
    pub menu: &'static str,
    /// As what, such as `name=telnet disabled=no`.
    pub shows: String,
}

impl Drift {
    fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }

    /// Whether the configuration is flagged.
    pub(crate) fn is_flagged(self) -> bool {
        let flagged =
            |(at, deviation): (usize, &Deviation)| self.has(at) && matches!(deviation.what, Flagged);
        ALL.iter().enumerate().any(flagged)
    }

    /// All that it says.
    pub(crate) fn planted(self) -> Vec<Planted> {
        let planted = ALL.iter().enumerate().filter(|(at, _)| self.has(*at));
        planted
            .map(|(_, deviation)| Planted {
                deviation: deviation.name,
                menu: deviation.menu.menu().path,
                shows: deviation.what.shows(),
            })
            .collect()
    }
}

impl What {
    fn shows(&self) -> String {
        let told = |properties: &mut dyn Iterator<Item = (&str, &str)>| {
            let told = properties.map(|(name, value)| format!("{name}={value}"));
            told.collect::<Vec<_>>().join(" ")
        };
        match self {
            Address => "address= of another device".to_owned(),
            Flagged => "flagged=yes".to_owned(),
            Item(properties) => told(&mut properties.iter().copied()),
            Of(item, values) => {
                let values = values.iter().map(|(name, _, bad)| (*name, *bad));
                told(&mut std::iter::once(*item).chain(values))
            }
            Set(name, _, bad) => format!("{name}={bad}"),
            User => "name=admin".to_owned(),
            What::Version => "version= is old".to_owned(),
        }
    }

    /// Whether a device can have it at all.
    fn fits(&self, menu: MenuId, profile: &Profile) -> bool {
        let since = menu.since();
        let has = |name: &str| {
            let field = menu.menu().field(name.as_bytes());
            field.is_some_and(|field| field.exists_in(profile.version))
        };
        profile.version.since(since.0, since.1)
            && match self {
                // One of each pair takes the other's.
                Address => profile.index % 2 == 1,
                Of(_, values) => values.iter().all(|(name, ..)| has(name)),
                Set(name, ..) => has(name),
                Flagged | Item(_) | User | What::Version => true,
            }
    }
}

/// Whether a version lacks what is wanted of all, and the version that stands for such.
fn old(version: Version) -> (bool, &'static str) {
    let before = |text: &str| text.parse::<Version>().is_ok_and(|since| version < since);
    match version.since(7, 0) {
        true => (before("7.12.1"), "7.11.2"),
        false => (before("6.49.7"), "6.48.6"),
    }
}

/// Plants each deviation on a share of the devices that can have it, on one at least. `admin` is whether the user that the
/// fleet is told to have is the one that everybody knows.
pub(crate) fn plant(profiles: &mut [Profile], share: f64, admin: bool) {
    let mut drifts = vec![0_u64; profiles.len()];
    // The version first: it decides what else a device can have.
    let is_version = |deviation: &Deviation| matches!(deviation.what, What::Version);
    let mut order = (0..ALL.len()).collect::<Vec<_>>();
    order.sort_by_key(|at| !is_version(&ALL[*at]));
    for at in order {
        let Deviation { menu, what, .. } = &ALL[at];
        let by_birth = |profile: &Profile| match what {
            User => admin,
            What::Version => old(profile.version).0,
            _ => false,
        };
        let chance =
            |profile: &Profile| Rng::keyed(profile.seed, &[profile.index as u64, at as u64, 0xD21F]).next();
        let mut meant = Vec::new();
        for (index, profile) in profiles.iter().enumerate() {
            if by_birth(profile) {
                drifts[index] |= 1 << at;
            } else if what.fits(*menu, profile) {
                meant.push((chance(profile), index));
            }
        }
        meant.sort_unstable();
        let count = match share > 0.0 {
            true => ((share * meant.len() as f64).round() as usize).max(1),
            false => 0,
        };
        for (_, index) in meant.into_iter().take(count) {
            drifts[index] |= 1 << at;
            if is_version(&ALL[at])
                && let Ok(version) = old(profiles[index].version).1.parse()
            {
                (profiles[index].version, profiles[index].born) = (version, version);
            }
        }
    }
    for (profile, drift) in profiles.iter_mut().zip(drifts) {
        profile.drift = Some(Drift(drift));
    }
}

/// A menu as a hardened device has it, but for what is planted.
pub(crate) fn apply(profile: &Profile, menu: MenuId, table: &mut Table) {
    let Some(drift) = profile.drift else { return };
    harden(profile, menu, table);
    for (at, deviation) in ALL.iter().enumerate().filter(|(_, one)| one.menu == menu) {
        let planted = drift.has(at);
        let choose = |good, bad| if planted { bad } else { good };
        match &deviation.what {
            Set(name, good, bad) => {
                for row in table.rows_mut() {
                    set(profile, menu, row, name, choose(good, bad));
                }
            }
            Of((key, value), values) => {
                let is_it = |row: &&mut crate::table::Row| row.get(key.as_bytes()) == Some(value.as_bytes());
                for row in table.rows_mut().iter_mut().filter(is_it) {
                    for (name, good, bad) in *values {
                        set(profile, menu, row, name, choose(good, bad));
                    }
                }
            }
            Item(properties) if planted => {
                let first = table.rows().first().map(|row| row.id);
                table.add(item(profile, menu, properties), first);
            }
            User if planted => {
                let rng = &mut Rng::keyed(profile.seed, &[profile.index as u64, 0xAD]);
                // Nobody knows it.
                let password = rng.next().to_string();
                let properties = [("name", "admin"), ("group", "full"), ("password", &password)];
                table.add(item(profile, menu, &properties), None);
            }
            Address if planted => {
                let twin = Profile {
                    index: profile.index - 1,
                    drift: None,
                    ..*profile
                };
                let twin = twin.table(menu);
                if let (Some(row), Some(other)) = (table.rows_mut().first_mut(), twin.rows().first()) {
                    for name in ["address", "network"] {
                        row.set(name, other.get(name.as_bytes()).unwrap_or_default().to_vec());
                    }
                }
            }
            Address | Flagged | Item(_) | User | What::Version => {}
        }
    }
}

/// What no deviation is about, and what deviations are told apart by.
fn harden(profile: &Profile, menu: MenuId, table: &mut Table) {
    let items: &[Properties] = match menu {
        MenuId::IpFirewallFilter => &[&[("chain", "input"), ("action", "drop"), ("comment", REST)]],
        MenuId::ToolGraphingInterface => &[&[("interface", "all")]],
        MenuId::SnmpCommunity => &[&[("name", "fleet"), ("addresses", "10.0.0.0/8")]],
        MenuId::Certificate => &[&[("name", "web"), ("common-name", "web"), ("private-key", "yes")]],
        _ => &[],
    };
    match menu {
        // It would be a second rule that drops what no other took.
        MenuId::IpFirewallFilter => {
            let by_port = table
                .rows()
                .iter()
                .filter(|row| row.get(b"in-interface").is_some());
            let by_port = by_port.map(|row| row.id).collect::<Vec<_>>();
            by_port.into_iter().for_each(|id| table.remove(id));
        }
        MenuId::SnmpCommunity => *table = Table::default(),
        _ => {}
    }
    for properties in items {
        table.add(item(profile, menu, properties), None);
    }
    for row in table.rows_mut() {
        match menu {
            MenuId::Snmp | MenuId::InterfaceL2tpServer => set(profile, menu, row, "enabled", "yes"),
            MenuId::IpDns => set(
                profile,
                menu,
                row,
                "use-doh-server",
                "https://dns.example/dns-query",
            ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(devices: usize, share: f64, versions: &[&str]) -> Vec<Profile> {
        let profile = |index: usize| {
            let version = versions[index % versions.len()].parse().expect("a version");
            Profile {
                seed: 7,
                index,
                version,
                born: version,
                drift: None,
            }
        };
        let mut profiles = (0..devices).map(profile).collect::<Vec<_>>();
        plant(&mut profiles, share, false);
        profiles
    }

    fn planted(profile: &Profile) -> Vec<&'static str> {
        let planted = profile.drift.expect("drift").planted();
        planted.into_iter().map(|planted| planted.deviation).collect()
    }

    #[test]
    fn each_deviation_is_on_its_share_of_the_devices_that_can_have_it_and_always_the_same() {
        let versions = ["7.16.2", "7.12.1", "7.18.2", "6.49.17"];
        let profiles = fleet(400, 0.1, &versions);
        let again = fleet(400, 0.1, &versions);
        for deviation in &ALL {
            let has = |profile: &&Profile| planted(profile).contains(&deviation.name);
            let count = profiles.iter().filter(has).count();
            assert!((9..=40).contains(&count), "{} {count}", deviation.name);
        }
        for (one, other) in profiles.iter().zip(&again) {
            assert_eq!(one.drift, other.drift);
        }
        assert!(
            fleet(8, 0.0, &versions)
                .iter()
                .all(|profile| planted(profile).is_empty())
        );
        // However small the share, each is somewhere.
        let few = fleet(8, 0.001, &versions);
        let all = few
            .iter()
            .flat_map(planted)
            .collect::<std::collections::BTreeSet<_>>();
        let names = ALL.iter().map(|deviation| deviation.name).collect();
        assert_eq!(all, names);
    }

    #[test]
    fn a_deviation_shows_in_its_menu_and_in_no_other() {
        let profiles = fleet(400, 0.1, &["7.18.2"]);
        let clean = fleet(400, 0.0, &["7.18.2"]);
        for (profile, clean) in profiles.iter().zip(&clean) {
            let menus = profile.drift.expect("drift").planted();
            let is_meant = |menu: MenuId| menus.iter().any(|planted| planted.menu == menu.menu().path);
            if profile.version != clean.version {
                continue;
            }
            for menu in &crate::menu::MENUS {
                // What the device itself shows is asked of it.
                if menu.id == MenuId::SystemDeviceMode {
                    continue;
                }
                let differs = profile.table(menu.id).rows() != clean.table(menu.id).rows();
                assert_eq!(differs, is_meant(menu.id), "{} {}", profile.index, menu.path);
            }
        }
    }

    #[test]
    fn what_is_old_is_replaced_by_what_is_old_of_its_kind() {
        let profiles = fleet(100, 0.2, &["7.16.2", "6.49.17"]);
        for profile in &profiles {
            let is_old = planted(profile).contains(&"old-version");
            assert_eq!(old(profile.version).0, is_old);
            assert_eq!(profile.version.since(7, 0), profile.index % 2 == 0);
        }
        // Where all are old by birth, nothing is planted to make them so.
        let old = fleet(3, 0.1, &["6.40"]);
        assert!(
            old.iter()
                .all(|profile| profile.version == "6.40".parse().expect("a version"))
        );
        assert!(
            old.iter()
                .all(|profile| planted(profile).contains(&"old-version"))
        );
    }
}
