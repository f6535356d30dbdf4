//! Labels: what people know about a device, as `key=value`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{self, NameError};
use crate::selector::Field;

/// The longest label value, in bytes.
pub const MAX_VALUE: usize = 1024;
/// The most labels on one device.
pub const MAX_LABELS: usize = 64;

/// The labels of one device, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

/// Why a label cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LabelError {
    /// Not `key=value`.
    #[error("{0:?} is no label; write key=value")]
    NoValue(String),
    /// The key is no name.
    #[error("label key {0:?} {1}")]
    Key(String, NameError),
    /// The key means a field of the device in selectors.
    #[error("label key {0:?} is taken by the device's own field of that name")]
    Reserved(String),
    /// The same key twice.
    #[error("label {0:?} is given twice")]
    Twice(String),
    /// Over [`MAX_VALUE`], or with a control character or a separator in it.
    #[error("label {0:?}: {1}")]
    Value(String, &'static str),
    /// Over [`MAX_LABELS`].
    #[error("{0} labels; at most {MAX_LABELS} are allowed")]
    TooMany(usize),
}

impl Labels {
    /// Reads `k=v;k=v`. Blank parts are passed over.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let mut labels = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| LabelError::NoValue(part.into()))?;
            let (key, value) = (key.trim(), value.trim());
            if labels.get(key).is_some() {
                return Err(LabelError::Twice(key.into()));
            }
            labels.set(key, value)?;
        }
        Ok(labels)
    }

    /// Sets one label.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), LabelError> {
        name::check(key).map_err(|error| LabelError::Key(key.into(), error))?;
        if Field::parse(key).is_some() {
            return Err(LabelError::Reserved(key.into()));
        }
        if value.len() > MAX_VALUE {
            return Err(LabelError::Value(key.into(), "the value is over 1,024 bytes"));
        }
        if value.chars().any(|c| c.is_control() || c == ';') {
            return Err(LabelError::Value(
                key.into(),
                "the value has a control character or a semicolon",
            ));
        }
        self.0.insert(key.into(), value.into());
        match self.0.len() {
            ..=MAX_LABELS => Ok(()),
            count => Err(LabelError::TooMany(count)),
        }
    }

    /// Removes one label; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// The value of one label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_a_csv_has_them() {
        let labels = Labels::parse(" site=ams; role = core;;note=a=b ").expect("valid");
        assert_eq!(labels.to_string(), "note=a=b;role=core;site=ams");
        assert_eq!(labels.get("note"), Some("a=b"));
    }

    #[test]
    fn bad_labels_say_what_is_wrong() {
        let error = |text: &str| Labels::parse(text).expect_err(text).to_string();
        assert_eq!(error("site"), "\"site\" is no label; write key=value");
        assert_eq!(error("a=1;a=2"), "label \"a\" is given twice");
        assert_eq!(
            error("zone=x"),
            "label key \"zone\" is taken by the device's own field of that name"
        );
        assert!(error("=x").contains("is empty"));
        assert!(error("a b=x").contains("has the character ' '"));
    }
}
