//! Limits that hold for the whole fleet and can be changed while everything runs (D1): how they are named, what each
//! of them may be, and which devices it is about.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::name;

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Everything alike.
    All,
    /// Devices of a label value, and everything else alike.
    AllOrLabel,
    /// A zone, and every other zone alike.
    AllOrZone,
    /// A label value, or each value of a label.
    Label,
}

/// A kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: About,
    /// The least and the most it may be.
    pub range: (u64, u64),
    /// What holds without it; nothing where there is no limit then.
    pub default: Option<u64>,
    /// In a few words.
    pub what: &'static str,
}

/// All kinds, by name.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "device.burst",
        about: About::All,
        range: (1, 100_000),
        default: Some(40),
        what: "commands on one device at once, after a while without",
    },
    Kind {
        name: "device.commands",
        about: About::All,
        range: (0, 100_000),
        default: Some(20),
        what: "commands a second on one device; 0: no limit",
    },
    Kind {
        name: "device.in-flight",
        about: About::AllOrLabel,
        range: (1, 1000),
        default: Some(4),
        what: "commands in flight on one connection",
    },
    Kind {
        name: "label.bytes",
        about: About::Label,
        range: (1, u32::MAX as u64),
        default: None,
        what: "bytes a second that one worker reads from all devices of the label value",
    },
    Kind {
        name: "label.executions",
        about: About::Label,
        range: (1, 1_000_000),
        default: None,
        what: "executions with workers at once on devices of the label value, over all jobs and workers",
    },
    Kind {
        name: "worker.commands",
        about: About::All,
        range: (0, 10_000_000),
        default: Some(0),
        what: "commands a second of one worker; 0: no limit",
    },
    Kind {
        name: "worker.handshakes",
        about: About::All,
        range: (1, 100_000),
        default: Some(256),
        what: "connections in the making at once, of one worker",
    },
    Kind {
        name: "worker.logins",
        about: About::All,
        range: (0, 1_000_000),
        default: Some(0),
        what: "logins a second of one worker; 0: no limit beside that of connections",
    },
    Kind {
        name: "zone.connects",
        about: About::AllOrZone,
        range: (0, 1_000_000),
        default: Some(2000),
        what: "new connections a second that one worker makes in the zone; 0: no limit",
    },
];

/// Which devices a limit is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of them, or all that no other scope names.
    All,
    /// Those of a zone.
    Zone(String),
    /// Those with this value of a label.
    Value {
        /// The label.
        key: String,
        /// Its value.
        value: String,
    },
    /// Those with the same value of a label, for each value.
    Each {
        /// The label.
        key: String,
    },
}

/// A limit: a kind, and which devices it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its devices.
    pub scope: Scope,
}

/// Why something is no limit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    /// No kind has this name.
    #[error("there is no limit {0:?}; there are {names}", names = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", "))]
    Kind(String),
    /// The kind is about something else.
    #[error("{0} {1}")]
    Scope(&'static str, &'static str),
    /// A name, a key or a value in the scope is none.
    #[error("{0:?}: {1}")]
    Name(String, String),
    /// Out of the kind's range.
    #[error("{value}; {name} is {} to {}", range.0, range.1)]
    Value {
        /// The kind.
        name: &'static str,
        /// What was given.
        value: u64,
        /// What it may be.
        range: (u64, u64),
    },
}

impl Limit {
    /// A limit by its name and its scope as they are written: empty, a zone, `key=value` or `key=*`.
    pub fn new(kind: &str, scope: &str) -> Result<Self, LimitError> {
        let found = KINDS.iter().find(|known| known.name == kind);
        let kind = found.ok_or_else(|| LimitError::Kind(kind.to_owned()))?;
        let refuse = |text| Err(LimitError::Scope(kind.name, text));
        let scope = match (kind.about, scope.is_empty()) {
            (About::Label, true) => {
                return refuse("is about a label: write a value, site=ams, or * for each value, site=*");
            }
            (_, true) => Scope::All,
            (About::All, false) => return refuse("holds for everything alike and takes no scope"),
            (About::AllOrZone, false) => Scope::Zone(named(scope)?),
            (About::AllOrLabel | About::Label, false) => match scope.split_once('=') {
                Some((key, "*")) if kind.about == About::Label => Scope::Each { key: named(key)? },
                Some((key, value)) if !value.is_empty() && value != "*" => Scope::Value {
                    key: named(key)?,
                    value: value.to_owned(),
                },
                _ => return refuse("is about a label value: write for example site=ams"),
            },
        };
        Ok(Self { kind, scope })
    }

    /// Checks a value for it.
    pub fn check(&self, value: u64) -> Result<(), LimitError> {
        let (least, most) = self.kind.range;
        match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(LimitError::Value {
                name: self.kind.name,
                value,
                range: self.kind.range,
            }),
        }
    }
}

fn named(text: &str) -> Result<String, LimitError> {
    match name::check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(LimitError::Name(text.to_owned(), error.to_string())),
    }
}

/// As [`Limit::new`] reads it: the name, and behind a colon the scope.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        match &self.scope {
            Scope::All => Ok(()),
            scope => write!(f, ":{scope}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Zone(zone) => f.write_str(zone),
            Self::Value { key, value } => write!(f, "{key}={value}"),
            Self::Each { key } => write!(f, "{key}=*"),
        }
    }
}

