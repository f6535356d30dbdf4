//! Waves: how many devices go first, and which.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Amount, Gate, Share};
use crate::selector::Selector;

/// One wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wave {
    /// For people; may be empty.
    pub name: String,
    /// Which devices.
    pub size: Size,
    /// At least so many of each kind of device are in it (B2).
    pub strata: Option<Strata>,
    /// Its own hard budget, beside the job's (C3).
    pub budget: Amount,
    /// How long a device is watched after it was changed, before it counts as done.
    pub soak: Duration,
    /// How long the wave rests after its last device, before the next one opens.
    pub bake: Duration,
    /// It goes on by itself only if at least such a share of it went well (B4).
    pub min_good: Share,
    /// What has to be passed before the next wave opens.
    pub gates: Vec<Gate>,
}

/// Which devices a wave has, of those that no wave before it has (B1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// So many.
    Count(u64),
    /// As many as it takes to make this share of the whole selection, those before it counted in.
    Upto(Share),
    /// Those that a selector means.
    Select(Selector),
    /// All that are left.
    Rest,
}

/// At least so many devices of each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Strata {
    /// So many of each.
    pub per: u32,
    /// What makes a kind.
    pub by: Vec<Stratum>,
}

/// What devices of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stratum {
    /// The board's name.
    Board,
    /// The processor's architecture.
    Architecture,
    /// RouterOS down to the minor version: 7.16.
    Version,
    /// The value of a label.
    Label(String),
}

impl Strata {
    /// What makes a kind unless told otherwise (B2).
    pub fn by_default() -> Vec<Stratum> {
        vec![
            Stratum::Board,
            Stratum::Architecture,
            Stratum::Version,
            Stratum::Label("site".into()),
        ]
    }
}

impl Stratum {
    /// From a file: `board`, `architecture`, `version`, or a label's key.
    pub fn parse(text: &str) -> Self {
        match text {
            "board" => Self::Board,
            "architecture" => Self::Architecture,
            "version" => Self::Version,
            label => Self::Label(label.to_owned()),
        }
    }
}

impl fmt::Display for Stratum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Board => "board",
            Self::Architecture => "architecture",
            Self::Version => "version",
            Self::Label(key) => key,
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Upto(share) => share.fmt(f),
            Self::Select(selector) => selector.fmt(f),
            Self::Rest => f.write_str("rest"),
        }
    }
}

impl Wave {
    /// A wave of this size, with the defaults for everything else.
    pub fn new(size: Size) -> Self {
        Self {
            name: String::new(),
            size,
            strata: None,
            budget: Amount::All,
            soak: Duration::ZERO,
            bake: Duration::ZERO,
            min_good: Share::percent(50),
            gates: Vec::new(),
        }
    }

    /// The waves of a rollout that names none: a canary, then the rest.
    pub fn defaults() -> Vec<Self> {
        let canary = Self {
            name: "canary".into(),
            budget: Amount::Count(1),
            bake: Duration::from_secs(600),
            ..Self::new(Size::Upto(Share::percent(1)))
        };
        vec![canary, Self::new(Size::Rest)]
    }
}

/// What is wrong with waves as a whole: the number of the wave (from 0) and what would be right, for each.
pub fn waves_are_wrong(waves: &[Wave]) -> Vec<(usize, String)> {
    let mut wrong = Vec::new();
    let (mut share, mut taken) = (None::<Share>, None);
    for (at, wave) in waves.iter().enumerate() {
        if let Some(by) = taken {
            wrong.push((
                at,
                format!("wave {by} takes all devices that are left; nothing remains for this one"),
            ));
            continue;
        }
        match &wave.size {
            Size::Count(0) => wrong.push((at, "a wave of 0 devices shows nothing; write at least 1".into())),
            Size::Count(_) | Size::Select(_) => {}
            Size::Upto(upto) => {
                if let Some(before) = share.filter(|before| before >= upto) {
                    let text = format!(
                        "{upto} is not more than the {before} before; percentages count the waves before in, and rise"
                    );
                    wrong.push((at, text));
                }
                share = Some(*upto);
            }
            Size::Rest => {}
        }
        if matches!(wave.size, Size::Rest | Size::Upto(Share::ALL)) {
            taken = Some(at + 1);
        }
    }
    if taken.is_none() && !waves.is_empty() {
        let text = "the last wave has to take what is left, or devices would belong to no wave; write \"100%\" or \"rest\"";
        wrong.push((waves.len() - 1, text.into()));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(sizes: &[Size]) -> Vec<usize> {
        let waves = sizes.iter().cloned().map(Wave::new).collect::<Vec<_>>();
        waves_are_wrong(&waves).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn percentages_rise_and_the_last_wave_takes_the_rest() {
        let upto = |percent| Size::Upto(Share::percent(percent));
        assert!(waves(&[Size::Count(10), upto(25), upto(100)]).is_empty());
        assert!(waves(&[upto(1), Size::Rest]).is_empty());
        assert_eq!(waves(&[upto(25), upto(25), upto(100)]), [1]);
        assert_eq!(waves(&[upto(25), upto(50)]), [1]);
        assert_eq!(waves(&[Size::Count(0), Size::Rest]), [0]);
        assert_eq!(waves(&[upto(100), Size::Count(3)]), [1]);
        assert!(waves_are_wrong(&Wave::defaults()).is_empty());
    }
}
