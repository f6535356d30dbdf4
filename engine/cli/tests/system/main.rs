//! The whole system as real processes: `muster serve`, `muster sim` and the client commands, on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it knows"
)]

mod crash;
mod fleet;
mod harness;
mod input;
mod retention;
mod watch;
mod wire;