/// The limits that were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits(Vec<(Limit, u64)>);

impl Limits {
    /// These limits with their values.
    pub fn new(limits: Vec<(Limit, u64)>) -> Self {
        Self(limits)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Limit, u64)> {
        self.0.iter().map(|(limit, value)| (limit, *value))
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a Scope, u64)> {
        let of_kind = self.0.iter().filter(move |(limit, _)| limit.kind.name == kind);
        of_kind.map(|(limit, value)| (&limit.scope, *value))
    }

    /// What was set for everything alike.
    pub fn general(&self, kind: &str) -> Option<u64> {
        self.of(kind)
            .find(|(scope, _)| **scope == Scope::All)
            .map(|(_, value)| value)
    }

    /// What was set for zones.
    pub fn zones<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.of(kind).filter_map(|(scope, value)| match scope {
            Scope::Zone(zone) => Some((zone.as_str(), value)),
            _ => None,
        })
    }

    /// The least that was set for any of a device's labels, or else for everything alike.
    pub fn of_device(&self, kind: &str, labels: &BTreeMap<String, String>) -> Option<u64> {
        let own = self.of(kind).filter_map(|(scope, value)| match scope {
            Scope::Value { key, value: wanted } => (labels.get(key) == Some(wanted)).then_some(value),
            _ => None,
        });
        own.min().or_else(|| self.general(kind))
    }

    /// The limit of a label value: its own, or else that of each value of the label.
    pub fn of_value(&self, kind: &str, key: &str, value: &str) -> Option<u64> {
        let own =
            |scope: &Scope| matches!(scope, Scope::Value { key: k, value: v } if k == key && v == value);
        let each = |scope: &Scope| matches!(scope, Scope::Each { key: k } if k == key);
        let find = |is: &dyn Fn(&Scope) -> bool| self.of(kind).find(|(scope, _)| is(scope));
        find(&own).or_else(|| find(&each)).map(|(_, value)| value)
    }

    /// Labels that limits of a kind are about.
    pub fn keys<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.of(kind).filter_map(|(scope, _)| match scope {
            Scope::Value { key, .. } | Scope::Each { key } => Some(key.as_str()),
            Scope::All | Scope::Zone(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: &[(&str, &str, u64)]) -> Limits {
        let limit = |&(kind, scope, value): &(&str, &str, u64)| (Limit::new(kind, scope).expect(kind), value);
        Limits::new(all.iter().map(limit).collect())
    }

    #[test]
    fn kinds_are_sorted_and_their_defaults_allowed() {
        assert!(KINDS.is_sorted_by_key(|kind| kind.name));
        for kind in KINDS {
            let scope = if kind.about == About::Label { "a=*" } else { "" };
            let limit = Limit::new(kind.name, scope).expect(kind.name);
            assert_eq!(
                kind.default.map(|value| limit.check(value)),
                kind.default.map(|_| Ok(()))
            );
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (kind, scope) in [
            ("device.commands", ""),
            ("zone.connects", "ams"),
            ("label.bytes", "uplink=lte-1"),
            ("label.executions", "site=*"),
            ("device.in-flight", "model=chr"),
        ] {
            let limit = Limit::new(kind, scope).expect(kind);
            assert_eq!(limit.scope.to_string(), scope);
            let text = limit.to_string();
            assert_eq!(text.trim_end_matches(scope).trim_end_matches(':'), kind);
        }
    }

    #[test]
    fn bad_limits_say_what_would_be_right() {
        let told = |kind: &str, scope: &str| Limit::new(kind, scope).expect_err("bad").to_string();
        assert!(told("device.speed", "").contains("there are device.burst, "));
        assert!(told("device.commands", "a=b").contains("takes no scope"));
        assert!(told("label.executions", "").contains("site=*"));
        assert!(told("device.in-flight", "site=*").contains("site=ams"));
        assert!(told("zone.connects", "no zone!").contains("no zone!"));
        let limit = Limit::new("device.burst", "").expect("known");
        assert_eq!(
            limit.check(0).expect_err("too few").to_string(),
            "0; device.burst is 1 to 100000"
        );
    }

    #[test]
    fn the_nearest_limit_holds() {
        let limits = limits(&[
            ("label.executions", "site=*", 20),
            ("label.executions", "site=ams", 5),
            ("device.in-flight", "", 8),
            ("device.in-flight", "model=old", 1),
            ("zone.connects", "lte", 3),
        ]);
        assert_eq!(limits.of_value("label.executions", "site", "ams"), Some(5));
        assert_eq!(limits.of_value("label.executions", "site", "fra"), Some(20));
        assert_eq!(limits.of_value("label.executions", "uplink", "x"), None);
        let labels = |value: &str| [("model".to_owned(), value.to_owned())].into();
        assert_eq!(limits.of_device("device.in-flight", &labels("old")), Some(1));
        assert_eq!(limits.of_device("device.in-flight", &labels("new")), Some(8));
        assert_eq!(limits.zones("zone.connects").collect::<Vec<_>>(), [("lte", 3)]);
        assert_eq!(limits.general("zone.connects"), None);
        assert_eq!(
            limits.keys("label.executions").collect::<Vec<_>>(),
            ["site", "site"]
        );
    }
}
