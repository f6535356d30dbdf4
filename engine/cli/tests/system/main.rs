//! The whole system as real processes: `muster serve`, `muster sim` and the client commands, on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it knows"
)]

mod audit;
mod backup;
mod clock;
mod crash;
mod drift;
mod ensure;
mod explain;
mod fallback;
mod fencing;
mod firmware;
mod fleet;
mod harness;
mod input;
mod kills;
mod leaving;
mod outcomes;
mod reach;
mod remote;
mod rescue;
mod retention;
mod rollout;
mod rows;
mod schedules;
mod sessions;
mod storage;
mod watch;
mod way_back;
mod wire;
mod zones;
