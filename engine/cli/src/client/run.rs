//! `muster run`: one command on many devices.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use muster_proto::v1;
use routeros_wire::Expression;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::connect::{Engine, claimed_by};
use super::follow::{Followed, Follower, follow};
use super::group;
use super::result::{
    counts_text, exit_of, is_good, live_json, live_text, to_head, to_json, to_text, written_line,
};
use super::rollout::live::{Live, headline};
use crate::args::{Run, Selection};
use crate::exit::{Done, Exit, Failure};
use crate::progress;
use crate::serve::Stop;
use crate::terminal::{self, BOLD, RESET, can_ask, devices, is_closed, number, out, safe};

pub(crate) async fn run(mut args: Run, engine: &str, json: bool) -> Done {
    if let Some(filter) = &args.filter {
        args.words.extend(query_words(filter, &args.words)?);
    }
    let from_file = args.plan.as_deref().map(super::plan::load).transpose()?;
    let engine = Engine::connect(engine).await?;
    let is_command = from_file.is_none();
    let mut plan = from_file.unwrap_or_else(|| plan([args.words.clone()]));
    if let Some(v1::step::Kind::Command(command)) = plan.steps.iter_mut().find_map(|step| step.kind.as_mut())
        && is_command
    {
        command.follow = args.lasts.and_then(|lasts| lasts.try_into().ok());
        command.follow_rows = args.rows.unwrap_or(0);
        command.declared_read = args.declare_read;
        command.verify = args.verify.as_ref().map(|verify| v1::Verify {
            words: verify.split_whitespace().map(str::to_owned).collect(),
            expect: args
                .expect
                .clone()
                .or_else(|| args.expect_none.clone())
                .unwrap_or_default(),
            absent: args.expect_none.is_some(),
        });
    }
    let mut way = plan.way_back.take().unwrap_or_default();
    way.min_level = args.min_revert_level.unwrap_or(way.min_level);
    way.accept_none |= args.accept_no_way_back;
    way.revert_on_failed_check |= args.revert_failed_check;
    way.after = args
        .revert_after
        .and_then(|after| after.try_into().ok())
        .or(way.after);
    plan.way_back = (way != v1::WayBack::default()).then_some(way);
    let mut spec = spec(plan, args.selection, args.timeout);
    spec.priority = args.priority.into();
    spec.max_concurrency = args.concurrency.unwrap_or(0);
    spec.budget = args.budget;
    spec.preview = args.preview;
    spec.previewed = args.previewed.unwrap_or_default();
    spec.unseen = args.unseen;
    let file = args.plan;
    confirm(&engine, &spec, args.yes).await?;
    let job = create(&engine, spec).await?;
    if args.detach {
        match json {
            true => out(json!({ "job": job.id })),
            false => out(job.id),
        }
        return Ok(Exit::StillRuns);
    }
    if args.preview {
        return group::preview(&engine, &job.id, file.as_deref(), json).await;
    }
    if args.lasts.is_none() && args.rows.is_none() {
        return watch(&engine, &job.id, json).await;
    }
    let began = Instant::now();
    let followed = follow_results(&engine, &job.id, json).await?;
    if matches!(followed, Followed::Detached) && !is_closed() {
        // Whoever follows something and presses Ctrl-C has seen enough.
        let request = v1::AbortJobRequest {
            id: job.id.clone(),
            reason: "Ctrl-C while it was followed".into(),
            claimed_by: claimed_by(),
            ..Default::default()
        };
        engine.jobs().abort_job(request).await?;
        anstream::eprintln!("ended; see muster job results {}", job.id);
        return Ok(Exit::StillRuns);
    }
    told(followed, &job.id, began)
}

