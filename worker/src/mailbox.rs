//! A queue from many handles to one task that costs next to nothing while it is empty: tens of thousands of idle
//! sessions have one each. (Tokio's own keeps a block of 32 places for each.)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A queue without bound: what goes in is bounded by who puts it in.
pub(crate) fn mailbox<T>() -> (Sender<T>, Mailbox<T>) {
    let shared = Arc::new(Shared {
        mail: Mutex::new(Mail {
            first: None,
            more: VecDeque::new(),
            waker: None,
            closed: false,
        }),
        senders: AtomicUsize::new(1),
    });
    (Sender(shared.clone()), Mailbox(shared))
}

#[derive(Debug)]
struct Shared<T> {
    mail: Mutex<Mail<T>>,
    senders: AtomicUsize,
}

#[derive(Debug)]
struct Mail<T> {
    /// One at a time needs no queue.
    first: Option<T>,
    more: VecDeque<T>,
    /// Stays for the next time, so that it is set once by a task that does not change it.
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Mail<T> {
    fn push(&mut self, message: T) {
        match self.first {
            None if self.more.is_empty() => self.first = Some(message),
            _ => self.more.push_back(message),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let message = self.first.take().or_else(|| self.more.pop_front());
        if self.more.is_empty() && self.more.capacity() > 0 {
            self.more = VecDeque::new();
        }
        message
    }

    /// Has this one called for what comes next.
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Mail<T>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that puts in.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The end that takes out.
#[derive(Debug)]
pub(crate) struct Mailbox<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts something in. Dropped when nobody takes out any more.
    pub(crate) fn send(&self, message: T) {
        let mut mail = self.0.lock();
        if mail.closed {
            return;
        }
        mail.push(message);
        mail.wake();
    }

    /// Whether nobody takes out any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Whether there is no other.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.senders.load(Ordering::Acquire) == 1
    }

    /// Whether both lead to the same task.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.lock().wake();
        }
    }
}

impl<T> Mailbox<T> {
    /// What both ends share, in bytes.
    pub(crate) const BYTES: usize = size_of::<Shared<T>>() + 2 * size_of::<usize>();

    /// What came first; `None` when nothing is there and every sender is gone.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut mail = self.0.lock();
        if let Some(message) = mail.pop() {
            return Poll::Ready(Some(message));
        }
        // Under the lock that the last sender takes before it wakes.
        if self.0.senders.load(Ordering::Acquire) == 0 {
            return Poll::Ready(None);
        }
        mail.wait(cx);
        Poll::Pending
    }

    /// All that is there, in order, and whether more may come: the waker is called when it does.
    pub(crate) fn take_all(&mut self, cx: &Context<'_>) -> (impl Iterator<Item = T> + use<T>, bool) {
        let mut mail = self.0.lock();
        let messages = mail
            .first
            .take()
            .into_iter()
            .chain(std::mem::take(&mut mail.more));
        mail.wait(cx);
        // Under the lock that the last sender takes before it wakes.
        (messages, self.0.senders.load(Ordering::Acquire) > 0)
    }

    /// Waits until every sender is gone.
    pub(crate) async fn abandoned(&self) {
        std::future::poll_fn(|cx| {
            let mut mail = self.0.lock();
            if self.0.senders.load(Ordering::Acquire) == 0 {
                return Poll::Ready(());
            }
            mail.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// What came first, if anything is there.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        self.0.lock().pop()
    }

    /// Takes nothing more; what is there stays.
    pub(crate) fn close(&mut self) {
        let mut mail = self.0.lock();
        mail.closed = true;
        mail.waker = None;
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.close();
        while self.try_recv().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn recv<T>(mailbox: &mut Mailbox<T>) -> Option<T> {
        poll_fn(|cx| mailbox.poll_recv(cx)).await
    }

    #[tokio::test]
    async fn it_is_first_in_first_out_and_ends_with_its_last_sender() {
        let (sender, mut mailbox) = mailbox();
        let other = sender.clone();
        assert!(sender.same(&other));
        sender.send(1);
        other.send(2);
        assert_eq!(recv(&mut mailbox).await, Some(1));
        drop(sender);
        assert_eq!(recv(&mut mailbox).await, Some(2));
        let waits = tokio::spawn(async move { recv(&mut mailbox).await });
        drop(other);
        assert_eq!(waits.await.expect("no panic"), None);
    }

    #[tokio::test]
    async fn all_is_taken_in_order_and_the_next_wakes() {
        let (sender, mut mailbox) = mailbox();
        for number in 1..=3 {
            sender.send(number);
        }
        let waits = tokio::spawn(async move {
            let mut taken = Vec::new();
            poll_fn(|cx| {
                let (messages, more) = mailbox.take_all(cx);
                taken.extend(messages);
                if more { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            taken
        });
        tokio::task::yield_now().await;
        sender.send(4);
        drop(sender);
        assert_eq!(waits.await.expect("no panic"), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let (sender, mut mailbox) = mailbox();
        let waits = tokio::spawn(async move { recv(&mut mailbox).await });
        tokio::task::yield_now().await;
        sender.send("x");
        assert_eq!(waits.await.expect("no panic"), Some("x"));
    }

    #[test]
    fn a_closed_one_drops_what_comes() {
        let (sender, mut mailbox) = mailbox();
        let told = Arc::new(());
        sender.send(told.clone());
        mailbox.close();
        sender.send(told.clone());
        assert!(sender.is_closed());
        assert_eq!(Arc::strong_count(&told), 2, "what was there stays");
        drop(mailbox);
        assert_eq!(Arc::strong_count(&told), 1);
    }
}
