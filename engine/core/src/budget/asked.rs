//! A budget as people ask for it, before it is known how many devices there are.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A hundred percent, in hundredths of a percent.
const WHOLE: u32 = 10_000;

/// How large a budget is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// No limit.
    All,
    /// So many devices, 1 or more.
    Count(u64),
    /// A share of the selection.
    Share {
        /// In hundredths of a percent, 1 to 10,000.
        hundredths: u32,
        /// Never less than this.
        at_least: u64,
    },
}

/// Not a budget.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no budget; give a number of devices from 1, a share from 0.01% to 100%, or all")]
pub struct BadBudget(String);

impl Asked {
    /// What `run` takes unless told otherwise.
    pub const RUN: Self = Self::Share {
        hundredths: 200,
        at_least: 10,
    };

    /// What a rollout takes unless told otherwise.
    pub const ROLLOUT: Self = Self::Share {
        hundredths: 100,
        at_least: 1,
    };

    /// B over a selection of so many devices; `None` for no limit. Shares are rounded up.
    pub fn of(self, devices: u64) -> Option<u64> {
        match self {
            Self::All => None,
            Self::Count(count) => Some(count),
            Self::Share { hundredths, at_least } => {
                let share = (u128::from(devices) * u128::from(hundredths)).div_ceil(u128::from(WHOLE));
                Some(u64::try_from(share).unwrap_or(u64::MAX).max(at_least))
            }
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::All => f.write_str("all"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Share { hundredths, at_least } => {
                write!(f, "{}", hundredths / 100)?;
                if !hundredths.is_multiple_of(100) {
                    write!(f, ".{:02}", hundredths % 100)?;
                }
                f.write_str("%")?;
                match at_least {
                    0 | 1 => Ok(()),
                    least => write!(f, ", at least {least}"),
                }
            }
        }
    }
}

impl FromStr for Asked {
    type Err = BadBudget;

    /// `10`, `2%`, `0.5%`, `all`, and what `Display` writes.
    fn from_str(text: &str) -> Result<Self, BadBudget> {
        let bad = || BadBudget(text.to_owned());
        let (size, at_least) = match text.split_once(", at least ") {
            Some((size, least)) => (size, least.parse().map_err(|_| bad())?),
            None => (text, 1),
        };
        let asked = match size.strip_suffix('%') {
            Some(percent) => Self::Share {
                hundredths: hundredths(percent).ok_or_else(bad)?,
                at_least,
            },
            None if text == "all" => Self::All,
            None => Self::Count(text.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?),
        };
        Ok(asked)
    }
}

fn hundredths(percent: &str) -> Option<u32> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part = format!("{part:0<2}").parse::<u32>().ok()?;
    let all = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)?;
    (1..=WHOLE).contains(&all).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_as_it_is_written() {
        for text in ["1", "10", "2%", "0.50%", "100%", "all", "2%, at least 10"] {
            let asked: Asked = text.parse().expect(text);
            assert_eq!(asked.to_string(), text);
        }
        assert_eq!("0.5%".parse(), "0.50%".parse::<Asked>());
        for text in [
            "",
            "0",
            "-1",
            "0%",
            "100.01%",
            "1.234%",
            "%",
            "1.%",
            "+1%",
            "some",
            "1, at least 2",
        ] {
            assert!(text.parse::<Asked>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_rounded_up_and_have_a_floor() {
        assert_eq!(Asked::RUN.of(1), Some(10));
        assert_eq!(Asked::RUN.of(501), Some(11));
        assert_eq!(Asked::ROLLOUT.of(20), Some(1));
        assert_eq!(Asked::ROLLOUT.of(10_000), Some(100));
        assert_eq!(Asked::Count(3).of(1_000_000), Some(3));
        assert_eq!(Asked::All.of(5), None);
    }
}
