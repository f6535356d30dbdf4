//! An upgrade, or its opposite, as it is asked for, and the steps it is done in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Firmware, HOP, HOP_CHANNEL, Mirror, Part, Target};
use crate::check::number;
use crate::plan::Step;
use crate::step::{BadStep, check_sha256, check_url, deadline};

/// How long a download, and the way through a restart, may take unless told otherwise. Small routers take ten minutes
/// (facts §3.3).
pub const WAIT: Duration = Duration::from_secs(15 * 60);

/// Bytes of a router's storage that stay free unless told otherwise.
const RESERVE: u64 = 1 << 20;

/// The updater's channels.
const CHANNELS: &[&str] = &[
    "stable",
    "long-term",
    "testing",
    "development",
    "upgrade",
    "current",
    "bugfix-only",
    "release-candidate",
];

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// Exactly this version.
    pub version: Option<String>,
    /// The updater's channel; by itself, whatever it offers.
    pub channel: Option<String>,
    /// Whether an older version is wanted than the router has.
    pub down: bool,
    /// Where packages are instead of with the vendor: an address with `{{ file }}`.
    pub mirror: Option<String>,
    /// SHA-256 of the mirror's files by their names.
    pub sha256: BTreeMap<String, String>,
    /// Whether RouterBOOT follows.
    pub routerboot: bool,
    /// Packages that have to be there in the end.
    pub packages: Vec<String>,
    /// How long each of its parts may take.
    pub wait: Option<Duration>,
    /// Only the download, for a window later.
    pub stage_only: bool,
    /// Bytes of storage that stay free.
    pub reserve: Option<u64>,
}

impl Upgrade {
    /// Its steps.
    pub fn steps(self) -> Result<Vec<Step>, Vec<BadStep>> {
        let wait_ms = self.check()?;
        let to = match (&self.version, &self.channel) {
            (Some(version), _) => Target::Version(version.clone()),
            (None, channel) => Target::Channel(channel.clone().unwrap_or_default()),
        };
        let mirror = self.mirror.map(|url| Mirror {
            url,
            sha256: self.sha256,
        });
        let last = Firmware {
            part: Part::Stage,
            to,
            down: self.down,
            below: None,
            mirror,
            packages: self.packages,
            reserve: self.reserve.unwrap_or(RESERVE),
            wait_ms,
            fallback: false,
        };
        let mut steps = Vec::new();
        // What a router of version 6 is told to pass through. One that is past it is asked for its version and no more.
        if !last.down
            && !self.stage_only
            && last
                .to
                .version()
                .is_none_or(|version| number(version) > number(HOP))
        {
            let hop = Firmware {
                to: Target::Version(HOP.to_owned()),
                below: Some("7.0".to_owned()),
                packages: Vec::new(),
                ..last.clone()
            };
            if hop.mirror.is_none() {
                steps.push(Firmware {
                    part: Part::Channel,
                    to: Target::Channel(HOP_CHANNEL.to_owned()),
                    ..hop.clone()
                });
            }
            steps.push(hop.clone());
            steps.push(Firmware {
                part: Part::Install,
                ..hop
            });
        }
        if let Some(channel) = self.channel {
            steps.push(Firmware {
                part: Part::Channel,
                to: Target::Channel(channel),
                ..last.clone()
            });
        }
        steps.push(last.clone());
        if !self.stage_only {
            steps.push(Firmware {
                part: Part::Install,
                ..last.clone()
            });
        }
        if self.routerboot {
            steps.push(Firmware {
                part: Part::Bootloader,
                ..last
            });
        }
        Ok(steps.into_iter().map(Step::Firmware).collect())
    }

