//! `muster schedule`: jobs and audits that begin by the clock.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use muster_proto::v1;
use muster_proto::v1::schedule::Does;
use serde_json::{Value, json};

use super::audit::definition;
use super::connect::{Engine, claimed_by};
use super::result::{table, timestamp};
use super::run::{confirm, plan, query_words};
use super::{plan as plans, rollout};
use crate::args::priority;
use crate::duration;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{number, out, safe, short};

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Add a schedule: of a command, of a plan's, a rollout's or an audit's file; the next ten occurrences are shown
    Add(Box<Add>),
    /// List schedules
    List,
    /// Show one schedule: its next ten occurrences, and what became of the last ones
    Show {
        /// Its name
        name: String,
    },
    /// Begin nothing until it is resumed; what comes due meanwhile is skipped
    Pause(Named),
    /// Begin again
    Resume(Named),
    /// Begin now what it does, beside its times; exit code 6 while the run before is not over
    RunNow {
        /// Its name
        name: String,
    },
    /// Remove a schedule; what it began goes on
    Remove(Named),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its name
    pub name: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("does").required(true).args(["rollout", "audit", "plan", "words"])))]
pub(crate) struct Add {
    /// 1 to 100 letters, digits, -, _ and .
    pub name: String,
    /// When: minute, hour, day, month, weekday, or with seconds before them: '30 3 * * MON-FRI'
    #[arg(long, value_name = "EXPR")]
    pub cron: String,
    /// Where that is the time: an IANA name, such as Europe/Riga
    #[arg(long, default_value = "UTC")]
    pub zone: String,
    /// Begin on its devices spread over so long, on each at the same place each time; at most 24h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub spread: Option<Duration>,
    /// While the run before is not over: skip it, queue one, or cancel the run before
    #[arg(long, value_enum, default_value = "skip")]
    pub overlap: Overlap,
    /// Occurrences at which the engine did not run: skip, once, or all:N [default: once; jobs with changes always skip]
    #[arg(long, value_name = "skip|once|all:N", value_parser = missed)]
    pub missed: Option<(v1::Missed, u32)>,
    /// Start the rollout of this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["select", "all", "concurrency", "budget", "priority"])]
    pub rollout: Option<PathBuf>,
    /// Run the audit of this file; baseline for the one that comes with muster
    #[arg(long, value_name = "FILE", conflicts_with_all = ["concurrency", "budget", "priority"])]
    pub audit: Option<PathBuf>,
    /// Run the steps of this file
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Devices by label or field, as of each occurrence: site=ams,role!=core
    #[arg(long, value_name = "SELECTOR", conflicts_with = "all")]
    pub select: Option<String>,
    /// Every device of the inventory
    #[arg(long)]
    pub all: bool,
    /// Of a print, only items for which this holds
    #[arg(long = "where", value_name = "EXPR", requires = "words")]
    pub filter: Option<String>,
    /// Take a command that muster does not know for a read; noted in the history of each job
    #[arg(long, requires = "words")]
    pub declare_read: bool,
    /// Who goes first: emergency, interactive, rollout or audit [default: audit]
    #[arg(long, value_parser = priority)]
    pub priority: Option<v1::JobPriority>,
    /// Executions with workers at once [default: as many as workers take]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,
    /// Devices that may be harmed at most: a number, a share as in 2%, or all [default: 2%, at least 10]
    #[arg(long, value_name = "N|P%|all", default_value = "", hide_default_value = true)]
    pub budget: String,
    /// Deadline of a command, and how long devices that cannot be reached are waited for [default: 30s, or as a file says]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub timeout: Option<Duration>,
    /// Do not ask before a schedule of something that changes devices
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// The command: /path/verb and its words
    #[arg(last = true, value_name = "COMMAND [WORD…]")]
    pub words: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Overlap {
    Skip,
    Queue,
    Cancel,
}

fn missed(text: &str) -> Result<(v1::Missed, u32), String> {
    let wrong = || format!("{text:?} is not skip, once or all:N, such as all:3");
    match text.split_once(':') {
        None if text == "skip" => Ok((v1::Missed::Skip, 0)),
        None if text == "once" => Ok((v1::Missed::Once, 0)),
        Some(("all", most)) => Ok((v1::Missed::All, most.parse().map_err(|_| wrong())?)),
        _ => Err(wrong()),
    }
}

pub(crate) async fn run(command: Schedule, url: &str, json: bool) -> Done {
    match command {
        Schedule::Add(add) => self::add(*add, url, json).await,
        Schedule::List => list(&Engine::connect(url).await?, json).await,
        Schedule::Show { name } => show(&Engine::connect(url).await?, name, json).await,
        Schedule::Pause(Named { name, reason }) => {
            let request = v1::PauseScheduleRequest {
                name,
                reason,
                claimed_by: claimed_by(),
            };
            let engine = Engine::connect(url).await?;
            let answer = engine.schedules().pause_schedule(request).await?.into_inner();
            tell(&answer.schedule.unwrap_or_default(), "paused", json)
        }
        Schedule::Resume(Named { name, reason }) => {
            let request = v1::ResumeScheduleRequest {
                name,
                reason,
                claimed_by: claimed_by(),
            };
            let engine = Engine::connect(url).await?;
            let answer = engine.schedules().resume_schedule(request).await?.into_inner();
            tell(&answer.schedule.unwrap_or_default(), "resumed", json)
        }
        Schedule::RunNow { name } => {
            let request = v1::RunScheduleRequest {
                name,
                request_id: uuid::Uuid::new_v4().to_string(),
                claimed_by: claimed_by(),
            };
            let engine = Engine::connect(url).await?;
            let job = engine.schedules().run_schedule(request).await?.into_inner().job;
            match json {
                true => out(json!({ "job": job })),
                false => out(job),
            }
            Ok(Exit::Ok)
        }
        Schedule::Remove(Named { name, reason }) => {
            let request = v1::RemoveScheduleRequest {
                name: name.clone(),
                reason,
                claimed_by: claimed_by(),
            };
            let engine = Engine::connect(url).await?;
            engine.schedules().remove_schedule(request).await?;
            match json {
                true => out(json!({ "removed": name })),
                false => anstream::eprintln!("removed: {name}"),
            }
            Ok(Exit::Ok)
        }
    }
}

fn tell(schedule: &v1::Schedule, what: &str, json: bool) -> Done {
    match json {
        true => out(to_json(schedule)),
        false => anstream::eprintln!("{what}: {}", schedule.name),
    }
    Ok(Exit::Ok)
}

/// What a schedule does each time.
fn does(add: &mut Add) -> Result<Does, Failure> {
    let spread = add.spread.and_then(|spread| spread.try_into().ok());
    let timeout = add.timeout.and_then(|timeout| timeout.try_into().ok());
    if let Some(path) = &add.audit {
        return Ok(Does::Audit(v1::CreateAuditRequest {
            definition: definition(path)?,
            selector: add.select.take().unwrap_or_default(),
            all: add.all,
            timeout,
            spread,
            ..Default::default()
        }));
    }
    if let Some(path) = &add.rollout {
        let spec = rollout::spec(path)?;
        return Ok(Does::Job(v1::JobSpec {
            spread,
            timeout: timeout.or(spec.timeout),
            ..spec
        }));
    }
    if let Some(filter) = &add.filter {
        add.words.extend(query_words(filter, &add.words)?);
    }
    let mut plan = match &add.plan {
        Some(path) => plans::load(path)?,
        None => plan([std::mem::take(&mut add.words)]),
    };
    if let Some(v1::step::Kind::Command(command)) = plan.steps.iter_mut().find_map(|step| step.kind.as_mut())
        && add.declare_read
    {
        command.declared_read = true;
    }
    Ok(Does::Job(v1::JobSpec {
        name: add.name.clone(),
        plan: Some(plan),
        selector: add.select.take().unwrap_or_default(),
        all: add.all,
        timeout,
        priority: add.priority.unwrap_or(v1::JobPriority::Audit).into(),
        max_concurrency: add.concurrency.unwrap_or(0),
        budget: std::mem::take(&mut add.budget),
        spread,
        ..Default::default()
    }))
}

async fn add(mut add: Add, url: &str, json: bool) -> Done {
    let does = does(&mut add)?;
    let (missed, missed_most) = add.missed.unwrap_or_default();
    let engine = Engine::connect(url).await?;
    let schedule = v1::Schedule {
        name: add.name,
        cron: add.cron,
        time_zone: add.zone,
        does: Some(does),
        overlap: match add.overlap {
            Overlap::Skip => v1::Overlap::Skip,
            Overlap::Queue => v1::Overlap::Queue,
            Overlap::Cancel => v1::Overlap::Cancel,
        }
        .into(),
        missed: missed.into(),
        missed_most,
        ..Default::default()
    };
    let request = |validate_only| v1::CreateScheduleRequest {
        schedule: Some(schedule.clone()),
        claimed_by: claimed_by(),
        validate_only,
    };
    let mut schedules = engine.schedules();
    // Everything that is wrong with it is told before anybody is asked.
    let checked = schedules.create_schedule(request(true)).await;
    checked.map_err(|status| usage(status.into()))?;
    if let Some(Does::Job(spec)) = &schedule.does
        && !add.yes
    {
        confirm(&engine, spec, false).await?;
    }
    let answer = schedules.create_schedule(request(false)).await;
    let answer = answer.map_err(|status| usage(status.into()))?.into_inner();
    let schedule = answer.schedule.unwrap_or_default();
    match json {
        true => out(to_json(&schedule)),
        false => out(next_text(&schedule)),
    }
    Ok(Exit::Ok)
}

/// The words of the API's fields, as the command line has them.
fn usage(failure: Failure) -> Failure {
    let field = failure.error["field"].as_str().unwrap_or_default();
    let flag = match field {
        "schedule.name" => "NAME",
        "schedule.cron" => "--cron",
        "schedule.time_zone" => "--zone",
        "schedule.missed" | "schedule.missed_most" => "--missed",
        "schedule.job.spread" | "schedule.audit.spread" => "--spread",
        "schedule.job.selector" | "schedule.audit.selector" => "--select",
        "schedule.job.budget" => "--budget",
        "schedule.job.timeout" | "schedule.audit.timeout" => "--timeout",
        _ => return failure,
    };
    let told = format!("{flag}: {}", failure.message());
    failure.with("message", told)
}

async fn list(engine: &Engine, json: bool) -> Done {
    let mut table = table(["SCHEDULE", "WHEN", "ZONE", "NEXT", "WHAT", "STATE"]);
    let mut page_token = String::new();
    loop {
        let request = v1::ListSchedulesRequest {
            page_size: 0,
            page_token,
        };
        let page = engine.schedules().list_schedules(request).await?.into_inner();
        for schedule in &page.schedules {
            if json {
                out(to_json(schedule));
                continue;
            }
            table.add_row([
                schedule.name.clone(),
                schedule.cron.clone(),
                schedule.time_zone.clone(),
                timestamp(schedule.next_at.first()).unwrap_or_else(|| "never".into()),
                what(schedule),
                state(schedule).to_owned(),
            ]);
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

fn state(schedule: &v1::Schedule) -> &'static str {
    match (&schedule.paused_at, schedule.running.is_empty()) {
        (Some(_), _) => "paused",
        (None, false) => "running",
        (None, true) => "waiting",
    }
}

/// What it does, in a few words.
fn what(schedule: &v1::Schedule) -> String {
    let text = match &schedule.does {
        Some(Does::Audit(audit)) => {
            let name = audit.definition.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == "name").then(|| value.trim().trim_matches('"').to_owned())
            });
            format!("audit {}", name.unwrap_or_default())
        }
        Some(Does::Job(job)) if job.policy.is_some() => format!("rollout {}", job.name),
        Some(Does::Job(job)) => super::result::written_line(job.plan.as_ref()),
        None => String::new(),
    };
    short(&safe(&text), 60).into_owned()
}

