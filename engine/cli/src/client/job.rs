//! `muster job`.

use muster_proto::v1;

use super::connect::{Engine, claimed_by};
use super::result::{
    FAILED, counts_text, exit_of, job_json, job_state_name, parse_state, step_text, table, timestamp,
    to_json, to_text, written,
};
use super::rollout;
use super::run::watch;
use super::steer;
use crate::args::Job;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{is_closed, number, out, safe, short};

/// Characters of a job's name in a list.
const NAME: usize = 40;
/// Jobs in one page.
const PAGE: usize = 500;

pub(crate) async fn run(command: Job, engine: &str, json: bool) -> Done {
    let engine = Engine::connect(engine).await?;
    match command {
        Job::List { limit } => list(&engine, limit, json).await,
        Job::Show { id } => {
            let job = get(&engine, id).await?;
            let lost = super::rescue::of_job(&engine, &job.id).await?;
            let lost = lost.into_iter().map(|lost| lost.device.unwrap_or_default().name);
            let lost = lost.collect::<Vec<_>>();
            if json {
                let mut object = job_json(&job);
                object["rescue"] = lost.into();
                out(object);
            } else {
                show(&job, &lost);
            }
            Ok(Exit::Ok)
        }
        Job::Watch { id } => watch(&engine, &id, json).await,
        Job::Results {
            id,
            failed,
            state,
            csv,
            grouped,
        } => {
            if grouped {
                super::group::grouped(&engine, &id, json).await?;
                return Ok(Exit::Ok);
            }
            let states = if failed { FAILED.to_vec() } else { states(&state)? };
            let pages = Pages::new(&engine, &id, &states);
            match csv {
                true => super::csv::print(pages).await?,
                false => results(pages, json).await?,
            }
            let job = get(&engine, id).await?;
            anstream::eprintln!("{}: {}", job_state_name(job.state()), counts_text(&job));
            Ok(exit_of(&job))
        }
        Job::Delete { id } => {
            let request = v1::DeleteJobRequest {
                id: id.clone(),
                claimed_by: claimed_by(),
            };
            engine.jobs().delete_job(request).await?;
            match json {
                true => out(serde_json::json!({ "deleted": id })),
                false => anstream::eprintln!("deleted: {id}"),
            }
            Ok(Exit::Ok)
        }
        Job::Aggregate(aggregate) => super::aggregate::run(&engine, aggregate, json).await,
        Job::Export(export) => super::export::run(&engine, export, json).await,
        Job::Explain { id, device } => steer::explain(&engine, id, device, json).await,
        Job::Pause { id, reason } => steer::pause(&engine, id, reason, json).await,
        Job::Limits(limits) => super::limits::change(&engine, limits, json).await,
        Job::Resume { id, reason } => steer::resume(&engine, id, reason, json).await,
        Job::Retry {
            id,
            state,
            yes,
            detach,
        } => {
            let again = steer::Again {
                states: states(&state)?,
                yes,
                detach,
            };
            steer::retry(&engine, id, again, json).await
        }
        Job::Abort {
            id,
            reason,
            keep,
            revert,
            finish,
            stop_at_step,
        } => {
            let changed = match (keep, revert) {
                (true, _) => v1::AbortChanged::Keep,
                (_, true) => v1::AbortChanged::Revert,
                _ => v1::AbortChanged::Unspecified,
            };
            let in_flight = match (finish, stop_at_step) {
                (true, _) => v1::AbortInFlight::Finish,
                (_, true) => v1::AbortInFlight::StopAtStep,
                _ => v1::AbortInFlight::Unspecified,
            };
            let request = v1::AbortJobRequest {
                id,
                reason,
                claimed_by: claimed_by(),
                changed: changed.into(),
                in_flight: in_flight.into(),
            };
            let job = engine.jobs().abort_job(request).await?.into_inner().job;
            steer::tell(&job.unwrap_or_default(), json);
            Ok(Exit::Ok)
        }
        Job::Report { id, format } => super::report::run(&engine, id, format).await,
        Job::Approve { id, digest, reason } => steer::approve(&engine, id, digest, reason, json).await,
        Job::Revert { id, reason } => steer::revert(&engine, id, reason, json).await,
    }
}

pub(super) async fn get(engine: &Engine, id: String) -> Result<v1::Job, Failure> {
    Ok(engine
        .jobs()
        .get_job(v1::GetJobRequest { id })
        .await?
        .into_inner()
        .job
        .unwrap_or_default())
}

fn states(names: &[String]) -> Result<Vec<v1::ExecutionState>, Failure> {
    names
        .iter()
        .map(|name| parse_state(name).map_err(|error| Failure::usage(format!("--state: {error}"))))
        .collect()
}

