//! One session per device, opened on demand or held, and what all of them share.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_worker_core::Caps;
use tokio_util::task::TaskTracker;

use crate::DeviceLimits;
use crate::budget::Budget;
use crate::pacing::{Limits, Pacing};
use crate::reach::Reach;
use crate::room::{Place, Room};
use crate::session::{self, Handle, Shards, Target, Vitals};

/// The sessions of a worker; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Devices(Arc<World>);

/// What the sessions of a worker share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) limits: DeviceLimits,
    pub(crate) pacing: Arc<Pacing>,
    pub(crate) budget: Budget,
    pub(crate) reach: Reach,
    pub(crate) shards: Shards,
    room: Arc<Room>,
    tasks: TaskTracker,
    sessions: Mutex<Sessions>,
    /// What devices can do for the way back, and when that was found out (I1).
    caps: Mutex<HashMap<u64, (Caps, Instant)>>,
    /// When it was last said that there are no descriptors left.
    exhausted: Mutex<Option<Instant>>,
}

/// Which of a device's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Line {
    /// The one for everything.
    Main,
    /// The one for those who only look while an execution with effects has the other to itself.
    Second,
    /// One that is made to see whether new connections come in, and used once.
    Proof,
}

/// A device's connection.
pub(crate) type Key = (u64, Line);

#[derive(Debug, Default)]
struct Sessions {
    by_device: HashMap<Key, Entry>,
    /// By their last use, the one used longest ago first.
    by_use: BTreeMap<u64, Key>,
    /// Counts uses.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    /// Shared with the session.
    target: Arc<Target>,
    handle: Handle,
    used: u64,
}

/// Bytes of a session's place in a map, of which half is free, and in the order of uses.
const ENTRY_BYTES: usize = 2 * size_of::<(Key, Entry)>() + 2 * size_of::<(u64, Key)>();

/// How long what a device can do is taken for true, and of how many devices it is kept.
const CAPS_FOR: Duration = Duration::from_secs(30);
const CAPS: usize = 100_000;

/// Between two complaints about descriptors.
const COMPLAIN: Duration = Duration::from_secs(1);
/// After the last complaint, and between two steps of getting back the room that was lost.
const RECOVER: Duration = Duration::from_secs(30);
/// Sessions looked at when one has to make room.
const LOOKED_AT: usize = 64;

/// How many connections there are, for those who ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Open or being opened.
    pub(crate) open: usize,
    /// May be open at once.
    pub(crate) most: usize,
    /// Bytes of large answers that are being read or told.
    pub(crate) answers: usize,
    /// Of one idle session.
    pub(crate) session_bytes: usize,
}

impl Devices {
    pub(crate) fn new(limits: DeviceLimits, most: usize, reach: Reach, tasks: TaskTracker) -> Self {
        Self(Arc::new(World {
            pacing: Arc::new(Pacing::new(Limits::from(&limits))),
            budget: Budget::new(limits.open_answer_bytes),
            room: Arc::new(Room::new(most)),
            limits,
            reach,
            shards: Shards::default(),
            tasks,
            sessions: Mutex::default(),
            caps: Mutex::default(),
            exhausted: Mutex::default(),
        }))
    }

    /// The device's session: the one that is open, or a new one that is connecting.
    pub(crate) fn session(&self, device: u64, line: Line, target: &Target) -> Handle {
        let mut sessions = self.0.lock();
        let key = (device, line);
        sessions.uses += 1;
        let used = sessions.uses;
        if let Some(entry) = sessions.by_device.get_mut(&key)
            && entry.handle.is_open()
            && entry.target.is_same(target)
        {
            let before = std::mem::replace(&mut entry.used, used);
            let handle = entry.handle.clone();
            sessions.by_use.remove(&before);
            sessions.by_use.insert(used, key);
            return handle;
        }
        // Replacing the entry drops the last handle to an outdated session, and with it the session.
        sessions.remove(key);
        let target = Arc::new(target.clone());
        let handle = session::spawn(key, target.clone(), &self.0);
        let entry = Entry {
            target,
            handle: handle.clone(),
            used,
        };
        sessions.by_device.insert(key, entry);
        sessions.by_use.insert(used, key);
        handle
    }

