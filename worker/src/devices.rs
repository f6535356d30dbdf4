//! One session per device, opened on demand.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio_util::task::TaskTracker;

use crate::DeviceLimits;
use crate::session::{self, Handle, Target};

/// The sessions of a worker; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Devices(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: DeviceLimits,
    /// Sessions kept open at most.
    most: usize,
    /// Made once: making one asks the processor what it is, which a virtual machine answers slowly.
    clock: DefaultClock,
    connects: DefaultDirectRateLimiter,
    /// Whose turn it is to wait for the limiter. Without turns, everybody would wake for every permit.
    turn: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_device: HashMap<u64, Entry>,
    /// Counts uses; the entry with the lowest was used longest ago.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    handle: Handle,
    used: u64,
}

/// Connections let through at once after a quiet second: a burst that a small uplink survives.
const BURST: u32 = 200;

impl Devices {
    pub(crate) fn new(limits: DeviceLimits, most: usize, tasks: TaskTracker) -> Self {
        let rate = NonZeroU32::new(limits.connects_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(BURST).unwrap_or(NonZeroU32::MIN).min(rate);
        let clock = DefaultClock::default();
        let quota = Quota::per_second(rate).allow_burst(burst);
        let connects = RateLimiter::direct_with_clock(quota, clock.clone());
        let turn = tokio::sync::Mutex::default();
        Self(Arc::new(Inner {
            limits,
            most,
            clock,
            connects,
            turn,
            tasks,
            sessions: Mutex::default(),
        }))
    }

    /// The device's session: the one that is open, or a new one that is connecting.
    pub(crate) fn session(&self, device: u64, target: &Target) -> Handle {
        let mut sessions = self.lock();
        sessions.uses += 1;
        let used = sessions.uses;
        if let Some(entry) = sessions.by_device.get_mut(&device)
            && entry.handle.is_open()
            && entry.target.is_same(target)
        {
            entry.used = used;
            return entry.handle.clone();
        }
        // Replacing the entry drops the last handle to an outdated session, and with it the session.
        sessions.by_device.remove(&device);
        sessions.make_room(self.0.most);
        let inner = self.0.clone();
        let permit = async move { inner.permit().await };
        let spawn = |session| {
            self.0.tasks.spawn(session);
        };
        let handle = session::spawn(target.clone(), self.0.limits, permit, spawn);
        sessions.by_device.insert(
            device,
            Entry {
                target: target.clone(),
                handle: handle.clone(),
                used,
            },
        );
        handle
    }

    /// Forgets a session that no longer answers, so that the next one is new.
    pub(crate) fn forget(&self, device: u64, handle: &Handle) {
        let mut sessions = self.lock();
        if sessions
            .by_device
            .get(&device)
            .is_some_and(|entry| entry.handle.is_same(handle))
        {
            sessions.by_device.remove(&device);
        }
    }

    /// Forgets every session; those without work close.
    pub(crate) fn close(&self) {
        self.lock().by_device.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Waits for the right to connect.
    async fn permit(&self) {
        let _turn = self.turn.lock().await;
        while let Err(early) = self.connects.check() {
            tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
        }
    }
}

impl Sessions {
    /// Forgets what is closed and asks the sessions used longest ago to close if they are idle. One that has work
    /// stays: the cap bends rather than break a command.
    fn make_room(&mut self, most: usize) {
        if self.by_device.len() < most {
            return;
        }
        self.by_device.retain(|_, entry| entry.handle.is_open());
        let surplus = (self.by_device.len() + 1).saturating_sub(most);
        if surplus == 0 {
            return;
        }
        let mut oldest = self
            .by_device
            .iter()
            .map(|(device, entry)| (entry.used, *device))
            .collect::<Vec<_>>();
        oldest.sort_unstable();
        // An eighth at a time, so that a full house is not sorted for every newcomer.
        for (_, device) in oldest.into_iter().take(surplus.max(most / 8)) {
            if let Some(entry) = self.by_device.get(&device) {
                entry.handle.close_if_idle();
            }
        }
    }
}
