//! How gently routers are treated: rates and numbers that a whole worker keeps, whichever session asks.
//!
//! Limits may be changed while everything runs; what waits is asked anew. A rate that is changed begins with a full
//! burst.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use muster_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::DeviceLimits;
use crate::pace::{Pace, Paces, Rate};

/// Connections and logins let through at once after a quiet second: a burst that a small uplink survives.
const BURST: u32 = 200;
/// Bytes of a label value let through at once: more than one read, so that a read can be paid for.
const BYTE_BURST: u32 = 256 << 10;

/// What may be changed while a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Commands a second on one device, and how many of them at once.
    pub(crate) commands: u32,
    pub(crate) burst: u32,
    /// Commands a second on all devices; 0: no limit.
    pub(crate) worker_commands: u32,
    /// New connections a second in a zone, and in zones that have their own.
    pub(crate) connects: u32,
    pub(crate) zone_connects: BTreeMap<String, u32>,
    /// Logins a second; 0: no limit.
    pub(crate) logins: u32,
    /// Connections that are being made at once.
    pub(crate) handshakes: u32,
    /// Bytes a second read from all devices of a label value, `key=value`.
    pub(crate) bytes: BTreeMap<String, u32>,
}

impl From<&DeviceLimits> for Limits {
    fn from(limits: &DeviceLimits) -> Self {
        Self {
            commands: limits.commands_per_second,
            burst: limits.command_burst,
            worker_commands: limits.worker_commands_per_second,
            connects: limits.connects_per_second,
            zone_connects: BTreeMap::new(),
            logins: limits.logins_per_second,
            handshakes: limits.handshakes,
            bytes: BTreeMap::new(),
        }
    }
}

/// The limiters of a worker.
#[derive(Debug)]
pub(crate) struct Pacing {
    /// Made once: making one asks the processor what it is, which a virtual machine answers slowly.
    clock: DefaultClock,
    limits: RwLock<Limits>,
    devices: RwLock<Rate>,
    paces: Mutex<Paces>,
    commands: Gate,
    logins: Gate,
    zones: Mutex<HashMap<String, Arc<Gate>>>,
    labels: Mutex<HashMap<String, Arc<Gate>>>,
    handshakes: Arc<Semaphore>,
    /// Handshakes that are to be fewer and are still going on.
    surplus: AtomicUsize,
}

impl Pacing {
    pub(crate) fn new(limits: Limits) -> Self {
        let clock = DefaultClock::default();
        Self {
            devices: RwLock::new(Rate::new(limits.commands, limits.burst, &clock, 0)),
            paces: Mutex::default(),
            commands: Gate::new(limits.worker_commands, BURST, &clock),
            logins: Gate::new(limits.logins, BURST, &clock),
            zones: Mutex::default(),
            labels: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(limits.handshakes.max(1) as usize)),
            surplus: AtomicUsize::new(0),
            limits: RwLock::new(limits),
            clock,
        }
    }

    /// From now on these.
    pub(crate) fn change(&self, new: Limits) {
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        if (limits.commands, limits.burst) != (new.commands, new.burst) {
            let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
            *devices = devices.changed(new.commands, new.burst, &self.clock);
        }
        self.commands.change(new.worker_commands, BURST, &self.clock);
        self.logins.change(new.logins, BURST, &self.clock);
        for (zone, gate) in &*lock(&self.zones) {
            gate.change(new.connects_of(zone), BURST, &self.clock);
        }
        for (label, gate) in &*lock(&self.labels) {
            gate.change(
                new.bytes.get(label).copied().unwrap_or(0),
                BYTE_BURST,
                &self.clock,
            );
        }
        let (before, after) = (limits.handshakes.max(1) as usize, new.handshakes.max(1) as usize);
        if after > before {
            let owed = self.take_surplus(after - before);
            self.handshakes.add_permits(after - before - owed);
        } else {
            let forgotten = self.handshakes.forget_permits(before - after);
            self.surplus
                .fetch_add(before - after - forgotten, Ordering::Relaxed);
        }
        *limits = new;
    }

    /// Where the commands of a device are counted.
    pub(crate) fn pace(&self, device: u64) -> Pace {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        lock(&self.paces).of(device, &devices)
    }

    /// Counts a command on a device, unless it would be one too many now: then says when to ask again, and for whose
    /// sake it waits.
    pub(crate) fn command(&self, pace: &Pace) -> Result<(), (Instant, Limiter)> {
        // The worker's own first: what it refuses has not been counted for the device.
        self.commands
            .check(1, &self.clock)
            .map_err(|at| (at, Limiter::Worker))?;
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices
            .count(pace)
            .map_err(|wait| (Instant::now() + wait, Limiter::Device))
    }

    /// Waits for the right to connect in a zone.
    pub(crate) async fn connect(&self, zone: &str) {
        let gate = {
            let mut zones = lock(&self.zones);
            match zones.get(zone) {
                Some(gate) => gate.clone(),
                None => {
                    let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
                    let gate = Arc::new(Gate::new(limits.connects_of(zone), BURST, &self.clock));
                    zones.insert(zone.to_owned(), gate.clone());
                    gate
                }
            }
        };
        gate.pass(&self.clock).await;
    }

    /// Waits for the right to log in.
    pub(crate) async fn login(&self) {
        self.logins.pass(&self.clock).await;
    }

    /// Waits until one more connection may be in the making.
    pub(crate) async fn handshake(self: &Arc<Self>) -> Handshake {
        Handshake {
            // The semaphore is never closed.
            permit: self.handshakes.clone().acquire_owned().await.ok(),
            pacing: self.clone(),
        }
    }

    /// The limiter of the bytes of a label value, when there is one.
    pub(crate) fn bytes(&self, label: &str) -> Arc<Gate> {
        let mut labels = lock(&self.labels);
        if let Some(gate) = labels.get(label) {
            return gate.clone();
        }
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let rate = limits.bytes.get(label).copied().unwrap_or(0);
        let gate = Arc::new(Gate::new(rate, BYTE_BURST, &self.clock));
        labels.insert(label.to_owned(), gate.clone());
        gate
    }

    /// Counts bytes that were read, unless they are too many now: then says when to ask again.
    pub(crate) fn pay(&self, gate: &Gate, bytes: u32) -> Result<(), Instant> {
        // The limit may be raised meanwhile, and a read may take minutes to be paid for.
        gate.check(bytes.min(BYTE_BURST), &self.clock)
            .map_err(|at| at.min(Instant::now() + LOOK_AGAIN))
    }

    fn take_surplus(&self, most: usize) -> usize {
        let take = |surplus: usize| Some(surplus - surplus.min(most));
        let before = self
            .surplus
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.unwrap_or(0).min(most)
    }
}

