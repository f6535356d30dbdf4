//! What reconcilers tell of themselves.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_proto::{time, v1};
use tokio::sync::Notify;

/// One reconciler, as `admin status` shows it.
#[derive(Debug)]
pub(crate) struct Reconciler {
    name: &'static str,
    wake: Notify,
    told: Mutex<Told>,
}

/// Times are Unix milliseconds.
#[derive(Clone, Debug, Default)]
struct Told {
    runs: u64,
    last_run: Option<i64>,
    took: Duration,
    did: String,
    did_at: Option<i64>,
    error: String,
    error_at: Option<i64>,
    next_run: Option<i64>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Reconcilers {
    pub(crate) dispatch: Reconciler,
    pub(crate) leases: Reconciler,
    pub(crate) expiry: Reconciler,
    pub(crate) retention: Reconciler,
    pub(crate) rollouts: Reconciler,
    pub(crate) schedules: Reconciler,
    pub(crate) audits: Reconciler,
}

impl Default for Reconcilers {
    fn default() -> Self {
        Self {
            dispatch: Reconciler::new("dispatch"),
            leases: Reconciler::new("leases"),
            expiry: Reconciler::new("expiry"),
            retention: Reconciler::new("retention"),
            rollouts: Reconciler::new("rollouts"),
            schedules: Reconciler::new("schedules"),
            audits: Reconciler::new("audits"),
        }
    }
}

impl Reconcilers {
    pub(crate) fn status(&self) -> Vec<v1::ReconcilerStatus> {
        [
            &self.dispatch,
            &self.leases,
            &self.expiry,
            &self.retention,
            &self.rollouts,
            &self.schedules,
            &self.audits,
        ]
        .map(Reconciler::status)
        .into()
    }
}

impl Reconciler {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            wake: Notify::new(),
            told: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Lets it run now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notes a run that began at `at` and has just ended: what it did, empty for nothing, or why it could not; and
    /// how long it is to the next one.
    pub(crate) fn ran(&self, at: i64, began: Instant, did: Result<String, String>, next: Duration) {
        let took = began.elapsed();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.runs += 1;
        told.last_run = Some(at);
        told.took = took;
        told.next_run = Some(at.saturating_add_unsigned((took + next).as_millis() as u64));
        match did {
            Ok(did) if did.is_empty() => {}
            Ok(did) => (told.did, told.did_at) = (did, Some(at)),
            Err(error) => (told.error, told.error_at) = (error, Some(at)),
        }
    }

    fn status(&self) -> v1::ReconcilerStatus {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        v1::ReconcilerStatus {
            name: self.name.to_owned(),
            runs: told.runs,
            last_run: told.last_run.map(time),
            took: told.took.try_into().ok(),
            did: told.did,
            did_at: told.did_at.map(time),
            error: told.error,
            error_at: told.error_at.map(time),
            next_run: told.next_run.map(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_failed_stay_until_the_next() {
        let reconciler = Reconciler::new("leases");
        let run = |at, did: Result<&str, &str>| {
            let did = did.map(str::to_owned).map_err(str::to_owned);
            reconciler.ran(at, Instant::now(), did, Duration::from_secs(60));
            reconciler.status()
        };
        assert_eq!(reconciler.status().last_run, None);
        run(1000, Ok("2 taken back"));
        run(2000, Err("disk full"));
        let status = run(3000, Ok(""));
        assert_eq!((status.runs, status.last_run), (3, Some(time(3000))));
        assert_eq!(
            (status.did.as_str(), status.did_at),
            ("2 taken back", Some(time(1000)))
        );
        assert_eq!(
            (status.error.as_str(), status.error_at),
            ("disk full", Some(time(2000)))
        );
        assert_eq!(status.next_run.map(|at| at.seconds), Some(63));
    }
}
