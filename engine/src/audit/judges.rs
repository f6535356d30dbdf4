//! The thread that judges: expressions need a deep stack, and what was said of the same answers is remembered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use muster_audit::{About, Asked, Judge, Verdict};
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

struct Work {
    file: Vec<u8>,
    body: String,
    subjects: Vec<Subject>,
    reply: oneshot::Sender<Result<Vec<NewOutcome>, StoreError>>,
}

/// A handle on the thread, which is started when there is something to judge.
#[derive(Debug, Default)]
pub(crate) struct Judges(Mutex<Option<Sender<Work>>>);

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
        let (reply, answer) = oneshot::channel();
        let work = Work {
            file: file.to_vec(),
            body: body.to_owned(),
            subjects,
            reply,
        };
        self.send(work)?;
        answer
            .await
            .unwrap_or_else(|_| Err(gone("the thread that judges has ended")))
    }

    fn send(&self, work: Work) -> Result<(), StoreError> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match sender.take() {
            Some(open) => open,
            None => {
                let (open, queue) = mpsc::channel();
                let thread = std::thread::Builder::new()
                    .name("audits".into())
                    .stack_size(STACK);
                thread
                    .spawn(move || run(&queue))
                    .map_err(|error| gone(&error.to_string()))?;
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

fn run(queue: &Receiver<Work>) {
    let mut judges = HashMap::<Vec<u8>, Judge>::new();
    while let Ok(work) = queue.recv() {
        let Work {
            file,
            body,
            subjects,
            reply,
        } = work;
        if judges.len() > FILES {
            judges.clear();
        }
        let judge = match judges.entry(file) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => super::parse(&body).map(|audit| new.insert(Judge::new(audit))),
        };
        let outcomes = judge.map(|judge| {
            let outcomes = subjects.iter().map(|subject| outcome(judge, subject));
            outcomes.collect()
        });
        // Nobody waits for it when the engine stops.
        let _ = reply.send(outcomes);
    }
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
    let answered = all
        .iter()
        .any(|said| !matches!(said.verdict, Verdict::Error | Verdict::Unreached));
    let said = all.iter().map(|said| &**said).collect::<Vec<_>>();
    // Texts and lists only: nothing in it can fail to be JSON.
    let body: Arc<str> = serde_json::to_string(&said).unwrap_or_default().into();
    NewOutcome {
        device: asked.device,
        name: result.device.clone(),
        digest: Sha256::digest(body.as_bytes()).into(),
        body,
        observed_at: result.finished_at.unwrap_or(*now),
        answered,
    }
}
