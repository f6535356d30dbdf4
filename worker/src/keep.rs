//! Connections that are kept whether or not there is work: opened a few at a time, and made anew when they end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_proto::v1;
use muster_worker_core::ConnectFailure;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::devices::{Devices, Line};
use crate::facts;
use crate::held::Held;
use crate::session::Target;

/// Kept connections that are being opened at once: an execution that needs a new one never waits behind more of them.
const OPENING: usize = 64;
/// Before a connection that ended is made anew, from the first time to the longest, doubling; half as much more or less.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The least before a router that refused is tried again: it writes each login into its log, and may lock the user out.
const REFUSED: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// Before it is looked again whether there is room.
const FULL: Duration = Duration::from_secs(5);

/// The connections that a worker keeps; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keep(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    devices: Devices,
    held: Held,
    tasks: TaskTracker,
    opening: Semaphore,
    kept: Mutex<HashMap<u64, Kept>>,
    open: AtomicUsize,
}

#[derive(Debug)]
struct Kept {
    target: Arc<Target>,
    /// Ends its task.
    stop: CancellationToken,
    /// Of the engine's last word on all of them.
    told: u64,
}

impl Keep {
    pub(crate) fn new(devices: Devices, held: Held, tasks: TaskTracker) -> Self {
        Self(Arc::new(Shared {
            devices,
            held,
            tasks,
            opening: Semaphore::new(OPENING),
            kept: Mutex::default(),
            open: AtomicUsize::new(0),
        }))
    }

    /// Keeps a connection from now on. `told` counts the engine's words on all of them.
    pub(crate) fn keep(&self, device: u64, target: Target, want_facts: bool, told: u64) {
        let mut kept = self.0.lock();
        if let Some(before) = kept.get_mut(&device) {
            before.told = told;
            if before.target.is_same(&target) {
                return;
            }
            before.stop.cancel();
        }
        let (target, stop) = (Arc::new(target), CancellationToken::new());
        let (shared, of_task) = (self.0.clone(), target.clone());
        let keeping = stop.clone().run_until_cancelled_owned(async move {
            shared.keep(device, &of_task, want_facts).await;
        });
        self.0.tasks.spawn(keeping);
        kept.insert(device, Kept { target, stop, told });
    }

    /// Keeps these no more. They close when they have been idle for long enough.
    pub(crate) fn leave(&self, devices: &[u64]) {
        let mut kept = self.0.lock();
        for kept in devices.iter().filter_map(|device| kept.remove(device)) {
            kept.stop.cancel();
        }
    }

    /// Keeps none but those of the engine's last word.
    pub(crate) fn leave_untold(&self, told: u64) {
        self.0.lock().retain(|_, kept| {
            if kept.told != told {
                kept.stop.cancel();
            }
            kept.told == told
        });
    }

    /// Keeps none.
    pub(crate) fn close(&self) {
        for (_, kept) in self.0.lock().drain() {
            kept.stop.cancel();
        }
    }

    /// How many are to be kept, and how many are open.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.0.lock().len(), self.0.open.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(&self, device: u64, target: &Target, mut want_facts: bool) {
        let mut pause = AGAIN.0;
        // Whether the try before did not reach it: that it is back is news.
        let mut was_away = false;
        loop {
            // Of the semaphore's turns, which is never closed.
            let Ok(turn) = self.opening.acquire().await else {
                return;
            };
            let census = self.devices.census();
            if census.open >= census.most {
                // What is kept makes no room for itself: one connection would close for another, for ever.
                drop(turn);
                tokio::time::sleep(jittered(FULL)).await;
                continue;
            }
            let began = Instant::now();
            let session = self.devices.session(device, Line::Main, target);
            let kept = session.kept();
            let ready = session.ready().await;
            drop(turn);
            if ready.is_ok() {
                let _open = Counted::new(&self.open);
                if std::mem::take(&mut was_away) {
                    self.held.tell_contact(v1::DeviceContact {
                        device,
                        reached: true,
                        ..Default::default()
                    });
                }
                if want_facts && let Some(facts) = facts::learn(&session, device).await {
                    want_facts = false;
                    // Nothing was known that it could be another than.
                    session.recognised();
                    self.held.tell_facts(facts);
                }
                // An outdated session ends with its last handle, and this is none.
                drop(session);
                kept.ended().await;
            } else {
                was_away = true;
            }
            pause = pause.max(least_pause(&ready));
            if ready.is_ok() && began.elapsed() >= GOOD {
                pause = AGAIN.0;
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (2 * pause).min(AGAIN.1);
        }
    }
}

/// Before a connection is made anew that came to this.
fn least_pause(ready: &Result<(), ConnectFailure>) -> Duration {
    match ready {
        Err(failure) if !failure.may_pass => REFUSED,
        _ => AGAIN.0,
    }
}

/// Between half and one and a half of it, so that what ended together does not come back together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64())
}

/// Counts an open one.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use muster_model::{DeviceError, ErrorClass};

    use super::*;

    #[test]
    fn who_was_refused_does_not_knock_every_second() {
        let failed = |class, may_pass| {
            let error = DeviceError::new(class, "");
            Err(ConnectFailure { error, may_pass })
        };
        assert_eq!(least_pause(&failed(ErrorClass::Auth, false)), REFUSED);
        assert_eq!(least_pause(&failed(ErrorClass::Refused, true)), AGAIN.0);
        assert_eq!(least_pause(&Ok(())), AGAIN.0);
    }
}
