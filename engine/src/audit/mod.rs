//! Audits: made from a file, judged as answers land, and ended with what they make of findings.

mod judges;
mod make;

pub(crate) use judges::{Judges, Subject};
pub(crate) use make::{check_request, create};

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_audit::judge::Tally;
use muster_audit::{Audit, Judgement, file, finding, fleet};
use muster_store::{
    AuditRecord, AuditResultRecord, FindingRecord, FinishAudit, NewOutcome, PAGE_BYTES, ResultRecord,
    StoreError, StoreOutcomes,
};
use serde::{Deserialize, Serialize};

use crate::Shared;

/// Events read at once.
const EVENTS: u32 = 64;
/// Executions looked up at once.
const RESULTS: usize = 500;
/// Devices whose findings are settled by one commit.
const SETTLED: u32 = 500;

/// Verdicts of a check in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckTally {
    pub(crate) check: String,
    pub(crate) severity: String,
    pub(crate) reason: String,
    pub(crate) has_remedy: bool,
    pub(crate) tally: Tally,
}

/// A file that was checked before it was stored.
pub(crate) fn parse(body: &str) -> Result<Audit, StoreError> {
    file::audit(body).map_err(|errors| StoreError::Corrupt(format!("a stored audit: {errors}")))
}

pub(crate) async fn body(shared: &Shared, digest: &[u8]) -> Result<String, StoreError> {
    let body = shared.store.audit_file(digest).await?;
    body.ok_or_else(|| StoreError::Corrupt("the file of an audit is missing".into()))
}

pub(crate) fn judgements(body: &str) -> Result<Vec<Judgement>, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Corrupt(format!("an outcome: {error}")))
}

/// Judges what has come, and ends the run when everything has. What it did, in words.
pub(crate) async fn advance(
    shared: &Arc<Shared>,
    record: &AuditRecord,
) -> Result<Option<String>, StoreError> {
    // Read before the events: when its job was over then, and there are no more events, all is judged.
    let over = record.state.is_none_or(muster_model::JobState::is_terminal);
    let mut seen = record.seen;
    let mut judged = 0;
    if let Some(job) = record.job.filter(|_| record.state.is_some()) {
        loop {
            let events = shared.store.events(job, seen, EVENTS).await?;
            let Some(last) = events.last().map(|event| event.seq) else {
                break;
            };
            let ended = events
                .into_iter()
                .flat_map(|event| event.ended)
                .collect::<Vec<_>>();
            judged += judge(shared, record, &ended, last).await?;
            seen = last;
        }
    }
    if over {
        finish(shared, record).await?;
        return Ok(Some(format!("{}: over", record.uuid)));
    }
    Ok((judged > 0).then(|| format!("{}: {judged} devices judged", record.uuid)))
}

async fn judge(
    shared: &Arc<Shared>,
    record: &AuditRecord,
    ended: &[u64],
    seen: u64,
) -> Result<usize, StoreError> {
    let body = body(shared, &record.file).await?;
    let (mut rest, mut judged) = (ended, 0);
    loop {
        let some = &rest[..rest.len().min(RESULTS)];
        let results = shared.store.results_of(some).await?;
        let bytes = results.iter().map(ResultRecord::reply_bytes).sum::<usize>();
        // A page that is cut by bytes ends with its last record.
        let told = match results.last().filter(|_| bytes > PAGE_BYTES) {
            Some(last) => some.iter().position(|id| *id == last.execution),
            None => None,
        };
        rest = &rest[told.map_or(some.len(), |at| at + 1)..];
        let ids = results.iter().map(|result| result.execution).collect::<Vec<_>>();
        let asked = shared.store.audit_asked(&ids).await?;
        let asked = asked
            .into_iter()
            .map(|asked| (asked.execution, asked))
            .collect::<BTreeMap<_, _>>();
        let now = shared.clock.now();
        let subject = |result: ResultRecord| {
            let asked = asked.get(&result.execution)?.clone();
            Some(Subject { asked, result, now })
        };
        let subjects = results.into_iter().filter_map(subject).collect::<Vec<_>>();
        let outcomes: Vec<NewOutcome> = shared.judges.judge(&record.file, &body, subjects).await?;
        judged += outcomes.len();
        let store = StoreOutcomes {
            run: record.id,
            // Until the last of them is stored, all of them are judged again after a crash.
            seen: if rest.is_empty() { seen } else { 0 },
            outcomes,
        };
        shared.store.write(store).await?;
        shared.committed();
        if rest.is_empty() {
            return Ok(judged);
        }
    }
}

/// Verdicts by check, in the order of the file.
pub(crate) async fn tallies(shared: &Shared, record: &AuditRecord) -> Result<Vec<CheckTally>, StoreError> {
    if let Some(stored) = &record.tallies {
        return serde_json::from_str(stored).map_err(|error| StoreError::Corrupt(error.to_string()));
    }
    let audit = parse(&body(shared, &record.file).await?)?;
    let mut all = audit
        .checks
        .iter()
        .map(|check| CheckTally {
            check: check.name.clone(),
            severity: check.severity.to_string(),
            reason: check.reason.clone(),
            has_remedy: check.remedy.is_some(),
            tally: Tally::default(),
        })
        .collect::<Vec<_>>();
    for (outcome, count) in shared.store.audit_outcomes(record.id).await? {
        for (check, said) in all.iter_mut().zip(judgements(&outcome)?) {
            check.tally.add_many(said.verdict, count);
        }
    }
    Ok(all)
}

