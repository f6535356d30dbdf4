//! Snapshots: what a device measures before it is changed and after, and which difference is right (E1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Share;
use crate::check::{FACTS, Kind};

/// How one number of a device may differ after a change from what it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tolerance {
    /// One of [`measured`].
    pub name: String,
    /// By how much.
    pub range: Range,
}

/// How far a number may fall and rise; without a bound as far as it likes.
///
/// ```
/// use muster_model::policy::Range;
///
/// let range: Range = "-10%".parse().unwrap();
/// assert!(range.holds(100, 90) && range.holds(100, 500) && !range.holds(100, 89));
/// let same: Range = "same".parse().unwrap();
/// assert!(same.holds(7, 7) && !same.holds(7, 8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Range {
    fall: Option<Bound>,
    rise: Option<Bound>,
}

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    By(u64),
    Share(Share),
}

/// What can be measured: facts that are numbers and may differ from one moment to the next.
pub fn measured() -> impl Iterator<Item = &'static str> {
    let fixed = ["cpu_count", "total_disk", "total_memory"];
    let numbers = FACTS
        .iter()
        .filter(|(_, kind, _)| *kind == Kind::Number)
        .map(|(name, ..)| *name);
    numbers.filter(move |name| !fixed.contains(name))
}

impl Tolerance {
    /// Of a number that can be measured.
    pub fn new(name: &str, range: &str) -> Result<Self, String> {
        if !measured().any(|known| known == name) {
            let known = measured().collect::<Vec<_>>().join(", ");
            return Err(format!("{name:?} is nothing that is measured; there are {known}"));
        }
        Ok(Self {
            name: name.to_owned(),
            range: range.parse()?,
        })
    }

    /// What a gate compares unless it says otherwise: no interface goes down, and no more than a tenth of the routes is
    /// lost.
    pub fn defaults() -> Vec<Self> {
        let tolerance = |name: &str, fall| Self {
            name: name.to_owned(),
            range: Range {
                fall: Some(fall),
                rise: None,
            },
        };
        vec![
            tolerance("interfaces_up", Bound::By(0)),
            tolerance("routes", Bound::Share(Share::percent(10))),
        ]
    }
}

impl Tolerance {
    /// What is compared with a control group unless a gate says otherwise.
    pub fn of_control() -> Vec<Self> {
        let tolerance = |name: &str, range| Self {
            name: name.to_owned(),
            range,
        };
        let rise = Range {
            fall: None,
            rise: Some(Bound::By(20)),
        };
        let fall = Range {
            fall: Some(Bound::Share(Share::percent(25))),
            rise: None,
        };
        vec![tolerance("cpu_load", rise), tolerance("free_memory", fall)]
    }

    /// Of a number that may be compared with a control group.
    pub fn beside(name: &str, range: &str) -> Result<Self, String> {
        match name {
            "version" | "uptime" => Err(format!(
                "{name:?} is another one on devices that were changed; compare it with what it was before, by a snapshot"
            )),
            name => Self::new(name, range),
        }
    }
}

impl Range {
    /// Whether a number may have become this one.
    pub fn holds(&self, before: i64, after: i64) -> bool {
        let (bound, by) = match after < before {
            true => (self.fall, before.abs_diff(after)),
            false => (self.rise, after.abs_diff(before)),
        };
        match bound {
            None => true,
            Some(Bound::By(most)) => by <= most,
            Some(Bound::Share(share)) => !share.is_exceeded(by, before.unsigned_abs()),
        }
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no tolerance; write how far it may fall or rise, for example \"-10%\", \"+5\", \"-2,+20%\", or \"same\""
            )
        };
        let mut range = Self {
            fall: None,
            rise: None,
        };
        if text.trim() == "same" {
            let none = Some(Bound::By(0));
            return Ok(Self {
                fall: none,
                rise: none,
            });
        }
        for part in text.split(',').map(str::trim) {
            let (side, rest) = match (part.strip_prefix('-'), part.strip_prefix('+')) {
                (Some(rest), _) => (&mut range.fall, rest),
                (_, Some(rest)) => (&mut range.rise, rest),
                _ => return Err(wrong()),
            };
            let bound = match rest.ends_with('%') {
                true => Bound::Share(rest.parse().map_err(|_| wrong())?),
                false => Bound::By(rest.parse().map_err(|_| wrong())?),
            };
            if side.replace(bound).is_some() {
                return Err(wrong());
            }
        }
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = Some(Bound::By(0));
        if (self.fall, self.rise) == (zero, zero) {
            return f.write_str("same");
        }
        let bound = |sign: char, bound: Option<Bound>| {
            bound.map(|bound| match bound {
                Bound::By(most) => format!("{sign}{most}"),
                Bound::Share(share) => format!("{sign}{share}"),
            })
        };
        let bounds = [bound('-', self.fall), bound('+', self.rise)];
        f.write_str(&bounds.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_reads_as_it_is_written() {
        for text in ["same", "-10%", "+5", "-2,+20%", "-0"] {
            let range: Range = text.parse().expect(text);
            assert_eq!(range.to_string(), text);
        }
        for text in ["", "10%", "-", "-1,-2", "+x", "±5", "-200%"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
        let told = Tolerance::new("temperature", "same").expect_err("unknown");
        assert!(told.contains("interfaces_up"), "{told}");
        assert!(Tolerance::new("board", "same").is_err(), "no number");
    }

    #[test]
    fn what_falls_from_nothing_is_told() {
        let tenth: Range = "-10%".parse().expect("valid");
        assert!(tenth.holds(0, 0) && tenth.holds(10, 9) && !tenth.holds(9, 8));
    }
}
