//! The engine's side of a worker's session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_engine_core::{Held, Outcome};
use muster_model::{Guard, Selector};
use muster_proto::v1::session_request::Message as Up;
use muster_proto::v1::session_response::Message as Down;
use muster_proto::v1::worker_service_server::WorkerService;
use muster_proto::{Violation, v1};
use muster_store::{
    Adopted, ApplyReports, BeginSession, Contact, FactsRecord, GrantIntents, IntentRequest, Measurement,
    OpenSession, PreState, Report, ReportAnswer, ShareDevices, StoreContacts, StoreFacts, StoreMeasurements,
    StorePreStates, Verdict, Zones,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, kept, selector};
use crate::sessions::Session;
use crate::{Shared, auth, error, hold, limits, reconcile};

/// Messages that wait for a slow worker.
const AHEAD: usize = 64;
/// Messages of one session that are being written at once: enough to share commits, few enough to push back.
const IN_WORK: usize = 16;
/// The first message has to come within this.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        auth::worker(&request, &self.0.worker_token)?;
        let mut upstream = request.into_inner();
        let (outbox, receiver) = mpsc::channel(AHEAD);
        let shared = self.0.clone();
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            let served = stop
                .run_until_cancelled(serve(&shared, &mut upstream, outbox.clone()))
                .await;
            if let Some(Err(status)) = served {
                let _ = outbox.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn serve(
    shared: &Arc<Shared>,
    upstream: &mut Streaming<v1::SessionRequest>,
    outbox: mpsc::Sender<Result<v1::SessionResponse, Status>>,
) -> Result<(), Status> {
    let hello = match tokio::time::timeout(HELLO_WITHIN, upstream.message()).await {
        Ok(Ok(Some(v1::SessionRequest {
            message: Some(Up::Hello(hello)),
        }))) => hello,
        _ => return Err(error::invalid_field("hello", "a session begins with hello")),
    };
    let id = begin(shared, &hello, &outbox).await?;
    tracing::info!(session = id, worker = hello.name, zones = ?hello.zones, slots = hello.slots, "worker connected");
    let keeping = hello.hold.as_deref().map(|text| {
        let keeper = hold::Keeper {
            session: id,
            zones: zones_of(&hello),
            // It was checked.
            selector: selector(text, "hello.hold").unwrap_or_default(),
            outbox: outbox.clone(),
        };
        AbortOnDropHandle::new(tokio::spawn(hold::run(shared.clone(), keeper)))
    });
    let work = Arc::new(Semaphore::new(IN_WORK));
    let beat = tokio::spawn(say_alive(shared.lease / 3, outbox.clone()));
    let _beat = AbortOnDropHandle::new(beat);
    let term = loop {
        let message = match tokio::time::timeout(shared.lease, upstream.message()).await {
            Ok(Ok(Some(message))) => message.message,
            // It said that it is going, and is gone: what it has not told will not be told any more.
            Ok(Ok(None)) if shared.sessions.with(id, |session| session.draining) == Some(true) => {
                // Reports before it are being written.
                let _ = work.acquire_many(IN_WORK as u32).await;
                break Duration::ZERO;
            }
            // It may come back: it keeps its leases for a term.
            Ok(Ok(None) | Err(_)) => break shared.lease,
            // Either it was stopped for a while or we were: it is told to come back, and has a term to do so.
            Err(_) => {
                let _ = outbox.try_send(Err(Status::unavailable("nothing was heard for a whole term")));
                break shared.lease;
            }
        };
        if let Some(Up::Live(rows)) = message {
            // At once and in order: what is told after it may be the end.
            shared.live.tell(rows);
            continue;
        }
        let Ok(permit) = work.clone().acquire_owned().await else {
            break shared.lease;
        };
        let (shared, outbox) = (shared.clone(), outbox.clone());
        // Messages are independent of each other: they are written side by side and share commits.
        tokio::spawn(async move {
            if let Err(status) = on_message(&shared, id, message, &outbox).await {
                // The worker tells again what was not acknowledged, on its next session.
                let _ = outbox.send(Err(status)).await;
            }
            drop(permit);
        });
    };
    tracing::info!(session = id, worker = hello.name, "worker disconnected");
    drop(keeping);
    reconcile::end_session(shared, id, term);
    shared.inventory_changed();
    Ok(())
}

/// Tells the worker that the engine is there, in a steady beat: while the store is slow, messages of a session wait to
/// be read, heartbeats among them, and a worker that hears nothing for a term takes the engine for dead.
async fn say_alive(period: Duration, outbox: mpsc::Sender<Result<v1::SessionResponse, Status>>) {
    let mut beat = tokio::time::interval(period);
    while send(&outbox, Down::HeartbeatAck(v1::HeartbeatAck {}))
        .await
        .is_ok()
    {
        beat.tick().await;
    }
}

async fn begin(
    shared: &Arc<Shared>,
    hello: &v1::Hello,
    outbox: &mpsc::Sender<Result<v1::SessionResponse, Status>>,
) -> Result<u64, Status> {
    check(hello)?;
    let open = OpenSession {
        worker: hello.name.clone(),
        instance: hello.instance.clone(),
        engine_boot: hello.engine_boot.clone(),
        zones: hello.zones.clone(),
        now: shared.clock.now(),
    };
    let held = hello.held.iter().map(|lease| (lease.execution, lease.epoch));
    let begin = BeginSession {
        open,
        held: held.collect(),
    };
    let (id, adopted) = shared.store.write(begin).await.map_err(error::store)?;
    // Whatever is left of the worker's sessions before has no say any more.
    for other in shared.sessions.before(&hello.instance, id) {
        shared.sessions.close(other);
    }
    if let Err(status) = welcome(shared, id, hello, adopted, outbox).await {
        // The worker left before it was let in, and what it held is this session's already.
        reconcile::end_session(shared, id, shared.lease);
        return Err(status);
    }
    Ok(id)
}

/// Tells a worker that it is let in, and hands it work from then on.
async fn welcome(
    shared: &Arc<Shared>,
    id: u64,
    hello: &v1::Hello,
    adopted: Adopted,
    outbox: &mpsc::Sender<Result<v1::SessionResponse, Status>>,
) -> Result<(), Status> {
    let zones = zones_of(hello);
    let session = Session {
        worker: hello.name.clone(),
        instance: hello.instance.clone(),
        is_keeping: hello.hold.is_some(),
        is_inside: !hello.engine_boot.is_empty(),
        zones,
        slots: hello.slots,
        held: u32::try_from(hello.held.len()).unwrap_or(u32::MAX),
        heartbeat: v1::Heartbeat::default(),
        credit: 0,
        draining: false,
        handing_out: false,
        outbox: outbox.clone(),
        plans: Default::default(),
        credentials: Default::default(),
        had_credit: Instant::now(),
    };
    let welcome = v1::Welcome {
        session: id,
        heartbeat_ms: millis(shared.lease / 3),
        lease_ms: millis(shared.lease),
        revoked: adopted
            .revoked
            .into_iter()
            .map(|(execution, epoch)| v1::HeldLease { execution, epoch })
            .collect(),
    };
    send(outbox, Down::Welcome(welcome)).await?;
    shared.sessions.open(id, session);
    if let Some((holder, among)) = shared.sessions.sharing(id) {
        let share = ShareDevices { holder, among };
        shared.store.write(share).await.map_err(error::store)?;
    }
    // After it was opened: what is changed from here on is told to it as well.
    let limits = limits::for_workers(&shared.limits.get());
    send(outbox, Down::Limits(limits)).await?;
    shared.inventory_changed();
    shared.committed();
    shared.work_appeared();
    Ok(())
}

fn zones_of(hello: &v1::Hello) -> Zones {
    match hello.zones.is_empty() {
        true => Zones::Rest,
        false => Zones::Named(hello.zones.clone()),
    }
}

fn check(hello: &v1::Hello) -> Result<(), Status> {
    let mut violations = Vec::new();
    if hello.instance.is_empty() {
        violations.push(Violation::new(
            "hello.instance",
            "it is empty; a UUID made at the worker's start will do",
        ));
    }
    if let Some(Err(error)) = hello.hold.as_deref().map(|text| text.trim().parse::<Selector>())
        && hello.hold.as_deref().is_some_and(|text| !text.trim().is_empty())
    {
        violations.push(Violation::new("hello.hold", error.to_string()));
    }
    for zone in &hello.zones {
        if let Err(error) = muster_model::name::check(zone) {
            violations.push(Violation::new("hello.zones", format!("{zone:?} {error}")));
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(error::invalid(violations))
    }
}

async fn on_message(
    shared: &Shared,
    id: u64,
    message: Option<Up>,
    outbox: &mpsc::Sender<Result<v1::SessionResponse, Status>>,
) -> Result<(), Status> {
    match message {
        Some(Up::Demand(demand)) => {
            shared.sessions.with(id, |session| {
                session.credit += demand.executions as usize;
                session.had_credit = Instant::now();
            });
            shared.credit_appeared();
        }
        Some(Up::Reports(reports)) => {
            let (seq, told) = (reports.seq, reports.reports.len() as u32);
            apply(shared, reports).await?;
            // Near enough until the next heartbeat: what is told twice counts twice.
            shared
                .sessions
                .with(id, |session| session.held = session.held.saturating_sub(told));
            send(outbox, Down::ReportsAck(v1::ReportsAck { seq })).await?;
        }
        Some(Up::Intents(intents)) => {
            let answers = grant(shared, intents).await?;
            send(outbox, Down::IntentAnswers(v1::IntentAnswers { answers })).await?;
        }
        Some(Up::Heartbeat(heartbeat)) => {
            shared.sessions.with(id, |session| {
                session.held = heartbeat.held;
                session.heartbeat = heartbeat;
            });
        }
        Some(Up::Facts(facts)) => learn(shared, facts).await?,
        Some(Up::Draining(_)) => {
            shared.sessions.with(id, |session| session.draining = true);
        }
        Some(Up::Told(told)) => shared.asked.told(told),
        Some(Up::Hello(_) | Up::Live(_)) | None => {}
    }
    Ok(())
}

/// Keeps what was measured: a gate that sees the end of an execution is to see its numbers, too.
async fn measured(shared: &Shared, reports: &mut [v1::Report]) -> Result<(), Status> {
    let numbers = |measured: v1::Measured| measured.numbers.into_iter().collect();
    let measurements = reports.iter_mut().filter_map(|report| {
        let (before, after) = (report.before.take(), report.after.take());
        (before.is_some() || after.is_some()).then(|| Measurement {
            execution: report.execution,
            before: before.map(numbers),
            after: after.map(numbers),
        })
    });
    let measurements = measurements.collect::<Vec<_>>();
    if measurements.is_empty() {
        return Ok(());
    }
    let store = StoreMeasurements(measurements);
    shared.store.write(store).await.map_err(error::store)
}

async fn apply(shared: &Shared, reports: v1::Reports) -> Result<(), Status> {
    let now = shared.clock.now();
    let mut reports = reports.reports;
    // Before the report that says that they were brought.
    let brought = reports.iter_mut().flat_map(|report| {
        let execution = report.execution;
        let given = std::mem::take(&mut report.given).into_iter();
        given.map(move |file| (execution, file))
    });
    kept::keep(shared, brought, now).await?;
    measured(shared, &mut reports).await?;
    let reports = reports
        .into_iter()
        .filter_map(|report| from_worker(report, now))
        .collect();
    let applied = shared
        .store
        .write(ApplyReports { reports, now })
        .await
        .map_err(error::store)?;
    if applied.makes_work() {
        shared.work_appeared();
    }
    for answer in applied.answers {
        if let ReportAnswer::Ignored(reason) = answer {
            tracing::debug!(reason, "a report moved nothing");
        }
    }
    shared.committed();
    Ok(())
}

fn from_worker(report: v1::Report, now: i64) -> Option<Report> {
    let outcome = match report.outcome() {
        v1::ReportOutcome::Succeeded => Outcome::Succeeded,
        v1::ReportOutcome::Unchanged => Outcome::Unchanged,
        v1::ReportOutcome::Rejected => Outcome::Rejected,
        v1::ReportOutcome::Broken => Outcome::Broken,
        v1::ReportOutcome::Reverted => Outcome::Reverted,
        v1::ReportOutcome::Lost => Outcome::Lost,
        v1::ReportOutcome::Failed => Outcome::Failed,
        v1::ReportOutcome::Unreached => Outcome::Unreached,
        v1::ReportOutcome::Interrupted => Outcome::Interrupted,
        v1::ReportOutcome::Unknown => Outcome::Unknown,
        v1::ReportOutcome::Cancelled => Outcome::Cancelled,
        v1::ReportOutcome::HandedBack => Outcome::HandedBack,
        v1::ReportOutcome::FoundDone => Outcome::FoundDone,
        v1::ReportOutcome::FoundNotDone => Outcome::FoundNotDone,
        v1::ReportOutcome::Unspecified => {
            tracing::error!(
                execution = report.execution,
                outcome = report.outcome,
                "a report of an unknown kind"
            );
            return None;
        }
    };
    let ago = report.elapsed_ms.saturating_add(report.age_ms);
    Some(Report {
        execution: report.execution,
        epoch: report.epoch,
        outcome,
        error: report.error.as_ref().and_then(v1::DeviceError::to_model),
        steps_done: report.steps_done,
        first_step: report.first_step,
        replies: report.replies,
        fingerprint: report.fingerprint.as_slice().try_into().ok(),
        started_at: now.saturating_sub_unsigned(ago),
    })
}

/// The most bytes that are kept with an intent.
const MEMO_BYTES: usize = 64 << 10;

async fn grant(shared: &Shared, mut intents: v1::Intents) -> Result<Vec<v1::IntentAnswer>, Status> {
    let files = std::mem::take(&mut intents.files).into_iter();
    let brought = files.filter_map(|brought| Some((brought.execution, brought.file?)));
    // What a step is to have behind it is on disk before it is granted.
    kept::keep(shared, brought, shared.clock.now()).await?;
    let request = |intent: &v1::Intent| IntentRequest {
        execution: intent.execution,
        epoch: intent.epoch,
        step: intent.step,
        memo: match intent.memo.len() {
            ..=MEMO_BYTES => intent.memo.clone(),
            _ => Vec::new(),
        },
    };
    let requests = intents.intents.iter().map(request).collect();
    let states = intents.states.iter().map(|state| PreState {
        execution: state.execution,
        step: state.step,
        pre: state.pre.clone(),
        facts: state.facts.clone(),
        guard: Guard::from_number(state.guard),
        guard_ms: state.guard_ms,
    });
    let states = states.collect::<Vec<_>>();
    if !states.is_empty() {
        let stored = shared.store.write(StorePreStates(states)).await;
        stored.map_err(error::store)?;
    }
    let verdicts = shared
        .store
        .write(GrantIntents {
            intents: requests,
            now: shared.clock.now(),
        })
        .await;
    let answer = |(intent, verdict): (v1::Intent, Verdict)| {
        let (verdict, held) = match verdict {
            Verdict::Granted => (v1::IntentVerdict::Granted, v1::HeldReason::Unspecified),
            Verdict::Held(Held::Job(_)) => (v1::IntentVerdict::Held, v1::HeldReason::Job),
            Verdict::Held(Held::Budget(_)) => (v1::IntentVerdict::Held, v1::HeldReason::Budget),
            Verdict::Held(Held::Availability) => (v1::IntentVerdict::Held, v1::HeldReason::Availability),
            Verdict::Revoked => (v1::IntentVerdict::Revoked, v1::HeldReason::Unspecified),
        };
        v1::IntentAnswer {
            intent: Some(v1::Intent {
                memo: Vec::new(),
                ..intent
            }),
            verdict: verdict.into(),
            held: held.into(),
        }
    };
    shared.committed();
    Ok(intents
        .intents
        .into_iter()
        .zip(verdicts.map_err(error::store)?)
        .map(answer)
        .collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn learn(shared: &Shared, facts: v1::Facts) -> Result<(), Status> {
    let record = |device: v1::DeviceFactsReport| {
        let v1::DeviceFactsReport {
            device,
            version,
            board,
            architecture,
            identity,
            serial,
        } = device;
        (
            device,
            FactsRecord {
                version,
                board,
                architecture,
                identity,
                serial,
                observed_at: 0,
            },
        )
    };
    let contact = |contact: v1::DeviceContact| Contact {
        device: contact.device,
        worked: contact.worked,
        certificate: hex(&contact.certificate),
        key: hex(&contact.key),
        reached: contact.reached,
    };
    let now = shared.clock.now();
    let contacts = facts.contacts.into_iter().map(contact).collect::<Vec<_>>();
    if !contacts.is_empty() {
        let write = shared.store.write(StoreContacts { contacts, now }).await;
        write.map_err(error::store)?;
    }
    let facts = facts.devices.into_iter().map(record).collect::<Vec<_>>();
    if facts.is_empty() {
        return Ok(());
    }
    shared
        .store
        .write(StoreFacts { facts, now })
        .await
        .map_err(error::store)
}

/// Asks workers to end these executions: execution, epoch, session.
pub(crate) async fn cancel(shared: &Shared, held: Vec<(u64, u64, u64)>) {
    let mut by_session = BTreeMap::<u64, Vec<v1::HeldLease>>::new();
    for (execution, epoch, session) in held {
        by_session
            .entry(session)
            .or_default()
            .push(v1::HeldLease { execution, epoch });
    }
    for (session, leases) in by_session {
        if let Some(outbox) = shared.sessions.with(session, |session| session.outbox.clone()) {
            // A worker that is gone has nothing to cancel.
            let _ = send(&outbox, Down::Cancel(v1::Cancel { leases })).await;
        }
    }
}

async fn send(
    outbox: &mpsc::Sender<Result<v1::SessionResponse, Status>>,
    message: Down,
) -> Result<(), Status> {
    let message = v1::SessionResponse {
        message: Some(message),
    };
    outbox
        .send(Ok(message))
        .await
        .map_err(|_| Status::cancelled("the worker is gone"))
}

fn millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}
