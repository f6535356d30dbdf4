//! Rules: what stops a job beside its budget (C1, C2), and the sequential test (C4).

use serde::{Deserialize, Serialize};

use super::Share;
use crate::outcome::ExecutionState;

/// How an execution ended, as far as rules count it (C1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// `broken`, `lost`, `unknown`.
    Harmed,
    /// `reverted`.
    Rescued,
    /// Touched and `failed`: the device said no.
    Refused,
    /// `failed` without having been touched, and `rejected`.
    Benign,
    /// `expired`: never reached.
    Unreached,
}

impl Class {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [
        Self::Harmed,
        Self::Rescued,
        Self::Refused,
        Self::Benign,
        Self::Unreached,
    ];

    /// Of a terminal state; none when nothing is wrong, or nothing was tried.
    pub fn of(state: ExecutionState, touched: bool) -> Option<Self> {
        match state {
            ExecutionState::Broken | ExecutionState::Lost | ExecutionState::Unknown => Some(Self::Harmed),
            ExecutionState::Reverted => Some(Self::Rescued),
            ExecutionState::Failed if touched => Some(Self::Refused),
            ExecutionState::Failed | ExecutionState::Rejected => Some(Self::Benign),
            ExecutionState::Expired => Some(Self::Unreached),
            _ => None,
        }
    }

    /// As in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harmed => "harmed",
            Self::Rescued => "rescued",
            Self::Refused => "refused",
            Self::Benign => "benign",
            Self::Unreached => "unreached",
        }
    }

    /// Back from [`Class::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// Some classes, sorted and each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Classes(Vec<Class>);

impl Classes {
    /// These.
    pub fn new(classes: impl IntoIterator<Item = Class>) -> Self {
        let mut classes = Vec::from_iter(classes);
        classes.sort();
        classes.dedup();
        Self(classes)
    }

    /// Whether an execution that ended so is counted.
    pub fn count(&self, state: ExecutionState, touched: bool) -> bool {
        Class::of(state, touched).is_some_and(|class| self.0.contains(&class))
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = Class> {
        self.0.iter().copied()
    }
}

impl Default for Classes {
    /// Harmed and rescued: a device never touched cannot stop a fleet.
    fn default() -> Self {
        Self::new([Class::Harmed, Class::Rescued])
    }
}

/// When a rule trips. `failures` is what it counts, since the last acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// More failures than this.
    Count(u64),
    /// A higher share of failures than this, among executions that are over and either touched or counted.
    #[serde(rename_all = "kebab-case")]
    Rate {
        /// The share.
        over: Share,
        /// Not before so many are over.
        min_sample: u64,
    },
    /// So many failures one after the other.
    Consecutive(u64),
}

/// Among which executions a rule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Of the whole job.
    #[default]
    Job,
    /// Of each wave by itself.
    Wave,
}

/// What a rule does when it trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The job halts: nothing new starts until a person resumes it.
    #[default]
    Halt,
    /// The job ends early; what was changed stays.
    Abort,
    /// The job ends early, and what was changed is taken back.
    AbortRevert,
    /// An event, and the ramp halves.
    Warn,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rule {
    /// Names it in states, events and reports.
    pub id: String,
    /// When it trips.
    pub condition: Condition,
    /// What it counts.
    pub classes: Classes,
    /// Among which executions.
    pub scope: Scope,
    /// What happens then.
    pub action: Action,
}

impl Default for Rule {
    /// Halt on 5 % of whatever a device refused or did not survive (C1).
    fn default() -> Self {
        Self {
            id: "default".into(),
            condition: Condition::Rate {
                over: Share::percent(5),
                min_sample: 20,
            },
            classes: Classes::new([Class::Harmed, Class::Rescued, Class::Refused]),
            scope: Scope::Job,
            action: Action::Halt,
        }
    }
}

impl Rule {
    /// In one sentence.
    pub fn describe(&self) -> String {
        let classes = self
            .classes
            .iter()
            .map(Class::as_str)
            .collect::<Vec<_>>()
            .join(" + ");
        let when = match self.condition {
            Condition::Count(max) => format!("more than {max} {classes}"),
            Condition::Rate { over, min_sample } => {
                format!("more than {over} {classes} once {min_sample} are over")
            }
            Condition::Consecutive(run) => format!("{run} {classes} in a row"),
        };
        let scope = match self.scope {
            Scope::Job => "",
            Scope::Wave => " in a wave",
        };
        let action = match self.action {
            Action::Halt => "halt",
            Action::Abort => "abort",
            Action::AbortRevert => "abort and revert",
            Action::Warn => "warn",
        };
        format!("{action} on {when}{scope}")
    }
}

/// A sequential probability ratio test over harmed and rescued against the rest of what was touched (C4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evidence {
    /// p0: a rate of failures that is acceptable.
    pub acceptable: Share,
    /// p1: one that is not; higher than p0.
    pub unacceptable: Share,
    /// a: how often a good change may be halted.
    pub false_halt: Share,
    /// b: how often a bad change may be promoted.
    pub false_promote: Share,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_was_never_touched_is_harmless_by_default() {
        let classes = Classes::default();
        for &state in ExecutionState::ALL.iter().filter(|state| state.is_terminal()) {
            let harmful = state.is_harmed() || state == ExecutionState::Reverted;
            assert_eq!(classes.count(state, true), harmful, "{state}");
        }
        assert_eq!(Class::of(ExecutionState::Failed, true), Some(Class::Refused));
        assert_eq!(Class::of(ExecutionState::Failed, false), Some(Class::Benign));
        assert_eq!(Class::of(ExecutionState::Succeeded, true), None);
        assert!(
            Class::ALL
                .iter()
                .all(|class| Class::parse(class.as_str()) == Some(*class))
        );
        assert_eq!(
            Rule::default().describe(),
            "halt on more than 5% harmed + rescued + refused once 20 are over"
        );
    }
}
