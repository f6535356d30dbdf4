//! How much at once, and how much harm at all (C3, D1 to D3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Amount, Share};

/// Limits of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Executions with workers at once; none for as many as workers take.
    pub concurrency: Option<u32>,
    /// The hard budget B: so many devices may be harmed, at most and at any instant.
    pub budget: Amount,
    /// Executions with workers at once, for each value of a label.
    pub caps: Vec<Cap>,
    /// Devices out of service at once, for each value of a label.
    pub availability: Vec<Availability>,
}

impl Default for Limits {
    /// B = max(1, 1 %).
    fn default() -> Self {
        Self {
            concurrency: None,
            budget: Amount::Share(Share::percent(1)),
            caps: Vec::new(),
            availability: Vec::new(),
        }
    }
}

/// At most so many executions with workers at once among devices that have the same value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cap {
    /// The label's key.
    pub label: String,
    /// How many.
    pub concurrency: u32,
}

/// At most so many devices out of service at once among those that have the same value of a label (D3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Availability {
    /// The label's key.
    pub label: String,
    /// How many, or which share of them.
    pub max_unavailable: Amount,
}

/// Concurrency grows by a factor after each clean interval, and halves when a rule warns (D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ramp {
    /// At the beginning.
    pub start: u32,
    /// In hundredths: 200 doubles.
    pub factor_percent: u32,
    /// How long has to be clean.
    pub interval: Duration,
}
