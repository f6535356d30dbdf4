//! Results that are the same, together; and what a preview found.

use std::path::Path;

use indicatif::ProgressBar;
use muster_proto::v1;
use serde_json::{Value, json};

use super::connect::Engine;
use super::follow::{Followed, Follower, follow};
use super::result::{class_name, error_json, is_good, row_json, row_text, state_name, value_text};
use crate::exit::{Done, Exit, Failure};
use crate::progress;
use crate::terminal::{BAD, BOLD, DIM, GOOD, RESET, devices, number, out, safe};

/// Groups asked for.
const GROUPS: u32 = 1000;

/// What a preview found.
pub(crate) struct Found {
    /// Devices.
    pub total: u64,
    /// Devices on which something would change.
    pub changes: u64,
    /// Devices that are as wanted.
    pub as_wanted: u64,
    /// Devices on which the plan cannot be done, or that could not tell.
    pub conflicts: u64,
    /// Devices that were not reached.
    pub unreached: u64,
    answer: v1::GroupResultsResponse,
}

impl Found {
    /// Each group in an object.
    pub(crate) fn json(&self, id: &str) -> Value {
        self.answer
            .groups
            .iter()
            .map(|group| group_json(id, group))
            .collect()
    }

    /// Prints each group.
    pub(crate) fn print(&self, id: &str, json: bool) {
        print(&self.answer, id, json);
    }

    /// In a line.
    pub(crate) fn text(&self) -> String {
        format!(
            "{}: {} to change, {} as wanted, {} in conflict, {} not reached",
            devices(self.total),
            number(self.changes),
            number(self.as_wanted),
            number(self.conflicts),
            number(self.unreached),
        )
    }
}

/// Follows a preview to its end; nothing when whoever asked has gone.
pub(crate) async fn find(engine: &Engine, id: &str) -> Result<Option<Found>, Failure> {
    let mut watcher = Watcher { bar: None, ended: 0 };
    let followed = follow(engine, id, &mut watcher).await;
    if let Some(bar) = watcher.bar.take() {
        bar.finish_and_clear();
    }
    let Followed::Over(job) = followed? else {
        anstream::eprintln!(
            "detached; the preview goes on. See what it found with: muster job results {id} --grouped"
        );
        return Ok(None);
    };
    let answer = groups(engine, id).await?;
    // By the job's own counts: of many groups the last are not told.
    let count = |wanted: fn(v1::ExecutionState) -> bool| {
        let counts = job.counts.iter().filter(|count| wanted(count.state()));
        counts.map(|count| count.count).sum::<u64>()
    };
    let unreached = count(|state| state == v1::ExecutionState::Expired);
    Ok(Some(Found {
        total: job.total,
        changes: count(|state| state == v1::ExecutionState::Succeeded),
        as_wanted: count(|state| state == v1::ExecutionState::Unchanged),
        conflicts: count(|state| !is_good(state)) - unreached,
        unreached,
        answer,
    }))
}

/// Follows a preview to its end and prints what would change: 2 if anything would, and 3 or 5 if not every device could
/// tell.
pub(crate) async fn preview(engine: &Engine, id: &str, plan: Option<&Path>, json: bool) -> Done {
    let Some(found) = find(engine, id).await? else {
        return Ok(Exit::StillRuns);
    };
    found.print(id, json);
    anstream::eprintln!("{} (preview {id})", found.text());
    if let Some(plan) = plan.filter(|_| found.changes > 0) {
        anstream::eprintln!(
            "to do this where devices are still as they were found: muster run --plan {} --previewed {id} …",
            plan.display()
        );
    }
    Ok(match (found.conflicts, found.unreached, found.changes) {
        (1.., _, _) => Exit::Failures,
        (0, 1.., 0) => Exit::Coverage,
        (0, _, 1..) => Exit::Pending,
        (0, 0, 0) => Exit::Ok,
    })
}

/// Prints the results of a job, those that are the same together.
pub(crate) async fn grouped(engine: &Engine, id: &str, json: bool) -> Result<Vec<v1::ResultGroup>, Failure> {
    let answer = groups(engine, id).await?;
    print(&answer, id, json);
    Ok(answer.groups)
}

async fn groups(engine: &Engine, id: &str) -> Result<v1::GroupResultsResponse, Failure> {
    let request = v1::GroupResultsRequest {
        id: id.to_owned(),
        max_groups: GROUPS,
    };
    Ok(engine.jobs().group_results(request).await?.into_inner())
}

fn print(answer: &v1::GroupResultsResponse, id: &str, json: bool) {
    for group in &answer.groups {
        match json {
            true => out(group_json(id, group)),
            false => out(group_text(group)),
        }
    }
    if answer.more_groups > 0 {
        anstream::eprintln!(
            "and {} more groups with {}",
            number(answer.more_groups),
            devices(answer.more_executions)
        );
    }
}