/// When it begins next, in its own zone and in UTC.
fn next_text(schedule: &v1::Schedule) -> String {
    let mut text = format!(
        "{}: {} ({}), {}",
        schedule.name,
        schedule.cron,
        schedule.time_zone,
        what(schedule)
    );
    for at in &schedule.next_at {
        let there = jiff::Timestamp::new(at.seconds, at.nanos)
            .ok()
            .and_then(|at| at.in_tz(&schedule.time_zone).ok())
            .map(|at| at.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string());
        let utc = timestamp(Some(at)).unwrap_or_default();
        text.push_str(&format!("\n  {}  {utc}", there.unwrap_or_default()));
    }
    text
}

async fn show(engine: &Engine, name: String, json: bool) -> Done {
    let answer = engine
        .schedules()
        .get_schedule(v1::GetScheduleRequest { name })
        .await?
        .into_inner();
    let schedule = answer.schedule.unwrap_or_default();
    if json {
        let mut object = to_json(&schedule);
        object["runs"] = answer.runs.iter().map(run_json).collect();
        out(object);
        return Ok(Exit::Ok);
    }
    out(next_text(&schedule));
    let missed = match schedule.missed() {
        v1::Missed::Unspecified => match schedule.effect() {
            v1::Effect::Change | v1::Effect::Disrupt => "skip".to_owned(),
            _ => "once".to_owned(),
        },
        v1::Missed::All => format!("all:{}", schedule.missed_most),
        missed => name_of(missed.as_str_name(), "MISSED_"),
    };
    out(format_args!(
        "overlap {}, missed {missed}, {}{}, added by {} at {}",
        name_of(schedule.overlap().as_str_name(), "OVERLAP_"),
        state(&schedule),
        match schedule.running.as_str() {
            "" => String::new(),
            job => format!(" (job {job})"),
        },
        safe(&schedule.claimed_by),
        timestamp(schedule.created_at.as_ref()).unwrap_or_default(),
    ));
    if answer.runs.is_empty() {
        return Ok(Exit::Ok);
    }
    let mut table = table(["OCCURRENCE", "WHAT BECAME OF IT", "JOB OR REASON"]);
    for run in &answer.runs {
        let first = timestamp(run.occurrence.as_ref()).unwrap_or_default();
        let occurrence = match run.count {
            0 | 1 => first,
            count => format!(
                "{} from {first} to {}",
                number(count),
                timestamp(run.last.as_ref()).unwrap_or_default()
            ),
        };
        let told = if run.job.is_empty() { &run.reason } else { &run.job };
        table.add_row([
            occurrence,
            name_of(run.outcome().as_str_name(), "SCHEDULE_OUTCOME_"),
            safe(told).into_owned(),
        ]);
    }
    out(&table);
    Ok(Exit::Ok)
}

