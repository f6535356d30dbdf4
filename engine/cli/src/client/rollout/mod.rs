//! `muster rollout`: a file's steps go over a fleet in waves.

pub(crate) mod live;
pub(super) mod preview;
mod show;

pub(super) use show::{rollout_json, show};

use std::path::{Path, PathBuf};

use clap::Subcommand;
use muster_model::policy::Amount;
use muster_proto::v1;
use serde_json::json;

use super::connect::Engine;
use super::run::{ask, create_as};
use crate::check;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{devices, out};

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Show what a rollout would do: which devices need which changes, waves, worst case, forecast, digest; exit code 2 when
    /// there is something to do
    Preview {
        /// The file, TOML; - for standard input
        file: PathBuf,
        /// Read no device: waves, worst case and forecast alone. Its digest covers nothing that is on devices
        #[arg(long)]
        no_read: bool,
    },
    /// Start a rollout and show how it goes until it ends or halts
    Start(Start),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// The file, TOML; - for standard input
    pub file: PathBuf,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Start it only if this is what its preview would show now; exit code 6 and what changed if it is not
    #[arg(long, value_name = "DIGEST", default_value = "")]
    pub approve_digest: String,
    /// Change only devices that are as this preview found them (rollout preview); others end rejected
    #[arg(long, value_name = "JOB", default_value = "")]
    pub previewed: String,
    /// Pass approvals, windows and freezes by; the reason goes into the history
    #[arg(long, value_name = "REASON", default_value = "")]
    pub break_glass: String,
    /// Print the job's id and return at once, with exit code 7
    #[arg(long)]
    pub detach: bool,
}

pub(crate) async fn run(command: Rollout, engine: &str, json: bool) -> Done {
    match command {
        Rollout::Preview { file, no_read } => {
            let spec = spec(&file)?;
            let engine = Engine::connect(engine).await?;
            let start = format!("rollout start {}", file.display());
            preview::run(&engine, &start, spec, !no_read, json).await
        }
        Rollout::Start(start) => self::start(start, engine, json).await,
    }
}

async fn start(start: Start, engine: &str, json: bool) -> Done {
    let mut spec = spec(&start.file)?;
    spec.break_glass.clone_from(&start.break_glass);
    spec.previewed.clone_from(&start.previewed);
    let allowed = spec.policy.as_ref().is_some_and(|policy| policy.allow_unseen);
    spec.unseen = allowed && !start.previewed.is_empty();
    let engine = Engine::connect(engine).await?;
    // An approval of the digest is a better yes than any.
    if !start.yes && start.approve_digest.is_empty() {
        let request = v1::PreviewJobRequest {
            spec: Some(spec.clone()),
        };
        let answer = engine.jobs().preview_job(request).await?.into_inner();
        if answer.effect() != v1::Effect::Read {
            let what = format!("{}: {}", spec.name, preview::in_a_line(&answer));
            ask(&what, answer.total as usize, &answer.sample, false)?;
        }
    }
    let job = create_as(&engine, spec, &start.approve_digest).await?;
    if start.detach {
        match json {
            true => out(json!({ "job": job.id })),
            false => out(job.id),
        }
        return Ok(Exit::StillRuns);
    }
    anstream::eprintln!("job {}: {}", job.id, devices(job.total));
    super::run::watch(&engine, &job.id, json).await
}

/// What a file asks for.
pub(super) fn spec(path: &Path) -> Result<v1::JobSpec, Failure> {
    let text = check::read(path)?;
    let rollout = check::rollout(path, &text).map_err(|errors| check::failure(path, &errors))?;
    Ok(of(rollout))
}

/// What a rollout's file says, as a job.
pub(crate) fn of(rollout: muster_model::file::Rollout) -> v1::JobSpec {
    let limits = &rollout.policy.limits;
    v1::JobSpec {
        name: rollout.name,
        plan: Some((&rollout.plan).into()),
        selector: rollout.selector.to_string(),
        all: rollout.selector.requirements().is_empty(),
        timeout: rollout.timeout.try_into().ok(),
        priority: v1::JobPriority::from(rollout.priority).into(),
        max_concurrency: limits.concurrency.unwrap_or(0),
        budget: match limits.budget {
            Amount::All => "all".into(),
            budget => budget.to_string(),
        },
        policy: Some((&rollout.policy).into()),
        ..Default::default()
    }
}
