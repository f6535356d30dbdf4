//! What should be true of a menu, whatever it says now (F1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::command::{self, CommandError};
use crate::effect;
use crate::template;

/// The most bytes of names and values in one step.
pub const MAX_BYTES: usize = 1 << 20;

/// A checked wish: a menu and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ensure {
    menu: String,
    want: Want,
}

/// What is wanted of a menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Values of a menu that is one item, such as `/ip/dns`.
    Set(Values),
    /// Items of a menu, such as `/ip/firewall/address-list`.
    Items(Items),
}

/// Items that a menu should have, and those that it should not. Items that are dynamic are the device's own business
/// and never looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Items {
    /// The properties that tell an item from every other: which of the device's items is meant.
    pub key: Vec<String>,
    /// Items that should be there with these values; other properties of theirs stay as they are.
    pub items: Vec<Values>,
    /// Every item that has all of these values should not be there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Values>,
    /// Nor should an item for which this holds (`routeros-wire`'s expression over a row) and that `items` does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge: Option<String>,
    /// Whether `items` should stand in their order. Others may stand between them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// With `ordered`: they should stand before the first item for which this holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_before: Option<String>,
}

/// The most items in one step.
pub const MAX_ITEMS: usize = 10_000;

/// Properties and their values, as a plan has them. An empty value wants the property unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, String>);

/// Why something is no wish.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EnsureError {
    /// The menu is no path.
    #[error("{0}")]
    Menu(#[from] CommandError),
    /// The path of a command.
    #[error("{0} is a command, not a menu; write the menu alone, for example /ip/dns")]
    IsCommand(String),
    /// Nothing is wanted.
    #[error("there are no values; write for example servers = \"1.1.1.1\"")]
    Empty,
    /// A name that no property has.
    #[error(
        "{0:?} is no property: a name has lower-case letters, digits, hyphens and dots, and no dot in front"
    )]
    Name(String),
    /// A value of a property that nobody may read.
    #[error(
        "{0} is a secret: a plan is kept and shown as it stands, and what should be true could not be compared with what a device hides"
    )]
    Secret(String),
    /// Items that nothing tells apart.
    #[error(
        "there is no key; name the properties that tell an item from every other, for example key = [\"list\", \"address\"]"
    )]
    NoKey,
    /// An item that does not say which it is.
    #[error("item {at} has no {name}, which is part of the key")]
    KeyMissing {
        /// From 1.
        at: usize,
        /// The property.
        name: String,
    },
    /// Two items of the same key.
    #[error("items {0} and {1} have the same key")]
    SameKey(usize, usize),
    /// An item that is wanted and that is to go.
    #[error("item {0} would go again: entry {1} of absent says so")]
    Contradicts(usize, usize),
    /// Over [`MAX_ITEMS`].
    #[error("there are {0} items; at most {MAX_ITEMS} are allowed")]
    TooMany(usize),
    /// A place for items that have no order.
    #[error("place-before is for items that stand in an order; set ordered too")]
    PlaceWithoutOrder,
    /// A text that is no template.
    #[error("{name} = {value:?}: {error}")]
    Template {
        /// The property.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        error: String,
    },
    /// Over [`MAX_BYTES`].
    #[error("names and values have {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
}

/// Properties that devices hide from whoever may not see secrets, wherever they stand (the vendor's list of sensitive
/// parameters, by name).
const SECRETS: &[&str] = &[
    "auth-key",
    "authentication-password",
    "encryption-password",
    "passphrase",
    "password",
    "preshared-key",
    "private-key",
    "secret",
    "tcp-md5-key",
    "wpa-pre-shared-key",
    "wpa2-pre-shared-key",
];

impl Ensure {
    /// Values of a menu that is one item.
    ///
    /// ```
    /// use muster_model::{Ensure, Values};
    /// let set = Values::new([("servers", "1.1.1.1,9.9.9.9")])?;
    /// assert_eq!(Ensure::singleton("/ip/dns", set)?.menu(), "/ip/dns");
    /// assert!(Ensure::singleton("/ip/dns/set", Values::new([("servers", "")])?).is_err());
    /// # Ok::<(), muster_model::EnsureError>(())
    /// ```
    pub fn singleton(menu: &str, set: Values) -> Result<Self, EnsureError> {
        Ok(Self {
            menu: checked_menu(menu)?,
            want: Want::Set(set),
        })
    }

    /// Items of a menu.
    pub fn items(menu: &str, items: Items) -> Result<Self, EnsureError> {
        let menu = checked_menu(menu)?;
        items.check()?;
        Ok(Self {
            menu,
            want: Want::Items(items),
        })
    }

    /// The same for one device: with every template in its values rendered.
    pub fn render(&self, device: &template::Device) -> Result<Self, EnsureError> {
        let render = |values: &Values| values.render(device);
        let want = match &self.want {
            Want::Set(set) => Want::Set(render(set)?),
            Want::Items(items) => {
                let items = Items {
                    items: items.items.iter().map(render).collect::<Result<_, _>>()?,
                    absent: items.absent.iter().map(render).collect::<Result<_, _>>()?,
                    ..items.clone()
                };
                // What was different as a template may be the same now.
                items.check()?;
                Want::Items(items)
            }
        };
        Ok(Self {
            menu: self.menu.clone(),
            want,
        })
    }

