//! What a worker holds: executions in its hands, and reports the engine does not have on disk yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use muster_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::phase::Phase;

/// An execution under one epoch.
pub(crate) type LeaseId = (u64, u64);

/// What a worker holds, shared by its tasks; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    state: Arc<Mutex<State>>,
    outbox: mpsc::UnboundedSender<Out>,
    /// Room for rows that are told as they come.
    live: Arc<Semaphore>,
}

/// Batches of rows that wait for the engine: beyond it whoever tells more waits, and with it its device.
const LIVE_AHEAD: usize = 256;

/// An execution that was taken up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun {
    /// Asks for its end.
    pub(crate) cancel: CancellationToken,
    /// What it does.
    pub(crate) phase: Arc<Phase>,
}

/// What goes to the engine.
#[derive(Debug)]
pub(crate) enum Out {
    Intent(Ask),
    Report(Told),
    Facts(v1::DeviceFactsReport),
    Contact(v1::DeviceContact),
    /// Makes room when it has gone.
    Live(v1::LiveRows, OwnedSemaphorePermit),
    /// An execution only waits from now on: there is room for another.
    Room,
}

/// An intent that is asked for, with what the engine is to have before it grants it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) intent: v1::Intent,
    /// What is known of its step.
    pub(crate) state: Option<v1::PreState>,
    /// What earlier steps have brought.
    pub(crate) files: Vec<v1::GivenFile>,
}

impl Ask {
    /// One message for all of them, but one of its own for each that brings files: those may be large.
    pub(crate) fn messages(asks: impl IntoIterator<Item = Self>) -> Vec<v1::Intents> {
        let (mut messages, mut small) = (Vec::new(), v1::Intents::default());
        for Self { intent, state, files } in asks {
            if files.is_empty() {
                small.intents.push(intent);
                small.states.extend(state);
                continue;
            }
            let execution = intent.execution;
            let brought = |file| v1::BroughtFile {
                execution,
                file: Some(file),
            };
            messages.push(v1::Intents {
                intents: vec![intent],
                states: state.into_iter().collect(),
                files: files.into_iter().map(brought).collect(),
            });
        }
        if !small.intents.is_empty() {
            messages.push(small);
        }
        messages
    }
}

/// An intent that was asked for, until it is answered.
#[derive(Debug)]
struct Asked {
    answer: oneshot::Sender<v1::IntentVerdict>,
    ask: Ask,
}

/// A report, and when its attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) report: v1::Report,
    pub(crate) ended: Instant,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<LeaseId, Begun>,
    /// Those of them that only wait.
    waiting: HashSet<LeaseId>,
    /// Reports sent, by the number of their message, until they are acknowledged.
    unacknowledged: BTreeMap<u64, Vec<Told>>,
    /// Reports that wait to be sent.
    unsent: HashSet<LeaseId>,
    intents: HashMap<(u64, u64, u32), Asked>,
    last_seq: u64,
}

