//! Gates that have to ask: a server, what devices measured, or an audit over the wave. Beside everything else, and each once
//! at a time.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use muster_audit::Verdict;
use muster_audit::judge::Tally;
use muster_engine_core::rollout::advance::GateVerdict;
use muster_engine_core::rollout::snapshot;
use muster_model::ExecutionState;
use muster_model::policy::{GateKind, Share};
use muster_proto::v1;
use muster_store::{AuditRecord, NoteAsked, NoteVerdict, Retry, RolloutRecord, StoreError, WaveRecord};
use serde_json::{Value, json};
use tonic::Status;

use super::{control, webhook};
use crate::{Shared, audit};

/// Between two looks at what is under way.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// Devices read at once.
const PAGE: u32 = 500;
/// Devices named in a sentence.
const NAMED: usize = 5;

/// Where a gate stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) job: i64,
    pub(super) wave: u32,
    pub(super) gate: usize,
}

/// Finds out what a gate says, unless that is under way or nothing is to be asked.
pub(crate) fn ask(shared: &Arc<Shared>, rollout: &RolloutRecord, gate: usize, waves: &[WaveRecord]) {
    let number = rollout.open_wave;
    let wave = rollout.policy.waves.get(number as usize);
    let Some(asked) = wave.and_then(|wave| wave.gates.get(gate)).cloned() else {
        return;
    };
    if matches!(
        asked.kind,
        GateKind::Rule { .. } | GateKind::Timer(_) | GateKind::Approval { .. }
    ) {
        return;
    }
    let key = (rollout.job, number, gate);
    if !shared
        .asking
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key)
    {
        return;
    }
    let question = question(rollout, &asked.id, number, waves);
    let at = At {
        job: rollout.job,
        wave: number,
        gate,
    };
    let (shared, rollout) = (shared.clone(), rollout.uuid.clone());
    tokio::spawn(async move {
        let noted = match &asked.kind {
            GateKind::Audit {
                definition,
                min_coverage,
                max,
                ..
            } => {
                let by = format!("gate {} of rollout {rollout}", asked.id);
                let asked = Asked {
                    rollout: &rollout,
                    definition,
                    min_coverage: *min_coverage,
                    max: *max,
                    by,
                };
                asked.run(&shared, at).await
            }
            GateKind::Control { tolerances, sample } => {
                control::ask(&shared, at, &rollout, tolerances, *sample).await
            }
            kind => look(&shared, at, kind, &question).await,
        };
        if let Err(error) = noted {
            tracing::error!(%error, "a gate's verdict cannot be noted");
        }
        shared
            .asking
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        shared.committed();
        shared.reconcilers.rollouts.wake();
    });
}

/// What a server is told.
fn question(rollout: &RolloutRecord, gate: &str, number: u32, waves: &[WaveRecord]) -> Value {
    let told = waves.iter().map(|wave| {
        json!({
            "number": wave.number + 1,
            "total": wave.total,
            "ended": wave.tally.ended,
            "good": wave.tally.good,
            "harmed": wave.tally.harmed,
            "rescued": wave.tally.rescued,
            "refused": wave.tally.refused,
        })
    });
    json!({
        "job": rollout.uuid,
        "gate": gate,
        "wave": number + 1,
        "waves": told.collect::<Vec<_>>(),
    })
}

async fn look(shared: &Shared, at: At, kind: &GateKind, question: &Value) -> Result<(), StoreError> {
    let (verdict, reason) = match kind {
        GateKind::Webhook { url, timeout, roots } => {
            webhook::ask(url, roots.as_deref(), *timeout, question).await
        }
        GateKind::Snapshot { tolerances, max } => {
            let samples = shared.store.measurements(at.job, at.wave).await?;
            snapshot::judge(tolerances, *max, &samples)
        }
        GateKind::Rule { .. }
        | GateKind::Timer(_)
        | GateKind::Approval { .. }
        | GateKind::Audit { .. }
        | GateKind::Control { .. } => return Ok(()),
    };
    note(shared, at, None, verdict, reason).await
}

pub(super) async fn note(
    shared: &Shared,
    at: At,
    run: Option<String>,
    verdict: GateVerdict,
    reason: String,
) -> Result<(), StoreError> {
    let note = NoteVerdict {
        job: at.job,
        wave: at.wave,
        gate: at.gate,
        verdict,
        reason,
        run,
        now: shared.clock.now(),
    };
    shared.store.write(note).await
}

