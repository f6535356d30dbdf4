//! Changing the limits of a job under way (A6).

use muster_engine_core::budget::{Asked, BadBudget};
use muster_model::JobState;
use muster_proto::{Violation, v1};
use muster_store::{ChangeLimits, JobRecord, LimitsRefused};
use tonic::Status;

use super::job::{claimed, job, reason};
use crate::{Shared, answer, error};

pub(super) async fn change(
    shared: &Shared,
    request: v1::ChangeLimitsRequest,
) -> Result<v1::ChangeLimitsResponse, Status> {
    let record = job(shared, &request.id).await?;
    if record.state == JobState::AwaitingApproval {
        let message =
            "its limits are part of what it waits to have approved; abort it, and start it with others";
        return Err(error::precondition("AWAITS_APPROVAL", &record.uuid, message));
    }
    let mut change = check(&request, &record).map_err(error::invalid)?;
    change.reason = reason(&request.reason)?;
    change.now = shared.clock.now();
    let changed = shared.store.write(change).await.map_err(error::store)?;
    let limits = changed.map_err(|refused| refusal(&request.id, &refused))?;
    shared.committed();
    // A larger cap or budget may let something in.
    shared.work_appeared();
    let record = job(shared, &request.id).await?;
    Ok(v1::ChangeLimitsResponse {
        job: Some(answer::job(&record)),
        promised: limits.promised,
    })
}

fn check(request: &v1::ChangeLimitsRequest, record: &JobRecord) -> Result<ChangeLimits, Vec<Violation>> {
    let mut violations = Vec::new();
    let mut budget = |field: String, text: &str, devices: u64| match text.trim().parse::<Asked>() {
        Ok(asked) => asked.of(devices),
        Err(error) => {
            let error: BadBudget = error;
            violations.push(Violation::new(field, error.to_string()));
            None
        }
    };
    let whole = match request.budget.trim() {
        "" => None,
        text => Some(budget("budget".into(), text, record.total)),
    };
    let mut waves = Vec::new();
    for (at, wave) in request.waves.iter().enumerate() {
        let number = wave.number.checked_sub(1);
        let known = number.and_then(|number| record.waves.iter().find(|known| known.number == number));
        let limit = budget(
            format!("waves[{at}].budget"),
            &wave.budget,
            known.map_or(0, |known| known.total),
        );
        waves.push((number, limit));
    }
    for (at, (number, _)) in waves.iter().enumerate() {
        if number.is_none() {
            let text = "0 is no wave; they are counted from 1";
            violations.push(Violation::new(format!("waves[{at}].number"), text));
        }
    }
    if request.approver.chars().count() > 256 {
        violations.push(Violation::new("approver", "it is longer than 256 characters"));
    }
    if whole.is_none() && waves.is_empty() && request.max_concurrency.is_none() {
        violations.push(Violation::new(
            "budget",
            "no limit is given that is to be changed",
        ));
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(ChangeLimits {
        uuid: record.uuid.clone(),
        budget: whole,
        waves: waves
            .into_iter()
            .filter_map(|(number, limit)| Some((number?, limit)))
            .collect(),
        concurrency: request
            .max_concurrency
            .map(|cap| Some(cap).filter(|cap| *cap > 0)),
        approver: request.approver.clone(),
        claimed_by: claimed(&request.claimed_by),
        reason: String::new(),
        now: 0,
    })
}

fn refusal(id: &str, refused: &LimitsRefused) -> Status {
    match refused {
        LimitsRefused::NotFound => error::not_found("job", id),
        LimitsRefused::Over(state) => {
            let message = format!("job {id} is {state}; its limits stay as they are");
            error::precondition("JOB_OVER", id, message)
        }
        LimitsRefused::NoWave { .. } => error::invalid_field("waves", refused.to_string()),
        LimitsRefused::NeedsApprover(_) => error::precondition("NEEDS_APPROVER", id, refused.to_string()),
    }
}
