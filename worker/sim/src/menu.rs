//! The menus of a simulated device: their verbs and the properties of their items.

mod hardening;

use crate::field::{Field, Kind, flag, need, read, write};

/// One menu, such as `/ip/address`.
#[derive(Debug)]
pub(crate) struct Menu {
    pub(crate) id: MenuId,
    pub(crate) path: &'static str,
    pub(crate) shape: Shape,
    pub(crate) verbs: &'static [Verb],
    pub(crate) fields: &'static [Field],
    /// The property that may stand for an item's id (`=.id=ether1`).
    pub(crate) key: Option<&'static str>,
    /// The property that no two items share, and what the device says to whoever tries.
    pub(crate) unique: Option<(&'static str, &'static str)>,
}

/// Whether a menu has items, and whether their order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A table whose items are looked through in order: `add` takes `place-before`.
    Ordered,
    /// One item without an id.
    Singleton,
    /// A table.
    Table,
}

/// The menus, in the order of [`MENUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MenuId {
    Certificate,
    File,
    Interface,
    InterfaceL2tpServer,
    InterfacePptpServer,
    IpAddress,
    IpCloud,
    IpDns,
    IpFirewallAddressList,
    IpFirewallFilter,
    IpNeighborDiscovery,
    IpProxy,
    IpService,
    IpSettings,
    IpSmb,
    IpSocks,
    IpSsh,
    IpUpnp,
    Ipv6FirewallFilter,
    Partitions,
    PppSecret,
    Snmp,
    SnmpCommunity,
    SystemClock,
    SystemDeviceMode,
    SystemHistory,
    SystemIdentity,
    SystemNtpClient,
    SystemPackage,
    SystemPackageUpdate,
    SystemResource,
    SystemRouterboard,
    SystemScheduler,
    SystemScript,
    ToolBandwidthServer,
    ToolGraphingInterface,
    ToolMacServer,
    ToolMacServerWinbox,
    ToolMacServerPing,
    ToolRomon,
    ToolSniffer,
    User,
    UserActive,
}

/// What may be done in a menu. `getall` is `print`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Disable,
    Enable,
    GetAll,
    Listen,
    Move,
    Print,
    Remove,
    Set,
    Unset,
}

impl Verb {
    pub(crate) const ALL: [(Self, &'static str); 10] = [
        (Self::Add, "add"),
        (Self::Disable, "disable"),
        (Self::Enable, "enable"),
        (Self::GetAll, "getall"),
        (Self::Listen, "listen"),
        (Self::Move, "move"),
        (Self::Print, "print"),
        (Self::Remove, "remove"),
        (Self::Set, "set"),
        (Self::Unset, "unset"),
    ];

    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| known.as_bytes() == name);
        found.map(|&(verb, _)| verb)
    }

    pub(crate) fn is_mutating(self) -> bool {
        !matches!(self, Self::GetAll | Self::Listen | Self::Print)
    }
}

impl Menu {
    pub(crate) fn field(&self, name: &[u8]) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name.as_bytes() == name)
    }

    pub(crate) fn is_singleton(&self) -> bool {
        self.shape == Shape::Singleton
    }
}

impl MenuId {
    pub(crate) fn menu(self) -> &'static Menu {
        &MENUS[self as usize]
    }

    /// The first version that has it. A 6 has IPv6 as a package, which the simulated ones lack.
    pub(crate) fn since(self) -> (u16, u16) {
        match self {
            Self::SystemDeviceMode => (7, 17),
            Self::Ipv6FirewallFilter => (7, 0),
            Self::IpNeighborDiscovery => (6, 41),
            _ => (0, 0),
        }
    }
}

use Verb::{Add, Disable, Enable, GetAll, Listen, Move, Print, Remove, Set, Unset};

