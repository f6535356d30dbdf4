//! Gates: what has to be passed between two waves (E3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Classes, Condition, Scope, Tolerance};

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gate {
    /// Names it in states, events and reports.
    pub id: String,
    /// What is asked.
    pub kind: GateKind,
    /// Records its verdict and never holds.
    pub shadow: bool,
}

/// What a gate asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// Whether a rule would trip now; too small a sample is no answer.
    #[serde(rename_all = "kebab-case")]
    Rule {
        /// When it would.
        condition: Condition,
        /// What it counts.
        classes: Classes,
        /// Among which executions.
        scope: Scope,
    },
    /// Whether so much time has passed since the wave ended.
    Timer(Duration),
    /// Whether so many people, other than the author, approved of going on.
    #[serde(rename_all = "kebab-case")]
    Approval {
        /// So many different people.
        needed: u32,
        /// Only these; anybody when it is empty.
        from: Vec<String>,
    },
    /// Whether the devices of the wave measure after their change what they did before; a device that was not measured
    /// is no answer.
    #[serde(rename_all = "kebab-case")]
    Snapshot {
        /// What is compared, and which difference is right; never empty.
        tolerances: Vec<Tolerance>,
        /// So many devices may be out of it.
        max: u64,
    },
    /// What a server says to a POST: 2xx with `{"verdict": "pass" | "fail" | "inconclusive"}`.
    #[serde(rename_all = "kebab-case")]
    Webhook {
        /// `http://…`.
        url: String,
        /// How long an answer is waited for.
        timeout: Duration,
    },
}

impl GateKind {
    /// As in files.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rule { .. } => "rule",
            Self::Timer(_) => "timer",
            Self::Approval { .. } => "approval",
            Self::Webhook { .. } => "webhook",
            Self::Snapshot { .. } => "snapshot",
        }
    }
}
