//! `muster job limits`: how much a job under way may harm, and do at once.

use muster_proto::v1;

use super::connect::{Engine, claimed_by};
use super::result::job_json;
use super::steer::tell;
use crate::args::Limits;
use crate::exit::{Done, Exit};
use crate::terminal::{devices, out};

pub(super) async fn change(engine: &Engine, limits: Limits, json: bool) -> Done {
    let wave = |(number, budget): (u32, String)| v1::WaveLimit { number, budget };
    let request = v1::ChangeLimitsRequest {
        id: limits.id,
        budget: limits.budget.unwrap_or_default(),
        waves: limits.wave_budgets.into_iter().map(wave).collect(),
        max_concurrency: limits.concurrency,
        approver: limits.approver,
        reason: limits.reason,
        claimed_by: claimed_by(),
    };
    let answer = engine.jobs().change_limits(request).await?.into_inner();
    let job = answer.job.unwrap_or_default();
    if json {
        let mut told = job_json(&job);
        told["promised"] = answer.promised.into();
        out(told);
        return Ok(Exit::Ok);
    }
    tell(&job, false);
    match answer.promised {
        Some(promised) => anstream::eprintln!("at most {} harmed from here on", devices(promised)),
        None => anstream::eprintln!("any number of devices may be harmed"),
    }
    Ok(Exit::Ok)
}