/// `--where` as the words of a command that honours them.
pub(super) fn query_words(filter: &str, command: &[String]) -> Result<Vec<String>, Failure> {
    let expression = filter.parse::<Expression>().map_err(|error| {
        Failure::usage(format!("--where, {error}"))
            .with("field", "where")
            .with("column", error.column)
            .hint("write for example --where 'type=ether and not disabled=yes'")
    })?;
    let path = command.first().map(String::as_str).unwrap_or_default();
    if !matches!(path.rsplit('/').next(), Some("getall" | "print")) {
        let told = format!(
            "--where: only print honours queries, the device would ignore it and {path} would not be limited by it"
        );
        return Err(Failure::usage(told).with("field", "where"));
    }
    let text = |word| {
        String::from_utf8(word).map_err(|_| {
            Failure::usage("--where: the words of a command are UTF-8, and \\x made one that is not")
        })
    };
    expression.words().into_iter().map(text).collect()
}

/// Connects, logs in, and asks who is there.
pub(crate) async fn test(engine: &Engine, selection: Selection, timeout: Duration, json: bool) -> Done {
    let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
    let plan = plan([
        words(["/system/identity/print", ".proplist=name"]),
        words([
            "/system/resource/print",
            ".proplist=version,board-name,architecture-name,uptime",
        ]),
    ]);
    let mut spec = spec(plan, selection, timeout);
    spec.name = "device test".into();
    let job = create(engine, spec).await?;
    watch(engine, &job.id, json).await
}

/// A plan of raw commands.
pub(crate) fn plan(commands: impl IntoIterator<Item = Vec<String>>) -> v1::Plan {
    let step = |words| v1::Step {
        kind: Some(v1::step::Kind::Command(v1::Command {
            words,
            ..Default::default()
        })),
    };
    v1::Plan {
        steps: commands.into_iter().map(step).collect(),
        ..Default::default()
    }
}

/// What a job is to do.
pub(crate) fn spec(plan: v1::Plan, selection: Selection, timeout: Duration) -> v1::JobSpec {
    v1::JobSpec {
        name: String::new(),
        plan: Some(plan),
        selector: selection.select.unwrap_or_default(),
        all: selection.all,
        timeout: timeout.try_into().ok(),
        ..Default::default()
    }
}

/// How long an engine that goes away while it is asked for a job is waited for, and how often it is asked again.
const ASK_WITHIN: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Stores a job, which starts it. An engine that does not answer is asked again, with the same request id: it makes
/// the job once.
pub(crate) async fn create(engine: &Engine, spec: v1::JobSpec) -> Result<v1::Job, Failure> {
    create_as(engine, spec, "").await
}

/// The same, if this is still the digest of what it would do.
pub(crate) async fn create_as(engine: &Engine, spec: v1::JobSpec, digest: &str) -> Result<v1::Job, Failure> {
    let request = v1::CreateJobRequest {
        spec: Some(spec),
        request_id: uuid::Uuid::new_v4().to_string(),
        claimed_by: claimed_by(),
        approve_digest: digest.to_owned(),
    };
    let began = Instant::now();
    loop {
        match engine.jobs().create_job(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner().job.unwrap_or_default()),
            Err(status) if is_gone(&status) && began.elapsed() < ASK_WITHIN => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(status) => return Err(usage(status.into())),
        }
    }
}

/// Whether the connection ended, and not the engine's patience.
fn is_gone(status: &Status) -> bool {
    let told = status.get_error_details().error_info().is_some();
    !told && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}

/// Asks before a plan that does more than read.
pub(super) async fn confirm(engine: &Engine, spec: &v1::JobSpec, yes: bool) -> Result<(), Failure> {
    let request = v1::PreviewJobRequest {
        spec: Some(spec.clone()),
    };
    let preview = engine
        .jobs()
        .preview_job(request)
        .await
        .map_err(|status| usage(status.into()))?
        .into_inner();
    let does = match preview.effect() {
        v1::Effect::Read => return Ok(()),
        v1::Effect::Stage => "leaves files on",
        v1::Effect::Disrupt => "interrupts",
        v1::Effect::Change | v1::Effect::Unspecified => "changes",
    };
    let steps = written_line(spec.plan.as_ref());
    let what = format!("{} {does} {}", safe(&steps), devices(preview.total));
    if let Some(limits) = limits_text(&preview) {
        anstream::eprintln!("{limits}");
    }
    ask(&what, preview.total as usize, &preview.sample, yes)
}

