//! What the engine decides, as functions of values: no I/O, no clock, no generator of its own.
//!
//! Live work and crash recovery go through the same [`Execution::next`], so that what was tested is what runs.

pub mod execution;
pub mod explain;
pub mod job;
pub mod quarantine;
pub mod retry;

pub use execution::{Context, Event, Execution, Illegal, Intent, Outcome, Resolution, Transition};
pub use quarantine::Quarantine;
