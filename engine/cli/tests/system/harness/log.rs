//! What processes log, kept for a test that fails.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines of several processes in the order they came; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Reads a process's lines until it ends, so that it never waits for its log to be read.
    pub(crate) fn follow(
        &self,
        name: &str,
        lines: impl Iterator<Item = io::Result<String>> + Send + 'static,
    ) {
        let (log, name) = (self.clone(), name.to_owned());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().push(format!("{name}: {line}"));
            }
        });
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.lock().join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
