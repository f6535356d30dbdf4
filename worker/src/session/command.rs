//! A command on its way to a device and its answer on the way back, in one piece of memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{Reply, Request};

/// A command and its answer to be.
pub(crate) fn command(request: Request) -> (Command, Awaited) {
    let shared = Arc::new(Shared(Mutex::new(State {
        stage: Stage::Asked(request),
        waker: None,
    })));
    (Command(Some(shared.clone())), Awaited(shared))
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Of whoever waits for the answer.
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Stage {
    Asked(Request),
    Taken,
    Answered(Reply),
    /// The answer was taken, or there will be none.
    Over,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, stage: Stage) {
        let mut state = self.lock();
        state.stage = stage;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

/// The end of whoever carries the command out.
#[derive(Debug)]
pub(crate) struct Command(
    /// Nothing once it is answered.
    Option<Arc<Shared>>,
);

/// The end of whoever asked: ready with the answer, or with nothing when nobody will give one.
#[derive(Debug)]
pub(crate) struct Awaited(Arc<Shared>);

/// Nobody will answer any more.
#[derive(Debug)]
pub(crate) struct Forgotten;

impl Command {
    /// What is asked, once.
    pub(crate) fn take(&mut self) -> Option<Request> {
        let mut state = self.0.as_ref()?.lock();
        match std::mem::replace(&mut state.stage, Stage::Taken) {
            Stage::Asked(request) => Some(request),
            other => {
                state.stage = other;
                None
            }
        }
    }

    /// Past this it is not sent any more.
    pub(crate) fn send_by(&self) -> Option<Instant> {
        match &self.0.as_ref()?.lock().stage {
            Stage::Asked(request) => Some(request.send_by),
            _ => None,
        }
    }

    pub(crate) fn answer(mut self, reply: Reply) {
        if let Some(shared) = self.0.take() {
            shared.settle(Stage::Answered(reply));
        }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.settle(Stage::Over);
        }
    }
}

impl Future for Awaited {
    type Output = Result<Reply, Forgotten>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        if matches!(state.stage, Stage::Asked(_) | Stage::Taken) {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(&mut state.stage, Stage::Over) {
            Stage::Answered(reply) => Ok(reply),
            _ => Err(Forgotten),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use muster_worker_core::StepEnd;
    use tokio::sync::RwLock;

    use super::*;
    use crate::session::{Turn, Words};

    pub(in crate::session) async fn request() -> Request {
        let guard = Arc::new(RwLock::new(())).read_owned().await;
        Request {
            words: Words::new(["/a"]),
            timeout: Duration::from_secs(1),
            send_by: Instant::now(),
            turn: Arc::new(Turn::Shared { _guard: guard }),
            follow: None,
        }
    }

    #[tokio::test]
    async fn it_is_taken_once_and_answered_once() {
        let (mut command, awaited) = command(request().await);
        assert!(command.take().is_some());
        assert!(command.take().is_none());
        let waits = tokio::spawn(awaited);
        tokio::task::yield_now().await;
        command.answer(Reply {
            end: StepEnd::Completed,
            sentences: Bytes::new(),
        });
        let reply = waits.await.expect("no panic").expect("answered");
        assert_eq!(reply.end, StepEnd::Completed);
    }

    #[tokio::test]
    async fn whoever_drops_it_tells() {
        let (command, awaited) = command(request().await);
        let waits = tokio::spawn(awaited);
        tokio::task::yield_now().await;
        drop(command);
        assert!(waits.await.expect("no panic").is_err());
    }
}
