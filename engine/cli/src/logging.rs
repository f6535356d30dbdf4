//! Logs of the long-running modes: to stderr, for people on a terminal and as JSON elsewhere. `MUSTER_LOG` filters.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log that nobody reads any more is no reason to stop: it would be told on stderr, which is just as closed.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Starting twice in one process (demo) keeps the first.
    let _ = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().try_init()
    };
}
