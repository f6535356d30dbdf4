//! Measuring muster: what the criterion benches and the scoreboard share.
//!
//! ```text
//! benches/*.rs ──▶ corpus, codec, queue       one part at a time, in nanoseconds
//! scoreboard ────▶ rows ──▶ codec             one number a row, each beside a baseline that does the same work
//!                      ├──▶ system, bare, sim the product as `serve` builds it, against a bare client loop
//!                      ├──▶ process, instant   an engine in a process of its own, and workers that answer at once
//!                      ├──▶ alone, limit       the store in a process of its own, and SQLite without it
//!                      ├──▶ drive, echo       sessions without an engine, and devices that answer at once
//!                      ├──▶ server             one large answer over one connection
//!                      └──▶ peers/             another client's decoder, built and run as a program of its own
//! ```
//!
//! Two rules hold everywhere. Work is checked before it is timed: a decoder that skips rows is fast. And a baseline
//! answers for the same bytes as the product, in the same run on the same machine, because the absolute numbers of
//! one machine say little about another. `README.md` beside this crate says how to read and record them.

pub mod alone;
pub mod bare;
pub mod board;
pub mod client;
pub mod codec;
pub mod corpus;
pub mod cpu;
pub mod drive;
pub mod echo;
pub mod fill;
pub mod instant;
pub mod limit;
pub mod machine;
pub mod process;
pub mod queue;
pub mod rows;
pub mod scratch;
pub mod server;
pub mod sim;
pub mod sync;
pub mod system;
pub mod tally;
