//! Results and jobs as people and programs read them.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};
use muster_proto::v1::{self, ExecutionState, JobState};
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::terminal::{BAD, DIM, GOOD, RESET, is_read_by_a_person, number, safe, short};

/// A table without lines, as wide as the terminal.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn timestamp(time: Option<&prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let stamp = jiff::Timestamp::new(time.seconds, time.nanos).ok()?;
    Some(format!("{stamp:.3}"))
}

/// `succeeded`, from `EXECUTION_STATE_SUCCEEDED`.
pub(crate) fn state_name(state: ExecutionState) -> String {
    state
        .as_str_name()
        .trim_start_matches("EXECUTION_STATE_")
        .to_ascii_lowercase()
}

/// `running`, from `JOB_STATE_RUNNING`.
pub(crate) fn job_state_name(state: JobState) -> String {
    state
        .as_str_name()
        .trim_start_matches("JOB_STATE_")
        .to_ascii_lowercase()
}

/// A state by its name, or the names there are.
pub(crate) fn parse_state(name: &str) -> Result<ExecutionState, String> {
    let all = (1..=20)
        .filter_map(|number| ExecutionState::try_from(number).ok())
        .collect::<Vec<_>>();
    let found = all.iter().find(|state| state_name(**state) == name);
    let names = || {
        all.iter()
            .map(|state| state_name(*state))
            .collect::<Vec<_>>()
            .join(", ")
    };
    found
        .copied()
        .ok_or_else(|| format!("{name:?} is no state; there are {}", names()))
}

/// Whether the device did what it was asked to.
pub(crate) fn is_good(state: ExecutionState) -> bool {
    matches!(state, ExecutionState::Succeeded | ExecutionState::Unchanged)
}

/// Whether the execution is over.
pub(crate) fn is_over(state: ExecutionState) -> bool {
    state as i32 >= ExecutionState::Succeeded as i32
}

/// States that are over and not well.
pub(crate) const FAILED: [ExecutionState; 9] = [
    ExecutionState::Skipped,
    ExecutionState::Rejected,
    ExecutionState::Cancelled,
    ExecutionState::Expired,
    ExecutionState::Failed,
    ExecutionState::Reverted,
    ExecutionState::Broken,
    ExecutionState::Lost,
    ExecutionState::Unknown,
];

/// What a script sees of a job: 4, 7, 3, 5 in this order, or 0.
pub(crate) fn exit_of(job: &v1::Job) -> Exit {
    let count = |wanted: fn(ExecutionState) -> bool| {
        job.counts
            .iter()
            .filter(|count| wanted(count.state()))
            .map(|count| count.count)
            .sum::<u64>()
    };
    let bad = count(|state| is_over(state) && !is_good(state));
    let unreached = count(|state| state == ExecutionState::Expired);
    match job.state() {
        JobState::Halted => Exit::Halted,
        state if (state as i32) < JobState::Completed as i32 => Exit::StillRuns,
        _ if bad > unreached => Exit::Failures,
        _ if unreached > 0 => Exit::Coverage,
        _ => Exit::Ok,
    }
}

/// A result as one object.
pub(crate) fn to_json(result: &v1::ExecutionResult) -> Value {
    let first = result.steps.first().cloned().unwrap_or_default();
    let mut object = json!({
        "device": result.device,
        "execution": result.execution,
        "state": state_name(result.state()),
        "attempts": result.attempts,
        "error": result.error.as_ref().map(error_json),
        "rows": rows_json(&first),
        "done": first.done.as_ref().map(row_json).unwrap_or_else(|| json!({})),
        "started_at": timestamp(result.started_at.as_ref()),
        "finished_at": timestamp(result.finished_at.as_ref()),
    });
    if let Some(resolution) = &result.resolution {
        object["resolution"] = json!({
            "done": resolution.done,
            "by": resolution.by,
            "at": timestamp(resolution.at.as_ref()),
        });
    }
    if !first.traps.is_empty() {
        object["traps"] = first.traps.iter().map(row_json).collect();
    }
    if result.steps.len() > 1 {
        let step = |step: &v1::StepResult| {
            let done = step.done.as_ref().map(row_json).unwrap_or_else(|| json!({}));
            json!({ "rows": rows_json(step), "done": done, "traps": step.traps.iter().map(row_json).collect::<Value>() })
        };
        object["steps"] = result.steps.iter().map(step).collect();
    }
    object
}

