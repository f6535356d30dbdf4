//! Whole flows on virtual time against a router that is a few lines of state, with the connection lost at every exchange:
//! before the command is carried out, and after.

#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

mod engine;
mod fallback;
mod firmware;
mod kinds;
mod router;
