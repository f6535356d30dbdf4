//! What should be true of a menu, whatever it says now (F1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::command::{self, CommandError};
use crate::effect;

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
}

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

    /// The value wanted of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
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
}
