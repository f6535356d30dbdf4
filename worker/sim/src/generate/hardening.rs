//! What a router offers beside forwarding, as it is delivered.

use super::Profile;
use crate::menu::MenuId;
use crate::table::{Row, Table};

/// The item of a menu that is one item, with its defaults.
pub(super) fn defaults(profile: &Profile, menu: MenuId) -> Row {
    let fields = menu.menu().fields.iter();
    let fields = fields.filter(|field| field.exists_in(profile.version));
    fields.fold(Row::default(), |row, field| {
        match field.default_in(profile.version) {
            Some(value) => row.with(field.name, value),
            None => row,
        }
    })
}

/// An item with these properties, as the device's version spells them, and its defaults.
pub(crate) fn item(profile: &Profile, menu: MenuId, properties: &[(&'static str, &str)]) -> Row {
    let mut row = defaults(profile, menu);
    for (name, value) in properties {
        set(profile, menu, &mut row, name, value);
    }
    row
}

/// Sets a property as the device's version spells it, if it has that.
pub(crate) fn set(profile: &Profile, menu: MenuId, row: &mut Row, name: &'static str, value: &str) {
    let field = menu.menu().field(name.as_bytes());
    let Some(field) = field.filter(|field| field.exists_in(profile.version)) else {
        return;
    };
    match field.accept(value.as_bytes(), profile.version, |_| true) {
        Ok(Some(value)) => row.set(name, value),
        Ok(None) | Err(_) => row.unset(name),
    }
}

/// The rules that IPv6 is delivered with.
pub(super) fn ipv6_filter(profile: &Profile) -> Table {
    let mut table = Table::default();
    let rules: [&[(&str, &str)]; 4] = [
        &[
            ("action", "accept"),
            ("connection-state", "established,related,untracked"),
            ("comment", "defconf: accept established,related,untracked"),
        ],
        &[("action", "drop"), ("connection-state", "invalid")],
        &[("action", "accept"), ("protocol", "icmpv6")],
        &[
            ("action", "drop"),
            ("in-interface-list", "!LAN"),
            ("comment", "defconf: drop everything else not coming from LAN"),
        ],
    ];
    for rule in rules {
        let rule = [&[("chain", "input")], rule].concat();
        table.add(item(profile, MenuId::Ipv6FirewallFilter, &rule), None);
    }
    table
}

/// The community that SNMP is delivered with; SNMP itself is off.
pub(super) fn communities(profile: &Profile) -> Table {
    let mut table = Table::default();
    table.add(item(profile, MenuId::SnmpCommunity, &[("name", "public")]), None);
    table
}