/// Judges what looks at several devices, now that all have answered.
async fn settle(shared: &Arc<Shared>, record: &AuditRecord, audit: &Audit) -> Result<(), StoreError> {
    let accepted = match fleet::needs_baseline(audit) {
        true => shared.store.audit_accepted(&record.name).await?,
        false => None,
    };
    let mut baseline = match &accepted {
        Some((run, file)) => by_name(shared, *run, file).await?,
        None => BTreeMap::new(),
    };
    let (mut subjects, mut known, mut after) = (Vec::new(), Vec::new(), 0);
    loop {
        let results = shared.store.audit_results(record.id, after, SETTLED).await?;
        let Some(last) = results.last() else { break };
        after = last.device;
        for result in results {
            subjects.push(fleet::Subject {
                said: judgements(&result.body)?,
                baseline: baseline.remove(&result.name),
                name: result.name.clone(),
            });
            known.push(result);
        }
    }
    let body = body(shared, &record.file).await?;
    let settled = shared.judges.settle(&body, subjects, accepted.is_some()).await?;
    let outcome = |(result, subject): (&AuditResultRecord, &fleet::Subject)| {
        let said = subject.said.iter().collect::<Vec<_>>();
        judges::new_outcome(result.device, &result.name, result.observed_at, &said)
    };
    let outcomes = known.iter().zip(&settled).map(outcome).collect::<Vec<_>>();
    for part in outcomes.chunks(SETTLED as usize) {
        let store = StoreOutcomes {
            run: record.id,
            seen: 0,
            outcomes: part.to_vec(),
        };
        shared.store.write(store).await?;
    }
    Ok(())
}

/// What a run says, by the names of devices and checks.
async fn by_name(
    shared: &Shared,
    run: i64,
    file: &[u8],
) -> Result<BTreeMap<String, BTreeMap<String, Judgement>>, StoreError> {
    let audit = parse(&body(shared, file).await?)?;
    let (mut all, mut after) = (BTreeMap::new(), 0);
    loop {
        let results = shared.store.audit_results(run, after, SETTLED).await?;
        let Some(last) = results.last() else {
            return Ok(all);
        };
        after = last.device;
        for result in results {
            let said = judgements(&result.body)?;
            let names = audit.checks.iter().map(|check| check.name.clone());
            all.insert(result.name, names.zip(said).collect());
        }
    }
}

/// Settles findings, page by page, and ends the run. A page that was settled before a crash is left as it is.
async fn finish(shared: &Arc<Shared>, record: &AuditRecord) -> Result<(), StoreError> {
    let audit = parse(&body(shared, &record.file).await?)?;
    if fleet::is_needed(&audit) {
        settle(shared, record, &audit).await?;
    }
    let tallies = tallies(shared, record).await?;
    let tallies = serde_json::to_string(&tallies).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let mut after = 0;
    loop {
        let results = shared.store.audit_results(record.id, after, SETTLED).await?;
        let last = results.last().map(|result| result.device);
        let devices = results.iter().map(|result| result.device).collect::<Vec<_>>();
        let known = shared.store.findings_of(&record.name, &devices).await?;
        let known = known
            .into_iter()
            .map(|finding| ((finding.device, finding.check.clone()), finding));
        let mut known = known.collect::<BTreeMap<_, _>>();
        let mut findings = Vec::new();
        for result in results {
            for (check, said) in audit.checks.iter().zip(judgements(&result.body)?) {
                let before = known.remove(&(result.device, check.name.clone()));
                if before.as_ref().is_some_and(|before| before.run >= record.id) {
                    continue;
                }
                // Another device has its number now.
                let past = before
                    .as_ref()
                    .filter(|before| before.name == result.name)
                    .map(past);
                let next = finding::next(past.as_ref(), said.verdict, result.observed_at, audit.open_after);
                let Some(next) = next else { continue };
                findings.push(FindingRecord {
                    check: check.name.clone(),
                    device: result.device,
                    name: result.name.clone(),
                    severity: check.severity.to_string(),
                    state: match next.state {
                        finding::State::Pending => 1,
                        finding::State::Open => 2,
                        finding::State::Closed => 4,
                    },
                    first_seen: next.first_seen,
                    last_seen: next.last_seen,
                    closed_at: next.closed_at,
                    flaps: next.flaps,
                    runs: next.runs,
                    reason: match &before {
                        Some(before) if next.closed_at.is_some() => before.reason.clone(),
                        _ => said.reason.clone(),
                    },
                    evidence: match &before {
                        Some(before) if next.closed_at.is_some() => before.evidence.clone(),
                        _ => serde_json::to_string(&said.evidence).unwrap_or_else(|_| "[]".into()),
                    },
                    run: record.id,
                });
            }
        }
        let write = FinishAudit {
            run: record.id,
            name: record.name.clone(),
            findings,
            tallies: last.is_none().then(|| tallies.clone()),
            now: shared.clock.now(),
        };
        shared.store.write(write).await?;
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    shared.committed();
    Ok(())
}

fn past(finding: &FindingRecord) -> finding::Past {
    finding::Past {
        state: match finding.state {
            1 => finding::State::Pending,
            2 => finding::State::Open,
            _ => finding::State::Closed,
        },
        first_seen: finding.first_seen,
        last_seen: finding.last_seen,
        closed_at: finding.closed_at,
        flaps: finding.flaps,
        runs: finding.runs,
    }
}