/// Whose rate a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limiter {
    Device,
    Worker,
}

/// A connection that is being made; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    permit: Option<OwnedSemaphorePermit>,
    pacing: Arc<Pacing>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if self.pacing.take_surplus(1) == 1
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl Limits {
    /// These, but for what the engine says.
    pub(crate) fn overridden(self, by: v1::WorkerLimits) -> Self {
        Self {
            commands: by.device_commands.unwrap_or(self.commands),
            burst: by.device_burst.unwrap_or(self.burst),
            worker_commands: by.commands.unwrap_or(self.worker_commands),
            connects: by.zone_connects.unwrap_or(self.connects),
            zone_connects: by.zones.into_iter().collect(),
            logins: by.logins.unwrap_or(self.logins),
            handshakes: by.handshakes.unwrap_or(self.handshakes),
            bytes: by.bytes.into_iter().collect(),
        }
    }

    fn connects_of(&self, zone: &str) -> u32 {
        self.zone_connects.get(zone).copied().unwrap_or(self.connects)
    }
}

/// A rate that many share. Whoever waits for it waits in turn: without turns everybody would wake for every permit.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Nothing without a limit.
    limiter: RwLock<Option<DefaultDirectRateLimiter>>,
    rate: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
}

impl Gate {
    fn new(rate: u32, burst: u32, clock: &DefaultClock) -> Self {
        Self {
            limiter: RwLock::new(limiter(rate, burst, clock)),
            rate: AtomicUsize::new(rate as usize),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn change(&self, rate: u32, burst: u32, clock: &DefaultClock) {
        if self.rate.swap(rate as usize, Ordering::Relaxed) != rate as usize {
            *self.limiter.write().unwrap_or_else(PoisonError::into_inner) = limiter(rate, burst, clock);
        }
    }

    /// Whether there is a limit now.
    pub(crate) fn is_open(&self) -> bool {
        self.rate.load(Ordering::Relaxed) == 0
    }

    fn check(&self, count: u32, clock: &DefaultClock) -> Result<(), Instant> {
        let Some(count) = NonZeroU32::new(count).filter(|_| !self.is_open()) else {
            return Ok(());
        };
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        match limiter.as_ref().map(|limiter| limiter.check_n(count)) {
            // More at once than the limiter ever lets through: let through alone.
            None | Some(Ok(Ok(())) | Err(_)) => Ok(()),
            Some(Ok(Err(early))) => Err(Instant::now() + early.wait_time_from(clock.now())),
        }
    }

    async fn pass(&self, clock: &DefaultClock) {
        if self.is_open() {
            return;
        }
        let _turn = self.turn.lock().await;
        while let Err(at) = self.check(1, clock) {
            // A limit may have been raised meanwhile.
            let soon = Instant::now() + LOOK_AGAIN;
            tokio::time::sleep_until(at.min(soon).into()).await;
        }
    }
}

/// How long whoever waits at a gate takes to see that the limit was changed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

fn limiter(rate: u32, burst: u32, clock: &DefaultClock) -> Option<DefaultDirectRateLimiter> {
    let quota = quota(NonZeroU32::new(rate)?, burst);
    Some(RateLimiter::direct_with_clock(quota, clock.clone()))
}

/// Connects: a burst of a tenth of a second or so. Bytes: a burst that one read fits into.
fn quota(rate: NonZeroU32, burst: u32) -> Quota {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let burst = if burst.get() == BYTE_BURST {
        burst
    } else {
        burst.min(rate)
    };
    Quota::per_second(rate).allow_burst(burst)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            commands: 20,
            burst: 3,
            handshakes: 2,
            ..(&DeviceLimits::default()).into()
        }
    }

