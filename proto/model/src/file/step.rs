//! The `[[step]]` tables of a file.

use super::Table;
use crate::command::Command;
use crate::plan::{MAX_STEPS, Plan, Step};

/// The steps of a file as a plan; `None` when anything is wrong with them, which is told.
///
/// ```toml
/// [[step]]
/// command = ["/ip/dns/set", "servers=1.1.1.1"]
/// ```
pub fn plan(file: &Table<'_>) -> Option<Plan> {
    let tables = file.tables("step");
    if tables.is_empty() {
        file.tell("there is no step; write [[step]], and what it does, for example ensure = \"/ip/dns\"");
        return None;
    }
    if tables.len() > MAX_STEPS {
        file.tell(format!(
            "there are {} steps; at most {MAX_STEPS} are allowed",
            tables.len()
        ));
        return None;
    }
    let count = tables.len();
    let steps = tables.iter().filter_map(read).collect::<Vec<_>>();
    (steps.len() == count).then_some(Plan { steps })
}

/// One `[[step]]` table: finds out its kind, reads it and finishes the table.
fn read(table: &Table<'_>) -> Option<Step> {
    let step = match table.which(KINDS).as_slice() {
        ["command"] => command(table),
        [] => {
            table.tell(format!("says nothing to do; write one of {}", KINDS.join(", ")));
            None
        }
        several => {
            table.tell(format!(
                "says several things to do: {}; write a step for each",
                several.join(", ")
            ));
            None
        }
    };
    table.finish();
    step
}

/// The keys that say what a step does.
const KINDS: &[&str] = &["command"];

fn command(table: &Table<'_>) -> Option<Step> {
    let words = table.get("command")?;
    let texts = words.texts()?;
    let made = Command::parse(texts).map_err(|error| words.tell(error.to_string()));
    made.ok().map(Step::Command)
}