fn name_of(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

fn to_json(schedule: &v1::Schedule) -> Value {
    let times = |times: &[prost_types::Timestamp]| {
        let times = times.iter().map(|at| timestamp(Some(at)));
        times.collect::<Value>()
    };
    json!({
        "schedule": schedule.name,
        "cron": schedule.cron,
        "zone": schedule.time_zone,
        "what": what(schedule),
        "effect": name_of(schedule.effect().as_str_name(), "EFFECT_"),
        "overlap": name_of(schedule.overlap().as_str_name(), "OVERLAP_"),
        "missed": name_of(schedule.missed().as_str_name(), "MISSED_"),
        "missed_most": (schedule.missed_most > 0).then_some(schedule.missed_most),
        "state": state(schedule),
        "running": (!schedule.running.is_empty()).then_some(&schedule.running),
        "waiting": times(&schedule.waiting),
        "next": times(&schedule.next_at),
        "paused_at": timestamp(schedule.paused_at.as_ref()),
        "created_at": timestamp(schedule.created_at.as_ref()),
        "claimed_by": schedule.claimed_by,
    })
}

fn run_json(run: &v1::ScheduleRun) -> Value {
    json!({
        "occurrence": timestamp(run.occurrence.as_ref()),
        "last": timestamp(run.last.as_ref()),
        "count": run.count,
        "at": timestamp(run.at.as_ref()),
        "outcome": name_of(run.outcome().as_str_name(), "SCHEDULE_OUTCOME_"),
        "job": (!run.job.is_empty()).then_some(&run.job),
        "reason": (!run.reason.is_empty()).then_some(&run.reason),
    })
}