    /// What a device can do for the way back, if that was found out a short while ago: a version changes with a restart,
    /// which is never so short, and a clock loses its server.
    pub(crate) fn caps(&self, device: u64) -> Option<Caps> {
        let caps = self.0.caps.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, at) = caps.get(&device)?;
        (at.elapsed() < CAPS_FOR).then_some(*found)
    }

    /// Notes what a device can do.
    pub(crate) fn learn_caps(&self, device: u64, found: Option<Caps>) {
        let Some(found) = found else { return };
        let mut caps = self.0.caps.lock().unwrap_or_else(PoisonError::into_inner);
        if caps.len() >= CAPS {
            caps.retain(|_, (_, at)| at.elapsed() < CAPS_FOR);
        }
        match caps.get_mut(&device).filter(|(_, at)| at.elapsed() < CAPS_FOR) {
            Some(known) => known.0 = found,
            None => {
                caps.insert(device, (found, Instant::now()));
            }
        }
    }

    /// Forgets a session that no longer answers, so that the next one is new.
    pub(crate) fn forget(&self, device: u64, line: Line, handle: &Handle) {
        self.0
            .lock()
            .forget((device, line), |other| other.is_same(handle));
    }

    /// Takes leave of a session that is not logged in yet. When nobody else waits for it, and it has not begun to connect,
    /// it is not made any more: whom nobody waits for stands in front of nobody. A router that takes long to let somebody in
    /// is not begun with again and again.
    pub(crate) fn leave(&self, device: u64, line: Line, handle: Handle) {
        let (mut sessions, key) = (self.0.lock(), (device, line));
        let is_it = sessions
            .by_device
            .get(&key)
            .is_some_and(|entry| entry.handle.is_same(&handle) && handle.stage().is_before_connecting());
        // Under the lock: of two who leave together, one is the last.
        drop(handle);
        if is_it {
            sessions.forget(key, Handle::is_alone);
        }
    }

    /// Forgets every session; those without work close.
    pub(crate) fn close(&self) {
        let mut sessions = self.0.lock();
        sessions.by_device.clear();
        sessions.by_use.clear();
    }

    /// Changes the limits that may be changed.
    pub(crate) fn pace(&self, limits: Limits) {
        self.0.pacing.change(limits);
    }

    pub(crate) fn census(&self) -> Census {
        Census {
            open: self.0.room.taken(),
            most: self.0.room.most(),
            answers: self.0.budget.used(),
            session_bytes: session::idle_bytes() + ENTRY_BYTES,
        }
    }
}

impl World {
    /// Spawns what the worker waits for when it stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place for one more connection. Sessions used longest ago make room if they are idle; those that
    /// have work keep their place.
    pub(crate) async fn enter(&self) -> Place {
        if self.room.is_lowered() {
            self.recover();
        }
        self.room.enter(|| self.make_room()).await
    }

    /// Asks as many idle sessions to close as are wanted, beginning with the one used longest ago.
    fn make_room(&self) {
        let mut wanted = self.room.wanted();
        let sessions = self.lock();
        let oldest = sessions.by_use.values().take(LOOKED_AT.max(wanted * 2));
        for key in oldest {
            if wanted == 0 {
                return;
            }
            if let Some(entry) = sessions.by_device.get(key)
                && entry.handle.is_ready()
                && entry.handle.is_unused()
            {
                entry.handle.close_if_idle();
                wanted -= 1;
            }
        }
    }

    /// A session is over: it is not there any more for those who come after.
    pub(crate) fn ended(&self, key: Key, vitals: &Arc<Vitals>) {
        self.lock().forget(key, |handle| handle.is_of(vitals));
    }

    /// What took the descriptors may be gone: when nothing was heard of that for a while there is a little more room again.
    fn recover(&self) {
        let mut said = self.exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|at| at.elapsed() < RECOVER) {
            return;
        }
        *said = Some(Instant::now());
        tracing::info!(
            sessions = self.room.raise(),
            "the worker tries to keep more sessions again"
        );
    }

    /// The system has no descriptor left: the worker makes do with fewer connections from now on, and says so.
    pub(crate) fn exhausted(&self, error: &io::Error) {
        let mut said = self.exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|at| at.elapsed() < COMPLAIN) {
            return;
        }
        *said = Some(Instant::now());
        match self.room.lower() {
            Some(most) => {
                tracing::warn!(%error, sessions = most, "no file descriptor left for a device; the worker keeps fewer sessions from now on");
            }
            None => {
                tracing::warn!(%error, sessions = self.room.most(), "no file descriptor left for a device");
            }
        }
        self.make_room();
    }
}

impl Sessions {
    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.by_device.remove(&key) {
            self.by_use.remove(&entry.used);
        }
    }

    fn forget(&mut self, key: Key, is_it: impl FnOnce(&Handle) -> bool) {
        if self.by_device.get(&key).is_some_and(|entry| is_it(&entry.handle)) {
            self.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use routeros_conn::Credentials;
    use tokio::sync::mpsc;

    use super::*;
    use crate::held::Held;

    #[tokio::test]
    async fn whom_nobody_waits_for_is_not_connected() {
        let limits = DeviceLimits {
            connects_per_second: 1,
            ..DeviceLimits::default()
        };
        let (nobody, _) = mpsc::unbounded_channel();
        let (reach, tasks) = (Reach::new(None, Held::new(nobody)), TaskTracker::new());
        let devices = Devices::new(limits, 100, reach, tasks.clone());
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = silent.local_addr().expect("bound");
        let target = Target::plain(address, Arc::new(Credentials::new("admin", "")));
        let open = |device| devices.session(device, Line::Main, &target);
        let waiting: Vec<_> = (0..60).map(|device| (open(device), open(device))).collect();
        tokio::task::yield_now().await;
        for (device, (one, other)) in (0..).zip(waiting) {
            devices.leave(device, Line::Main, one);
            let is_there = || devices.0.lock().by_device.contains_key(&(device, Line::Main));
            assert!(is_there(), "somebody else waits");
            devices.leave(device, Line::Main, other);
            assert_eq!(is_there(), device == 0, "the first is connecting");
        }
        devices.close();
        tasks.close();
        // And not after a minute, one a second.
        let over = tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await;
        over.expect("nobody connects any more");
    }
}
