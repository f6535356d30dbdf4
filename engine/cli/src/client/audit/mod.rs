//! `muster audit`: checks over a fleet.

mod findings;
mod remediate;
mod report;
mod run;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use muster_proto::v1;

use super::connect::{Engine, claimed_by};
use super::export::{Format, format_of, save};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{is_closed, lines};
use crate::{check, duration};

/// The name under which the hardening baseline is run without a file.
const BASELINE: &str = "baseline";

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Ask devices what a file's checks read, and tell what holds; exit code 3 when something fails, 5 when too few were judged
    Run(Run),
    /// List runs, the newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Only runs of this name
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Show one run: verdicts by check
    Show {
        /// Its id
        id: String,
    },
    /// Print the verdicts of a run: one for each device and check
    Results {
        /// Its id
        id: String,
        /// Only these: pass, fail, error, unreached, n/a
        #[arg(long, value_delimiter = ',', value_name = "VERDICT[,…]", value_parser = verdict)]
        verdict: Vec<v1::Verdict>,
        /// Only this check
        #[arg(long, default_value = "")]
        check: String,
        /// Print CSV
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        #[command(flatten)]
        file: ToFile,
    },
    /// Tell what is different between two runs
    Diff {
        /// The id of the run before
        before: String,
        /// The id of the run after
        after: String,
    },
    /// Take a run as the baseline that checks with compare = "baseline" are compared with
    Accept {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List findings: what fails, on which device, since when
    Findings(Findings),
    /// Note who answers for findings of a check until some day
    Waive(Waive),
    /// Show what would mend the devices that fail a check, by the remedy of its file; with --start, do it and look again
    Remediate(Remediate),
    /// A run for people who were not there, and for programs
    Report {
        /// The run's id
        id: String,
        #[command(flatten)]
        format: report::Format,
    },
    /// Print the hardening baseline that comes with muster, as a file to change
    Baseline,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The file, TOML; - for standard input; baseline for the one that comes with muster
    pub file: PathBuf,
    /// Devices by label or field: site=ams,role!=core [default: as the file says]
    #[arg(long, value_name = "SELECTOR", conflicts_with = "all")]
    pub select: Option<String>,
    /// Every device of the inventory
    #[arg(long)]
    pub all: bool,
    /// Deadline of a command, and how long devices that cannot be reached are tried [default: as the file says, or 60s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub timeout: Option<Duration>,
    /// The share of devices and checks that is to be judged, as in 95%; exit code 5 below it
    #[arg(long, value_name = "P%", value_parser = share)]
    pub min_coverage: Option<f64>,
    /// Do not ask devices again that answered to the same file so shortly before
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub max_age: Option<Duration>,
    /// Ask every device, whatever the file says
    #[arg(long, conflicts_with = "max_age")]
    pub live: bool,
    /// Wait so long for devices that cannot be reached: they answer when they come back
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub eventually: Option<Duration>,
    /// Print the run's id and return at once, with exit code 7
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Findings {
    /// Only findings of audits of this name
    #[arg(long, default_value = "")]
    pub name: String,
    /// Only of this device
    #[arg(long, default_value = "")]
    pub device: String,
    /// Only of this check
    #[arg(long, default_value = "")]
    pub check: String,
    /// Only in these states: pending, open, waived, closed [default: open]
    #[arg(long, value_delimiter = ',', value_name = "STATE[,…]", value_parser = finding_state)]
    pub state: Vec<v1::FindingState>,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    #[command(flatten)]
    pub file: ToFile,
}

/// A file that is written instead of what people read.
#[derive(Debug, clap::Args)]
pub(crate) struct ToFile {
    /// Write to this file, which is there only when it is whole
    #[arg(long, short = 'o', value_name = "FILE", conflicts_with = "csv")]
    pub output: Option<PathBuf>,
    /// What is written [default: as the file is called]
    #[arg(long, value_enum, conflicts_with = "csv")]
    pub format: Option<Format>,
}

impl ToFile {
    fn is_asked(&self) -> bool {
        self.output.is_some() || self.format.is_some()
    }

    async fn write(self, engine: &Engine, what: v1::export_audit_request::What, json: bool) -> Done {
        let format = format_of(self.format, self.output.as_deref())?;
        let request = v1::ExportAuditRequest {
            format: v1::ExportFormat::from(format).into(),
            what: Some(what),
        };
        let mut stream = engine.audits().export_audit(request).await?.into_inner();
        let next = async move || {
            let message = stream.message().await?;
            Ok(message.map(|message| (message.data, message.rows)))
        };
        save(next, self.output.as_deref(), json).await
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Waive {
    /// The audit's name
    pub audit: String,
    /// The check
    #[arg(long)]
    pub check: String,
    /// Only on this device [default: every device]
    #[arg(long, default_value = "")]
    pub device: String,
    /// Who answers for it
    #[arg(
        long,
        required_unless_present = "revoke",
        default_value = "",
        hide_default_value = true
    )]
    pub owner: String,
    /// Until when: a day, 2026-12-31, or a time from now, 30d
    #[arg(long, value_name = "DAY|TIME", required_unless_present = "revoke", value_parser = day)]
    pub until: Option<prost_types::Timestamp>,
    /// Why, for the record
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Take the waiver back
    #[arg(long)]
    pub revoke: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Remediate {
    /// The run's id
    pub id: String,
    /// The check
    #[arg(long)]
    pub check: String,
    /// Start the rollout, follow it, and audit these devices again
    #[arg(long)]
    pub start: bool,
    /// Start it only if this is what its preview would show now
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
    pub approve_digest: String,
    /// How long the first wave rests before the others follow [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub bake: Option<Duration>,
    /// Also devices whose finding is waived
    #[arg(long)]
    pub waived: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

pub(crate) async fn run(command: Audit, engine: &str, json: bool) -> Done {
    if let Audit::Baseline = command {
        lines(muster_audit::BASELINE.as_bytes());
        return Ok(Exit::Ok);
    }
    // What is wrong with a file is told without an engine.
    let definition = match &command {
        Audit::Run(run) => definition(&run.file)?,
        _ => String::new(),
    };
    let engine = Engine::connect(engine).await?;
    match command {
        Audit::Run(run) => run::run(&engine, run, definition, json).await,
        Audit::List { limit, name } => show::list(&engine, limit, name, json).await,
        Audit::Show { id } => show::show(&engine, id, json).await,
        Audit::Results {
            id,
            verdict,
            check,
            csv: _,
            file,
        } if file.is_asked() => {
            let what = v1::ListAuditResultsRequest {
                id,
                verdicts: verdict.into_iter().map(Into::into).collect(),
                check,
                ..Default::default()
            };
            let what = v1::export_audit_request::What::Verdicts(what);
            file.write(&engine, what, json).await
        }
        Audit::Results {
            id,
            verdict,
            check,
            csv,
            file: _,
        } => show::results(&engine, id, &verdict, check, csv, json).await,
        Audit::Diff { before, after } => show::diff(&engine, before, after, json).await,
        Audit::Accept { id, reason } => {
            let request = v1::AcceptAuditRequest {
                id,
                reason,
                claimed_by: claimed_by(),
            };
            engine.audits().accept_audit(request).await?;
            Ok(Exit::Ok)
        }
        Audit::Findings(args) => findings::list(&engine, args, json).await,
        Audit::Waive(args) => findings::waive(&engine, args, json).await,
        Audit::Remediate(args) => remediate::run(&engine, args, json).await,
        Audit::Report { id, format } => report::run(&engine, id, format).await,
        Audit::Baseline => Ok(Exit::Ok),
    }
}

/// The text of a file that was checked.
pub(super) fn definition(path: &Path) -> Result<String, Failure> {
    let text = match path.as_os_str() == BASELINE && !path.exists() {
        true => muster_audit::BASELINE.to_owned(),
        false => check::read(path)?,
    };
    muster_audit::file::audit(&text).map_err(|errors| check::failure(path, &errors))?;
    Ok(text)
}

/// Verdicts of a run, page by page.
struct Pages<'a> {
    engine: &'a Engine,
    request: v1::ListAuditResultsRequest,
    over: bool,
}

impl<'a> Pages<'a> {
    fn new(engine: &'a Engine, id: &str, verdicts: &[v1::Verdict], check: &str) -> Self {
        Self {
            engine,
            request: v1::ListAuditResultsRequest {
                id: id.to_owned(),
                verdicts: verdicts.iter().map(|verdict| (*verdict).into()).collect(),
                check: check.to_owned(),
                ..Default::default()
            },
            over: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<v1::AuditResult>>, Failure> {
        if self.over || is_closed() {
            return Ok(None);
        }
        let answer = self
            .engine
            .audits()
            .list_audit_results(self.request.clone())
            .await?
            .into_inner();
        self.over = answer.next_page_token.is_empty();
        self.request.page_token = answer.next_page_token;
        Ok(Some(answer.results))
    }
}

fn verdict(name: &str) -> Result<v1::Verdict, String> {
    let all = [
        v1::Verdict::Pass,
        v1::Verdict::Fail,
        v1::Verdict::Error,
        v1::Verdict::Unreached,
        v1::Verdict::NotApplicable,
    ];
    let known = all.into_iter().find(|verdict| verdict_name(*verdict) == name);
    known.ok_or_else(|| "there are pass, fail, error, unreached and n/a".into())
}

fn verdict_name(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Pass => "pass",
        v1::Verdict::Fail => "fail",
        v1::Verdict::Error => "error",
        v1::Verdict::Unreached => "unreached",
        v1::Verdict::NotApplicable => "n/a",
        v1::Verdict::Unspecified => "?",
    }
}

fn finding_state(name: &str) -> Result<v1::FindingState, String> {
    let known = v1::FindingState::from_str_name(&format!("FINDING_STATE_{}", name.to_ascii_uppercase()));
    known
        .filter(|state| *state != v1::FindingState::Unspecified)
        .ok_or_else(|| "there are pending, open, waived and closed".into())
}

fn share(text: &str) -> Result<f64, String> {
    let share: muster_model::policy::Share = text.parse()?;
    Ok(share.fraction())
}

/// A day, which ends with it, or a time from now.
fn day(text: &str) -> Result<prost_types::Timestamp, String> {
    let seconds = |time: jiff::Timestamp| prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: 0,
    };
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let end = day
            .tomorrow()
            .and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()));
        return end
            .map(|end| seconds(end.timestamp()))
            .map_err(|error| error.to_string());
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(seconds(time));
    }
    let span = text.parse::<jiff::Span>().ok();
    let at = span.and_then(|span| jiff::Zoned::now().checked_add(span).ok());
    at.map(|at| seconds(at.timestamp()))
        .ok_or_else(|| format!("{text:?} is neither a day, as in 2026-12-31, nor a time from now, as in 30d"))
}

/// `94.7 %`; a dash for nothing.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "–".into(),
        |share| format!("{:.1} %", (share * 1000.0).floor() / 10.0),
    )
}
