//! What people do to jobs that are under way, and how they find out what keeps them.

use muster_proto::v1;
use serde_json::json;

use super::connect::{Engine, claimed_by};
use super::job::get;
use super::result::{counts_text, job_json, job_state_name, state_name, timestamp};
use super::run::{ask, watch};
use crate::exit::{Done, Exit};
use crate::terminal::{devices, number, out, safe};

pub(super) async fn pause(engine: &Engine, id: String, reason: String, json: bool) -> Done {
    let request = v1::PauseJobRequest {
        id,
        reason,
        claimed_by: claimed_by(),
    };
    let answer = engine.jobs().pause_job(request).await?.into_inner();
    tell(&answer.job.unwrap_or_default(), json);
    Ok(Exit::Ok)
}

pub(super) async fn resume(engine: &Engine, id: String, reason: String, json: bool) -> Done {
    let request = v1::ResumeJobRequest {
        id,
        reason,
        claimed_by: claimed_by(),
    };
    let answer = engine.jobs().resume_job(request).await?.into_inner();
    tell(&answer.job.unwrap_or_default(), json);
    Ok(Exit::Ok)
}

/// What is to be tried again, and how.
pub(super) struct Again {
    pub(super) states: Vec<v1::ExecutionState>,
    pub(super) yes: bool,
    pub(super) detach: bool,
}

pub(super) async fn retry(engine: &Engine, id: String, again: Again, json: bool) -> Done {
    let job = get(engine, id.clone()).await?;
    if job.effect() != v1::Effect::Read {
        let wanted = |state| again.states.is_empty() || again.states.contains(&state);
        let counts = job.counts.iter().filter(|count| wanted(count.state()));
        let sample = counts.map(|count| format!("{} {}", number(count.count), state_name(count.state())));
        let sample = sample.collect::<Vec<_>>();
        let what = format!("trying again what job {id} left on {}", devices(job.total));
        ask(&what, sample.len(), &sample, again.yes)?;
    }
    let request = v1::RetryJobRequest {
        id,
        states: again.states.into_iter().map(Into::into).collect(),
        request_id: uuid::Uuid::new_v4().to_string(),
        claimed_by: claimed_by(),
    };
    let job = engine
        .jobs()
        .retry_job(request)
        .await?
        .into_inner()
        .job
        .unwrap_or_default();
    if again.detach {
        match json {
            true => out(json!({ "job": job.id })),
            false => out(job.id),
        }
        return Ok(Exit::StillRuns);
    }
    watch(engine, &job.id, json).await
}

pub(super) async fn explain(engine: &Engine, id: String, device: Option<String>, json: bool) -> Done {
    let device = device.unwrap_or_default();
    let answer = engine
        .jobs()
        .explain_job(v1::ExplainJobRequest { id, device })
        .await?
        .into_inner();
    if json {
        let blockers = answer.blockers.iter().map(blocker_json).collect::<Vec<_>>();
        out(json!({ "text": answer.text, "blockers": blockers }));
        return Ok(Exit::Ok);
    }
    if answer.blockers.is_empty() {
        out(safe(&answer.text));
    }
    for blocker in &answer.blockers {
        let mut line = format!(
            "{}: {} ({})",
            kind(blocker),
            safe(&blocker.text),
            executions(blocker.executions)
        );
        for (word, time) in [("next look", &blocker.next_check), ("until", &blocker.until)] {
            if let Some(time) = timestamp(time.as_ref()) {
                line.push_str(&format!("; {word} {time}"));
            }
        }
        out(line);
    }
    Ok(Exit::Ok)
}

fn blocker_json(blocker: &v1::Blocker) -> serde_json::Value {
    json!({
        "kind": kind(blocker),
        "text": blocker.text,
        "holders": blocker.holders,
        "until": timestamp(blocker.until.as_ref()),
        "next_check": timestamp(blocker.next_check.as_ref()),
        "executions": blocker.executions,
    })
}

fn kind(blocker: &v1::Blocker) -> String {
    let name = blocker.kind().as_str_name();
    name.trim_start_matches("BLOCKER_KIND_").to_ascii_lowercase()
}

fn executions(count: u64) -> String {
    match count {
        1 => "1 execution".into(),
        count => format!("{} executions", number(count)),
    }
}

/// How a job stands after something was done to it.
pub(super) fn tell(job: &v1::Job, json: bool) {
    match json {
        true => out(job_json(job)),
        false => {
            let state = job_state_name(job.state());
            anstream::eprintln!("job {} is {state}: {}", job.id, counts_text(job));
        }
    }
}

pub(super) async fn approve(engine: &Engine, id: String, digest: String, reason: String, json: bool) -> Done {
    let request = v1::ApproveJobRequest {
        id,
        digest,
        reason,
        claimed_by: claimed_by(),
    };
    let answer = engine.jobs().approve_job(request).await?.into_inner();
    let job = answer.job.unwrap_or_default();
    if json {
        let mut told = job_json(&job);
        told["approved"] = answer.of.into();
        told["missing"] = answer.missing.into();
        out(told);
        return Ok(Exit::Ok);
    }
    match answer.missing {
        0 => anstream::eprintln!("approved: {}", safe(&answer.of)),
        missing => anstream::eprintln!("approved: {}; {missing} more needed", safe(&answer.of)),
    }
    tell(&job, false);
    Ok(Exit::Ok)
}

pub(super) async fn revert(engine: &Engine, id: String, reason: String, json: bool) -> Done {
    let request = v1::RevertJobRequest {
        id,
        reason,
        request_id: uuid::Uuid::new_v4().to_string(),
        claimed_by: claimed_by(),
    };
    let job = engine
        .jobs()
        .revert_job(request)
        .await?
        .into_inner()
        .job
        .unwrap_or_default();
    watch(engine, &job.id, json).await
}