    #[test]
    fn a_device_has_its_burst_and_then_its_rate() {
        let pacing = Pacing::new(limits());
        for _ in 0..3 {
            assert_eq!(pacing.command(&pacing.pace(7)), Ok(()));
        }
        let (at, limiter) = pacing.command(&pacing.pace(7)).expect_err("over the burst");
        assert_eq!(limiter, Limiter::Device);
        assert!(at <= Instant::now() + Duration::from_millis(50));
        assert_eq!(pacing.command(&pacing.pace(8)), Ok(()), "another device");
        pacing.change(Limits { burst: 4, ..limits() });
        assert_eq!(
            pacing.command(&pacing.pace(7)),
            Ok(()),
            "a changed rate begins anew"
        );
    }

    #[test]
    fn what_the_worker_refuses_does_not_count_for_the_device() {
        let pacing = Pacing::new(Limits {
            worker_commands: 1,
            ..limits()
        });
        assert_eq!(pacing.command(&pacing.pace(1)), Ok(()));
        for _ in 0..5 {
            let refused = pacing
                .command(&pacing.pace(2))
                .expect_err("the worker's second is used up");
            assert_eq!(refused.1, Limiter::Worker);
        }
        pacing.change(limits());
        assert_eq!([(); 3].map(|()| pacing.command(&pacing.pace(2))), [Ok(()); 3]);
    }

    #[tokio::test]
    async fn handshakes_are_fewer_when_they_are_to_be() {
        let pacing = Arc::new(Pacing::new(limits()));
        let (first, second) = (pacing.handshake().await, pacing.handshake().await);
        pacing.change(Limits {
            handshakes: 1,
            ..limits()
        });
        drop(first);
        assert_eq!(pacing.handshakes.available_permits(), 0, "one is still going on");
        drop(second);
        assert_eq!(pacing.handshakes.available_permits(), 1);
        pacing.change(Limits {
            handshakes: 3,
            ..limits()
        });
        assert_eq!(pacing.handshakes.available_permits(), 3);
    }

    #[tokio::test]
    async fn zones_have_rates_of_their_own() {
        let zone_connects = [("slow".to_owned(), 1)].into();
        let pacing = Pacing::new(Limits {
            zone_connects,
            ..limits()
        });
        pacing.connect("slow").await;
        let slow = tokio::time::timeout(Duration::from_millis(1), pacing.connect("slow"));
        assert!(slow.await.is_err(), "one a second");
        for _ in 0..BURST {
            pacing.connect("fast").await;
        }
    }

    #[test]
    fn bytes_are_paid_for_after_they_were_read() {
        let bytes = [("uplink=a".to_owned(), 1000)].into();
        let pacing = Pacing::new(Limits { bytes, ..limits() });
        let gate = pacing.bytes("uplink=a");
        assert_eq!(pacing.pay(&gate, BYTE_BURST), Ok(()));
        let later = pacing.pay(&gate, BYTE_BURST).expect_err("minutes of it");
        assert!(later <= Instant::now() + LOOK_AGAIN, "the limit may be raised");
        let free = pacing.bytes("uplink=b");
        assert!(free.is_open());
        assert_eq!(pacing.pay(&free, u32::MAX), Ok(()));
    }
}