/// How many devices can be hurt, and how many are changed at once (C3).
fn limits_text(preview: &v1::PreviewJobResponse) -> Option<String> {
    if !matches!(preview.effect(), v1::Effect::Change | v1::Effect::Disrupt) {
        return None;
    }
    let at_once = preview.at_once.map(|at_once| match preview.at_once_by.as_str() {
        "budget" => format!(
            "at most {} changed at once (the budget is the smaller limit)",
            number(at_once)
        ),
        _ => format!(
            "at most {} changed at once (--concurrency is the smaller limit)",
            number(at_once)
        ),
    });
    Some(match (preview.budget, at_once) {
        (Some(budget), Some(at_once)) => format!("budget: {} harmed at most; {at_once}", devices(budget)),
        (_, Some(at_once)) => format!("budget: none, any number of devices may be harmed; {at_once}"),
        _ => "budget: none, any number of devices may be harmed".to_owned(),
    })
}

/// Asks a person whether something is meant; elsewhere it takes `--yes`.
pub(crate) fn ask(what: &str, total: usize, sample: &[String], yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        return Err(
            Failure::usage(format!("{what}; nobody is here to be asked")).hint("add --yes if it is meant")
        );
    }
    let more = if total > sample.len() { ", …" } else { "" };
    anstream::eprintln!("{BOLD}{what}{RESET}: {}{more}", sample.join(", "));
    // With the signal caught, Ctrl-C is an answer and not the end of the process in the middle of a line.
    let _stop = Stop::new()?;
    let answer = dialoguer::Confirm::new()
        .with_prompt("Go on?")
        .default(false)
        .interact();
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new(
            Exit::Usage,
            "DECLINED",
            "declined; nothing was done",
        )),
        Err(_) => {
            let _ = dialoguer::console::Term::stderr().show_cursor();
            Err(Failure::new(
                Exit::Usage,
                "DECLINED",
                "no answer; nothing was done",
            ))
        }
    }
}

/// The words of the API's fields, as the command line has them.
fn usage(failure: Failure) -> Failure {
    let field = failure.error["field"].as_str().unwrap_or_default();
    let flag = match field {
        "spec.selector" => "--select: ",
        "spec.timeout" => "--timeout: ",
        "spec.plan.way_back.min_level" => "--min-revert-level: ",
        "spec.plan.way_back.after" => "--revert-after: ",
        "spec.budget" => "--budget: ",
        "spec.plan.steps[0].command.verify" | "spec.plan.steps[0].command.verify.words" => "--verify: ",
        "spec.plan.steps[0].command.verify.expect" => "--expect: ",
        "spec.plan.steps[0].command.follow" => "--for: ",
        "spec.plan.steps[0].command.follow_rows" => "--rows: ",
        "spec.plan.steps[0].command.declared_read" => "--declare-read: ",
        _ => return failure,
    };
    let message = failure.message();
    // A selector's own errors say so already.
    let told = if message.starts_with("selector, ") {
        message.to_owned()
    } else {
        format!("{flag}{message}")
    };
    failure.with("message", told)
}

/// Follows a job to its end: a rollout as it goes, any other by its results as they arrive.
pub(crate) async fn watch(engine: &Engine, id: &str, json: bool) -> Done {
    let job = super::job::get(engine, id.to_owned()).await?;
    let began = Instant::now();
    if job.rollout.is_none() || json {
        return told(follow_results(engine, id, json).await?, id, began);
    }
    let mut live = Live::new(terminal::is_watched());
    let followed = follow(engine, id, &mut live).await;
    live.finish();
    told(followed?, id, began)
}

/// Follows a job, printing results as they arrive.
async fn follow_results(engine: &Engine, id: &str, json: bool) -> Result<Followed, Failure> {
    let mut printer = Printer {
        bar: None,
        json,
        live: HashMap::new(),
        ended: 0,
        good: 0,
    };
    let followed = follow(engine, id, &mut printer).await;
    if let Some(bar) = printer.bar.take() {
        bar.finish_and_clear();
    }
    followed
}

