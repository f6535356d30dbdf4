//! Where benches keep files.

use std::io;
use std::path::Path;

use tempfile::TempDir;

/// A directory beside the running program, thus on a disk that people build on: the usual directory for temporary
/// files is in memory on many machines, and a durable commit costs nothing there.
pub fn on_disk() -> io::Result<TempDir> {
    let program = std::env::current_exe()?;
    let beside = program.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix("muster-bench-")
        .tempdir_in(beside)
}

/// A directory in memory, where the system has such a place: the cost of everything but the disk.
pub fn in_memory() -> Option<TempDir> {
    tempfile::Builder::new()
        .prefix("muster-bench-")
        .tempdir_in("/dev/shm")
        .ok()
}
