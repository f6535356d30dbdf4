//! File descriptors: every mode takes what the system allows, and says what fits.

/// Descriptors a process needs beside one for each device: database, listeners, gRPC, standard streams.
const OTHER: u64 = 256;

/// Raises the soft limit to the hard one. Returns how many devices fit into one process.
pub(crate) fn raise() -> usize {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1024, |(soft, _)| soft)
        }
    };
    usize::try_from(limit.saturating_sub(OTHER)).unwrap_or(usize::MAX)
}