    /// Whether any value is a template.
    pub fn is_template(&self) -> bool {
        let of = |values: &Values| values.iter().any(|(_, value)| template::is_template(value));
        match &self.want {
            Want::Set(set) => of(set),
            Want::Items(items) => items.items.iter().chain(&items.absent).any(of),
        }
    }

    /// The menu's path, such as `/ip/dns`.
    pub fn menu(&self) -> &str {
        &self.menu
    }

    /// What is wanted of it.
    pub fn want(&self) -> &Want {
        &self.want
    }
}

impl Values {
    /// Checked names with their values; of a name given twice the last counts.
    pub fn new<N, V>(values: impl IntoIterator<Item = (N, V)>) -> Result<Self, EnsureError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let values = values
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let values = values.collect::<BTreeMap<String, String>>();
        if values.is_empty() {
            return Err(EnsureError::Empty);
        }
        if let Some(name) = values.keys().find(|name| !is_name(name)) {
            return Err(EnsureError::Name(name.clone()));
        }
        for (name, value) in &values {
            template::check(value).map_err(|error| EnsureError::Template {
                name: name.clone(),
                value: value.clone(),
                error,
            })?;
        }
        if let Some(name) = values.keys().find(|name| SECRETS.contains(&name.as_str())) {
            return Err(EnsureError::Secret(name.clone()));
        }
        let bytes = values.iter().map(|(name, value)| name.len() + value.len()).sum();
        match bytes {
            0..=MAX_BYTES => Ok(Self(values)),
            bytes => Err(EnsureError::TooLong(bytes)),
        }
    }

    /// Each name with its value, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn render(&self, device: &template::Device) -> Result<Self, EnsureError> {
        let render = |(name, value): (&String, &String)| {
            let rendered = template::render(value, device).map_err(|error| EnsureError::Template {
                name: name.clone(),
                value: value.clone(),
                error,
            })?;
            Ok((name.clone(), rendered))
        };
        Ok(Self(
            self.0.iter().map(render).collect::<Result<_, EnsureError>>()?,
        ))
    }

    /// The value wanted of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Items {
    fn check(&self) -> Result<(), EnsureError> {
        let wanted = self.items.len() + self.absent.len();
        if wanted > MAX_ITEMS {
            return Err(EnsureError::TooMany(wanted));
        }
        if wanted == 0 && self.purge.is_none() {
            return Err(EnsureError::Empty);
        }
        if self.place_before.is_some() && !self.ordered {
            return Err(EnsureError::PlaceWithoutOrder);
        }
        if self.key.is_empty() && !self.items.is_empty() {
            return Err(EnsureError::NoKey);
        }
        if let Some(name) = self.key.iter().find(|name| !is_name(name)) {
            return Err(EnsureError::Name(name.clone()));
        }
        let mut seen = BTreeMap::new();
        for (at, values) in (1..).zip(&self.items) {
            let mut key = Vec::new();
            for name in &self.key {
                let missing = || EnsureError::KeyMissing {
                    at,
                    name: name.clone(),
                };
                key.push(values.get(name).ok_or_else(missing)?);
            }
            if let Some(before) = seen.insert(key, at) {
                return Err(EnsureError::SameKey(before, at));
            }
        }
        self.check_absent()?;
        let bytes = |values: &Values| {
            values
                .0
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
        };
        match self.items.iter().chain(&self.absent).map(bytes).sum() {
            0..=MAX_BYTES => Ok(()),
            bytes => Err(EnsureError::TooLong(bytes)),
        }
    }
}

impl Items {
    /// Whether any item is wanted that is to go. Entries of the same names are looked up, not compared one by one.
    fn check_absent(&self) -> Result<(), EnsureError> {
        let mut gone = BTreeMap::<Vec<&str>, BTreeMap<Vec<&str>, usize>>::new();
        for (at, values) in (1..).zip(&self.absent) {
            let (names, values) = values.iter().unzip();
            gone.entry(names).or_default().insert(values, at);
        }
        for (at, item) in (1..).zip(&self.items) {
            for (names, entries) in &gone {
                let values = names
                    .iter()
                    .map(|name| item.get(name))
                    .collect::<Option<Vec<_>>>();
                if let Some(gone) = values.and_then(|values| entries.get(&values)) {
                    return Err(EnsureError::Contradicts(at, *gone));
                }
            }
        }
        Ok(())
    }
}