    /// All that is wrong with it; or how long its parts may take, milliseconds.
    fn check(&self) -> Result<u64, Vec<BadStep>> {
        let mut bad = Vec::new();
        match &self.version {
            Some(version) if number(version).is_none() || version.contains(char::is_whitespace) => {
                let message = format!("{version:?} is no version such as 7.16.2");
                bad.push(BadStep::new("version", message));
            }
            None if self.channel.is_none() => {
                let message = "say which: version = \"7.16.2\", or a channel for whatever it offers";
                bad.push(BadStep::new("version", message));
            }
            None if self.down => {
                let message = "a downgrade is to an exact version, such as 7.12.1";
                bad.push(BadStep::new("version", message));
            }
            Some(_) | None => {}
        }
        if let Some(channel) = &self.channel
            && !CHANNELS.contains(&channel.as_str())
        {
            let message = format!("{channel:?} is no channel; there are {}", CHANNELS.join(", "));
            bad.push(BadStep::new("channel", message));
        }
        if self.channel.is_some() && self.mirror.is_some() {
            let message =
                "a channel is the vendor's; a mirror has an exact version. Leave one of the two out";
            bad.push(BadStep::new("channel", message));
        }
        match &self.mirror {
            Some(url) => {
                check_url("url", url, &mut bad);
                if !["{{ file }}", "{{file}}", "{{ package }}", "{{package}}"]
                    .iter()
                    .any(|name| url.contains(name))
                {
                    let message = "it names no file: write {{ file }} where the file's name stands, for example \
                                   http://mirror/routeros/{{ version }}/{{ file }}";
                    bad.push(BadStep::new("url", message));
                }
            }
            None if !self.sha256.is_empty() => {
                bad.push(BadStep::new(
                    "sha256",
                    "it is of a mirror's files; the vendor's updater checks its own",
                ));
            }
            None if self.down => {
                let message =
                    "the vendor's updater has no older versions; a downgrade needs a mirror and its url";
                bad.push(BadStep::new("source", message));
            }
            None => {}
        }
        for (file, sha256) in &self.sha256 {
            if !file.ends_with(".npk") {
                let message = format!("{file:?} is no file of a package, such as routeros-7.16.2-arm64.npk");
                bad.push(BadStep::new("sha256", message));
            }
            check_sha256("sha256", sha256, &mut bad);
        }
        let odd = |name: &String| {
            name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if let Some(name) = self.packages.iter().find(|name| odd(name)) {
            let message = format!("{name:?} is no package, such as wireless or container");
            bad.push(BadStep::new("packages", message));
        }
        if self.stage_only && self.routerboot {
            let message = "with stage-only nothing is installed that it could follow";
            bad.push(BadStep::new("routerboot", message));
        }
        let wait_ms = deadline("wait", self.wait.unwrap_or(WAIT), &mut bad);
        match bad.is_empty() {
            true => Ok(wait_ms),
            false => Err(bad),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(upgrade: Upgrade) -> Vec<String> {
        let steps = upgrade.steps().expect("valid");
        steps.iter().map(Step::title).collect()
    }

    #[test]
    fn one_step_is_done_as_several() {
        let upgrade = Upgrade {
            version: Some("7.16.2".into()),
            routerboot: true,
            ..Upgrade::default()
        };
        assert_eq!(
            titles(upgrade),
            [
                "update channel: upgrade",
                "upgrade to 7.12.1: download",
                "upgrade to 7.12.1: restart",
                "upgrade to 7.16.2: download",
                "upgrade to 7.16.2: restart",
                "RouterBOOT: upgrade and restart",
            ]
        );
        let staged = Upgrade {
            version: Some("7.16.2".into()),
            stage_only: true,
            ..Upgrade::default()
        };
        assert_eq!(titles(staged), ["upgrade to 7.16.2: download"]);
        let older = Upgrade {
            version: Some("6.49.17".into()),
            ..Upgrade::default()
        };
        assert_eq!(titles(older).len(), 2, "no hop on the way to 6");
        let down = Upgrade {
            version: Some("7.12.1".into()),
            down: true,
            mirror: Some("http://m/{{ file }}".into()),
            ..Upgrade::default()
        };
        assert_eq!(
            titles(down),
            ["downgrade to 7.12.1: download", "downgrade to 7.12.1: restart"]
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let bad = Upgrade {
            version: Some("new".into()),
            channel: Some("beta".into()),
            mirror: Some("mirror".into()),
            sha256: [("x".to_owned(), "y".to_owned())].into(),
            packages: vec!["No Such".into()],
            wait: Some(Duration::ZERO),
            stage_only: true,
            routerboot: true,
            ..Upgrade::default()
        };
        let fields = bad.steps().expect_err("all wrong");
        let fields = fields.iter().map(|bad| bad.field).collect::<Vec<_>>();
        assert_eq!(
            fields,
            [
                "version",
                "channel",
                "channel",
                "url",
                "url",
                "sha256",
                "sha256",
                "packages",
                "routerboot",
                "wait"
            ]
        );
        assert!(Upgrade::default().steps().is_err());
    }
}
