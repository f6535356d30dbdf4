//! How a job with a policy goes over its devices (fleet-semantics B to G), as functions of values: the shell tells what
//! is, these say what follows.

pub mod advance;
pub mod approval;
pub mod assign;
pub mod control;
pub mod digest;
pub mod forecast;
pub mod order;
pub mod ramp;
pub mod rule;
pub mod sequential;
pub mod snapshot;
pub mod window;
