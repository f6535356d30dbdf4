//! What audits say of devices.
//!
//! * [`file`](mod@file): a file of checks, read with the place of every mistake; [`Rule`]: their expressions.
//! * [`reads`]: what has to be asked for them, one print per menu (L8).
//! * [`judge`]: what the answers of a device make of each check (L3).
//!
//! Everything here is a function of values: no I/O, no clock.

pub mod diff;
pub mod drift;
pub mod file;
pub mod finding;
pub mod fleet;
pub mod judge;
pub mod reads;
mod row;
mod rule;

pub use file::{Audit, Check, Empty, Severity};
pub use judge::{Asked, Judge, Judgement, Tally, Verdict};
pub use reads::Reads;
pub use row::{Answer, Row};
pub use rule::{About, Given, Names, Rule};

/// The hardening baseline that comes with muster, TOML.
pub const BASELINE: &str = include_str!("../baseline.toml");

#[cfg(test)]
mod baseline_tests;
#[cfg(test)]
mod tests;
