//! RouterOS versions and what differs between them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A RouterOS version such as `7.16.2`, `6.49.17` or `7.20rc1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
    stage: Stage,
}

/// How finished a version is. A version in `Stable` follows its betas and candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Beta(u16),
    Candidate(u16),
    Stable,
}

/// Text that is no RouterOS version.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no RouterOS version such as 7.16.2, 6.49.17 or 7.20rc1")]
pub struct BadVersion(pub String);

/// How a version logs a client in (facts §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginScheme {
    /// Up to 6.42: `/login` is answered with a challenge, whatever it says.
    Challenge,
    /// 6.43 to 6.45.0: name and password, or a challenge for whoever sends neither.
    Either,
    /// From 6.45.1 on: name and password.
    Password,
}

impl Version {
    pub(crate) fn login_scheme(self) -> LoginScheme {
        match (self.major, self.minor, self.patch) {
            (..6, _, _) | (6, ..=42, _) => LoginScheme::Challenge,
            (6, ..=44, _) | (6, 45, 0) => LoginScheme::Either,
            _ => LoginScheme::Password,
        }
    }

    /// Whether this is `major.minor` or later.
    pub(crate) fn since(self, major: u16, minor: u16) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Whether a print that finds nothing says `!empty` before `!done` (facts §1.2).
    pub(crate) fn says_empty(self) -> bool {
        self.since(7, 18)
    }

    /// A boolean as this version prints it.
    pub(crate) fn boolean(self, value: bool) -> &'static str {
        match (self.major >= 7, value) {
            (true, true) => "true",
            (true, false) => "false",
            (false, true) => "yes",
            (false, false) => "no",
        }
    }

    /// The text of a refused login.
    pub(crate) fn login_refusal(self) -> &'static str {
        match self.login_scheme() {
            LoginScheme::Challenge => "cannot log in",
            LoginScheme::Either | LoginScheme::Password => "invalid user name or password (6)",
        }
    }

    /// A point in time as this version prints it (facts §3.5): `apr/22/2022 07:54:55` in 6, `Mar/22/2022 11:03:33`
    /// in early 7, `2025-05-23 14:27:17` from 7.10 on.
    pub(crate) fn date(self, unix_s: i64) -> String {
        let Ok(at) = jiff::Timestamp::from_second(unix_s) else {
            return String::new();
        };
        let at = at.to_zoned(jiff::tz::TimeZone::UTC);
        if self.since(7, 10) {
            at.strftime("%Y-%m-%d %H:%M:%S").to_string()
        } else if self.major >= 7 {
            at.strftime("%b/%d/%Y %H:%M:%S").to_string()
        } else {
            at.strftime("%b/%d/%Y %H:%M:%S").to_string().to_lowercase()
        }
    }

    /// The `version` of `/system/resource`, such as `7.16.2 (stable)`.
    pub(crate) fn with_channel(self) -> String {
        let channel = match self.stage {
            Stage::Beta(_) => "development",
            Stage::Candidate(_) => "testing",
            Stage::Stable => "stable",
        };
        format!("{self} ({channel})")
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let number = |digits: &str| digits.parse::<u16>().map_err(|_| bad());
        let letters = text.find(|c: char| c.is_ascii_alphabetic());
        let (numbers, stage) = text.split_at(letters.unwrap_or(text.len()));
        let stage = match (stage.strip_prefix("beta"), stage.strip_prefix("rc")) {
            (Some(n), _) => Stage::Beta(number(n)?),
            (_, Some(n)) => Stage::Candidate(number(n)?),
            _ if stage.is_empty() => Stage::Stable,
            _ => return Err(bad()),
        };
        let mut parts = numbers.split('.').map(number);
        let version = Self {
            major: parts.next().ok_or_else(bad)??,
            minor: parts.next().ok_or_else(bad)??,
            patch: parts.next().transpose()?.unwrap_or(0),
            stage,
        };
        match parts.next() {
            None => Ok(version),
            Some(_) => Err(bad()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        match self.stage {
            Stage::Beta(n) => write!(f, "beta{n}"),
            Stage::Candidate(n) => write!(f, "rc{n}"),
            Stage::Stable => Ok(()),
        }
    }
}

/// A length of time as devices print it: `1w4d23h26m9s`, parts that are zero left out.
pub(crate) fn duration(mut seconds: u64) -> String {
    let mut text = String::new();
    for (unit, length) in [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if seconds >= length {
            text.push_str(&(seconds / length).to_string());
            text.push(unit);
            seconds %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn versions_read_print_and_sort() {
        for text in ["7.16.2", "6.49.17", "7.12", "7.20rc1", "7.21beta3", "6.40"] {
            assert_eq!(version(text).to_string(), text);
        }
        for text in ["", "7", "7.", "7.1.2.3", "7.x", "7.20gamma1", "seven.one"] {
            assert_eq!(text.parse::<Version>(), Err(BadVersion(text.to_owned())));
        }
        assert!(version("7.20beta1") < version("7.20rc1"));
        assert!(version("7.20rc1") < version("7.20"));
        assert_eq!(version("7.20rc1").with_channel(), "7.20rc1 (testing)");
    }

    #[test]
    fn the_login_changes_at_6_43_and_6_45_1() {
        for (text, scheme) in [
            ("6.40", LoginScheme::Challenge),
            ("6.42.12", LoginScheme::Challenge),
            ("6.43", LoginScheme::Either),
            ("6.45", LoginScheme::Either),
            ("6.45.1", LoginScheme::Password),
            ("7.1", LoginScheme::Password),
        ] {
            assert_eq!(version(text).login_scheme(), scheme, "{text}");
        }
    }

    #[test]
    fn dates_and_durations_as_devices_print_them() {
        let at = 1_647_947_013;
        assert_eq!(version("6.49.6").date(at), "mar/22/2022 11:03:33");
        assert_eq!(version("7.1.5").date(at), "Mar/22/2022 11:03:33");
        assert_eq!(version("7.19.1").date(at), "2022-03-22 11:03:33");
        assert_eq!(
            duration(604_800 + 4 * 86_400 + 23 * 3_600 + 26 * 60 + 9),
            "1w4d23h26m9s"
        );
        assert_eq!(duration(3_600), "1h");
        assert_eq!(duration(0), "0s");
    }
}
