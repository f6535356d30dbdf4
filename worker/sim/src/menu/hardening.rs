//! Menus of what a router offers beside forwarding, as audits look at them.

use super::{ACTIONS, ITEMS, Menu, MenuId, Shape, Verb};
use super::{
    Add, COMMENT, DISABLED, Disable, Enable, GetAll, Listen, MATCHER, Move, Print, Remove, Set, Unset,
};
use crate::field::{Field, Kind, flag, need, read, write};

const SETTINGS: &[Verb] = &[GetAll, Print, Set];

/// A menu that is one item.
const fn settings(id: MenuId, path: &'static str, fields: &'static [Field]) -> Menu {
    Menu {
        id,
        path,
        shape: Shape::Singleton,
        verbs: SETTINGS,
        key: None,
        unique: None,
        fields,
    }
}

/// Something that is on or off.
const fn switch(default: &'static str) -> Field {
    write("enabled", Kind::Flag).or(default)
}

pub(super) const CERTIFICATE: Menu = Menu {
    id: MenuId::Certificate,
    path: "/certificate",
    shape: Shape::Table,
    verbs: &[GetAll, Print, Remove],
    key: Some("name"),
    unique: Some(("name", "failure: item with such name already exists")),
    fields: &[
        read("name"),
        read("common-name"),
        read("key-size"),
        read("days-valid"),
        read("invalid-before"),
        read("invalid-after"),
        flag("private-key"),
        flag("trusted"),
        flag("expired"),
    ],
};

pub(super) const L2TP_SERVER: Menu = settings(
    MenuId::InterfaceL2tpServer,
    "/interface/l2tp-server/server",
    &[
        switch("no"),
        write("max-mtu", Kind::Number(512, 1500)).or("1450"),
        write("authentication", Kind::Text).or("pap,chap,mschap1,mschap2"),
        write("default-profile", Kind::Text).or("default-encryption"),
        write("use-ipsec", Kind::Choice(&["no", "yes", "required"])).or("no"),
        write("ipsec-secret", Kind::Secret).or(""),
    ],
);

pub(super) const PPTP_SERVER: Menu = settings(
    MenuId::InterfacePptpServer,
    "/interface/pptp-server/server",
    &[
        switch("no"),
        write("max-mtu", Kind::Number(512, 1500)).or("1450"),
        write("authentication", Kind::Text).or("mschap1,mschap2"),
        write("default-profile", Kind::Text).or("default-encryption"),
    ],
);

pub(super) const CLOUD: Menu = settings(
    MenuId::IpCloud,
    "/ip/cloud",
    &[
        write("ddns-enabled", Kind::Flag).or("no"),
        write("ddns-update-interval", Kind::Text).or("none"),
        write("update-time", Kind::Flag).or("yes"),
    ],
);

pub(super) const DISCOVERY: Menu = settings(
    MenuId::IpNeighborDiscovery,
    "/ip/neighbor/discovery-settings",
    &[
        write("discover-interface-list", Kind::Text).or("static"),
        write("protocol", Kind::Text).or("cdp,lldp,mndp"),
    ],
);

pub(super) const PROXY: Menu = settings(
    MenuId::IpProxy,
    "/ip/proxy",
    &[
        switch("no"),
        write("src-address", Kind::Text).or("::"),
        write("port", Kind::Number(1, 65_535)).or("8080"),
        write("anonymous", Kind::Flag).or("no"),
        write("cache-administrator", Kind::Text).or("webmaster"),
    ],
);

pub(super) const IP_SETTINGS: Menu = settings(
    MenuId::IpSettings,
    "/ip/settings",
    &[
        write("ip-forward", Kind::Flag).or("yes"),
        write("send-redirects", Kind::Flag).or("yes"),
        write("accept-source-route", Kind::Flag).or("no"),
        write("accept-redirects", Kind::Flag).or("no"),
        write("secure-redirects", Kind::Flag).or("yes"),
        write("rp-filter", Kind::Choice(&["no", "loose", "strict"])).or("no"),
        write("tcp-syncookies", Kind::Flag).or("no"),
    ],
);

pub(super) const SMB: Menu = settings(
    MenuId::IpSmb,
    "/ip/smb",
    &[
        switch("no"),
        write("domain", Kind::Text).or("MSHOME"),
        COMMENT,
        write("interfaces", Kind::Text).or("all"),
    ],
);

pub(super) const SOCKS: Menu = settings(
    MenuId::IpSocks,
    "/ip/socks",
    &[
        switch("no"),
        write("port", Kind::Number(1, 65_535)).or("1080"),
        write("max-connections", Kind::Number(1, 500)).or("200"),
    ],
);

