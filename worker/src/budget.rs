//! Bytes that the open answers of a worker may have together.
//!
//! A device that answers with megabytes is fine; sixty of them at once are not. When the budget is spent, connections
//! with an open answer stop reading, which slows their devices and nobody else. One of them at a time may go on beyond
//! it, so that something always ends: what is held is never more than the budget and one answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;

/// Answers smaller than this are not counted: there may be one for each execution.
const SMALL: usize = 64 << 10;

/// The budget of a worker; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: usize,
    used: AtomicUsize,
    /// Whether somebody goes on beyond the budget.
    overdrawn: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<Waker>,
    /// Counts how often they were woken.
    round: u64,
}

/// What one connection holds of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
    overdraws: bool,
    /// The round it waits in.
    round: Option<u64>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Inner {
            bytes,
            used: AtomicUsize::new(0),
            overdrawn: AtomicBool::new(false),
            waiting: Mutex::default(),
        }))
    }

    /// A share of nothing.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
            overdraws: false,
            round: None,
        }
    }

    /// Bytes held now.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// An answer that is complete. It holds its bytes until whoever reads it drops it.
    pub(crate) fn answer(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() < SMALL {
            return bytes.into();
        }
        let mut share = self.share();
        share.hold(bytes.len());
        Bytes::from_owner(Answer { bytes, _share: share })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let mut waiting = self.waiting();
        waiting.round += 1;
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Share {
    /// Holds this many bytes from now on, whatever the budget says: they are there already.
    pub(crate) fn hold(&mut self, bytes: usize) {
        let bytes = if bytes < SMALL { 0 } else { bytes };
        let used = &self.budget.0.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else if bytes < self.bytes {
            used.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
        }
        let less = bytes < self.bytes;
        self.bytes = bytes;
        if bytes == 0 && std::mem::take(&mut self.overdraws) {
            self.budget.0.overdrawn.store(false, Ordering::Release);
        }
        if less {
            self.budget.wake();
        }
    }

    /// Whether more may be read. If not, the waker is called when it may be tried again.
    pub(crate) fn may_read(&mut self, waker: &Waker) -> bool {
        // Whoever has nothing large yet may always read: small answers are not what the budget is for.
        if self.bytes == 0 || self.overdraws || self.is_within() {
            return true;
        }
        // Listed first: what is given back from here on wakes us.
        self.list(waker);
        if self.is_within() {
            return true;
        }
        self.overdraws = !self.budget.0.overdrawn.swap(true, Ordering::AcqRel);
        self.overdraws
    }

    fn list(&mut self, waker: &Waker) {
        let mut waiting = self.budget.waiting();
        if self.round != Some(waiting.round) {
            self.round = Some(waiting.round);
            waiting.wakers.push(waker.clone());
        }
    }

    fn is_within(&self) -> bool {
        self.budget.used() <= self.budget.0.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

struct Answer {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_goes_on_and_the_others_wait_until_something_is_given_back() {
        let (budget, woken) = (Budget::new(1 << 20), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let mut shares = [(); 3].map(|()| budget.share());
        for share in &mut shares {
            share.hold(500 << 10);
        }
        let may = shares.each_mut().map(|share| share.may_read(&waker));
        assert_eq!(may, [true, false, false], "the first overdraws");
        assert!(shares[0].may_read(&waker), "and goes on doing so");
        let answer = budget.answer(vec![0; 700 << 10]);
        shares[0].hold(0);
        assert!(woken.0.load(Ordering::Relaxed) >= 2);
        assert!(shares[1].may_read(&waker), "its turn to overdraw");
        assert!(!shares[2].may_read(&waker));
        drop(answer);
        shares[1].hold(0);
        assert!(shares[2].may_read(&waker), "within the budget again");
        drop(shares);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn small_answers_cost_nothing() {
        let budget = Budget::new(1);
        let mut share = budget.share();
        share.hold(SMALL - 1);
        assert!(share.may_read(Waker::noop()));
        let answer = budget.answer(vec![7; 10]);
        assert_eq!((answer.len(), budget.used()), (10, 0));
    }
}
