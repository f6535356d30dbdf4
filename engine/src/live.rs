//! Rows of steps that are followed, on their way from workers to whoever watches. Nothing of it is kept: the report of
//! the execution has them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_proto::v1;
use tokio::sync::broadcast;

/// Batches of rows that wait for a slow watcher of a job before it misses some.
const AHEAD: usize = 256;

/// Who watches which jobs live.
#[derive(Debug, Default)]
pub(crate) struct Live(Mutex<HashMap<u64, broadcast::Sender<Arc<v1::LiveRows>>>>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, broadcast::Sender<Arc<v1::LiveRows>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells rows to those who watch their job.
    pub(crate) fn tell(&self, rows: v1::LiveRows) {
        let mut jobs = self.lock();
        let job = rows.job;
        let unwatched = jobs
            .get(&job)
            .is_some_and(|watchers| watchers.send(Arc::new(rows)).is_err());
        if unwatched {
            jobs.remove(&job);
        }
    }

    /// From now on, the rows of a job.
    pub(crate) fn watch(&self, job: u64) -> broadcast::Receiver<Arc<v1::LiveRows>> {
        let mut jobs = self.lock();
        let watchers = jobs.entry(job).or_insert_with(|| broadcast::channel(AHEAD).0);
        watchers.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_watch_a_job_are_told() {
        let live = Live::default();
        let rows = |job| v1::LiveRows {
            job,
            ..v1::LiveRows::default()
        };
        let mut watcher = live.watch(7);
        live.tell(rows(8));
        live.tell(rows(7));
        assert_eq!(watcher.try_recv().expect("told").job, 7);
        assert!(watcher.try_recv().is_err());
        drop(watcher);
        live.tell(rows(7));
        assert!(live.lock().is_empty(), "nobody watches any more");
    }
}