pub(super) const SSH: Menu = settings(
    MenuId::IpSsh,
    "/ip/ssh",
    &[
        write(
            "forwarding-enabled",
            Kind::Choice(&["no", "both", "local", "remote"]),
        )
        .or("no"),
        write("always-allow-password-login", Kind::Flag).or("no"),
        write("strong-crypto", Kind::Flag).or("no"),
        write("allow-none-crypto", Kind::Flag).or("no"),
        write("host-key-size", Kind::Number(1024, 8192)).or("2048"),
    ],
);

pub(super) const UPNP: Menu = settings(
    MenuId::IpUpnp,
    "/ip/upnp",
    &[
        switch("no"),
        write("allow-disable-external-interface", Kind::Flag).or("no"),
        write("show-dummy-rule", Kind::Flag).or("yes"),
    ],
);

pub(super) const IPV6_FILTER: Menu = Menu {
    id: MenuId::Ipv6FirewallFilter,
    path: "/ipv6/firewall/filter",
    shape: Shape::Ordered,
    verbs: &[
        Add, Disable, Enable, GetAll, Listen, Move, Print, Remove, Set, Unset,
    ],
    key: None,
    unique: None,
    fields: &[
        need("chain", Kind::Text),
        write("action", Kind::Choice(ACTIONS)).or("accept"),
        write("protocol", MATCHER),
        write("src-address", MATCHER),
        write("dst-address", MATCHER),
        write("dst-port", MATCHER),
        write("in-interface", MATCHER),
        write("in-interface-list", MATCHER),
        write("connection-state", MATCHER),
        read("bytes").or("0"),
        read("packets").or("0"),
        flag("invalid"),
        flag("dynamic"),
        DISABLED,
        COMMENT,
    ],
};

pub(super) const SNMP: Menu = settings(
    MenuId::Snmp,
    "/snmp",
    &[
        switch("no"),
        write("contact", Kind::Text).or(""),
        write("location", Kind::Text).or(""),
        write("trap-community", Kind::Text).or("public"),
        write("trap-version", Kind::Number(1, 3)).or("1"),
    ],
);

pub(super) const SNMP_COMMUNITY: Menu = Menu {
    id: MenuId::SnmpCommunity,
    path: "/snmp/community",
    shape: Shape::Table,
    verbs: ITEMS,
    key: Some("name"),
    unique: Some(("name", "failure: item with such name already exists")),
    fields: &[
        need("name", Kind::Text),
        write("addresses", Kind::Text).or("::/0"),
        write("security", Kind::Choice(&["none", "authorized", "private"])).or("none"),
        write("read-access", Kind::Flag).or("yes"),
        write("write-access", Kind::Flag).or("no"),
        write("authentication-password", Kind::Secret).or(""),
        write("encryption-password", Kind::Secret).or(""),
        DISABLED,
        COMMENT,
    ],
};

pub(super) const BANDWIDTH_SERVER: Menu = settings(
    MenuId::ToolBandwidthServer,
    "/tool/bandwidth-server",
    &[
        switch("yes"),
        write("authenticate", Kind::Flag).or("yes"),
        write("allocate-udp-ports-from", Kind::Number(1000, 64_000)).or("2000"),
        write("max-sessions", Kind::Number(1, 1000)).or("100"),
    ],
);

pub(super) const GRAPHING: Menu = Menu {
    id: MenuId::ToolGraphingInterface,
    path: "/tool/graphing/interface",
    shape: Shape::Table,
    verbs: ITEMS,
    key: None,
    unique: None,
    fields: &[
        write("interface", Kind::Text).or("all"),
        write("allow-address", Kind::Text).or("0.0.0.0/0"),
        write("store-on-disk", Kind::Flag).or("yes"),
        DISABLED,
    ],
};

pub(super) const MAC_SERVER: Menu = settings(
    MenuId::ToolMacServer,
    "/tool/mac-server",
    &[write("allowed-interface-list", Kind::Text).or("all")],
);

pub(super) const MAC_PING: Menu = settings(
    MenuId::ToolMacServerPing,
    "/tool/mac-server/ping",
    &[switch("yes")],
);

pub(super) const MAC_WINBOX: Menu = settings(
    MenuId::ToolMacServerWinbox,
    "/tool/mac-server/mac-winbox",
    &[write("allowed-interface-list", Kind::Text).or("all")],
);

pub(super) const ROMON: Menu = settings(
    MenuId::ToolRomon,
    "/tool/romon",
    &[
        switch("no"),
        write("id", Kind::Text).or("00:00:00:00:00:00"),
        write("secrets", Kind::Secret).or(""),
    ],
);

pub(super) const SNIFFER: Menu = settings(
    MenuId::ToolSniffer,
    "/tool/sniffer",
    &[
        write("only-headers", Kind::Flag).or("no"),
        write("memory-limit", Kind::Text).or("100KiB"),
        write("streaming-enabled", Kind::Flag).or("no"),
        write("streaming-server", Kind::Text).or("0.0.0.0:37008"),
        write("filter-interface", Kind::Text).or(""),
        flag("running"),
    ],
);
