//! A rollout's file: what is to be done, on which devices, and how it goes over them.

use std::time::Duration;

use super::{FileErrors, Files, Table, policy, read, read_beside, step};
use crate::outcome::Priority;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::selector::Selector;

/// The deadline of one command unless the file says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest name, in characters.
const NAME: usize = 200;

/// What a rollout's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// For people.
    pub name: String,
    /// Which devices; the default means every device, and is only taken when the file says `all = true`.
    pub selector: Selector,
    /// What is done on each.
    pub plan: Plan,
    /// The deadline of one command.
    pub timeout: Duration,
    /// Who goes first.
    pub priority: Priority,
    /// How it goes over its devices.
    pub policy: Policy,
}

/// Reads a rollout's file; everything that is wrong with it, if anything is.
pub fn rollout(text: &str) -> Result<Rollout, FileErrors> {
    read(text, take)
}

/// The same for one that names other files: audits of gates, certificates.
pub fn rollout_beside(text: &str, files: &Files<'_>) -> Result<Rollout, FileErrors> {
    read_beside(text, files, take)
}

fn take(file: &Table<'_>) -> Option<Rollout> {
    // All parts are looked at before any of them may give up, so that all mistakes are told.
    let name = name(file);
    let selector = selector(file);
    let plan = step::plan(file);
    let timeout = match file.get("timeout") {
        None => Some(TIMEOUT),
        Some(value) => value.duration().and_then(|timeout| {
            let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
            range
                .contains(&timeout)
                .then_some(timeout)
                .or_else(|| value.wrong("is to be 100ms to 24h"))
        }),
    };
    let priority = match file.get("priority") {
        None => Some(Priority::Rollout),
        Some(value) => {
            let words = Priority::ALL
                .iter()
                .map(|priority| (priority.as_str(), *priority));
            value.one_of(&words.collect::<Vec<_>>())
        }
    };
    let policy = policy::policy(file);
    Some(Rollout {
        name: name?,
        selector: selector?,
        plan: plan?,
        timeout: timeout?,
        priority: priority?,
        policy: policy?,
    })
}

fn name(file: &Table<'_>) -> Option<String> {
    let value = file.need("name", "write for example name = \"resolvers\"")?;
    let name = value.text()?.trim();
    match name.chars().count() {
        0 => value.wrong("is empty"),
        1..=NAME => Some(name.to_owned()),
        long => value.wrong(format!("has {long} characters; at most {NAME} are allowed")),
    }
}

fn selector(file: &Table<'_>) -> Option<Selector> {
    let all = match file.get("all") {
        None => false,
        Some(value) => value.bool()?,
    };
    match (file.get("select"), all) {
        (Some(value), true) => value.wrong("a selector and all = true exclude each other"),
        (Some(value), false) if value.as_text().is_some_and(|text| text.trim().is_empty()) => {
            value.wrong("is empty; write all = true for every device")
        }
        (Some(value), false) => value.parse(str::parse),
        (None, true) => Some(Selector::default()),
        (None, false) => {
            file.need(
                "select",
                "write for example select = \"role=cpe\", or all = true for every device",
            );
            None
        }
    }
}
