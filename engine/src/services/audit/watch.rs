//! Runs as they go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1;
use muster_store::{AuditRecord, AuditResultRecord, StoreError};
use tokio::sync::mpsc;
use tonic::Status;

use super::{PAGE, answer, result_of, run};
use crate::{Shared, audit, error};

/// Between two messages that tell how far a run is.
const PACE: Duration = Duration::from_millis(200);
/// Events read at once.
const EVENTS: u32 = 64;
/// Verdicts in a message: as many as stay well below what clients take by default.
const TOLD: usize = 500;

type Sender = mpsc::Sender<Result<v1::WatchAuditResponse, Status>>;

/// Tells how a run goes on until it is over or nobody listens.
pub(super) async fn watch(
    shared: &Arc<Shared>,
    uuid: &str,
    results: bool,
    sender: &Sender,
) -> Result<(), Status> {
    let mut news = shared.news.subscribe();
    let mut verdicts = None;
    if results {
        let record = run(shared, uuid).await?;
        verdicts = Some(Verdicts::of(shared, &record).await.map_err(error::store)?);
    }
    loop {
        news.mark_unchanged();
        let record = run(shared, uuid).await?;
        let over = record.finished_at.is_some();
        if let Some(verdicts) = &mut verdicts {
            let told = verdicts.tell(shared, &record, sender).await;
            if !told.map_err(error::store)? {
                return Ok(());
            }
        }
        let response = v1::WatchAuditResponse {
            audit: Some(answer(shared, &record).await.map_err(error::store)?),
            results: Vec::new(),
        };
        if sender.send(Ok(response)).await.is_err() || over {
            return Ok(());
        }
        tokio::select! {
            changed = news.changed() => if changed.is_err() {
                return Ok(());
            },
            () = sender.closed() => return Ok(()),
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Verdicts that were told and are to be told.
struct Verdicts {
    checks: Vec<Told>,
    /// Devices that were told of.
    told: HashSet<u64>,
    /// Events up to this one were looked at; `None` before the first look, which is at all devices.
    seen: Option<u64>,
}

/// What is told of a check.
struct Told {
    name: String,
    severity: String,
    /// It looks at several devices, and is settled at the end.
    late: bool,
}

impl Verdicts {
    async fn of(shared: &Shared, record: &AuditRecord) -> Result<Self, StoreError> {
        let audit = audit::parse(&audit::body(shared, &record.file).await?)?;
        let checks = audit.checks.into_iter().map(|check| Told {
            severity: check.severity.to_string(),
            late: check.fleet.is_some(),
            name: check.name,
        });
        Ok(Self {
            checks: checks.collect(),
            told: HashSet::new(),
            seen: None,
        })
    }

    /// Tells what is new; whether anybody listens.
    async fn tell(
        &mut self,
        shared: &Shared,
        record: &AuditRecord,
        sender: &Sender,
    ) -> Result<bool, StoreError> {
        let over = record.finished_at.is_some();
        let (Some(seen), Some(job), false) = (self.seen, record.job, over) else {
            self.seen = Some(record.seen);
            return self.all(shared, record, over, sender).await;
        };
        // A device is judged when an event that says so was looked at: `record.seen` goes behind the verdicts.
        let mut after = seen;
        while after < record.seen {
            let events = shared.store.events(job, after, EVENTS).await?;
            let events = events.into_iter().take_while(|event| event.seq <= record.seen);
            let mut ended = Vec::new();
            let before = after;
            for event in events {
                after = event.seq;
                ended.extend(event.ended);
            }
            if after == before {
                break;
            }
            for ended in ended.chunks(PAGE as usize) {
                let asked = shared.store.audit_asked(ended).await?;
                let devices = asked.iter().map(|asked| asked.device);
                let results = shared.store.audit_results_of(record.id, devices).await?;
                if !self.page(&results, false, sender).await? {
                    return Ok(false);
                }
            }
        }
        self.seen = Some(record.seen);
        Ok(true)
    }

    /// Looks at every device.
    async fn all(
        &mut self,
        shared: &Shared,
        record: &AuditRecord,
        over: bool,
        sender: &Sender,
    ) -> Result<bool, StoreError> {
        let mut after = 0;
        loop {
            let results = shared.store.audit_results(record.id, after, PAGE).await?;
            let Some(last) = results.last() else {
                return Ok(true);
            };
            after = last.device;
            if !self.page(&results, over, sender).await? {
                return Ok(false);
            }
        }
    }

    async fn page(
        &mut self,
        results: &[AuditResultRecord],
        over: bool,
        sender: &Sender,
    ) -> Result<bool, StoreError> {
        let settled_late = self.checks.iter().any(|check| check.late);
        let mut message = v1::WatchAuditResponse::default();
        for result in results {
            let is_new = self.told.insert(result.device);
            if !(is_new || over && settled_late) {
                continue;
            }
            for (check, said) in self.checks.iter().zip(audit::judgements(&result.body)?) {
                let meant = if check.late { over } else { is_new };
                if meant {
                    message
                        .results
                        .push(result_of(result, &check.name, &check.severity, &said));
                }
            }
            if message.results.len() >= TOLD && sender.send(Ok(std::mem::take(&mut message))).await.is_err() {
                return Ok(false);
            }
        }
        Ok(message.results.is_empty() || sender.send(Ok(message)).await.is_ok())
    }
}
