//! Versions of RouterOS: `7.16.2 (stable)`, `7.19rc1`, `7.2beta3`, `6.49.17`.

use std::fmt;

use super::digits;

/// A version, ordered as releases are: `7.2alpha1` < `7.2beta3` < `7.2rc1` < `7.2` < `7.2.1` < `7.10`.
///
/// ```
/// use routeros_wire::value::Version;
/// let version = Version::parse(b"7.16.2 (stable)").unwrap();
/// assert!(Version::parse(b"7.9").unwrap() < version);
/// assert_eq!(version.to_string(), "7.16.2");
/// ```
// The order of the fields is the order of releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The 7 of `7.16.2`.
    pub major: u32,
    /// The 16.
    pub minor: u32,
    /// The 2; 0 where there is none.
    pub patch: u32,
    /// How far on the way to the release.
    pub stage: Stage,
}

/// How far a version is on the way to its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// `alpha1`.
    Alpha(u32),
    /// `beta3`.
    Beta(u32),
    /// `rc1`.
    Rc(u32),
    /// Nothing after the numbers.
    Release,
}

impl Version {
    /// Reads a version; the channel in parentheses, or whatever else follows a space, is passed over.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (number, _) = split(value);
        let (major, rest) = part(number)?;
        let (minor, rest) = part(rest.strip_prefix(b".")?)?;
        let (patch, rest) = match rest {
            [b'.', rest @ ..] => part(rest)?,
            rest => (0, rest),
        };
        let stage = match rest {
            [] => Stage::Release,
            rest => stage(rest)?,
        };
        Some(Self {
            major,
            minor,
            patch,
            stage,
        })
    }
}

/// The channel of `7.16.2 (stable)`.
///
/// ```
/// use routeros_wire::value::version;
/// assert_eq!(version::channel(b"7.16.2 (stable)"), Some(&b"stable"[..]));
/// assert_eq!(version::channel(b"7.19rc1"), None);
/// ```
pub fn channel(value: &[u8]) -> Option<&[u8]> {
    Version::parse(value)?;
    split(value).1?.strip_prefix(b"(")?.strip_suffix(b")")
}

/// Whether a value that reads as a version could not be a decimal as well.
pub(super) fn is_nothing_else(value: &[u8]) -> bool {
    let decimal = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    !value.iter().all(decimal) || value.iter().filter(|&&byte| byte == b'.').count() > 1
}

fn split(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    match value.iter().position(|&byte| byte == b' ') {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    }
}

fn part(value: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = digits(value)?;
    Some((u32::try_from(number).ok()?, rest))
}

fn stage(rest: &[u8]) -> Option<Stage> {
    let numbered = |name: &str| match part(rest.strip_prefix(name.as_bytes())?)? {
        (number, []) => Some(number),
        _ => None,
    };
    numbered("alpha")
        .map(Stage::Alpha)
        .or_else(|| numbered("beta").map(Stage::Beta))
        .or_else(|| numbered("rc").map(Stage::Rc))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        match self.stage {
            Stage::Alpha(number) => write!(f, "alpha{number}"),
            Stage::Beta(number) => write!(f, "beta{number}"),
            Stage::Rc(number) => write!(f, "rc{number}"),
            Stage::Release => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn releases_in_their_order() {
        let order = [
            "3.0beta2",
            "6.42",
            "6.49.17",
            "7.0",
            "7.2alpha4",
            "7.2beta3",
            "7.2rc1",
            "7.2rc2",
            "7.2",
            "7.2.1",
            "7.9",
            "7.16.2 (stable)",
            "7.19rc1",
            "7.19",
            "7.19.3 (long-term)",
            "7.20",
        ];
        let parsed = order.map(|text| Version::parse(text.as_bytes()).expect(text));
        assert!(parsed.is_sorted() && parsed.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(Version::parse(b"7.16.0"), Version::parse(b"7.16 (stable)"));
        assert_eq!(channel(b"7.19.3 (long-term)"), Some(&b"long-term"[..]));
        assert_eq!(channel(b"ether1 (stable)"), None);
    }

    #[test]
    fn what_is_no_version() {
        for bad in [
            "",
            "7",
            "7.",
            ".7",
            "7.1.2.3",
            "7.1rc",
            "7.1rc1x",
            "7.1gamma1",
            "v7.1",
            "7.1-rc1",
            "10.0.0.1/24",
            "7.99999999999",
        ] {
            assert_eq!(Version::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn display_is_read_back(major: u32, minor: u32, patch: u32, number: u32, kind in 0..4) {
            let stage = match kind {
                0 => Stage::Alpha(number),
                1 => Stage::Beta(number),
                2 => Stage::Rc(number),
                _ => Stage::Release,
            };
            let version = Version { major, minor, patch, stage };
            prop_assert_eq!(Version::parse(version.to_string().as_bytes()), Some(version));
        }
    }
}