impl Held {
    pub(crate) fn new(outbox: mpsc::UnboundedSender<Out>) -> Self {
        Self {
            state: Arc::default(),
            outbox,
            live: Arc::new(Semaphore::new(LIVE_AHEAD)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up an execution; `None` when it is held already.
    pub(crate) fn begin(&self, lease: LeaseId) -> Option<Begun> {
        let mut state = self.lock();
        if state.running.contains_key(&lease) {
            return None;
        }
        let begun = Begun::default();
        state.running.insert(lease, begun.clone());
        Some(begun)
    }

    /// Asks for an execution's end.
    pub(crate) fn cancel(&self, lease: LeaseId) {
        if let Some(begun) = self.lock().running.get(&lease) {
            begun.cancel.cancel();
        }
    }

    /// What executions do: of these, those that run here.
    pub(crate) fn doing(&self, executions: &[u64]) -> Vec<v1::Doing> {
        let state = self.lock();
        let mut told = Vec::new();
        for ((execution, _), begun) in &state.running {
            if executions.contains(execution) {
                let (text, limited) = begun.phase.tell();
                told.push(v1::Doing {
                    execution: *execution,
                    text: text.to_owned(),
                    limited,
                });
            }
        }
        told
    }

    /// How an execution ended: from now on its report is held instead.
    pub(crate) fn end(&self, told: Told) {
        let lease = (told.report.execution, told.report.epoch);
        let mut state = self.lock();
        state.running.remove(&lease);
        state.waiting.remove(&lease);
        state.unsent.insert(lease);
        drop(state);
        // The receiver lives as long as the worker.
        let _ = self.outbox.send(Out::Report(told));
    }

    pub(crate) fn tell_facts(&self, facts: v1::DeviceFactsReport) {
        let _ = self.outbox.send(Out::Facts(facts));
    }

    pub(crate) fn tell_contact(&self, contact: v1::DeviceContact) {
        let _ = self.outbox.send(Out::Contact(contact));
    }

    /// Tells rows as they come, as soon as there is room.
    pub(crate) async fn tell_live(&self, rows: v1::LiveRows) {
        // The semaphore is never closed.
        if let Ok(room) = self.live.clone().acquire_owned().await {
            let _ = self.outbox.send(Out::Live(rows, room));
        }
    }

    /// Asks for an intent.
    pub(crate) fn ask(&self, ask: Ask) -> oneshot::Receiver<v1::IntentVerdict> {
        let (answer, receiver) = oneshot::channel();
        let v1::Intent {
            execution,
            epoch,
            step,
            ..
        } = ask.intent;
        let asked = Asked {
            answer,
            ask: ask.clone(),
        };
        self.lock().intents.insert((execution, epoch, step), asked);
        let _ = self.outbox.send(Out::Intent(ask));
        receiver
    }

    /// The engine answered.
    pub(crate) fn answer(&self, answer: &v1::IntentAnswer) {
        let Some(intent) = &answer.intent else { return };
        if let Some(asked) = self
            .lock()
            .intents
            .remove(&(intent.execution, intent.epoch, intent.step))
        {
            let _ = asked.answer.send(answer.verdict());
        }
    }

    /// Intents that wait for an answer, to be asked again on a new session.
    pub(crate) fn open_intents(&self) -> Vec<v1::Intents> {
        let mut state = self.lock();
        state.intents.retain(|_, asked| !asked.answer.is_closed());
        Ask::messages(state.intents.values().map(|asked| asked.ask.clone()))
    }

    /// Puts reports into a message, which is kept until it is acknowledged.
    pub(crate) fn send(&self, reports: Vec<Told>) -> v1::Reports {
        let mut state = self.lock();
        state.last_seq += 1;
        let seq = state.last_seq;
        for told in &reports {
            state.unsent.remove(&(told.report.execution, told.report.epoch));
        }
        let message = message(seq, &reports);
        state.unacknowledged.insert(seq, reports);
        message
    }

    /// The engine has a message on disk.
    pub(crate) fn acknowledged(&self, seq: u64) {
        self.lock().unacknowledged.remove(&seq);
    }

    /// Messages to be sent again on a new session.
    pub(crate) fn unacknowledged(&self) -> Vec<v1::Reports> {
        self.lock()
            .unacknowledged
            .iter()
            .map(|(seq, reports)| message(*seq, reports))
            .collect()
    }

    /// Everything held, for the first message of a session.
    pub(crate) fn leases(&self) -> Vec<LeaseId> {
        let state = self.lock();
        let reported = state
            .unacknowledged
            .values()
            .flatten()
            .map(|told| (told.report.execution, told.report.epoch));
        state
            .running
            .keys()
            .copied()
            .chain(state.unsent.iter().copied())
            .chain(reported)
            .collect()
    }

    /// How many executions it holds.
    pub(crate) fn count(&self) -> usize {
        self.leases().len()
    }

    /// Whether an execution only waits, for a router to be back or for time to pass.
    pub(crate) fn waits(&self, lease: LeaseId, waits: bool) {
        let mut state = self.lock();
        let news = match waits {
            true => state.waiting.insert(lease),
            false => state.waiting.remove(&lease),
        };
        drop(state);
        if news && waits {
            let _ = self.outbox.send(Out::Room);
        }
    }

    /// How many executions only wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many executions it holds that need a slot: all but those that only wait, as far as `most` of these go.
    pub(crate) fn in_slots(&self, most: usize) -> usize {
        let state = self.lock();
        let reported = state.unacknowledged.values().map(Vec::len).sum::<usize>();
        let held = state.running.len() + state.unsent.len() + reported;
        held.saturating_sub(state.waiting.len().min(most))
    }

    /// How many executions are running.
    pub(crate) fn running(&self) -> usize {
        self.lock().running.len()
    }
}

fn message(seq: u64, reports: &[Told]) -> v1::Reports {
    let with_age = |told: &Told| {
        let age_ms = told.ended.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        v1::Report {
            age_ms,
            ..told.report.clone()
        }
    };
    v1::Reports {
        seq,
        reports: reports.iter().map(with_age).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> (Held, mpsc::UnboundedReceiver<Out>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Held::new(sender), receiver)
    }

    fn told(execution: u64) -> Told {
        Told {
            report: v1::Report {
                execution,
                epoch: 1,
                ..Default::default()
            },
            ended: Instant::now(),
        }
    }

    #[test]
    fn an_execution_is_held_until_its_report_is_acknowledged() {
        let (held, mut outbox) = held();
        assert!(held.begin((7, 1)).is_some());
        assert!(
            held.begin((7, 1)).is_none(),
            "an assignment told twice is run once"
        );
        held.end(told(7));
        assert_eq!(held.leases(), [(7, 1)]);
        let Ok(Out::Report(report)) = outbox.try_recv() else {
            panic!("a report goes out")
        };
        let seq = held.send(vec![report]).seq;
        assert_eq!(held.leases(), [(7, 1)]);
        assert_eq!(held.unacknowledged().len(), 1);
        assert_eq!(held.in_slots(0), 1);
        held.acknowledged(seq);
        held.acknowledged(seq);
        assert!(held.leases().is_empty() && held.in_slots(0) == 0);
    }

    #[test]
    fn who_only_waits_leaves_room_for_others_up_to_a_limit() {
        let (held, mut outbox) = held();
        for execution in 0..5 {
            held.begin((execution, 1)).expect("new");
        }
        for execution in 0..4 {
            held.waits((execution, 1), true);
            held.waits((execution, 1), true);
        }
        assert_eq!((held.waiting(), held.in_slots(10), held.in_slots(3)), (4, 1, 2));
        let rooms = std::iter::from_fn(|| outbox.try_recv().ok());
        assert_eq!(rooms.filter(|out| matches!(out, Out::Room)).count(), 4);
        held.waits((0, 1), false);
        held.end(told(1));
        assert_eq!((held.waiting(), held.in_slots(10)), (2, 3));
    }

    #[test]
    fn an_intent_is_asked_again_until_it_is_answered() {
        let (held, _outbox) = held();
        let intent = v1::Intent {
            execution: 7,
            epoch: 1,
            step: 0,
            memo: b"kept".to_vec(),
        };
        let pre = v1::PreState {
            execution: 7,
            ..Default::default()
        };
        let mut answer = held.ask(Ask {
            intent: intent.clone(),
            state: Some(pre.clone()),
            files: Vec::new(),
        });
        let open = held.open_intents().remove(0);
        assert_eq!((open.intents, open.states), (vec![intent.clone()], vec![pre]));
        let verdict = v1::IntentVerdict::Granted.into();
        held.answer(&v1::IntentAnswer {
            intent: Some(intent),
            verdict,
            ..v1::IntentAnswer::default()
        });
        assert_eq!(answer.try_recv(), Ok(v1::IntentVerdict::Granted));
        assert!(held.open_intents().is_empty());
    }

    #[test]
    fn an_intent_goes_with_the_files_of_earlier_steps_in_a_message_of_its_own() {
        let ask = |execution, files: &[&[u8]]| Ask {
            intent: v1::Intent {
                execution,
                ..Default::default()
            },
            state: None,
            files: files
                .iter()
                .map(|content| v1::GivenFile {
                    content: content.to_vec(),
                    ..Default::default()
                })
                .collect(),
        };
        let messages = Ask::messages([ask(1, &[]), ask(2, &[b"backup", b"export"]), ask(3, &[])]);
        let executions = |message: &v1::Intents| {
            message
                .intents
                .iter()
                .map(|intent| intent.execution)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            messages.iter().map(executions).collect::<Vec<_>>(),
            [vec![2], vec![1, 3]]
        );
        assert_eq!(messages[0].files.len(), 2);
        assert!(messages[0].files.iter().all(|file| file.execution == 2));
    }

    #[test]
    fn cancelling_reaches_what_runs() {
        let (held, _outbox) = held();
        let begun = held.begin((7, 1)).expect("new");
        held.cancel((7, 2));
        assert!(!begun.cancel.is_cancelled());
        held.cancel((7, 1));
        assert!(begun.cancel.is_cancelled());
        let told = held.doing(&[7, 8]);
        assert_eq!(told.len(), 1, "of those that run here");
    }
}
