//! Many sessions in one task.
//!
//! A shard has the sockets of its sessions in a poll of its own and wakes for all of them together: what became
//! readable, whose messages came and whose time is up goes into one line, and as many as are in it are served one
//! after the other with the same buffer and the same decoder. So a session costs no task, no timer and no registration
//! with the runtime, and a command costs no wake of its own while others are about.
//!
//! ```text
//! messages, budget ─ bell ─┐
//! sockets ──────── poll ───┼─▶ line ─▶ Session::poll ─▶ next deadline
//! deadlines ───────────────┘
//! ```
//!
//! The task is there as long as there are sessions.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use mio::{Events, Interest, Token};
use routeros_conn::Connection;
use slab::Slab;
use tokio::io::Interest as Watched;
use tokio::io::unix::AsyncFd;
use tokio::sync::RwLock;
use tokio::time::Sleep;

use super::opening::lost;
use super::serve::{Desk, FAR, Session};
use super::{Care, Message, Target, Vitals};
use crate::devices::World;
use crate::mailbox::Mailbox;
use crate::pace::Pace;

/// The shards of a worker: as many as the runtime has threads.
#[derive(Debug, Default)]
pub(crate) struct Shards(OnceLock<Box<[Arc<Shard>]>>);

/// Sessions of either kind that are served before it is the turn of other tasks.
const AT_ONCE: usize = 64;
/// Sockets that may tell something at once.
const EVENTS: usize = 256;

/// Bytes of an idle session: itself, what it shares with its handles, what it keeps from one command to the next, and its
/// places with its shard. What TLS keeps comes on top.
pub(crate) fn idle_bytes() -> usize {
    /// Of a growing list or tree, for what has a place in it: a third of the places are free.
    const GROWTH: (usize, usize) = (3, 2);
    let places = size_of::<Entry>() + size_of::<(Instant, usize)>();
    size_of::<Session>()
        + super::work::KEPT
        + Connection::KEPT
        + shared::<Bell>()
        + shared::<Vitals>()
        + shared::<RwLock<()>>()
        + shared::<Target>()
        + shared::<Care>()
        + Pace::BYTES
        + Mailbox::<Message>::BYTES
        + places * GROWTH.0 / GROWTH.1
}

/// Bytes of what is shared, with its two counts.
fn shared<T>() -> usize {
    size_of::<T>() + 2 * size_of::<usize>()
}

impl Shards {
    /// Serves a session until its connection is over.
    pub(super) fn serve(&self, session: Box<Session>, world: &World) {
        let shards = self.0.get_or_init(|| {
            let threads = tokio::runtime::Handle::current().metrics().num_workers();
            (0..threads.max(1)).map(|_| Arc::default()).collect()
        });
        let shard = &shards[session.device() as usize % shards.len()];
        shard.take_in(session, world);
    }
}

/// What others know of a shard.
#[derive(Default)]
pub(super) struct Shard {
    desk: Mutex<Reception>,
    task: AtomicWaker,
}

/// What waits for the task.
#[derive(Default)]
struct Reception {
    /// Places of sessions whose bells were rung.
    rung: Vec<usize>,
    #[expect(
        clippy::vec_box,
        reason = "they stay where they are while they go from hand to hand"
    )]
    arrivals: Vec<Box<Session>>,
    /// Whether there is a task.
    open: bool,
    /// Whether the task was woken and has not looked since.
    woken: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Reception> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(self: &Arc<Self>, session: Box<Session>, world: &World) {
        let mut desk = self.lock();
        if !desk.open {
            match Running::new(self.clone()) {
                Ok(running) => {
                    desk.open = true;
                    world.spawn(running);
                }
                Err(error) => {
                    drop(desk);
                    return session.end(lost(&error));
                }
            }
        }
        desk.arrivals.push(session);
        self.wake(desk);
    }

    fn wake(&self, mut desk: MutexGuard<'_, Reception>) {
        if !std::mem::replace(&mut desk.woken, true) {
            drop(desk);
            self.task.wake();
        }
    }
}

/// Calls for a session.
struct Bell {
    shard: Arc<Shard>,
    place: usize,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let mut desk = self.shard.lock();
            desk.rung.push(self.place);
            self.shard.wake(desk);
        }
    }
}

/// A session and what the shard knows of it.
struct Entry {
    session: Box<Session>,
    bell: Arc<Bell>,
    /// The bell, as a waker.
    waker: Waker,
    /// When it is told the time. A call that comes too early costs less than one that is moved for each command.
    due: Instant,
    /// Whether it stands in line.
    queued: bool,
}

