//! Shares and amounts, exact: a share is a whole number of millionths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A share of a whole, in millionths; over 0, at most all of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    /// All of it.
    pub const ALL: Self = Self(WHOLE);

    /// So many millionths; none when that is nothing or more than all.
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        match millionths {
            1..=WHOLE => Some(Self(millionths)),
            _ => None,
        }
    }

    /// So many hundredths; nothing becomes a millionth, and more than all becomes all.
    pub const fn percent(percent: u32) -> Self {
        match percent {
            0 => Self(1),
            1..=100 => Self(percent * 10_000),
            _ => Self::ALL,
        }
    }

    /// In millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// As a fraction.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// So much of a whole, rounded up: never nothing of something.
    pub const fn of(self, whole: u64) -> u64 {
        // Nobody has 10^13 routers.
        (whole as u128 * self.0 as u128).div_ceil(WHOLE as u128) as u64
    }

    /// Whether `part` is more than this share of `whole`.
    pub const fn is_exceeded(self, part: u64, whole: u64) -> bool {
        part as u128 * WHOLE as u128 > whole as u128 * self.0 as u128
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no percentage; over 0% and at most 100% with four decimals, for example \"25%\" or \"0.5%\""
            )
        };
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 4 {
            return Err(wrong());
        }
        let millionths = format!("{whole}{decimals:0<4}").parse().map_err(|_| wrong())?;
        Self::from_millionths(millionths).ok_or_else(wrong)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 10_000, self.0 % 10_000);
        let text = match decimals {
            0 => format!("{whole}%"),
            _ => format!("{}%", format!("{whole}.{decimals:04}").trim_end_matches('0')),
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({self})")
    }
}

/// How many of some devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// So many.
    Count(u64),
    /// Such a share of them, at least one.
    Share(Share),
    /// No limit.
    All,
}

impl Amount {
    /// Of so many devices; none for no limit.
    pub fn of(self, devices: u64) -> Option<u64> {
        match self {
            Self::Count(count) => Some(count),
            Self::Share(share) => Some(share.of(devices).max(1)),
            Self::All => None,
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "all" => Ok(Self::All),
            text if text.ends_with('%') => text.parse().map(Self::Share),
            text => text.parse().map(Self::Count).map_err(|_| {
                format!("{text:?} is no amount; write a count, a percentage as \"1%\", or \"all\"")
            }),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => share.fmt(f),
            Self::All => f.pad("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_read_and_shown_exactly() {
        for text in ["1%", "25%", "100%", "0.5%", "33.3333%", "0.0001%"] {
            assert_eq!(text.parse::<Share>().expect(text).to_string(), text);
        }
        assert_eq!("2.50%".parse::<Share>().expect("valid").to_string(), "2.5%");
        for bad in [
            "0%",
            "101%",
            "-1%",
            "1",
            "%",
            "1.%",
            "1.00001%",
            "1e1%",
            "99999999999%",
        ] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_of_something_is_something() {
        assert_eq!(Share::percent(1).of(0), 0);
        assert_eq!(Share::percent(1).of(1), 1);
        assert_eq!(Share::percent(1).of(100), 1);
        assert_eq!(Share::percent(1).of(101), 2);
        assert!(Share::percent(2).is_exceeded(3, 149) && !Share::percent(2).is_exceeded(3, 150));
        assert_eq!("all".parse::<Amount>().expect("valid").of(5), None);
        assert_eq!("1%".parse::<Amount>().expect("valid").of(0), Some(1));
        assert_eq!("0".parse::<Amount>().expect("valid").of(5), Some(0));
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(millionths in 1..=WHOLE) {
            let share = Share::from_millionths(millionths).expect("in range");
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }
    }
}
