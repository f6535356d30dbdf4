//! When a connection that was given up is certainly dead (the quiet rule, A5). A device cannot check an epoch, so what
//! was sent into an old connection may still arrive; nobody may conclude "not done" before it no longer can.

use std::time::Duration;

/// A granted intent may be sent for this long, counted from the question by the worker's monotonic clock (A4).
pub const SEND_WITHIN: Duration = Duration::from_secs(2);

/// `TCP_USER_TIMEOUT` of device sockets: bytes that nobody acknowledged for this long are given up with the
/// connection.
pub const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a router that was told to restart and goes on answering is waited for to go down at last.
pub const STAYS_UP: Duration = Duration::from_secs(120);

/// How long after the grant of a command nothing of it can happen any more, for a command with this deadline.
pub fn after(command: Duration) -> Duration {
    SEND_WITHIN + USER_TIMEOUT + command
}