/// Notes that a gate asks, before it does, under an id that makes one run of however many tries.
pub(super) async fn note_asked(shared: &Shared, at: At) -> Result<String, StoreError> {
    let asks = uuid::Uuid::now_v7().to_string();
    let asked = NoteAsked {
        job: at.job,
        wave: at.wave,
        gate: at.gate,
        run: asks.clone(),
        now: shared.clock.now(),
    };
    shared.store.write(asked).await?;
    Ok(asks)
}

/// An audit that a gate runs.
struct Asked<'a> {
    rollout: &'a str,
    definition: &'a str,
    min_coverage: Share,
    max: u64,
    by: String,
}

impl Asked<'_> {
    /// Runs it to its end, or goes on with the run that an engine before this one began.
    async fn run(&self, shared: &Arc<Shared>, at: At) -> Result<(), StoreError> {
        let begun = shared.store.gate_asks(at.job, at.wave, at.gate).await?;
        let asks = match begun {
            Some(asks) => asks,
            None => note_asked(shared, at).await?,
        };
        let run = match self.begin(shared, at, &asks).await {
            Ok(record) => record.uuid,
            Err(status) => {
                let why = format!("it cannot be run: {}", status.message());
                return note(shared, at, Some(asks), GateVerdict::Inconclusive, why).await;
            }
        };
        loop {
            let Some(record) = shared.store.audit(&run).await? else {
                let why = format!("audit {run} is gone");
                return note(shared, at, Some(asks), GateVerdict::Inconclusive, why).await;
            };
            if record.finished_at.is_some() {
                let (verdict, reason) = self.judge(shared, &record).await?;
                return note(shared, at, Some(asks), verdict, reason).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes the run, or gives the one that there is.
    async fn begin(&self, shared: &Arc<Shared>, at: At, asks: &str) -> Result<AuditRecord, Status> {
        let request = v1::CreateAuditRequest {
            request_id: asks.to_owned(),
            definition: self.definition.to_owned(),
            all: true,
            max_age: Some(prost_types::Duration::default()),
            claimed_by: self.by.clone(),
            ..Default::default()
        };
        let over = Retry {
            job: self.rollout.to_owned(),
            states: vec![ExecutionState::Succeeded, ExecutionState::Unchanged],
            wave: Some(at.wave),
        };
        audit::create(shared, &request, Some(over)).await
    }

    /// What the verdicts of a run say.
    async fn judge(
        &self,
        shared: &Shared,
        record: &AuditRecord,
    ) -> Result<(GateVerdict, String), StoreError> {
        let file = audit::parse(self.definition)?;
        let (mut total, mut failing, mut named, mut tally) = (0_u64, 0_u64, Vec::new(), Tally::default());
        let mut after = 0;
        loop {
            let results = shared.store.audit_results(record.id, after, PAGE).await?;
            let Some(last) = results.last() else { break };
            after = last.device;
            for result in results {
                total += 1;
                let said = audit::judgements(&result.body)?;
                said.iter().for_each(|said| tally.add(said.verdict));
                let failed = file.checks.iter().zip(&said);
                let mut failed = failed.filter(|(_, said)| said.verdict == Verdict::Fail);
                let Some((check, _)) = failed.next() else { continue };
                failing += 1;
                if named.len() < NAMED {
                    named.push(format!("{} ({})", result.name, check.name));
                }
            }
        }
        let coverage = tally.coverage().unwrap_or_default();
        let more = if failing > NAMED as u64 { ", …" } else { "" };
        let names = match named.is_empty() {
            true => String::new(),
            false => format!(": {}{more}", named.join(", ")),
        };
        let run = &record.uuid;
        let fail = format!("{failing} of {total} devices fail{names} (audit {run})");
        Ok(match (failing > self.max, self.is_covered(coverage)) {
            (true, _) => (GateVerdict::Fail, fail),
            (false, true) => (GateVerdict::Pass, fail),
            (false, false) => (
                GateVerdict::Inconclusive,
                format!(
                    "a coverage of {:.1} % where {} is wanted; {fail}",
                    coverage * 100.0,
                    self.min_coverage
                ),
            ),
        })
    }

    fn is_covered(&self, coverage: f64) -> bool {
        coverage * 1e6 + 0.5 >= f64::from(self.min_coverage.millionths())
    }
}
