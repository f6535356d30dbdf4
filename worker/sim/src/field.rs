//! The properties of a menu's items: which may be set, and to what.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use routeros_wire::value;

use crate::trap::Trap;
use crate::version::Version;

/// One property of the items of a menu.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    kind: Kind,
    access: Access,
    /// What `add` gives an item that names no value, and `unset` goes back to.
    pub(crate) default: Option<&'static str>,
    /// The first version that has it.
    since: (u16, u16),
    /// The first version that has it no more.
    until: (u16, u16),
    /// The SNMP object; in tables the item's number is appended.
    pub(crate) oid: Option<&'static str>,
}

/// What values a property takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A boolean in either spelling; stored in the spelling of the device's version.
    Flag,
    /// The name of an interface that exists.
    Interface,
    /// An IPv4 address with a prefix length; a bare address is a /32.
    Prefix,
    /// A whole number within bounds.
    Number(u64, u64),
    /// Text that is never printed.
    Secret,
    /// Any bytes.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Only the device changes it.
    Read,
    /// `add` wants it.
    Need,
    /// May be set.
    Write,
}

/// A property that only the device changes.
pub(crate) const fn read(name: &'static str) -> Field {
    field(name, Kind::Text, Access::Read)
}

/// A flag that only the device changes; false in new items.
pub(crate) const fn flag(name: &'static str) -> Field {
    field(name, Kind::Flag, Access::Read).or("no")
}

/// A property that may be set and may be absent.
pub(crate) const fn write(name: &'static str, kind: Kind) -> Field {
    field(name, kind, Access::Write)
}

/// A property that `add` wants.
pub(crate) const fn need(name: &'static str, kind: Kind) -> Field {
    field(name, kind, Access::Need)
}

const fn field(name: &'static str, kind: Kind, access: Access) -> Field {
    Field {
        name,
        kind,
        access,
        default: None,
        since: (0, 0),
        until: (u16::MAX, 0),
        oid: None,
    }
}

impl Field {
    /// With a value that it always has.
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    /// Only from a version on.
    pub(crate) const fn since(self, major: u16, minor: u16) -> Self {
        Self {
            since: (major, minor),
            ..self
        }
    }

    /// Only before a version.
    pub(crate) const fn until(self, major: u16, minor: u16) -> Self {
        Self {
            until: (major, minor),
            ..self
        }
    }

    /// With an SNMP object.
    pub(crate) const fn oid(self, oid: &'static str) -> Self {
        Self {
            oid: Some(oid),
            ..self
        }
    }

    pub(crate) fn exists_in(&self, version: Version) -> bool {
        version.since(self.since.0, self.since.1) && !version.since(self.until.0, self.until.1)
    }

    pub(crate) fn may_be_set(&self) -> bool {
        self.access != Access::Read
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.access == Access::Need
    }

    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// The default as this version spells it.
    pub(crate) fn default_in(&self, version: Version) -> Option<Vec<u8>> {
        let default = self.default?.as_bytes();
        Some(match (self.kind, value::boolean(default)) {
            (Kind::Flag, Some(on)) => version.boolean(on).into(),
            _ => default.to_vec(),
        })
    }

    /// A client's value as it is stored, `None` when an empty one means that the property is unset.
    /// `interface_exists` tells whether there is an interface of that name.
    pub(crate) fn accept(
        &self,
        given: &[u8],
        version: Version,
        interface_exists: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, Trap> {
        let optional = self.access == Access::Write && self.default.is_none();
        if given.is_empty() && optional {
            return Ok(None);
        }
        let value: Cow<'_, [u8]> = match self.kind {
            Kind::Text | Kind::Secret => given.into(),
            Kind::Flag => match value::boolean(given) {
                Some(on) => version.boolean(on).as_bytes().into(),
                None => return Err(Trap::invalid(self.name)),
            },
            Kind::Choice(words) if words.iter().any(|word| word.as_bytes() == given) => given.into(),
            Kind::Interface if interface_exists(given) => given.into(),
            Kind::Choice(_) | Kind::Interface => return Err(Trap::no_match(self.name)),
            Kind::Number(low, high) => match parse::<u64>(given) {
                Some(number) if (low..=high).contains(&number) => number.to_string().into_bytes().into(),
                Some(_) => return Err(Trap::out_of_range(self.name, low, high)),
                None => return Err(Trap::invalid(self.name)),
            },
            Kind::Prefix => match prefix(given) {
                Some((address, length)) => format!("{address}/{length}").into_bytes().into(),
                None => return Err(Trap::invalid(self.name)),
            },
        };
        Ok(Some(value.into_owned()))
    }
}

/// Reads `10.0.0.1/24`; a bare address has length 32.
pub(crate) fn prefix(value: &[u8]) -> Option<(Ipv4Addr, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let length = length.parse().ok().filter(|&length| length <= 32)?;
    Some((address.parse().ok()?, length))
}

fn parse<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(field: Field, given: &str, version: &str) -> Result<Option<String>, String> {
        let version = version.parse().expect("a version");
        field
            .accept(given.as_bytes(), version, |name| name == b"ether1")
            .map(|value| value.map(|value| String::from_utf8(value).expect("text")))
            .map_err(|trap| String::from_utf8_lossy(&trap.message).into_owned())
    }

    #[test]
    fn values_are_stored_as_the_version_spells_them() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        let disabled = write("disabled", Kind::Flag).or("no");
        assert_eq!(accept(disabled, "yes", "7.16"), some("true"));
        assert_eq!(accept(disabled, "true", "6.49"), some("yes"));
        assert_eq!(
            accept(need("address", Kind::Prefix), "10.0.0.1", "7.16"),
            some("10.0.0.1/32")
        );
        assert_eq!(
            accept(write("mtu", Kind::Number(68, 9000)), "01500", "7.16"),
            some("1500")
        );
        assert_eq!(
            accept(need("interface", Kind::Interface), "ether1", "7.16"),
            some("ether1")
        );
        assert_eq!(accept(write("comment", Kind::Text), "", "7.16"), Ok(None));
        assert_eq!(
            accept(write("log-prefix", Kind::Text).or(""), "", "7.16"),
            some("")
        );
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        let error = |field, given| accept(field, given, "7.16").expect_err("refused");
        assert_eq!(
            error(flag("disabled"), "maybe"),
            "invalid value for argument disabled"
        );
        assert_eq!(
            error(need("a", Kind::Prefix), "10.0.0.1/33"),
            "invalid value for argument a"
        );
        assert_eq!(
            error(write("mtu", Kind::Number(68, 9000)), "9001"),
            "value of mtu is out of range (68..9000)"
        );
        assert_eq!(
            error(write("mtu", Kind::Number(68, 9000)), "x"),
            "invalid value for argument mtu"
        );
        assert_eq!(
            error(need("i", Kind::Interface), "ether9"),
            "input does not match any value of i"
        );
        assert_eq!(
            error(need("c", Kind::Choice(&["a"])), "b"),
            "input does not match any value of c"
        );
    }
}