async fn list(engine: &Engine, limit: usize, json: bool) -> Done {
    let mut table = table(["JOB", "STATE", "DEVICES", "CREATED", "NAME"]);
    let (mut page_token, mut left) = (String::new(), limit);
    while left > 0 {
        let page_size = i32::try_from(left.min(PAGE)).unwrap_or(i32::MAX);
        let page = engine
            .jobs()
            .list_jobs(v1::ListJobsRequest {
                page_size,
                page_token,
            })
            .await?
            .into_inner();
        left = left.saturating_sub(page.jobs.len());
        for job in &page.jobs {
            if json {
                out(job_json(job));
            } else {
                table.add_row([
                    job.id.clone(),
                    job_state_name(job.state()),
                    number(job.total),
                    timestamp(job.created_at.as_ref()).unwrap_or_default(),
                    short(&safe(&job.spec.clone().unwrap_or_default().name), NAME).into_owned(),
                ]);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if !json {
        out(&table);
    }
    Ok(Exit::Ok)
}

/// `lost` are the devices that it lost and that are still to be rescued.
fn show(job: &v1::Job, lost: &[String]) {
    let spec = job.spec.clone().unwrap_or_default();
    for (key, value) in [
        ("job", job.id.clone()),
        ("state", job_state_name(job.state())),
        ("steps", steps_text(spec.plan.as_ref())),
        (
            "devices",
            format!(
                "{} ({})",
                number(job.total),
                if spec.all { "all" } else { &spec.selector }
            ),
        ),
        ("counts", counts_text(job)),
        ("budget", budget_text(job)),
        ("halted", halted_text(job)),
        ("rescue", rescue_text(job, lost)),
        ("rollout", rollout_text(job)),
        (
            "created",
            format!(
                "{} by {}",
                timestamp(job.created_at.as_ref()).unwrap_or_default(),
                who(job)
            ),
        ),
        ("expires", timestamp(job.expires_at.as_ref()).unwrap_or_default()),
        (
            "finished",
            timestamp(job.finished_at.as_ref()).unwrap_or_else(|| "not yet".into()),
        ),
        ("reverts", job.revert_of.clone()),
        ("reverted", job.reverts.join(", ")),
        ("plan", job.plan_digest.clone()),
    ] {
        let may_be_absent = ["budget", "halted", "rescue", "rollout", "reverts", "reverted"];
        if may_be_absent.contains(&key) && value.is_empty() {
            continue;
        }
        out(format_args!("{key:<9} {value}"));
    }
    rollout::show(job);
}

/// What it does, a line for each step as it was written, and under an upgrade a line for each that it is done in. Numbers are
/// those that results and errors name.
fn steps_text(plan: Option<&v1::Plan>) -> String {
    let mut lines = Vec::new();
    let Some(plan) = plan else {
        return String::new();
    };
    for (at, text) in written(plan) {
        let text = safe(&text).into_owned();
        match at.len() {
            1 if plan.steps.len() == 1 => lines.push(text),
            1 => lines.push(format!("{:<6} {text}", at.end)),
            _ => {
                lines.push(format!("{:<6} {text}", format!("{}-{}", at.start + 1, at.end)));
                let parts = plan.steps.iter().enumerate().skip(at.start).take(at.len());
                lines.extend(
                    parts.map(|(at, step)| format!("{:<6}   {:>2} {}", "", at + 1, safe(&step_text(step)))),
                );
            }
        }
    }
    lines.join("\n          ")
}

/// Devices named of those that are to be rescued.
const LOST: usize = 10;

/// Which of a job's devices are to be rescued; nothing where none is.
fn rescue_text(job: &v1::Job, lost: &[String]) -> String {
    if lost.is_empty() {
        return String::new();
    }
    let more = match lost.len().saturating_sub(LOST) {
        0 => String::new(),
        more => format!(" and {} more", number(more as u64)),
    };
    let named = lost.iter().take(LOST).map(String::as_str).collect::<Vec<_>>();
    format!(
        "{}{more}: muster device rescue --job {} tells what to do",
        safe(&named.join(", ")),
        job.id
    )
}

/// What a rollout does and waits for; nothing for other jobs.
fn rollout_text(job: &v1::Job) -> String {
    job.rollout
        .as_ref()
        .map(|_| rollout::live::headline(job))
        .unwrap_or_default()
}

/// What a job's budget is, and what of it is used; nothing for a job that can harm nothing.
fn budget_text(job: &v1::Job) -> String {
    let effect = job.effect();
    if !matches!(effect, v1::Effect::Change | v1::Effect::Disrupt) {
        return String::new();
    }
    let used = job.budget_use.unwrap_or_default();
    let limit = job.budget.map_or_else(|| "no limit".to_owned(), number);
    let left = used.left.map(|left| format!(", {} left", number(left)));
    format!(
        "{limit}: {} harmed, {} rescued, {} being changed{}",
        number(used.harmed),
        number(used.rescued),
        number(used.in_flight),
        left.unwrap_or_default()
    )
}

fn halted_text(job: &v1::Job) -> String {
    let Some(halted) = &job.halted else {
        return String::new();
    };
    let at = timestamp(halted.at.as_ref()).unwrap_or_default();
    format!("{at} by rule {}: {}", safe(&halted.rule), safe(&halted.detail))
}

fn who(job: &v1::Job) -> &str {
    if job.claimed_by.is_empty() {
        "somebody"
    } else {
        &job.claimed_by
    }
}

async fn results(mut pages: Pages<'_>, json: bool) -> Result<(), Failure> {
    while let Some(results) = pages.next().await? {
        for result in &results {
            match json {
                true => out(to_json(result)),
                false => out(to_text(result)),
            }
        }
        if is_closed() {
            break;
        }
    }
    Ok(())
}

/// The results of a job page by page: never more than one of them in memory.
#[derive(Clone)]
pub(super) struct Pages<'a> {
    engine: &'a Engine,
    id: &'a str,
    states: Vec<i32>,
    /// Of the next page; none after the last.
    token: Option<String>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(engine: &'a Engine, id: &'a str, states: &[v1::ExecutionState]) -> Self {
        Self {
            engine,
            id,
            states: states.iter().map(|state| (*state).into()).collect(),
            token: Some(String::new()),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<v1::ExecutionResult>>, Failure> {
        let Some(page_token) = self.token.take() else {
            return Ok(None);
        };
        let request = v1::ListResultsRequest {
            id: self.id.to_owned(),
            page_size: 0,
            page_token,
            states: self.states.clone(),
        };
        let page = self.engine.jobs().list_results(request).await?.into_inner();
        self.token = Some(page.next_page_token).filter(|token| !token.is_empty());
        Ok(Some(page.results))
    }
}
