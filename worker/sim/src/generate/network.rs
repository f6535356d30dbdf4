//! Interfaces, addresses, services and DNS.

use std::net::Ipv4Addr;

use crate::rng::Rng;
use crate::table::{Row, Table};

use super::{Profile, Purpose, comment, singleton};

/// At most this many ports are listed, so that no device has more than ten interfaces.
const MAX_PORTS: u64 = 8;

pub(super) fn interfaces(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Interfaces);
    let mut table = Table::default();
    for port in 1..=ports(profile) {
        let name = format!("ether{port}");
        let row = Row::default()
            .with("name", name.clone())
            .with("default-name", name);
        table.add(interface(profile, &mut rng, row, "ether"), None);
    }
    for (name, kind) in [("bridge1", "bridge"), ("vlan10", "vlan")]
        .into_iter()
        .take(virtuals(profile))
    {
        let row = Row::default().with("name", name);
        table.add(interface(profile, &mut rng, row, kind), None);
    }
    table
}

fn interface(profile: &Profile, rng: &mut Rng, row: Row, kind: &str) -> Row {
    let running = kind != "ether" || rng.percent(70);
    let mut mac = rng.bytes(3);
    mac.splice(0..0, [0x48, 0xA9, 0x8A]);
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02X}")).collect();
    let row = row
        .with("type", kind)
        .with("mtu", "1500")
        .with("actual-mtu", "1500")
        .with("l2mtu", "1598")
        .with("mac-address", mac.join(":"));
    let row = match running {
        true => row.with("last-link-up-time", profile.past(rng, 60)),
        false => row,
    };
    let traffic = if running { 1 << 40 } else { 1 };
    let row = row
        .with("link-downs", rng.below(9).to_string())
        .with("rx-byte", rng.below(traffic).to_string())
        .with("tx-byte", rng.below(traffic).to_string())
        .with("rx-packet", rng.below(traffic >> 9).to_string())
        .with("tx-packet", rng.below(traffic >> 9).to_string())
        .with("dynamic", profile.boolean(false))
        .with("running", profile.boolean(running))
        .with("disabled", profile.boolean(!running && rng.percent(20)));
    comment::maybe(row, rng, 30)
}

fn ports(profile: &Profile) -> u64 {
    profile.board().ports.clamp(1, MAX_PORTS)
}

/// How many interfaces there are beside the ports.
fn virtuals(profile: &Profile) -> usize {
    profile.rng(Purpose::Interfaces).below(3) as usize
}

pub(super) fn addresses(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Addresses);
    let mut table = Table::default();
    for at in 1..=rng.between(1, ports(profile).min(4)) {
        let site = (profile.index as u32) << 2 | (at as u32 - 1);
        let network = Ipv4Addr::from(0x0A00_0000 | (site << 8) & 0x00FF_FF00);
        let address = Ipv4Addr::from(u32::from(network) | rng.between(1, 254) as u32);
        let interface = format!("ether{at}");
        let row = Row::default()
            .with("address", format!("{address}/24"))
            .with("network", network.to_string())
            .with("interface", interface.clone())
            .with("actual-interface", interface)
            .with("invalid", profile.boolean(false))
            .with("dynamic", profile.boolean(false))
            .with("disabled", profile.boolean(rng.percent(5)));
        table.add(comment::maybe(row, &mut rng, 40), None);
    }
    table
}

/// `(name, port, enabled on how many of a hundred devices)`.
const SERVICES: [(&str, u16, u64); 8] = [
    ("telnet", 23, 35),
    ("ftp", 21, 30),
    ("www", 80, 50),
    ("ssh", 22, 90),
    ("www-ssl", 443, 20),
    ("api", 8728, 100),
    ("winbox", 8291, 95),
    ("api-ssl", 8729, 60),
];

pub(super) fn services(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Services);
    let mut table = Table::default();
    for (name, port, enabled) in SERVICES {
        let address = if rng.percent(20) {
            "10.0.0.0/8,192.168.88.0/24"
        } else {
            ""
        };
        let mut row = Row::default()
            .with("name", name)
            .with("port", port.to_string())
            .with("address", address);
        if name.ends_with("-ssl") {
            row = row.with("certificate", "none");
            if profile.version.since(6, 48) {
                row = row.with("tls-version", "any");
            }
        }
        if profile.version.since(7, 1) {
            row = row.with("vrf", "main");
        }
        if profile.version.since(7, 16) {
            row = row.with("max-sessions", "20");
        }
        if profile.version.since(7, 19) {
            row = row.with("dynamic", profile.boolean(false));
        }
        row = row
            .with("invalid", profile.boolean(false))
            .with("disabled", profile.boolean(!rng.percent(enabled)));
        table.add(row, None);
    }
    table
}

pub(super) fn dns(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Dns);
    let servers = *rng.pick(&["", "1.1.1.1,8.8.8.8", "9.9.9.9", "10.0.0.53", "8.8.8.8"]);
    let mut row = Row::default().with("servers", servers).with(
        "dynamic-servers",
        if servers.is_empty() { "192.168.88.1" } else { "" },
    );
    if profile.version.since(6, 47) {
        row = row
            .with("use-doh-server", "")
            .with("verify-doh-cert", profile.boolean(false));
    }
    row = row
        .with("allow-remote-requests", profile.boolean(rng.percent(40)))
        .with("max-udp-packet-size", "4096")
        .with("query-server-timeout", "2s")
        .with("query-total-timeout", "10s")
        .with("cache-size", "2048")
        .with("cache-max-ttl", "1w")
        .with("cache-used", rng.between(20, 900).to_string());
    singleton(row)
}
