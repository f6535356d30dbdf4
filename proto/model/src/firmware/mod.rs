//! Firmware: which version, where from, and in which steps (J1 to J4).
//!
//! An [`Upgrade`] is written as one step and done as several, because each of its effects has a class and an intent of its
//! own (A4): staging waits for nobody, and what interrupts service keeps to windows and budgets.
//!
//! ```text
//! upgrade ─▶ [hop: as below, to 7.12.1] ─▶ [fallback] ─▶ [channel] ─▶ stage ─▶ install ─▶ [bootloader]
//!                                            change       change      stage    disrupt      disrupt
//! ```
//!
//! Each looks first and does nothing where nothing is to be done, so each can be come back to at any time.

mod fallback;
pub mod packages;
mod upgrade;
mod written;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::number;
use crate::effect::Effect;

pub use fallback::with_fallbacks;
pub use upgrade::{Upgrade, WAIT};
pub use written::written;

/// The version that a router of version 6 has to pass through on its way to 7 (facts §3.2).
pub const HOP: &str = "7.12.1";

/// The updater's channel of version 6 that offers the hop, and nothing else.
pub const HOP_CHANNEL: &str = "upgrade";

/// One step of a firmware flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Firmware {
    /// Which.
    pub part: Part,
    /// What the router should run in the end.
    pub to: Target,
    /// Whether `to` is older than what it runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// Only a router with an older version is meant: a hop on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Where packages come from; none for the vendor's updater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// Packages that have to be there in the end, beside those that are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Bytes of the router's storage that stay free.
    pub reserve: u64,
    /// How long it may take: a download, a copy, or the way through a restart. Milliseconds.
    pub wait_ms: u64,
    /// Of an install: what ran before is on another partition, which the router falls back to (L3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

/// The steps of a firmware flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The updater's channel is set.
    Channel,
    /// What runs is copied to another partition, for the router to fall back to (L3).
    Fallback,
    /// What is to be installed is brought to the router.
    Stage,
    /// The router restarts and installs it.
    Install,
    /// RouterBOOT is brought to the router's version, with a restart of its own (J3).
    Bootloader,
}

/// What a router should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Exactly this version.
    Version(String),
    /// Whatever the updater's channel offers.
    Channel(String),
}

/// Packages on a web server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mirror {
    /// Where each is, with `{{ version }}`, `{{ file }}`, `{{ package }}` and `{{ architecture }}`.
    pub url: String,
    /// SHA-256 by the vendor's name of the file, lower-case hex. When any is given, a file without one is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

impl Mirror {
    /// Where a file is.
    ///
    /// ```
    /// use muster_model::firmware::Mirror;
    /// let mirror = Mirror { url: "http://mirror/{{ version }}/{{ file }}".into(), sha256: Default::default() };
    /// let url = mirror.url_of("routeros", "7.16.2", "arm64");
    /// assert_eq!(url, "http://mirror/7.16.2/routeros-7.16.2-arm64.npk");
    /// ```
    pub fn url_of(&self, package: &str, version: &str, architecture: &str) -> String {
        let file = packages::file(package, version, architecture);
        let named = [
            ("version", version),
            ("file", &file),
            ("package", package),
            ("architecture", architecture),
        ];
        named.into_iter().fold(self.url.clone(), |url, (name, value)| {
            url.replace(&format!("{{{{ {name} }}}}"), value)
                .replace(&format!("{{{{{name}}}}}"), value)
        })
    }
}

impl Firmware {
    /// What it can do to a device.
    pub fn effect(&self) -> Effect {
        match self.part {
            // What was on that partition is gone.
            Part::Channel | Part::Fallback => Effect::Change,
            Part::Stage => Effect::Stage,
            Part::Install | Part::Bootloader => Effect::Disrupt,
        }
    }

    /// In a few words, for people.
    pub fn title(&self) -> String {
        let to = self.to.text();
        match (self.part, self.down) {
            (Part::Channel, _) => match &self.to {
                Target::Channel(channel) => format!("update channel: {channel}"),
                Target::Version(_) => format!("update channel of {to}"),
            },
            (Part::Fallback, false) => format!("upgrade to {to}: a partition to fall back to"),
            (Part::Fallback, true) => format!("downgrade to {to}: a partition to fall back to"),
            (Part::Stage, false) => format!("upgrade to {to}: download"),
            (Part::Install, false) => format!("upgrade to {to}: restart"),
            (Part::Stage, true) => format!("downgrade to {to}: download"),
            (Part::Install, true) => format!("downgrade to {to}: restart"),
            (Part::Bootloader, _) => "RouterBOOT: upgrade and restart".to_owned(),
        }
    }

    /// Whether a router with this version is none of its business: it has passed the hop.
    pub fn is_past(&self, version: &str) -> bool {
        let below = self.below.as_deref().and_then(number);
        below.is_some_and(|below| number(version).is_some_and(|version| version >= below))
    }
}

impl Target {
    /// As shown to people: `7.16.2`, `the newest of stable`.
    pub fn text(&self) -> String {
        match self {
            Self::Version(version) => version.clone(),
            Self::Channel(channel) => format!("the newest of {channel}"),
        }
    }

    /// The exact version.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Version(version) => Some(version),
            Self::Channel(_) => None,
        }
    }
}
