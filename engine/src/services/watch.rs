//! Watching a job: its events from any point, then what comes, without a gap (K2).

use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1;
use muster_store::{EventRecord, JobRecord, PAGE_BYTES, ResultRecord};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{Shared, answer, error};

/// Events read at once.
const EVENTS: u32 = 64;
/// Executions looked up at once.
const RESULTS: usize = 500;
/// Messages that wait for a slow reader. A watcher that falls behind reads its events later: they are on disk.
const AHEAD: usize = 8;
/// Between two looks: news within it is told together.
const PACE: Duration = Duration::from_millis(50);

pub(crate) fn stream(
    shared: Arc<Shared>,
    job: JobRecord,
    from_seq: u64,
    results: bool,
    live: bool,
) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + Send {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let stop = shared.stop.clone();
    // From here on no row is missed.
    let live = live.then(|| shared.live.watch(job.id.unsigned_abs()));
    tokio::spawn(async move {
        let mut watcher = Watcher {
            shared,
            job,
            seq: from_seq,
            results,
            resync: false,
            live,
            missed: false,
            sender,
        };
        let watching = async {
            if let Err(Gone::Failed(status)) = watcher.watch().await {
                let _ = watcher.sender.send(Err(status)).await;
            }
        };
        stop.run_until_cancelled(watching).await;
    });
    ReceiverStream::new(receiver)
}

struct Watcher {
    shared: Arc<Shared>,
    job: JobRecord,
    /// Everything up to here has been sent.
    seq: u64,
    results: bool,
    /// The next message says that the reader is told everything anew.
    resync: bool,
    /// Rows as they come, when they are wanted.
    live: Option<broadcast::Receiver<Arc<v1::LiveRows>>>,
    /// Some of them were missed.
    missed: bool,
    sender: mpsc::Sender<Result<v1::WatchJobResponse, Status>>,
}

enum Gone {
    Reader,
    Failed(Status),
}

impl From<Status> for Gone {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl Watcher {
    async fn watch(&mut self) -> Result<(), Gone> {
        let mut news = self.shared.news.subscribe();
        if self.seq > self.shared.store.last_event().await.map_err(error::store)? {
            // It has seen what this database has not: waiting for a place that was given before would lose events.
            (self.seq, self.resync) = (0, true);
        }
        let mut first = true;
        loop {
            news.mark_unchanged();
            let events = self
                .shared
                .store
                .events(self.job.id, self.seq, EVENTS)
                .await
                .map_err(error::store)?;
            // Read after the events, so that counts are never older than they are.
            self.job = self.read_job().await?;
            let full = events.len() == EVENTS as usize;
            // Rows before the end of what they are rows of.
            while let Some(rows) = self.live.as_mut().and_then(waiting) {
                self.tell_live(rows).await?;
            }
            if first || !events.is_empty() {
                self.tell(events).await?;
                first = false;
            }
            if full {
                continue;
            }
            if self.job.state.is_terminal() && self.caught_up().await? {
                return Ok(());
            }
            loop {
                tokio::select! {
                    changed = news.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Ok(()),
                    },
                    rows = rows(&mut self.live) => self.tell_live(rows).await?,
                    () = self.sender.closed() => return Err(Gone::Reader),
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    async fn read_job(&self) -> Result<JobRecord, Gone> {
        let job = self
            .shared
            .store
            .job(&self.job.uuid)
            .await
            .map_err(error::store)?;
        Ok(job.ok_or_else(|| error::not_found("job", &self.job.uuid))?)
    }

    /// The job may have ended between reading its events and reading its state.
    async fn caught_up(&self) -> Result<bool, Gone> {
        let rest = self
            .shared
            .store
            .events(self.job.id, self.seq, 1)
            .await
            .map_err(error::store)?;
        Ok(rest.is_empty())
    }

    /// Tells rows as they came.
    async fn tell_live(&mut self, rows: Result<Arc<v1::LiveRows>, RecvError>) -> Result<(), Gone> {
        let rows = match rows {
            Ok(rows) => rows,
            Err(RecvError::Lagged(_)) => {
                self.missed = true;
                return Ok(());
            }
            // The engine holds the other end for as long as somebody watches.
            Err(RecvError::Closed) => {
                self.live = None;
                return Ok(());
            }
        };
        let live = v1::LiveResult {
            device: rows.device.clone(),
            step: rows.step,
            rows: answer::step(&rows.sentences).rows,
            missed: std::mem::take(&mut self.missed),
        };
        let job = super::rollout::full(&self.shared, &self.job).await?;
        let message = v1::WatchJobResponse {
            seq: self.seq,
            job: Some(job),
            live: vec![live],
            ..v1::WatchJobResponse::default()
        };
        self.sender.send(Ok(message)).await.map_err(|_| Gone::Reader)
    }

    async fn tell(&mut self, events: Vec<EventRecord>) -> Result<(), Gone> {
        let before = self.seq;
        let after = events.last().map_or(before, |event| event.seq);
        if self.results {
            let ended = events
                .into_iter()
                .flat_map(|event| event.ended)
                .collect::<Vec<_>>();
            let mut rest = ended.as_slice();
            while !rest.is_empty() {
                let some = &rest[..rest.len().min(RESULTS)];
                let records = self.shared.store.results_of(some).await.map_err(error::store)?;
                let bytes = records.iter().map(ResultRecord::reply_bytes).sum::<usize>();
                // A page that is cut by bytes ends with its last record.
                let told = match records.last().filter(|_| bytes > PAGE_BYTES) {
                    Some(last) => some.iter().position(|id| *id == last.execution),
                    None => None,
                };
                rest = &rest[told.map_or(some.len(), |at| at + 1)..];
                let results = answer::results(&self.job.uuid, records);
                if !results.is_empty() {
                    self.send(before, results).await?;
                }
            }
        }
        self.seq = after;
        self.send(after, Vec::new()).await
    }

    async fn send(&mut self, seq: u64, results: Vec<v1::ExecutionResult>) -> Result<(), Gone> {
        let message = v1::WatchJobResponse {
            seq,
            job: Some(super::rollout::full(&self.shared, &self.job).await?),
            results,
            resync: std::mem::take(&mut self.resync),
            live: Vec::new(),
        };
        self.sender.send(Ok(message)).await.map_err(|_| Gone::Reader)
    }
}

/// The next rows; for ever nothing when nobody wants any.
async fn rows(
    live: &mut Option<broadcast::Receiver<Arc<v1::LiveRows>>>,
) -> Result<Arc<v1::LiveRows>, RecvError> {
    match live {
        Some(live) => live.recv().await,
        None => std::future::pending().await,
    }
}

/// Rows that are there already.
fn waiting(
    live: &mut broadcast::Receiver<Arc<v1::LiveRows>>,
) -> Option<Result<Arc<v1::LiveRows>, RecvError>> {
    match live.try_recv() {
        Ok(rows) => Some(Ok(rows)),
        Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
        Err(TryRecvError::Closed | TryRecvError::Empty) => None,
    }
}
