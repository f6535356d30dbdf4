//! What the engine decides, as functions of values: no I/O, no clock, no generator of its own.
//!
//! Live work and crash recovery go through the same [`Execution::next`], so that what was tested is what runs.

pub mod budget;
pub mod execution;
pub mod explain;
pub mod job;
pub mod quarantine;
pub mod rescue;
pub mod retry;
pub mod rollout;
pub mod schedule;

pub use budget::{Ledger, Tally};
pub use execution::{Context, Event, Execution, Held, Illegal, Intent, Outcome, Resolution, Transition};
pub use quarantine::Quarantine;
