//! Asking workers what executions in their hands are doing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_proto::v1;
use muster_proto::v1::session_response::Message as Down;
use tokio::sync::oneshot;

use crate::Shared;

/// How long a worker is waited for; a person waits meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Questions that have no answer yet, by their number.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Vec<v1::Doing>>>>,
}

impl Asked {
    fn ask(&self) -> (u64, oneshot::Receiver<Vec<v1::Doing>>) {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever asked and was not answered has gone.
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(id, sender);
        (id, answer)
    }

    /// A worker answered.
    pub(super) fn told(&self, told: v1::Told) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.remove(&told.id) {
            let _ = sender.send(told.executions);
        }
    }
}

/// What executions do, as their workers tell it; sessions that do not answer soon are left out. `held` is pairs of
/// session and execution.
pub(super) async fn doing(shared: &Shared, held: Vec<(u64, u64)>) -> BTreeMap<u64, Vec<v1::Doing>> {
    let mut by_session = BTreeMap::<u64, Vec<u64>>::new();
    for (session, execution) in held {
        by_session.entry(session).or_default().push(execution);
    }
    let mut asked = Vec::new();
    for (session, executions) in by_session {
        let Some(outbox) = shared.sessions.with(session, |session| session.outbox.clone()) else {
            continue;
        };
        let (id, answer) = shared.asked.ask();
        let message = v1::SessionResponse {
            message: Some(Down::Ask(v1::Ask { id, executions })),
        };
        if outbox.try_send(Ok(message)).is_ok() {
            asked.push((session, answer));
        }
    }
    let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
    let mut all = BTreeMap::new();
    for (session, answer) in asked {
        if let Ok(Ok(executions)) = tokio::time::timeout_at(deadline, answer).await {
            all.insert(session, executions);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_finds_its_question() {
        let asked = Asked::default();
        let (id, answer) = asked.ask();
        let told = |id| v1::Told {
            id,
            executions: vec![v1::Doing::default()],
        };
        asked.told(told(id + 1));
        asked.told(told(id));
        assert_eq!(answer.await.map(|doing| doing.len()), Ok(1));
        drop(asked.ask());
        let (_, _open) = asked.ask();
        assert_eq!(asked.waiting.lock().map(|waiting| waiting.len()).ok(), Some(1));
    }
}
