//! What a worker decides, as functions of values: no I/O, no clock.
//!
//! * [`Attempt`]: a plan's steps on one device, one exchange after the other.
//! * [`meaning`]: whether two values are the same to a device.
//! * [`diff`]: what has to change in a menu so that it is as wanted, and the sentences that tell of it.

pub mod action;
pub mod attempt;
pub mod diff;
mod export;
mod facts;
mod fingerprint;
pub mod inverse;
mod items;
pub mod meaning;
mod steps;

pub use action::{Action, ConnectFailure, Ended, Exchange, Given, Manner, Mode, Outcome, Recorded, StepEnd};
pub use attempt::{Attempt, Measured, Note, Told};
pub use steps::guard::Caps;
