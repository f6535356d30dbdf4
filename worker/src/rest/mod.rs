//! REST: the same commands and answers as over the API, for routers that offer nothing else.
//!
//! ```text
//! words ─▶ Asked ─▶ Rest (HTTP, one request at a time) ─▶ Answer: how it ended, and the API's sentences
//! ```
//!
//! Who gives up on a command ends the HTTP connection, which does not end the command: the router goes on with it for
//! up to a minute (facts §2). So the turn of whoever asked is kept that long.

mod answer;
mod asked;
mod client;
mod json;
mod session;

pub(crate) use client::Rest;
pub(crate) use session::{Opened, RestSession};