/// The task of a shard.
struct Running {
    shard: Arc<Shard>,
    poll: AsyncFd<mio::Poll>,
    events: Events,
    entries: Slab<Entry>,
    /// All that have a time, by it.
    due: BTreeSet<(Instant, usize)>,
    /// Those whose bells were rung. They come first: most are about to answer what they have just been told, and what
    /// they need is still at hand.
    called: VecDeque<usize>,
    line: VecDeque<usize>,
    desk: Desk,
    timer: Pin<Box<Sleep>>,
    /// The vector that is not with the others.
    rung: Vec<usize>,
    /// Whether it has come to its end, and another task may be there.
    closed: bool,
}

impl Running {
    fn new(shard: Arc<Shard>) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, for descriptors that change; that of a poll does not"
        )]
        let poll = AsyncFd::with_interest(mio::Poll::new()?, Watched::READABLE)?;
        Ok(Self {
            shard,
            poll,
            events: Events::with_capacity(EVENTS),
            entries: Slab::new(),
            due: BTreeSet::new(),
            called: VecDeque::new(),
            line: VecDeque::new(),
            desk: Desk::new(),
            timer: Box::pin(tokio::time::sleep(FAR)),
            rung: Vec::new(),
            closed: false,
        })
    }

    /// Takes what waits at the door.
    fn receive(&mut self) {
        let mut desk = self.shard.lock();
        desk.woken = false;
        std::mem::swap(&mut desk.rung, &mut self.rung);
        let arrivals = std::mem::take(&mut desk.arrivals);
        drop(desk);
        let mut rung = std::mem::take(&mut self.rung);
        self.called.extend(rung.drain(..));
        self.rung = rung;
        for session in arrivals {
            self.arrive(session);
        }
    }

    fn arrive(&mut self, mut session: Box<Session>) {
        let entry = self.entries.vacant_entry();
        let (place, interest) = (entry.key(), Interest::READABLE | Interest::WRITABLE);
        let registry = self.poll.get_ref().registry();
        if let Err(error) = registry.register(session.wire.source(), Token(place), interest) {
            return session.end(lost(&error));
        }
        let bell = Arc::new(Bell {
            shard: self.shard.clone(),
            place,
            // It is looked at now: whatever waited for a connection is taken.
            rung: AtomicBool::new(true),
        });
        let due = Instant::now() + FAR;
        entry.insert(Entry {
            session,
            waker: Waker::from(bell.clone()),
            bell,
            due,
            queued: false,
        });
        self.due.insert((due, place));
        self.queue(place);
    }

    /// Puts a session in line. There may be none any more.
    fn queue(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.line.push_back(place);
        }
    }

    /// Hears what sockets have to tell, until the task is woken for what they tell next.
    fn listen(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Ok(mut guard)) = self.poll.poll_read_ready_mut(cx) {
            let poll = guard.get_inner_mut();
            if let Err(error) = poll.poll(&mut self.events, Some(Duration::ZERO)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::warn!(%error, "the sockets of devices cannot be watched");
                }
                return cx.waker().wake_by_ref();
            }
            let mut told = 0;
            for event in &self.events {
                told += 1;
                let Token(place) = event.token();
                if let Some(entry) = self.entries.get_mut(place) {
                    entry.session.wire.on_event(event);
                    if !std::mem::replace(&mut entry.queued, true) {
                        self.line.push_back(place);
                    }
                }
            }
            if told == EVENTS {
                return cx.waker().wake_by_ref();
            }
            // All was told. What comes from here on is told anew.
            guard.clear_ready();
        }
    }

    /// Tells those the time whose time has come.
    fn tell_time(&mut self, now: Instant) {
        while let Some(&(due, place)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            if let Some(entry) = self.entries.get_mut(place) {
                entry.due = now + FAR;
                self.due.insert((entry.due, place));
                entry.session.handle_timeout(now);
            }
            self.queue(place);
        }
    }

    fn serve(&mut self, place: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(place) else {
            return;
        };
        let called = entry.bell.rung.swap(false, Ordering::AcqRel);
        let mut cx = Context::from_waker(&entry.waker);
        let polled = entry.session.poll(&mut cx, called, &mut self.desk, now);
        if let Poll::Ready(cause) = polled {
            let entry = self.entries.remove(place);
            self.due.remove(&(entry.due, place));
            return entry.session.close(&cause);
        }
        let due = entry.session.next_deadline(now);
        if due < entry.due {
            self.due.remove(&(entry.due, place));
            self.due.insert((due, place));
            entry.due = due;
        }
    }

    /// Waits for the next deadline.
    fn sleep(&mut self, cx: &mut Context<'_>) {
        if let Some(&(due, _)) = self.due.first()
            && due < self.timer.deadline().into_std()
        {
            self.timer.as_mut().reset(due.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            let far = Instant::now() + FAR;
            self.timer.as_mut().reset(far.into());
            cx.waker().wake_by_ref();
        }
    }

    /// Ends the task when there is nobody to serve.
    fn closes(&mut self) -> bool {
        let mut desk = self.shard.lock();
        self.closed = self.entries.is_empty() && desk.arrivals.is_empty();
        desk.open = !self.closed;
        self.closed
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // From here on nobody's call is missed.
        this.shard.task.register(cx.waker());
        this.receive();
        let listens = this.line.len() < AT_ONCE;
        if listens {
            this.listen(cx);
        }
        let now = Instant::now();
        this.tell_time(now);
        for _ in 0..AT_ONCE {
            match this.called.pop_front() {
                Some(place) => this.serve(place, now),
                None => break,
            }
        }
        for _ in 0..AT_ONCE {
            match this.line.pop_front() {
                Some(place) => {
                    if let Some(entry) = this.entries.get_mut(place) {
                        entry.queued = false;
                    }
                    this.serve(place, now);
                }
                None => break,
            }
        }
        if this.entries.is_empty() && this.closes() {
            return Poll::Ready(());
        }
        // Nobody wakes the task for what sockets tell unless it has listened until there was nothing more.
        if listens && this.line.is_empty() && this.called.is_empty() {
            this.sleep(cx);
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Running {
    /// When the runtime ends, sessions end with it.
    fn drop(&mut self) {
        if !self.closed {
            let mut desk = self.shard.lock();
            desk.open = false;
            let arrivals = std::mem::take(&mut desk.arrivals);
            drop(desk);
            drop(arrivals);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use futures_util::future::try_join_all;
    use routeros_wire::{Limits, decode_all, encode};

    use super::*;
    use crate::DeviceLimits;
    use crate::direct::Direct;

    /// Answers what has been asked.
    fn answer(stream: &mut TcpStream, asked: &[u8]) {
        let mut bytes = Vec::new();
        decode_all(asked, Limits::default(), |asked| {
            let tag = asked.tag().map(|tag| [b".tag=", tag].concat());
            let words = [b"!done".to_vec()].into_iter().chain(tag);
            encode::sentence(&mut bytes, words.collect::<Vec<_>>()).expect("short words");
        })
        .expect("a whole command");
        stream.write_all(&bytes).expect("written");
    }

    fn read(stream: &mut TcpStream) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let count = stream.read(&mut bytes).expect("read");
        bytes.truncate(count);
        bytes
    }

    #[tokio::test]
    async fn what_is_told_all_at_once_is_all_heard() {
        // More than are told at once, and a line that ends with a turn.
        const DEVICES: usize = 2 * EVENTS;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("bound");
        let logins = tokio::task::spawn_blocking(move || {
            let accept = |_| {
                let (mut stream, _) = listener.accept().expect("accept");
                let login = read(&mut stream);
                answer(&mut stream, &login);
                stream
            };
            (0..DEVICES).map(accept).collect::<Vec<_>>()
        });
        let limits = DeviceLimits {
            connects_per_second: 1_000_000,
            ..DeviceLimits::default()
        };
        let direct = Direct::new(limits, DEVICES);
        let mut sessions = Vec::new();
        for device in 0..DEVICES as u64 {
            let session = direct.connect(device, address, "admin", "").await;
            sessions.push(session.expect("logged in"));
        }
        let mut devices = logins.await.expect("no panic");
        let timeout = Duration::from_secs(60);
        let answers = sessions.iter().map(|session| session.ask(&["/quit"], timeout));
        let answers = answers.collect::<Vec<_>>();
        let asked = tokio::task::spawn_blocking(move || {
            let asked = devices.iter_mut().map(read).collect::<Vec<_>>();
            (devices, asked)
        });
        let (devices, asked) = asked.await.expect("no panic");
        // The only thread that could hear an answer is busy until all are there.
        for (mut device, asked) in devices
            .iter()
            .map(|device| device.try_clone().expect("cloned"))
            .zip(asked)
        {
            answer(&mut device, &asked);
        }
        // Before the first deadline, that of a login, has them looked at anyway.
        let heard = tokio::time::timeout(Duration::from_secs(5), try_join_all(answers)).await;
        heard.expect("nobody was left waiting").expect("answered");
    }

    #[tokio::test]
    async fn who_waits_for_its_turn_is_told_when_it_is_too_late() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("bound");
        let device = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let login = read(&mut stream);
            answer(&mut stream, &login);
            stream
        });
        let limits = DeviceLimits {
            in_flight: 1,
            ..DeviceLimits::default()
        };
        let session = Direct::new(limits, 1).connect(1, address, "admin", "").await;
        let session = session.expect("logged in");
        let _open = device.await.expect("no panic");
        // As one that is followed for an hour.
        let _first = session.ask(&["/listen"], Duration::from_secs(3600));
        let second = session.ask(&["/print"], Duration::from_secs(1));
        let told = tokio::time::timeout(Duration::from_secs(30), second).await;
        let error = told.expect("told in time").expect_err("never sent");
        assert_eq!(
            error.message,
            "it could not be sent in time: 1 of 1 commands that the device may have at once are open"
        );
    }
}
