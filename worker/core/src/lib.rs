//! What a worker decides, as functions of values: no I/O, no clock.

pub mod attempt;

pub use attempt::{Action, Attempt, ConnectFailure, Ended, Outcome, StepEnd};
