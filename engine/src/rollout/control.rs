//! A gate that compares devices that were changed with those of their kind that were not yet (E2): both are asked by one job
//! of one check, which tells what it named.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::budget::Asked;
use muster_engine_core::rollout::advance::GateVerdict;
use muster_engine_core::rollout::control::{self, Candidate, Reading};
use muster_engine_core::rollout::snapshot::Numbers;
use muster_model::policy::Tolerance;
use muster_model::{Check, JobState, Plan, Priority, Step};
use muster_store::{CreateJob, Mode, NoteAsked, ResultPage, ResultRecord, StoreError};

use super::gate::{At, LOOK, note};
use super::probe::select;
use crate::services::job::lay_out;
use crate::{Shared, answer};

/// A device that does not answer for so long says nothing.
const WITHIN: Duration = Duration::from_secs(20);
/// Results read at once.
const PAGE: usize = 500;

/// Asks, or goes on with the job that an engine before this one made, and notes what it says.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    at: At,
    rollout: &str,
    tolerances: &[Tolerance],
    sample: u32,
) -> Result<(), StoreError> {
    let candidates = shared.store.control_candidates(at.job, at.wave).await?;
    let candidate = |(device, stratum, changed)| Candidate {
        device,
        stratum,
        changed,
    };
    let candidates = candidates.into_iter().map(candidate).collect::<Vec<_>>();
    let run = match shared.store.gate_asks(at.job, at.wave, at.gate).await? {
        Some(run) => run,
        None => {
            let picked = control::pick(candidates.clone(), sample);
            let names = picked.into_iter().map(|candidate| candidate.device);
            match begin(shared, at, rollout, tolerances, &names.collect::<Vec<_>>()).await? {
                Some(run) => run,
                None => {
                    let (verdict, why) = control::judge(tolerances, &[]);
                    return note(shared, at, None, verdict, why).await;
                }
            }
        }
    };
    let job = loop {
        let Some(job) = shared.store.job(&run).await? else {
            let why = format!("job {run}, which asked, is gone");
            return note(shared, at, Some(run), GateVerdict::Inconclusive, why).await;
        };
        if job.state.is_terminal() {
            break job;
        }
        tokio::time::sleep(LOOK).await;
    };
    let mut numbers = numbers_of(shared, job.id).await?;
    let readings = candidates.into_iter().filter_map(|of| {
        let numbers = numbers.remove(&of.device)?;
        Some(Reading { of, numbers })
    });
    let (verdict, why) = control::judge(tolerances, &readings.collect::<Vec<_>>());
    note(shared, at, Some(run), verdict, why).await
}

/// Makes the job that asks; none when there is nobody to ask.
async fn begin(
    shared: &Arc<Shared>,
    at: At,
    rollout: &str,
    tolerances: &[Tolerance],
    names: &[String],
) -> Result<Option<String>, StoreError> {
    let Some(selector) = select(names) else {
        return Ok(None);
    };
    let named = tolerances
        .iter()
        .map(|tolerance| format!("facts.{} >= -1", tolerance.name));
    let check = Check::parse(&named.collect::<Vec<_>>().join(" && "))
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let frozen = shared.inventory.clone().read_owned().await;
    let now = shared.clock.now();
    let within = i64::try_from(WITHIN.as_millis()).unwrap_or(i64::MAX);
    let uuid = uuid::Uuid::now_v7().to_string();
    let create = CreateJob {
        uuid: uuid.clone(),
        request_id: None,
        request_hash: [0; 32],
        name: format!("control group of rollout {rollout}"),
        plan: Plan::new(vec![Step::Check(check)]),
        selector,
        retry: None,
        mode: Mode::Apply,
        timeout_ms: within.unsigned_abs() / 2,
        priority: Priority::Interactive,
        concurrency: None,
        budget: Asked::RUN,
        waves: Vec::new(),
        start: JobState::Running,
        rollout: None,
        stretch_ms: None,
        spread: None,
        now,
        expires_at: now + within,
        claimed_by: "muster".to_owned(),
        deeds: Vec::new(),
    };
    let created = shared.store.write(create).await?;
    if created.as_ref().is_ok_and(|created| created.draft) {
        lay_out(shared, &uuid).await?;
    }
    drop(frozen);
    if created.is_err() {
        return Ok(None);
    }
    let asked = NoteAsked {
        job: at.job,
        wave: at.wave,
        gate: at.gate,
        run: uuid.clone(),
        now: shared.clock.now(),
    };
    shared.store.write(asked).await?;
    shared.committed();
    shared.work_appeared();
    Ok(Some(uuid))
}

/// What devices told, by name.
async fn numbers_of(shared: &Shared, job: i64) -> Result<HashMap<String, Numbers>, StoreError> {
    let (mut all, mut after) = (HashMap::new(), 0);
    loop {
        let page = ResultPage {
            job,
            after,
            limit: PAGE as u32,
            states: Vec::new(),
        };
        let results = shared.store.results(&page).await?;
        let Some(last) = results.last() else {
            return Ok(all);
        };
        after = last.execution;
        all.extend(
            results
                .iter()
                .map(|result| (result.device.clone(), numbers(result))),
        );
    }
}

fn numbers(result: &ResultRecord) -> Numbers {
    let rows = result.replies.iter().flat_map(|reply| answer::step(reply).rows);
    let attributes = rows.flat_map(|row| row.attributes);
    let number = |attribute: muster_proto::v1::Attribute| {
        let name = attribute.name.strip_prefix("facts.")?.to_owned();
        Some((name, attribute.value.parse().ok()?))
    };
    attributes.filter_map(number).collect()
}