/// How following ended.
fn told(followed: Followed, id: &str, began: Instant) -> Done {
    match followed {
        Followed::Over(job) => {
            let took = began.elapsed().as_secs_f64();
            if job.state() == v1::JobState::Halted {
                anstream::eprintln!("{}", headline(&job));
            }
            anstream::eprintln!(
                "{}: {} in {took:.1} s (job {})",
                devices(job.total),
                counts_text(&job),
                job.id
            );
            if let Some(halted) = &job.halted {
                let (rule, detail) = (safe(&halted.rule), safe(&halted.detail));
                anstream::eprintln!("halted by rule {rule}: {detail}");
            }
            Ok(exit_of(&job))
        }
        Followed::Detached => {
            anstream::eprintln!("detached; the job goes on. Come back with: muster job watch {id}");
            Ok(Exit::StillRuns)
        }
    }
}

struct Printer {
    bar: Option<ProgressBar>,
    json: bool,
    /// Rows told live, by device: these are not told again to people.
    live: HashMap<String, usize>,
    ended: u64,
    good: u64,
}

impl Follower for Printer {
    fn result(&mut self, result: v1::ExecutionResult) {
        self.ended += 1;
        self.good += u64::from(is_good(result.state()));
        let told = result.steps.iter().map(|step| step.rows.len()).sum::<usize>();
        let line = match (self.json, self.live.remove(&result.device)) {
            (true, _) => to_json(&result).to_string(),
            (false, Some(live)) if live == told && told > 0 => to_head(&result, told),
            (false, _) => to_text(&result),
        };
        self.print(&line);
    }

    fn live(&mut self, rows: v1::LiveResult) {
        if rows.missed {
            self.note("rows came faster than they were taken; the result will have them all");
        }
        *self.live.entry(rows.device.clone()).or_default() += rows.rows.len();
        for row in &rows.rows {
            let line = match self.json {
                true => live_json(&rows.device, rows.step, row).to_string(),
                false => live_text(&rows.device, row),
            };
            self.print(&line);
        }
    }

    fn job(&mut self, job: &v1::Job) {
        let bar = self.bar.get_or_insert_with(|| progress::bar(job.total));
        bar.set_position(self.ended);
        if self.ended > self.good {
            bar.set_message(format!("{} not well", number(self.ended - self.good)));
        }
    }

    fn note(&mut self, note: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| anstream::eprintln!("{note}")),
            None => anstream::eprintln!("{note}"),
        }
    }

    fn resync(&mut self) {
        (self.ended, self.good) = (0, 0);
        self.note(
            "the engine has forgotten some of what was told here (restored from a backup?); all of it again:",
        );
    }
}

impl Printer {
    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| out(line)),
            None => out(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(filter: &str, path: &str) -> Result<Vec<String>, String> {
        query_words(filter, &[path.to_owned()]).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn where_becomes_query_words() {
        let expected = ["?a=1", "?>b=2", "?-c", "?#|&"].map(str::to_owned);
        let filter = "a=1 and (b>2 or not c)";
        assert_eq!(words(filter, "/interface/print"), Ok(expected.to_vec()));
        assert_eq!(words(filter, "/interface/getall"), Ok(expected.to_vec()));
        for path in ["/interface/disable", "/interface/listen", "/print-all", ""] {
            let told = words(filter, path).expect_err(path);
            assert!(told.contains("only print honours queries"), "{told}");
        }
    }

    #[test]
    fn a_bad_where_has_its_column() {
        let failure = query_words("a=1 && b", &["/a/print".into()]).expect_err("no expression");
        assert!(failure.message().starts_with("--where, column 5: expected and"));
        assert_eq!(failure.error["column"], 5);
        let told = words(r#"a="\xE9""#, "/a/print").expect_err("not UTF-8");
        assert!(told.contains("UTF-8"), "{told}");
    }
}