const READ_ONLY: &[Verb] = &[GetAll, Listen, Print];
const FIXED_ITEMS: &[Verb] = &[Disable, Enable, GetAll, Listen, Print, Set];
const ITEMS: &[Verb] = &[Add, Disable, Enable, GetAll, Listen, Print, Remove, Set, Unset];
const ORDERED_ITEMS: &[Verb] = &[
    Add, Disable, Enable, GetAll, Listen, Move, Print, Remove, Set, Unset,
];

const DISABLED: Field = write("disabled", Kind::Flag).or("no");
const COMMENT: Field = write("comment", Kind::Text);
const MATCHER: Kind = Kind::Text;

/// Every menu that exists, sorted by path.
pub(crate) static MENUS: [Menu; 43] = [
    hardening::CERTIFICATE,
    Menu {
        id: MenuId::File,
        path: "/file",
        shape: Shape::Table,
        verbs: &[GetAll, Print, Remove],
        key: Some("name"),
        unique: None,
        fields: &[
            read("name"),
            read("type"),
            read("size"),
            read("creation-time"),
            read("last-modified").since(7, 16),
            read("contents"),
        ],
    },
    Menu {
        id: MenuId::Interface,
        path: "/interface",
        shape: Shape::Table,
        verbs: &[Disable, Enable, GetAll, Listen, Print, Remove, Set, Unset],
        key: Some("name"),
        unique: Some(("name", "failure: already have interface with such name")),
        fields: &[
            need("name", Kind::Text).oid(".1.3.6.1.2.1.2.2.1.2"),
            read("default-name"),
            read("type"),
            write("mtu", Kind::Number(68, 65_535)).or("1500"),
            read("actual-mtu").oid(".1.3.6.1.2.1.2.2.1.4"),
            write("l2mtu", Kind::Number(68, 65_535)),
            read("max-l2mtu"),
            read("mac-address").oid(".1.3.6.1.2.1.2.2.1.6"),
            read("last-link-up-time"),
            read("link-downs"),
            read("rx-byte").oid(".1.3.6.1.2.1.31.1.1.1.6"),
            read("tx-byte").oid(".1.3.6.1.2.1.31.1.1.1.10"),
            read("rx-packet").oid(".1.3.6.1.2.1.31.1.1.1.7"),
            read("tx-packet").oid(".1.3.6.1.2.1.31.1.1.1.11"),
            flag("dynamic"),
            flag("running"),
            DISABLED,
            COMMENT,
        ],
    },
    hardening::L2TP_SERVER,
    hardening::PPTP_SERVER,
    Menu {
        id: MenuId::IpAddress,
        path: "/ip/address",
        shape: Shape::Table,
        verbs: ITEMS,
        key: None,
        unique: Some(("address", "failure: already have such address")),
        fields: &[
            need("address", Kind::Prefix),
            write("network", Kind::Text),
            need("interface", Kind::Interface),
            read("actual-interface"),
            flag("invalid"),
            flag("dynamic"),
            DISABLED,
            COMMENT,
        ],
    },
    hardening::CLOUD,
    Menu {
        id: MenuId::IpDns,
        path: "/ip/dns",
        shape: Shape::Singleton,
        verbs: &[GetAll, Listen, Print, Set],
        key: None,
        unique: None,
        fields: &[
            write("servers", Kind::Text).or(""),
            read("dynamic-servers"),
            write("use-doh-server", Kind::Text).or("").since(6, 47),
            write("verify-doh-cert", Kind::Flag).or("no").since(6, 47),
            write("allow-remote-requests", Kind::Flag).or("no"),
            write("max-udp-packet-size", Kind::Number(50, 65_507)).or("4096"),
            write("query-server-timeout", Kind::Text).or("2s"),
            write("query-total-timeout", Kind::Text).or("10s"),
            write("cache-size", Kind::Number(64, 4_294_967_295)).or("2048"),
            write("cache-max-ttl", Kind::Text).or("1w"),
            read("cache-used"),
        ],
    },
    Menu {
        id: MenuId::IpFirewallAddressList,
        path: "/ip/firewall/address-list",
        shape: Shape::Table,
        verbs: ITEMS,
        key: None,
        unique: None,
        fields: &[
            need("list", Kind::Text),
            need("address", Kind::Text),
            flag("dynamic"),
            DISABLED,
            write("timeout", Kind::Text),
            COMMENT,
        ],
    },
    Menu {
        id: MenuId::IpFirewallFilter,
        path: "/ip/firewall/filter",
        shape: Shape::Ordered,
        verbs: ORDERED_ITEMS,
        key: None,
        unique: None,
        fields: &[
            need("chain", Kind::Text),
            write("action", Kind::Choice(ACTIONS)).or("accept"),
            write("jump-target", Kind::Text),
            write("protocol", MATCHER),
            write("src-address", MATCHER),
            write("dst-address", MATCHER),
            write("src-address-list", MATCHER),
            write("dst-address-list", MATCHER),
            write("src-port", MATCHER),
            write("dst-port", MATCHER),
            write("in-interface", MATCHER),
            write("out-interface", MATCHER),
            write("in-interface-list", MATCHER),
            write("out-interface-list", MATCHER),
            write("connection-state", MATCHER),
            write("connection-nat-state", MATCHER),
            write("address-list", Kind::Text),
            write("address-list-timeout", Kind::Text),
            write("log", Kind::Flag).or("no"),
            write("log-prefix", Kind::Text).or(""),
            read("bytes").or("0"),
            read("packets").or("0"),
            flag("invalid"),
            flag("dynamic"),
            DISABLED,
            COMMENT,
        ],
    },
    hardening::DISCOVERY,
    hardening::PROXY,
    Menu {
        id: MenuId::IpService,
        path: "/ip/service",
        shape: Shape::Table,
        verbs: FIXED_ITEMS,
        key: Some("name"),
        unique: None,
        fields: &[
            read("name"),
            write("port", Kind::Number(1, 65_535)).or("1"),
            write("address", Kind::Text).or(""),
            write("certificate", Kind::Text),
            write("tls-version", Kind::Choice(&["any", "only-1.2"])).since(6, 48),
            write("vrf", Kind::Text).or("main").since(7, 1),
            write("max-sessions", Kind::Number(1, 1000)).or("20").since(7, 16),
            flag("dynamic").since(7, 19),
            flag("invalid"),
            DISABLED,
        ],
    },
    hardening::IP_SETTINGS,
    hardening::SMB,
    hardening::SOCKS,
    hardening::SSH,
    hardening::UPNP,
    hardening::IPV6_FILTER,
    Menu {
        id: MenuId::Partitions,
        path: "/partitions",
        shape: Shape::Table,
        verbs: &[GetAll, Print, Set],
        key: Some("name"),
        unique: Some(("name", "failure: partition with such name already exists")),
        fields: &[
            need("name", Kind::Text),
            write("fallback-to", Kind::Text).or("next"),
            read("version"),
            read("size"),
            flag("active"),
            flag("running"),
        ],
    },
    Menu {
        id: MenuId::PppSecret,
        path: "/ppp/secret",
        shape: Shape::Table,
        verbs: ITEMS,
        key: Some("name"),
        unique: Some(("name", "failure: secret with the same name already exists")),
        fields: &[
            need("name", Kind::Text),
            write("password", Kind::Secret).or(""),
            write("service", Kind::Text).or("any"),
            write("profile", Kind::Text).or("default"),
            DISABLED,
            COMMENT,
        ],
    },
    hardening::SNMP,
    hardening::SNMP_COMMUNITY,
    Menu {
        id: MenuId::SystemClock,
        path: "/system/clock",
        shape: Shape::Singleton,
        verbs: &[GetAll, Print, Set],
        key: None,
        unique: None,
        fields: &[
            write("time", Kind::Text),
            write("date", Kind::Text),
            write("time-zone-autodetect", Kind::Flag).or("yes"),
            write("time-zone-name", Kind::Text).or("UTC"),
            read("gmt-offset").or("+00:00"),
        ],
    },
    Menu {
        id: MenuId::SystemDeviceMode,
        path: "/system/device-mode",
        shape: Shape::Singleton,
        verbs: &[GetAll, Print],
        key: None,
        unique: None,
        fields: &[
            read("mode"),
            read("fetch"),
            read("scheduler"),
            read("install-any-version"),
            read("partitions"),
            read("flagged"),
            read("attempt-count"),
        ],
    },
    Menu {
        id: MenuId::SystemHistory,
        path: "/system/history",
        shape: Shape::Table,
        verbs: &[GetAll, Print],
        key: None,
        unique: None,
        fields: &[
            read("action"),
            read("by"),
            read("policy"),
            read("time"),
            flag("undoable"),
            flag("floating-undo"),
        ],
    },
    Menu {
        id: MenuId::SystemIdentity,
        path: "/system/identity",
        shape: Shape::Singleton,
        verbs: &[GetAll, Listen, Print, Set],
        key: None,
        unique: None,
        fields: &[write("name", Kind::Text).or("MikroTik").oid(".1.3.6.1.2.1.1.5.0")],
    },
    Menu {
        id: MenuId::SystemNtpClient,
        path: "/system/ntp/client",
        shape: Shape::Singleton,
        verbs: &[GetAll, Print, Set],
        key: None,
        unique: None,
        fields: &[
            write("enabled", Kind::Flag).or("no"),
            write("servers", Kind::Text).or("").since(7, 1),
            write("primary-ntp", Kind::Text).or("0.0.0.0").until(7, 0),
            write("secondary-ntp", Kind::Text).or("0.0.0.0").until(7, 0),
            write("server-dns-names", Kind::Text).or("").until(7, 0),
            read("status").since(7, 1),
            read("last-update-from"),
        ],
    },
    Menu {
        id: MenuId::SystemPackage,
        path: "/system/package",
        shape: Shape::Table,
        verbs: &[Disable, Enable, GetAll, Listen, Print],
        key: Some("name"),
        unique: None,
        fields: &[
            read("name"),
            read("version"),
            read("build-time"),
            read("scheduled"),
            flag("disabled"),
        ],
    },
    Menu {
        id: MenuId::SystemPackageUpdate,
        path: "/system/package/update",
        shape: Shape::Singleton,
        verbs: &[GetAll, Print, Set],
        key: None,
        unique: None,
        fields: &[
            write("channel", Kind::Text).or("stable"),
            read("installed-version"),
            read("latest-version"),
            read("status"),
        ],
    },
    Menu {
        id: MenuId::SystemResource,
        path: "/system/resource",
        shape: Shape::Singleton,
        verbs: &[GetAll, Print],
        key: None,
        unique: None,
        fields: &[
            read("uptime").oid(".1.3.6.1.2.1.1.3.0"),
            read("version"),
            read("build-time"),
            read("factory-software"),
            read("free-memory"),
            read("total-memory").oid(".1.3.6.1.2.1.25.2.3.1.5.65536"),
            read("cpu"),
            read("cpu-count"),
            read("cpu-frequency").oid(".1.3.6.1.4.1.14988.1.1.3.14.0"),
            read("cpu-load").oid(".1.3.6.1.2.1.25.3.3.1.2.1"),
            read("free-hdd-space"),
            read("total-hdd-space").oid(".1.3.6.1.2.1.25.2.3.1.5.131072"),
            read("write-sect-since-reboot"),
            read("write-sect-total"),
            read("bad-blocks"),
            read("architecture-name"),
            read("board-name"),
            read("platform"),
        ],
    },
    Menu {
        id: MenuId::SystemRouterboard,
        path: "/system/routerboard",
        shape: Shape::Singleton,
        verbs: &[GetAll, Print],
        key: None,
        unique: None,
        fields: &[
            flag("routerboard"),
            read("board-name"),
            read("model"),
            read("serial-number").oid(".1.3.6.1.4.1.14988.1.1.7.3.0"),
            read("firmware-type"),
            read("factory-firmware"),
            read("current-firmware").oid(".1.3.6.1.4.1.14988.1.1.7.4.0"),
            read("upgrade-firmware").oid(".1.3.6.1.4.1.14988.1.1.7.7.0"),
        ],
    },
    Menu {
        id: MenuId::SystemScheduler,
        path: "/system/scheduler",
        shape: Shape::Table,
        verbs: ITEMS,
        key: Some("name"),
        unique: Some(("name", "failure: item with such name already exists")),
        fields: &[
            need("name", Kind::Text),
            write("start-date", Kind::Text),
            write("start-time", Kind::Text),
            write("interval", Kind::Text).or("0s"),
            write("on-event", Kind::Text).or(""),
            write("policy", Kind::Text).or("read,write,policy,test"),
            read("owner"),
            read("run-count").or("0"),
            read("next-run"),
            DISABLED,
            COMMENT,
        ],
    },
    Menu {
        id: MenuId::SystemScript,
        path: "/system/script",
        shape: Shape::Table,
        verbs: ITEMS,
        key: Some("name"),
        unique: Some(("name", "failure: item with such name already exists")),
        fields: &[
            need("name", Kind::Text),
            write("source", Kind::Text).or(""),
            write("policy", Kind::Text).or("read,write,policy,test"),
            write("dont-require-permissions", Kind::Flag).or("no"),
            read("owner"),
            read("run-count").or("0"),
            COMMENT,
        ],
    },
    hardening::BANDWIDTH_SERVER,
    hardening::GRAPHING,
    hardening::MAC_SERVER,
    hardening::MAC_WINBOX,
    hardening::MAC_PING,
    hardening::ROMON,
    hardening::SNIFFER,
    Menu {
        id: MenuId::User,
        path: "/user",
        shape: Shape::Table,
        verbs: ITEMS,
        key: Some("name"),
        unique: Some(("name", "failure: item with such name already exists")),
        fields: &[
            need("name", Kind::Text),
            need("group", Kind::Choice(&["full", "read", "write"])),
            write("address", Kind::Text).or(""),
            write("password", Kind::Secret).or(""),
            write("inactivity-timeout", Kind::Text).or("10m").since(7, 16),
            write(
                "inactivity-policy",
                Kind::Choice(&["none", "lockscreen", "logout"]),
            )
            .or("none")
            .since(7, 16),
            read("last-logged-in"),
            DISABLED,
            COMMENT,
        ],
    },
    Menu {
        id: MenuId::UserActive,
        path: "/user/active",
        shape: Shape::Table,
        verbs: READ_ONLY,
        key: None,
        unique: None,
        fields: &[
            read("when"),
            read("name"),
            read("address"),
            read("via"),
            read("group"),
            flag("radius"),
        ],
    },
];

const ACTIONS: &[&str] = &[
    "accept",
    "add-dst-to-address-list",
    "add-src-to-address-list",
    "drop",
    "fasttrack-connection",
    "jump",
    "log",
    "passthrough",
    "reject",
    "return",
    "tarpit",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_find_their_menus() {
        for (at, menu) in MENUS.iter().enumerate() {
            assert_eq!(menu.id as usize, at, "{}", menu.path);
        }
        assert!(MENUS.is_sorted_by_key(|menu| menu.path));
    }

    #[test]
    fn keys_and_unique_properties_are_properties() {
        for menu in &MENUS {
            let names = menu.key.into_iter().chain(menu.unique.map(|(name, _)| name));
            for name in names {
                assert!(menu.field(name.as_bytes()).is_some(), "{} {name}", menu.path);
            }
        }
    }
}
