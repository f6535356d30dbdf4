//! One RouterOS API connection as a pure state machine.
//!
//! No sockets, no clock, no await: the shell moves bytes and tells the time, [`Connection`] does the rest.
//!
//! ```text
//!            handle_input(bytes)            poll_event() → rows, outcomes, closed
//! socket  ───────────────────────▶ Connection ───────────────────────────────────▶ worker
//!         ◀───────────────────────            ◀───────────────────────────────────
//!          transmit() / transmitted(n)          open(), cancel(), handle_timeout(now)
//! ```
//!
//! What it guarantees:
//!
//! * A tag is registered before its bytes leave and is never used again on the connection, so no late reply can
//!   be taken for the answer to something else.
//! * Every exchange that was opened finishes exactly once, with one of the [`Outcome`]s. `Unknown` means that
//!   bytes had left and no final reply came: the device may have done it. `NotSent` means it certainly has not.
//! * Rows come in wire order, each as a view over the read buffer.
//! * Replies nobody asked for cost nothing but their count, and too many of them end the connection.

mod connection;
mod exchange;
mod exchanges;
mod held;
mod login;

pub use connection::{CloseCause, Config, Connection, Event, OpenError};
pub use exchange::{ExchangeId, Outcome, UnknownCause};
pub use login::{Credentials, LoginRefused};

/// The README's example runs with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
