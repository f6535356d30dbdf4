//! Letting time pass, or waiting for a device to be as it should.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::span;
use crate::step::{BadStep, LONGEST, deadline, millis};

/// How often a device is asked unless told otherwise.
pub const EVERY: Duration = Duration::from_secs(5);

/// How long it is waited for a device to be as it should, unless told otherwise.
pub const WITHIN: Duration = Duration::from_secs(5 * 60);

/// A checked wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Wait {
    /// So many milliseconds.
    For(u64),
    /// Until an expression holds; when it does not in time, the plan does not go on.
    Until {
        /// The expression, as a check has it.
        check: Check,
        /// How long at most, milliseconds.
        within_ms: u64,
        /// From one look to the next, milliseconds.
        every_ms: u64,
    },
    /// Until the device has little enough to do (L8); when that is not so in time, the plan does not go on.
    Idle {
        /// The most that its `cpu-load` may be, percent. One that does not tell it is not waited for.
        max_load: u32,
        /// How long at most, milliseconds.
        within_ms: u64,
        /// From one look to the next, milliseconds.
        every_ms: u64,
    },
}

impl Wait {
    /// For some time.
    pub fn time(time: Duration) -> Result<Self, Vec<BadStep>> {
        let possible = Duration::from_millis(1)..=LONGEST;
        match possible.contains(&time) {
            true => Ok(Self::For(millis(time))),
            false => Err(vec![BadStep::new(
                "time",
                format!("{}; 1 ms to 24 h are possible", span::text(time)),
            )]),
        }
    }

    /// Until an expression holds.
    pub fn until(
        expression: &str,
        within: Option<Duration>,
        every: Option<Duration>,
    ) -> Result<Self, Vec<BadStep>> {
        let mut bad = Vec::new();
        let within_ms = deadline("within", within.unwrap_or(WITHIN), &mut bad);
        let every_ms = deadline("every", every.unwrap_or(EVERY), &mut bad);
        if let Some(every) = every
            && bad.is_empty()
            && every_ms > within_ms
        {
            let within = span::text(Duration::from_millis(within_ms));
            let text = format!(
                "{} is longer than the {within} that it is waited",
                span::text(every)
            );
            bad.push(BadStep::new("every", text));
        }
        match Check::parse(expression) {
            Ok(check) if bad.is_empty() => Ok(Self::Until {
                check,
                within_ms,
                every_ms,
            }),
            Ok(_) => Err(bad),
            Err(error) => {
                bad.push(BadStep::new("until", error.to_string()));
                Err(bad)
            }
        }
    }

    /// Until the device's CPU is loaded by so many percent at most.
    pub fn idle(
        max_load: u32,
        within: Option<Duration>,
        every: Option<Duration>,
    ) -> Result<Self, Vec<BadStep>> {
        let mut bad = Vec::new();
        let within_ms = deadline("within", within.unwrap_or(WITHIN), &mut bad);
        let every_ms = deadline("every", every.unwrap_or(EVERY), &mut bad);
        if !(1..=100).contains(&max_load) {
            bad.push(BadStep::new(
                "max_load",
                format!("{max_load}; 1 to 100 percent are possible"),
            ));
        }
        match bad.is_empty() {
            true => Ok(Self::Idle {
                max_load,
                within_ms,
                every_ms,
            }),
            false => Err(bad),
        }
    }

    /// The expression that is waited for.
    pub fn check(&self) -> Option<&Check> {
        match self {
            Self::For(_) | Self::Idle { .. } => None,
            Self::Until { check, .. } => Some(check),
        }
    }

    /// How long it takes at most, milliseconds.
    pub fn at_most_ms(&self) -> u64 {
        match self {
            Self::For(time) => *time,
            Self::Until { within_ms, .. } | Self::Idle { within_ms, .. } => *within_ms,
        }
    }
}
