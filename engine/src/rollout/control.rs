//! A gate that compares devices that were changed with those of their kind that were not yet (E2): both are asked by one job
//! of one check, which tells what it named.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::rollout::advance::GateVerdict;
use muster_engine_core::rollout::control::{self, Candidate, Reading};
use muster_engine_core::rollout::snapshot::Numbers;
use muster_model::policy::Tolerance;
use muster_model::{Check, Step};
use muster_store::{ResultPage, ResultRecord, StoreError};

use super::gate::{self, At, LOOK, note};
use super::question::{self, Question, select};
use crate::{Shared, answer};

/// A device that does not answer for so long says nothing.
const WITHIN: Duration = Duration::from_secs(10);
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
    let begun = shared.store.gate_asks(at.job, at.wave, at.gate).await?;
    let run = match begun {
        Some(run) => run,
        None => gate::note_asked(shared, at).await?,
    };
    // It was noted before it was made: an engine that died in between has left a note and no job.
    if shared.store.job(&run).await?.is_none() {
        let picked = control::pick(candidates.clone(), sample);
        let names = picked.into_iter().map(|candidate| candidate.device);
        let names = names.collect::<Vec<_>>();
        if !begin(shared, &run, rollout, tolerances, &names).await? {
            let (verdict, why) = control::judge(tolerances, &[]);
            return note(shared, at, Some(run), verdict, why).await;
        }
    }
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

/// Makes the job that asks. Returns whether there is anybody to ask.
async fn begin(
    shared: &Arc<Shared>,
    uuid: &str,
    rollout: &str,
    tolerances: &[Tolerance],
    names: &[String],
) -> Result<bool, StoreError> {
    let Some(selector) = select(names) else {
        return Ok(false);
    };
    let named = tolerances
        .iter()
        .map(|tolerance| format!("facts.{} >= -1", tolerance.name));
    let check = Check::parse(&named.collect::<Vec<_>>().join(" && "))
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let question = Question {
        uuid: uuid.to_owned(),
        name: format!("control group of rollout {rollout}"),
        selector,
        step: Step::Check(check),
        timeout: WITHIN,
    };
    let frozen = shared.inventory.clone().read_owned().await;
    question::make(shared, question, frozen).await
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
