//! Steps that bring a device's configuration back to the engine (fleet-semantics I2).

use serde::{Deserialize, Serialize};

/// A binary backup and an export, verified not to be empty, stored by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// With a stored one that is not older than this, milliseconds, nothing is done. `None`: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// The export alone will do where the router cannot give its backup over its API: before 7.13 one that is not small.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_export: bool,
}

/// What a device gave and the engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// A binary backup, which only the device itself can load. It holds the device's secrets.
    Backup,
    /// The configuration as text, without secrets and without its date.
    Export,
}

impl Kept {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Backup, Self::Export];

    /// As in `muster.v1.KeptKind`.
    pub fn number(self) -> i32 {
        match self {
            Self::Backup => 1,
            Self::Export => 2,
        }
    }

    /// The one with this number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number)
    }

    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Export => "export",
        }
    }
}

/// The largest file that is brought back, bytes.
pub const MOST_BYTES: usize = 16 << 20;