pub(crate) fn error_json(error: &v1::DeviceError) -> Value {
    json!({ "class": class_name(error), "message": error.message, "category": error.category })
}

/// What was wrong, for people.
pub(crate) fn error_text(error: &v1::DeviceError) -> String {
    format!("{}: {}", class_name(error), safe(&error.message))
}

pub(crate) fn class_name(error: &v1::DeviceError) -> String {
    error
        .class()
        .as_str_name()
        .trim_start_matches("ERROR_CLASS_")
        .to_ascii_lowercase()
}

fn rows_json(step: &v1::StepResult) -> Value {
    step.rows.iter().map(row_json).collect()
}

/// A row as an object; of a name that is there twice, the last wins.
pub(crate) fn row_json(row: &v1::Row) -> Value {
    let attribute = |attribute: &v1::Attribute| (name(attribute), value_json(attribute));
    Value::Object(row.attributes.iter().map(attribute).collect::<Map<_, _>>())
}

/// An attribute's name, in hex where it is not UTF-8.
pub(crate) fn name(attribute: &v1::Attribute) -> String {
    match attribute.raw_name.as_slice() {
        [] => attribute.name.clone(),
        raw => format!("hex:{}", hex(raw)),
    }
}

fn value_json(attribute: &v1::Attribute) -> Value {
    match attribute.raw_value.as_slice() {
        [] => json!(attribute.value),
        raw => json!({ "hex": hex(raw) }),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of an attribute of a row, for people; bytes that are not UTF-8 are replaced.
pub(crate) fn value_text(attribute: &v1::Attribute) -> String {
    match attribute.raw_value.as_slice() {
        [] => safe(&attribute.value).into_owned(),
        raw => safe(&String::from_utf8_lossy(raw)).into_owned(),
    }
}

/// A row of a step that is followed, as it came.
pub(crate) fn live_json(device: &str, step: u32, row: &v1::Row) -> Value {
    json!({ "device": device, "step": step, "row": row_json(row), "dead": row.dead })
}

/// The same for people.
pub(crate) fn live_text(device: &str, row: &v1::Row) -> String {
    format!("{device:<24} {}", row_text(row))
}

/// How an execution ended whose rows were told already.
pub(crate) fn to_head(result: &v1::ExecutionResult, rows: usize) -> String {
    let state = result.state();
    let colour = if is_good(state) { GOOD } else { BAD };
    let why = match &result.error {
        Some(error) => format!(" {}: {}", class_name(error), safe(&error.message)),
        None => String::new(),
    };
    let name = state_name(state);
    format!(
        "{:<24} {colour}{name:<10}{RESET} {DIM}{} rows, as above{RESET}{why}",
        result.device,
        number(rows as u64)
    )
}

/// A result as lines for people: the device, how it went, and what it said.
pub(crate) fn to_text(result: &v1::ExecutionResult) -> String {
    let state = result.state();
    let colour = if is_good(state) { GOOD } else { BAD };
    let head = format!("{:<24} {colour}{:<10}{RESET}", result.device, state_name(state));
    let rows = result
        .steps
        .iter()
        .flat_map(|step| &step.rows)
        .collect::<Vec<_>>();
    let done = result.steps.last().and_then(|step| step.done.as_ref());
    let done = done.filter(|done| !done.attributes.is_empty());
    let mut lines = Vec::new();
    match (&result.error, rows.as_slice()) {
        (Some(error), _) => lines.push(format!("{head} {}: {}", class_name(error), safe(&error.message))),
        (None, [only]) if done.is_none() => lines.push(format!("{head} {}", row_text(only))),
        (None, []) => lines.push(format!("{head} {}", done.map(row_text).unwrap_or_default())),
        (None, rows) => lines.push(format!("{head} {DIM}{} rows{RESET}", number(rows.len() as u64))),
    }
    if let Some(resolution) = &result.resolution {
        let found = if resolution.done {
            "it was done"
        } else {
            "it was not done"
        };
        lines.push(format!("    found out later: {found} ({})", safe(&resolution.by)));
    }
    if rows.len() > 1 || (result.error.is_some() && !rows.is_empty()) {
        let most = if is_read_by_a_person() { ROWS } else { usize::MAX };
        lines.extend(rows.iter().take(most).map(|row| format!("    {}", row_text(row))));
        if rows.len() > most {
            lines.push(format!(
                "    {DIM}… {} more; --json has them all{RESET}",
                number((rows.len() - most) as u64)
            ));
        }
    }
    lines
        .iter()
        .map(|line| line.trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Rows of one device, and characters of one value, that a person at a terminal is shown.
const ROWS: usize = 20;
const VALUE: usize = 120;

pub(crate) fn row_text(row: &v1::Row) -> String {
    let most = if is_read_by_a_person() { VALUE } else { usize::MAX };
    let attribute = |attribute: &v1::Attribute| {
        format!(
            "{}={}",
            safe(&name(attribute)),
            short(&value_text(attribute), most)
        )
    };
    let text = row
        .attributes
        .iter()
        .map(attribute)
        .collect::<Vec<_>>()
        .join("  ");
    if row.dead {
        format!("{DIM}gone{RESET}  {text}")
    } else {
        text
    }
}

/// A job as one object.
pub(crate) fn job_json(job: &v1::Job) -> Value {
    let spec = job.spec.clone().unwrap_or_default();
    let counts = job
        .counts
        .iter()
        .map(|count| (state_name(count.state()), json!(count.count)));
    json!({
        "job": job.id,
        "name": spec.name,
        "state": job_state_name(job.state()),
        "effect": job.effect().as_str_name().trim_start_matches("EFFECT_").to_ascii_lowercase(),
        "selector": spec.selector,
        "total": job.total,
        "counts": counts.collect::<Map<_, _>>(),
        "steps": spec.plan.iter().flat_map(|plan| &plan.steps).map(step_json).collect::<Value>(),
        "plan_digest": job.plan_digest,
        "claimed_by": job.claimed_by,
        "created_at": timestamp(job.created_at.as_ref()),
        "expires_at": timestamp(job.expires_at.as_ref()),
        "finished_at": timestamp(job.finished_at.as_ref()),
        "priority": spec.priority().as_str_name().trim_start_matches("JOB_PRIORITY_").to_ascii_lowercase(),
        "max_concurrency": (spec.max_concurrency > 0).then_some(spec.max_concurrency),
        "paused_at": timestamp(job.paused_at.as_ref()),
        "retry_of": (!job.retry_of.is_empty()).then_some(&job.retry_of),
        "revert_of": (!job.revert_of.is_empty()).then_some(&job.revert_of),
        "reverts": job.reverts,
        "budget": job.budget,
        "budget_asked": (!spec.budget.is_empty()).then_some(&spec.budget),
        "budget_use": job.budget_use.as_ref().map(budget_use_json),
        "halted": job.halted.as_ref().map(|halted| json!({
            "rule": halted.rule, "detail": halted.detail, "at": timestamp(halted.at.as_ref()),
        })),
        "open_wave": job.open_wave,
        "waves": job.waves.iter().map(wave_json).collect::<Value>(),
        "rollout": job.rollout.as_ref().map(super::rollout::rollout_json),
    })
}

fn budget_use_json(used: &v1::BudgetUse) -> Value {
    json!({
        "in_flight": used.in_flight,
        "harmed": used.harmed,
        "rescued": used.rescued,
        "refused": used.refused,
        "left": used.left,
    })
}

fn wave_json(wave: &v1::Wave) -> Value {
    json!({
        "wave": wave.number,
        "total": wave.total,
        "budget": wave.budget,
        "budget_use": wave.budget_use.as_ref().map(budget_use_json),
        "ended": wave.ended,
        "good": wave.good,
        "opened_at": timestamp(wave.opened_at.as_ref()),
        "ended_at": timestamp(wave.ended_at.as_ref()),
    })
}

/// A step for programs: the words of a command, an object for anything else.
fn step_json(step: &v1::Step) -> Value {
    match &step.kind {
        Some(v1::step::Kind::Command(command)) => json!(command.words),
        Some(v1::step::Kind::Ensure(ensure)) => match &ensure.want {
            Some(v1::ensure::Want::Set(set)) => json!({ "ensure": ensure.menu, "set": sorted(set) }),
            Some(v1::ensure::Want::Items(items)) => items_json(&ensure.menu, items),
            None => json!({ "ensure": ensure.menu }),
        },
        Some(v1::step::Kind::Check(check)) => json!({ "check": check.expression }),
        Some(v1::step::Kind::Backup(backup)) => {
            let age = backup.max_age.as_ref().and_then(muster_proto::duration);
            json!({ "backup": { "max_age_s": age.map(|age| age.as_secs_f64()), "or_export": backup.or_export } })
        }
        Some(v1::step::Kind::Export(_)) => json!({ "export": true }),
        Some(v1::step::Kind::Revert(revert)) => {
            let menu = revert.ensure.as_ref().map(|ensure| &ensure.menu);
            json!({ "revert": menu, "step": revert.step + 1 })
        }
        Some(_) => model(step).map_or(Value::Null, |step| snake_case(json!(step))),
        None => Value::Null,
    }
}

/// A step as the model has it, where it is one.
fn model(step: &v1::Step) -> Option<muster_model::Step> {
    let plan = v1::Plan {
        steps: vec![step.clone()],
        ..Default::default()
    };
    muster_proto::plan(Some(&plan), "").ok()?.steps.into_iter().next()
}

/// With the names of the model's canonical form as they are in JSON. What people named stays.
fn snake_case(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let name = |name: String| {
                if name.contains('.') {
                    name
                } else {
                    name.replace('-', "_")
                }
            };
            let map = map.into_iter();
            Value::Object(map.map(|(key, value)| (name(key), snake_case(value))).collect())
        }
        value => value,
    }
}

/// The steps of a plan as they were written, for people: which they are, from 0, and what they do.
pub(crate) fn written(plan: &v1::Plan) -> Vec<(std::ops::Range<usize>, String)> {
    let steps = plan.steps.iter().map(step_text);
    let Ok(whole) = muster_proto::plan(Some(plan), "") else {
        // Steps that the engine makes.
        return steps.enumerate().map(|(at, text)| (at..at + 1, text)).collect();
    };
    let mut steps = steps.collect::<Vec<_>>();
    let one = |(at, title): (std::ops::Range<usize>, String)| match (at.len(), steps.get_mut(at.start)) {
        // What it wants is in the text, and not in the title.
        (1, Some(text)) => (at, std::mem::take(text)),
        _ => (at, title),
    };
    muster_model::firmware::written(&whole.steps)
        .into_iter()
        .map(one)
        .collect()
}

/// The same in one line.
pub(crate) fn written_line(plan: Option<&v1::Plan>) -> String {
    let steps = plan.map(written).unwrap_or_default();
    let steps = steps.into_iter().map(|(_, text)| text);
    steps.collect::<Vec<_>>().join("; ")
}

/// A step for people: `/ip/dns/cache/flush`, `ensure /ip/dns servers=1.1.1.1`.
pub(crate) fn step_text(step: &v1::Step) -> String {
    match &step.kind {
        Some(v1::step::Kind::Command(command)) => command.words.join(" "),
        Some(v1::step::Kind::Ensure(ensure)) => {
            let mut text = format!("ensure {}", ensure.menu);
            match &ensure.want {
                Some(v1::ensure::Want::Set(set)) => {
                    for (name, value) in sorted(set) {
                        text.push_str(&format!(" {name}={value}"));
                    }
                }
                Some(v1::ensure::Want::Items(items)) => {
                    text.push_str(&format!(
                        " ({} items by {})",
                        items.items.len(),
                        items.key.join(", ")
                    ));
                    if !items.absent.is_empty() || !items.purge.is_empty() {
                        text.push_str(" and others gone");
                    }
                }
                None => {}
            }
            text
        }
        Some(v1::step::Kind::Check(check)) => format!("check {}", check.expression),
        Some(v1::step::Kind::Backup(_)) => "backup".to_owned(),
        Some(v1::step::Kind::Export(_)) => "export".to_owned(),
        Some(v1::step::Kind::Revert(revert)) => {
            let menu = revert.ensure.as_ref().map_or("", |ensure| ensure.menu.as_str());
            format!("take back ensure {menu} (step {})", revert.step + 1)
        }
        Some(_) => model(step).map(|step| step.title()).unwrap_or_default(),
        None => String::new(),
    }
}

fn items_json(menu: &str, items: &v1::Items) -> Value {
    let all = |list: &[v1::Values]| list.iter().map(|values| json!(sorted(values))).collect::<Value>();
    let mut object = json!({ "ensure": menu, "key": items.key, "items": all(&items.items) });
    if !items.absent.is_empty() {
        object["absent"] = all(&items.absent);
    }
    for (name, text) in [("purge", &items.purge), ("place_before", &items.place_before)] {
        if !text.is_empty() {
            object[name] = json!(text);
        }
    }
    if items.ordered {
        object["ordered"] = json!(true);
    }
    object
}

/// By name: a map comes in any order.
fn sorted(values: &v1::Values) -> BTreeMap<&str, &str> {
    let values = values.values.iter();
    values
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// `980 succeeded, 20 failed`.
pub(crate) fn counts_text(job: &v1::Job) -> String {
    let count = |count: &v1::StateCount| format!("{} {}", number(count.count), state_name(count.state()));
    job.counts.iter().map(count).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState, counts: &[(ExecutionState, u64)]) -> v1::Job {
        let count = |&(state, count): &(ExecutionState, u64)| v1::StateCount {
            state: state.into(),
            count,
        };
        v1::Job {
            state: state.into(),
            counts: counts.iter().map(count).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn of_an_item_that_is_gone_it_is_said_once() {
        let attribute = |name: &str, value: &str| v1::Attribute {
            name: name.into(),
            value: value.into(),
            ..Default::default()
        };
        let row = v1::Row {
            attributes: vec![attribute(".id", "*3"), attribute(".dead", "true")],
            dead: true,
        };
        assert_eq!(live_text("r1", &row).matches("gone").count(), 1);
    }

    #[test]
    fn failed_is_whatever_is_over_and_not_good() {
        let all = (0..=100).filter_map(|number| ExecutionState::try_from(number).ok());
        let bad = all.filter(|state| is_over(*state) && !is_good(*state));
        assert_eq!(bad.collect::<Vec<_>>(), FAILED);
    }

    #[test]
    fn exit_codes_by_precedence() {
        use ExecutionState::{Expired, Failed, Leased, Succeeded, Unknown};
        for (state, counts, exit) in [
            (JobState::Completed, &[(Succeeded, 5)][..], Exit::Ok),
            (
                JobState::CompletedWithFailures,
                &[(Succeeded, 5), (Failed, 1)],
                Exit::Failures,
            ),
            (
                JobState::CompletedWithFailures,
                &[(Succeeded, 5), (Expired, 1)],
                Exit::Coverage,
            ),
            (
                JobState::CompletedWithFailures,
                &[(Expired, 1), (Unknown, 1)],
                Exit::Failures,
            ),
            (JobState::Running, &[(Leased, 1), (Failed, 1)], Exit::StillRuns),
            (JobState::Halted, &[(Failed, 1)], Exit::Halted),
        ] {
            assert_eq!(exit_of(&job(state, counts)), exit, "{state:?} {counts:?}");
        }
    }

    fn attribute(name: &str, value: &str) -> v1::Attribute {
        v1::Attribute {
            name: name.into(),
            value: value.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_result_as_an_object() {
        let raw = v1::Attribute {
            name: "comment".into(),
            raw_value: b"caf\xE9".to_vec(),
            ..Default::default()
        };
        let row = v1::Row {
            attributes: vec![attribute(".id", "*1"), raw],
            dead: false,
        };
        let done = v1::Row {
            attributes: vec![attribute("ret", "*7")],
            dead: false,
        };
        let step = v1::StepResult {
            rows: vec![row],
            done: Some(done),
            traps: vec![],
        };
        let error = v1::DeviceError {
            class: v1::ErrorClass::Trap.into(),
            message: "no".into(),
            category: Some(4),
        };
        let result = v1::ExecutionResult {
            execution: "9".into(),
            device: "r1".into(),
            state: ExecutionState::Failed.into(),
            attempts: 2,
            error: Some(error),
            steps: vec![step],
            started_at: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 5_000_000,
            }),
            ..Default::default()
        };
        let expected = json!({
            "device": "r1", "execution": "9", "state": "failed", "attempts": 2,
            "error": { "class": "trap", "message": "no", "category": 4 },
            "rows": [{ ".id": "*1", "comment": { "hex": "636166e9" } }], "done": { "ret": "*7" },
            "started_at": "1970-01-01T00:00:00.005Z", "finished_at": null,
        });
        assert_eq!(to_json(&result), expected);
    }

    #[test]
    fn states_are_found_by_name() {
        assert_eq!(parse_state("unknown"), Ok(ExecutionState::Unknown));
        assert!(parse_state("gone").expect_err("none").contains("succeeded"));
    }
}
