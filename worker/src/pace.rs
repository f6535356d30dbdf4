//! The rate of commands on one device.
//!
//! What a device was asked is counted in one place, whichever of its connections asked; each connection has that place
//! at hand, so that counting a command looks nothing up.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// How much a device was asked lately; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pace(Arc<Asked>);

impl Pace {
    /// Bytes of one, and of its place among the others.
    pub(crate) const BYTES: usize =
        size_of::<Asked>() + 2 * size_of::<usize>() + 2 * size_of::<(u64, Self)>();
}

#[derive(Debug)]
struct Asked {
    device: u64,
    state: InMemoryState,
    /// Of the rate that it was counted for.
    generation: AtomicU64,
}

impl PartialEq for Pace {
    fn eq(&self, other: &Self) -> bool {
        self.0.device == other.0.device
    }
}

impl Eq for Pace {}

impl Hash for Pace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.device.hash(state);
    }
}

/// The limiter's states are in its keys.
#[derive(Debug)]
struct InKeys;

impl StateStore for InKeys {
    type Key = Pace;

    fn measure_and_replace<T, F, E>(&self, pace: &Pace, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        pace.0.state.measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

/// A rate that holds for each device.
#[derive(Debug)]
pub(crate) struct Rate {
    limiter: RateLimiter<Pace, InKeys, DefaultClock>,
    /// What its states count from.
    began: <DefaultClock as Clock>::Instant,
    generation: u64,
}

impl Rate {
    /// So many commands a second, and so many at once; 0 a second: no limit. A rate takes the place of the one with
    /// the number before.
    pub(crate) fn new(commands: u32, burst: u32, clock: &DefaultClock, generation: u64) -> Self {
        let rate = NonZeroU32::new(commands).unwrap_or(NonZeroU32::MAX);
        let burst = NonZeroU32::new(burst.max(1)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self {
            began: clock.now(),
            limiter: RateLimiter::new(quota, InKeys, clock.clone()),
            generation,
        }
    }

    /// The one that takes its place.
    pub(crate) fn changed(&self, commands: u32, burst: u32, clock: &DefaultClock) -> Self {
        Self::new(commands, burst, clock, self.generation + 1)
    }

    /// Whether what a device was asked still counts.
    fn remembers(&self, pace: &Pace) -> bool {
        let look = |until: Option<Nanos>| Err::<((), Nanos), _>(until);
        let until = pace.0.state.measure_and_replace(&NotKeyed::NonKey, look);
        let now = self.limiter.clock().now().duration_since(self.began);
        pace.0.generation.load(Ordering::Relaxed) == self.generation
            && until.is_err_and(|until| until.is_some_and(|until| until > now))
    }

    /// Counts a command, unless it would be one too many: then says how long that will be so.
    pub(crate) fn count(&self, pace: &Pace) -> Result<(), Duration> {
        if pace.0.generation.swap(self.generation, Ordering::Relaxed) != self.generation {
            // Counted against another beginning of time.
            let anew = |_: Option<Nanos>| Ok::<_, ()>(((), Nanos::new(0)));
            let _ = pace.0.state.measure_and_replace(&NotKeyed::NonKey, anew);
        }
        self.limiter
            .check_key(pace)
            .map_err(|early| early.wait_time_from(self.limiter.clock().now()))
    }
}

/// The devices that were asked lately.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    by_device: HashMap<u64, Pace>,
    /// When there are more, those that were left alone are forgotten.
    tidy_at: usize,
}

/// As many are kept without a look at who uses them.
const FEW: usize = 4096;

impl Paces {
    /// That of a device.
    pub(crate) fn of(&mut self, device: u64, rate: &Rate) -> Pace {
        if let Some(pace) = self.by_device.get(&device) {
            return pace.clone();
        }
        if self.by_device.len() >= self.tidy_at.max(FEW) {
            self.by_device
                .retain(|_, pace| Arc::strong_count(&pace.0) > 1 || rate.remembers(pace));
            self.tidy_at = 2 * self.by_device.len();
        }
        let pace = Pace(Arc::new(Asked {
            device,
            state: InMemoryState::default(),
            generation: AtomicU64::new(0),
        }));
        self.by_device.insert(device, pace.clone());
        pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_device_count_together_and_nobody_is_kept_for_ever() {
        let (mut paces, clock) = (Paces::default(), DefaultClock::default());
        let rate = Rate::new(1, 2, &clock, 0);
        let (one, other) = (paces.of(1, &rate), paces.of(1, &rate));
        assert_eq!([rate.count(&one), rate.count(&other)], [Ok(()); 2]);
        assert!(rate.count(&one).is_err());
        assert_eq!(rate.count(&paces.of(2, &rate)), Ok(()));
        for device in 3..3 * FEW as u64 {
            paces.of(device, &rate);
        }
        assert!(paces.by_device.len() <= FEW + 1, "nobody else is in use");
        assert!(rate.count(&paces.of(1, &rate)).is_err(), "it is in use");
        assert!(rate.remembers(&paces.of(2, &rate)), "it was asked lately");
        assert_eq!(rate.changed(1, 2, &clock).count(&one), Ok(()));
    }
}
