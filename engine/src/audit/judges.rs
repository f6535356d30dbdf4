//! The thread that judges: expressions need a deep stack, and what was said of the same answers is remembered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use muster_audit::{About, Asked, Judge, Judgement, Verdict, fleet};
use muster_model::check::STACK;
use muster_store::{AskedRecord, NewOutcome, ResultRecord, StoreError};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

/// Files whose verdicts are remembered; beyond them all are forgotten.
const FILES: usize = 16;

/// A device that was asked, with its answers.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) asked: AskedRecord,
    pub(crate) result: ResultRecord,
    /// When it is judged, Unix milliseconds.
    pub(crate) now: i64,
}

type Work = Box<dyn FnOnce(&mut HashMap<Vec<u8>, Judge>) + Send>;

/// A handle on the thread, which is started when there is something to judge.
#[derive(Default)]
pub(crate) struct Judges(Mutex<Option<Sender<Work>>>);

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judges")
    }
}

impl Judges {
    /// Outcomes in the order of the subjects. `body` is the file, `file` its digest.
    pub(crate) async fn judge(
        &self,
        file: &[u8],
        body: &str,
        subjects: Vec<Subject>,
    ) -> Result<Vec<NewOutcome>, StoreError> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let (file, body) = (file.to_vec(), body.to_owned());
        self.run(move |judges| {
            if judges.len() > FILES {
                judges.clear();
            }
            let judge = match judges.entry(file) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Judge::new(super::parse(&body)?)),
            };
            Ok(subjects.iter().map(|subject| outcome(judge, subject)).collect())
        })
        .await
    }

    /// Settles what looks at several devices.
    pub(crate) async fn settle(
        &self,
        body: &str,
        mut subjects: Vec<fleet::Subject>,
        accepted: bool,
    ) -> Result<Vec<fleet::Subject>, StoreError> {
        let body = body.to_owned();
        self.run(move |_| {
            fleet::settle(&super::parse(&body)?, &mut subjects, accepted);
            Ok(subjects)
        })
        .await
    }

    /// Does something on the thread.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut HashMap<Vec<u8>, Judge>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Box::new(move |judges| {
            // Nobody waits for it when the engine stops.
            let _ = reply.send(work(judges));
        }))?;
        answer
            .await
            .unwrap_or_else(|_| Err(gone("the thread that judges has ended")))
    }

    fn send(&self, work: Work) -> Result<(), StoreError> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match sender.take() {
            Some(open) => open,
            None => {
                let (open, queue) = mpsc::channel::<Work>();
                let thread = std::thread::Builder::new()
                    .name("audits".into())
                    .stack_size(STACK);
                let run = move || {
                    let mut judges = HashMap::new();
                    while let Ok(work) = queue.recv() {
                        work(&mut judges);
                    }
                };
                thread.spawn(run).map_err(|error| gone(&error.to_string()))?;
                open
            }
        };
        // One that has ended is started again with the next.
        let sent = open
            .send(work)
            .map_err(|_| gone("the thread that judges has ended"));
        if sent.is_ok() {
            *sender = Some(open);
        }
        sent
    }
}

fn gone(why: &str) -> StoreError {
    StoreError::Corrupt(format!("audits: {why}"))
}

fn outcome(judge: &mut Judge, subject: &Subject) -> NewOutcome {
    let Subject { asked, result, now } = subject;
    let replies = result.replies.iter().map(|reply| &**reply).collect::<Vec<_>>();
    let digests = replies
        .iter()
        .map(|reply| Sha256::digest(reply).into())
        .collect::<Vec<_>>();
    let all = judge.judge(&Asked {
        about: About {
            name: &result.device,
            address: &asked.address,
            zone: &asked.zone,
            labels: &asked.labels,
        },
        state: result.state,
        error: result.error.as_ref(),
        replies: &replies,
        digests: &digests,
    });
    let said = all.iter().map(|said| &**said).collect::<Vec<_>>();
    new_outcome(
        asked.device,
        &result.device,
        result.finished_at.unwrap_or(*now),
        &said,
    )
}

/// An outcome as it is stored.
pub(super) fn new_outcome(device: u64, name: &str, observed_at: i64, said: &[&Judgement]) -> NewOutcome {
    let is_told = |said: &&Judgement| !matches!(said.verdict, Verdict::Error | Verdict::Unreached);
    let answered = said.iter().any(is_told);
    // Texts and lists only: nothing in it can fail to be JSON.
    let body: Arc<str> = serde_json::to_string(said).unwrap_or_default().into();
    NewOutcome {
        device,
        name: name.to_owned(),
        digest: Sha256::digest(body.as_bytes()).into(),
        body,
        observed_at,
        answered,
    }
}