fn group_json(job: &str, group: &v1::ResultGroup) -> Value {
    let rows = group.steps.iter().flat_map(|step| &step.rows);
    json!({
        "job": job,
        "state": state_name(group.state()),
        "count": group.count,
        "devices": group.devices,
        "error": group.error.as_ref().map(error_json),
        "rows": rows.map(row_json).collect::<Value>(),
        "digest": group.digest,
    })
}

/// `12 devices  succeeded`, what they said, and who they are.
fn group_text(group: &v1::ResultGroup) -> String {
    let state = group.state();
    let colour = if is_good(state) { GOOD } else { BAD };
    let mut text = format!(
        "{BOLD}{}{RESET}  {colour}{}{RESET}",
        devices(group.count),
        state_name(state)
    );
    if let Some(error) = &group.error {
        text.push_str(&format!("  {}: {}", class_name(error), safe(&error.message)));
    }
    for row in group.steps.iter().flat_map(|step| &step.rows) {
        text.push_str(&format!("\n    {}", change_text(row)));
    }
    let more = if group.count > group.devices.len() as u64 {
        ", …"
    } else {
        ""
    };
    let names = group.devices.iter().map(|name| safe(name)).collect::<Vec<_>>();
    text.push_str(&format!("\n    {DIM}{}{more}{RESET}", names.join(", ")));
    text
}

/// `/ip/dns  servers  8.8.8.8 → 1.1.1.1` of a change, the row as it is of anything else.
fn change_text(row: &v1::Row) -> String {
    let get = |name: &str| {
        let found = row.attributes.iter().find(|attribute| attribute.name == name);
        found.map(value_text)
    };
    let values = |prefix: &str| {
        let values = row.attributes.iter().filter_map(|attribute| {
            let name = attribute.name.strip_prefix(prefix)?;
            Some(format!("{}={}", safe(name), value_text(attribute)))
        });
        values.collect::<Vec<_>>().join("  ")
    };
    let quoted = |value: Option<String>| {
        value
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "\"\"".into())
    };
    match (get("op").as_deref(), get("menu"), get("command")) {
        (Some("set"), Some(menu), _) => {
            let name = get("name").unwrap_or_default();
            let item = get("item").map_or_else(String::new, |item| format!("{item}  "));
            format!(
                "{menu}  {item}{name}  {} → {}",
                quoted(get("from")),
                quoted(get("to"))
            )
        }
        (Some("add"), Some(menu), _) => format!("{menu}  + {}", values("to.")),
        (Some("remove"), Some(menu), _) => format!("{menu}  - {}", values("from.")),
        (Some("move"), Some(menu), _) => {
            let before = get("before").filter(|before| !before.is_empty());
            let to = before.map_or_else(|| "to the end".to_owned(), |before| format!("before {before}"));
            format!("{menu}  {}  {to}", get("item").unwrap_or_default())
        }
        (Some("run"), _, Some(command)) => format!("{command}  ({})", get("effect").unwrap_or_default()),
        (Some("backup"), ..) if get("note").is_some() => {
            format!("backup  {}", get("note").unwrap_or_default())
        }
        (Some("way-back"), ..) => format!("way back  {}", get("level").unwrap_or_default()),
        _ => row_text(row),
    }
}

/// Shows how far it is.
struct Watcher {
    bar: Option<ProgressBar>,
    ended: u64,
}

impl Follower for Watcher {
    fn result(&mut self, _: v1::ExecutionResult) {
        self.ended += 1;
    }

    fn job(&mut self, job: &v1::Job) {
        let bar = self.bar.get_or_insert_with(|| progress::bar(job.total));
        bar.set_position(self.ended);
    }

    fn note(&mut self, note: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| anstream::eprintln!("{note}")),
            None => anstream::eprintln!("{note}"),
        }
    }

    fn resync(&mut self) {
        self.ended = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_from_and_to() {
        let row = |attributes: &[(&str, &str)]| v1::Row {
            attributes: attributes
                .iter()
                .map(|(name, value)| v1::Attribute {
                    name: name.to_string(),
                    value: value.to_string(),
                    ..Default::default()
                })
                .collect(),
            dead: false,
        };
        let set = [
            ("op", "set"),
            ("menu", "/ip/dns"),
            ("name", "servers"),
            ("from", ""),
            ("to", "1.1.1.1"),
        ];
        assert_eq!(change_text(&row(&set)), "/ip/dns  servers  \"\" → 1.1.1.1");
        let add = [
            ("op", "add"),
            ("menu", "/a"),
            ("item", "x=1"),
            ("to.x", "1"),
            ("to.y", "2"),
        ];
        assert_eq!(change_text(&row(&add)), "/a  + x=1  y=2");
        let run = [
            ("op", "run"),
            ("effect", "disrupt"),
            ("command", "/system/reboot"),
        ];
        assert_eq!(change_text(&row(&run)), "/system/reboot  (disrupt)");
        assert_eq!(change_text(&row(&[("name", "ether1")])), "name=ether1");
    }
}