fn checked_menu(menu: &str) -> Result<String, EnsureError> {
    command::check_path(menu)?;
    match effect::known(menu, []) {
        Some(_) => Err(EnsureError::IsCommand(menu.to_owned())),
        None => Ok(menu.to_owned()),
    }
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_does_not_go_again() {
        let values = |named: &[(&str, &str)]| Values::new(named.iter().copied()).expect("valid");
        let items = |absent: &[(&str, &str)]| Items {
            key: vec!["address".into()],
            items: vec![values(&[("address", "10.0.0.1"), ("list", "mgmt")])],
            absent: vec![values(&[("list", "old")]), values(absent)],
            ..Items::default()
        };
        let made = |items| Ensure::items("/ip/firewall/address-list", items).map(|_| ());
        assert_eq!(
            made(items(&[("list", "mgmt")])),
            Err(EnsureError::Contradicts(1, 2))
        );
        assert_eq!(made(items(&[("address", "10.0.0.1"), ("list", "other")])), Ok(()));
        assert_eq!(made(items(&[("comment", "x")])), Ok(()));
    }

    #[test]
    fn what_is_no_wish_is_told_why() {
        let values = |name: &str| Values::new([(name, "x")]);
        for name in ["", ".id", "a b", "Servers", "a=b", "!comment", "a..b"] {
            assert_eq!(values(name), Err(EnsureError::Name(name.into())));
        }
        assert!(values("channel.frequency").is_ok() && values("dst-port").is_ok());
        assert_eq!(values("password"), Err(EnsureError::Secret("password".into())));
        assert_eq!(Values::new([("", ""); 0]), Err(EnsureError::Empty));
        let long = Values::new([("comment", "x".repeat(MAX_BYTES))]);
        assert_eq!(long, Err(EnsureError::TooLong(MAX_BYTES + 7)));
        let menu = |menu: &str| Ensure::singleton(menu, values("name").expect("valid")).map(|_| ());
        assert_eq!(menu("/system/identity"), Ok(()));
        assert_eq!(
            menu("/ip/dns/print"),
            Err(EnsureError::IsCommand("/ip/dns/print".into()))
        );
        assert!(matches!(
            menu("ip dns"),
            Err(EnsureError::Menu(CommandError::NoSlash(_)))
        ));
    }

    fn values<const N: usize>(values: [(&str, &str); N]) -> Values {
        Values::new(values).expect("valid")
    }

    fn list(items: Vec<Values>) -> Result<Ensure, EnsureError> {
        let items = Items {
            key: vec!["list".into(), "address".into()],
            items,
            ..Items::default()
        };
        Ensure::items("/ip/firewall/address-list", items)
    }

    #[test]
    fn items_say_which_they_are_and_are_all_different() {
        let item = |address| values([("list", "mgmt"), ("address", address)]);
        assert!(list(vec![item("10.0.0.0/8"), item("10.0.0.1")]).is_ok());
        assert_eq!(
            list(vec![item("10.0.0.0/8"), item("10.0.0.1"), item("10.0.0.0/8")]),
            Err(EnsureError::SameKey(1, 3))
        );
        let missing = list(vec![values([("list", "mgmt")])]).expect_err("no address");
        assert_eq!(
            missing.to_string(),
            "item 1 has no address, which is part of the key"
        );
        assert_eq!(list(vec![]), Err(EnsureError::Empty));
        let keyless = Items {
            items: vec![item("10.0.0.1")],
            ..Items::default()
        };
        assert_eq!(Ensure::items("/a", keyless), Err(EnsureError::NoKey));
        let placed = Items {
            key: vec!["list".into()],
            items: vec![item("10.0.0.1")],
            place_before: Some("comment=x".into()),
            ..Items::default()
        };
        assert_eq!(Ensure::items("/a", placed), Err(EnsureError::PlaceWithoutOrder));
        let purge = Items {
            purge: Some("list=old".into()),
            ..Items::default()
        };
        assert!(
            Ensure::items("/a", purge).is_ok(),
            "nothing is wanted but that it is gone"
        );
    }

    #[test]
    fn templates_are_rendered_for_a_device() {
        let device = template::Device {
            labels: [("mgmt_net".to_owned(), "10.9.0.0/16".to_owned())].into(),
            ..Default::default()
        };
        let of = |address| {
            list(vec![
                values([("list", "mgmt"), ("address", address)]),
                values([("list", "mgmt"), ("address", "10.0.0.1")]),
            ])
        };
        let ensure = of("{{ labels.mgmt_net }}").expect("valid");
        assert!(ensure.is_template());
        let rendered = ensure.render(&device).expect("has the label");
        assert_eq!(rendered, of("10.9.0.0/16").expect("valid"));
        assert!(!rendered.is_template());
        let error = of("{{ labels.other }}")
            .expect("valid")
            .render(&device)
            .expect_err("undefined");
        assert!(
            error.to_string().contains("labels.other is not defined"),
            "{error}"
        );
        assert!(matches!(
            Values::new([("a", "{{ labels.")]),
            Err(EnsureError::Template { .. })
        ));
        let same = of("{{ '10.0.0.' }}1").expect("different as templates");
        assert_eq!(same.render(&device), Err(EnsureError::SameKey(1, 2)));
    }
}
