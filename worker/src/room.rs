//! Room for connections: a number of descriptors that is never exceeded, and that can be lowered when the system has
//! fewer than was thought.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

/// How long whoever waits for room takes to look again for an idle connection that could make some.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Below this the room is not lowered: with fewer nothing would move.
const LEAST: usize = 4;

/// The room of a worker.
#[derive(Debug)]
pub(crate) struct Room {
    free: Semaphore,
    /// As it was made.
    full: usize,
    most: AtomicUsize,
    taken: AtomicUsize,
    /// Places that were taken away while somebody was in them.
    owed: AtomicUsize,
    waiting: AtomicUsize,
    /// Whose turn it is to look for connections that could make room.
    turn: Mutex<()>,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Room>);

impl Room {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Semaphore::new(most),
            full: most,
            most: AtomicUsize::new(most),
            taken: AtomicUsize::new(0),
            owed: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            turn: Mutex::default(),
        }
    }

    /// Waits for a place. While there is none, `make_room` is called now and then.
    pub(crate) async fn enter(self: &Arc<Self>, make_room: impl Fn()) -> Place {
        if let Ok(permit) = self.free.try_acquire() {
            permit.forget();
            return self.place();
        }
        let _waits = Waits::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            make_room();
            if let Ok(Ok(permit)) = tokio::time::timeout(LOOK_AGAIN, self.free.acquire()).await {
                permit.forget();
                return self.place();
            }
        }
    }

    fn place(self: &Arc<Self>) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// The system has no descriptors left: from now on there is room for a little less than what is open. Returns the
    /// new number, or nothing when it was lowered far enough already.
    pub(crate) fn lower(&self) -> Option<usize> {
        let taken = self.taken.load(Ordering::Relaxed);
        let to = taken.saturating_sub(1 + taken / 16).max(LEAST);
        let lowered = self
            .most
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |most| {
                (most > to).then_some(to)
            });
        let before = lowered.ok()?;
        let forgotten = self.free.forget_permits(before - to);
        self.owed.fetch_add(before - to - forgotten, Ordering::AcqRel);
        Some(to)
    }

    /// Whether it is smaller than it was made.
    pub(crate) fn is_lowered(&self) -> bool {
        self.most() < self.full
    }

    /// Makes it a little larger again, up to what it was. Returns the new number.
    pub(crate) fn raise(&self) -> usize {
        let step = |most: usize| (most + 1 + self.full / 16).min(self.full);
        let raised = self
            .most
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |most| Some(step(most)));
        let (Ok(before) | Err(before)) = raised;
        let more = step(before) - before;
        // Places that nobody has left yet need not be left any more.
        let forgive = |owed: usize| Some(owed.saturating_sub(more));
        let owed = self
            .owed
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, forgive);
        let (Ok(owed) | Err(owed)) = owed;
        self.free.add_permits(more - more.min(owed));
        before + more
    }

    /// Connections that may be open at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Connections that are open or being opened.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many have to go, and how many wait for them.
    pub(crate) fn wanted(&self) -> usize {
        self.owed.load(Ordering::Relaxed) + self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        let pay = |owed: usize| owed.checked_sub(1);
        if self
            .0
            .owed
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, pay)
            .is_err()
        {
            self.0.free.add_permits(1);
        }
    }
}

/// Counts somebody who waits.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;

    #[tokio::test]
    async fn a_full_room_is_entered_when_somebody_leaves() {
        let room = Arc::new(Room::new(2));
        let inside = StdMutex::new(vec![room.enter(|| {}).await, room.enter(|| {}).await]);
        assert_eq!((room.taken(), room.wanted()), (2, 0));
        let leave = || drop(inside.lock().expect("not poisoned").pop());
        let third = room.enter(leave).await;
        assert_eq!(room.taken(), 2);
        drop(third);
    }

    #[tokio::test]
    async fn a_lowered_room_takes_nobody_until_enough_have_left() {
        let room = Arc::new(Room::new(40));
        let mut inside = Vec::new();
        for _ in 0..40 {
            inside.push(room.enter(|| {}).await);
        }
        assert_eq!(room.lower(), Some(37));
        assert_eq!(room.lower(), None, "it is low enough for what is open");
        assert_eq!((room.most(), room.wanted()), (37, 3));
        inside.truncate(37);
        assert_eq!((room.free.available_permits(), room.wanted()), (0, 0));
        inside.pop();
        assert_eq!(room.free.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_lowered_room_grows_to_what_it_was_and_no_further() {
        let room = Arc::new(Room::new(40));
        let mut inside = Vec::new();
        for _ in 0..40 {
            inside.push(room.enter(|| {}).await);
        }
        assert!(!room.is_lowered());
        room.lower();
        assert_eq!((room.most(), room.wanted()), (37, 3));
        assert_eq!(room.raise(), 40, "by three");
        assert_eq!((room.wanted(), room.free.available_permits()), (0, 0));
        assert_eq!(room.raise(), 40);
        assert!(!room.is_lowered());
        inside.clear();
        assert_eq!(room.free.available_permits(), 40);
    }
}
