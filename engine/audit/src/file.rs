//! An audit's file (TOML): named checks, and what is to be read for them.
//!
//! ```toml
//! name = "baseline"
//! select = "role=cpe"                            # or all = true; both may be left to the command line
//! timeout = "60s"                                # of a command, and how long devices that cannot be reached are tried
//! min-coverage = "95%"                           # fewer devices that could be judged: exit code 5
//! max-cpu = "90%"                                # a router that is busier is waited for, and left out if it stays so
//! max-age = "1h"                                 # answers that are younger are not asked for again
//! open-after = "2 of 3"                          # a finding opens after so many failures among so many runs
//! [[check]]
//! name = "telnet is off"
//! severity = "high"                              # info, low, medium (unless told), high, critical
//! reason = "Telnet sends passwords in the clear."
//! read = "/ip/service"
//! where = "name=telnet"                          # of its items, those for which this holds
//! expect = "rows.all(r, r.disabled == 'true')"   # CEL
//! evidence = ["name", "disabled"]                # kept beside the verdict
//! empty = "n/a"                                  # of no items: n/a (unless told), pass, fail, or evaluate
//! also = { snmp = "/snmp" }                      # items of other menus, as also.snmp
//! applies = "facts.version >= version('7.1')"    # n/a where this does not hold
//! across = "row.address"                         # rows of all devices with the same text are judged together
//! add = { mtu = "…" }                            # what such a row has beside its properties
//! compare = "peers"                              # or "baseline": instead of expect, the items are compared
//! kind = "facts.board"                           # who is a peer
//! remedy = { ensure = "/ip/service", key = ["name"], items = [{ name = "telnet", disabled = true }] }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use muster_model::file::{FileErrors, Table, Value, read, step};
use muster_model::{Command, Plan, Selector, Step};
use routeros_wire::Expression;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::rule::{Form, Rule};

/// The most checks in one file.
pub const MAX_CHECKS: usize = 500;
/// The longest name, in characters.
const NAME: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Percent of its CPU that a router may be busy with and still be asked.
const MAX_CPU: u32 = 90;

/// What an audit's file says.
#[derive(Debug)]
pub struct Audit {
    /// For people; findings of one name belong together.
    pub name: String,
    /// Which devices; `None` when that is left to whoever runs it.
    pub selector: Option<Selector>,
    /// Of a command, and how long devices that cannot be reached are tried.
    pub timeout: Duration,
    /// The share of devices that is to be judged, 0 to 1.
    pub min_coverage: Option<f64>,
    /// A device whose CPU is busier is not asked (L8), percent; 100 for all are.
    pub max_cpu: u32,
    /// Answers that are younger are not asked for again.
    pub max_age: Option<Duration>,
    /// A finding opens after so many failures among so many runs.
    pub open_after: (u32, u32),
    /// In the order of the file.
    pub checks: Vec<Check>,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
}

/// A check.
#[derive(Debug)]
pub struct Check {
    /// For people, and what findings go by.
    pub name: String,
    /// How bad it is where it fails.
    pub severity: Severity,
    /// Why it is there.
    pub reason: String,
    /// The menu that `rows` are the items of.
    pub read: Source,
    /// Items of other menus, by name.
    pub also: BTreeMap<String, Source>,
    /// n/a where this does not hold.
    pub applies: Option<Rule>,
    /// What is to hold.
    pub expect: Rule,
    /// Properties that are kept beside the verdict; empty for those that the expression names, and only where it fails.
    pub evidence: Vec<String>,
    /// What no items mean.
    pub empty: Empty,
    /// What mends it.
    pub remedy: Option<Plan>,
    /// That it is judged when all devices have answered, and how.
    pub fleet: Option<Fleet>,
}

/// How a check looks at several devices (L6, L7).
#[derive(Debug)]
pub enum Fleet {
    /// Items of all devices for which `key` makes the same text are judged together. An item without a text is left out.
    Across {
        /// Over `row`.
        key: Rule,
        /// What an item has beside its properties, over `row`.
        add: BTreeMap<String, Rule>,
    },
    /// The items of a device are compared with those of most devices of its kind.
    Peers {
        /// Names the kind.
        kind: Rule,
    },
    /// The items of a device are compared with those in the run that was accepted as the baseline.
    Baseline,
}

/// A menu, and what of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path.
    pub menu: String,
    /// Only items for which this holds.
    pub filter: Option<Expression>,
    /// Properties that are read beside those that the check names.
    pub proplist: BTreeSet<String>,
}

/// How bad it is where a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Untidy.
    Low,
    /// To be mended.
    Medium,
    /// To be mended soon.
    High,
    /// To be mended now.
    Critical,
}

/// What it means when there is no item to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// There is nothing to judge.
    NotApplicable,
    /// All is well.
    Pass,
    /// What should be there is not.
    Fail,
    /// The expression says.
    Evaluate,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads an audit's file; everything that is wrong with it, if anything is.
pub fn audit(text: &str) -> Result<Audit, FileErrors> {
    read(text, |file| take(file, text))
}

/// Whether a file is an audit rather than a rollout: it has checks and no steps. A file that cannot be parsed is neither.
pub fn is_audit(text: &str) -> bool {
    let there = |key: &str| {
        text.lines()
            .any(|line| line.trim().trim_matches(['[', ']']).trim() == key && line.trim().starts_with("[["))
    };
    there("check") && !there("step")
}

fn take(file: &Table<'_>, text: &str) -> Option<Audit> {
    // All parts are looked at before any of them may give up, so that all mistakes are told.
    let name = file
        .need("name", "write for example name = \"baseline\"")
        .and_then(|value| short(&value));
    let selector = selector(file);
    let timeout = file.get("timeout").map_or(Some(TIMEOUT), |value| {
        let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
        let timeout = value.duration()?;
        range
            .contains(&timeout)
            .then_some(timeout)
            .or_else(|| value.wrong("is to be 100ms to 24h"))
    });
    let min_coverage = file.get("min-coverage").map_or(Some(None), |value| {
        value.share().map(|share| Some(share.fraction()))
    });
    let max_cpu = file.get("max-cpu").map_or(Some(MAX_CPU), |value| {
        let share = value.share()?.millionths();
        match share % 10_000 {
            0 => Some(share / 10_000),
            _ => value.wrong("is to be whole percent, for example \"90%\"; \"100%\" asks every router"),
        }
    });
    let max_age = file
        .get("max-age")
        .map_or(Some(None), |value| value.duration().map(Some));
    let open_after = file
        .get("open-after")
        .map_or(Some((1, 1)), |value| open_after(&value));
    let tables = file.tables("check");
    if tables.is_empty() {
        file.tell("there is no check; write [[check]], and what it reads and expects");
        return None;
    }
    if tables.len() > MAX_CHECKS {
        file.tell(format!(
            "there are {} checks; at most {MAX_CHECKS} are allowed",
            tables.len()
        ));
        return None;
    }
    let mut names = BTreeSet::new();
    let read = |table: &Table<'_>| {
        let check = check(table);
        table.finish();
        let check = check?;
        if !names.insert(check.name.clone()) {
            return table
                .get("name")?
                .wrong("is the name of an earlier check; findings go by it");
        }
        Some(check)
    };
    let count = tables.len();
    let checks = tables.iter().filter_map(read).collect::<Vec<_>>();
    Some(Audit {
        name: name?,
        selector: selector?,
        timeout: timeout?,
        min_coverage: min_coverage?,
        max_cpu: max_cpu?,
        max_age: max_age?,
        open_after: open_after?,
        checks: (checks.len() == count).then_some(checks)?,
        digest: Sha256::digest(text).into(),
    })
}

fn short(value: &Value<'_>) -> Option<String> {
    let name = value.text()?.trim();
    match name.chars().count() {
        0 => value.wrong("is empty"),
        1..=NAME => Some(name.to_owned()),
        long => value.wrong(format!("has {long} characters; at most {NAME} are allowed")),
    }
}

fn selector(file: &Table<'_>) -> Option<Option<Selector>> {
    let all = file.get("all").map_or(Some(false), |value| value.bool())?;
    match (file.get("select"), all) {
        (Some(value), true) => value.wrong("a selector and all = true exclude each other"),
        (Some(value), false) if value.as_text().is_some_and(|text| text.trim().is_empty()) => {
            value.wrong("is empty; write all = true for every device")
        }
        (Some(value), false) => value.parse(str::parse).map(Some),
        (None, true) => Some(Some(Selector::default())),
        (None, false) => Some(None),
    }
}

fn open_after(value: &Value<'_>) -> Option<(u32, u32)> {
    let hint = "is to be for example \"2 of 3\", of at most 32 runs, or a count";
    let parsed = match (value.as_integer(), value.as_text()) {
        (Some(count), _) => u32::try_from(count).ok().map(|count| (count, count)),
        (None, Some(text)) => text
            .split_once(" of ")
            .and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?))),
        (None, None) => None,
    };
    let fits = |(k, n): &(u32, u32)| 1 <= *k && k <= n && *n <= 32;
    parsed.filter(fits).or_else(|| value.wrong(hint))
}

fn check(table: &Table<'_>) -> Option<Check> {
    let name = table
        .need("name", "write for example name = \"telnet is off\"")
        .and_then(|value| short(&value));
    let severity = table.get("severity").map_or(Some(Severity::Medium), |value| {
        value.one_of(&Severity::ALL.map(|severity| (severity.as_str(), severity)))
    });
    let reason = table
        .get("reason")
        .map_or(Some(String::new()), |value| value.text().map(str::to_owned));
    let menu = table
        .need("read", "write the menu, for example read = \"/ip/service\"")
        .and_then(|value| menu(&value));
    let filter = table.get("where").map_or(Some(None), |value| {
        value.parse(str::parse::<Expression>).map(Some)
    });
    let names = |key: &str| {
        table.get(key).map_or(Some(Vec::new()), |value| {
            Some(value.texts()?.into_iter().map(str::to_owned).collect::<Vec<_>>())
        })
    };
    let proplist = names("proplist");
    let evidence = names("evidence");
    let also = table
        .get("also")
        .map_or(Some(BTreeMap::new()), |value| also(&value));
    let lists = also
        .as_ref()
        .map(|also| also.keys().cloned().collect::<Vec<_>>())
        .unwrap_or_default();
    let fleet = fleet(table, &lists);
    let form = match &fleet {
        Some(Some(Fleet::Across { .. })) => Form::Joined,
        _ => Form::Verdict,
    };
    let expect = match &fleet {
        Some(Some(Fleet::Peers { .. } | Fleet::Baseline)) => match table.get("expect") {
            Some(value) => value.wrong("and compare exclude each other"),
            None => Rule::parse("true", &lists).ok(),
        },
        _ => table
            .need(
                "expect",
                "write what is to hold, for example expect = \"rows.all(r, r.disabled == 'true')\"",
            )
            .and_then(|value| value.parse(|text| Rule::parse_as(text, &lists, form))),
    };
    let applies = table.get("applies").map_or(Some(None), |value| {
        value.parse(|text| Rule::parse(text, &lists)).map(Some)
    });
    let empty = table.get("empty").map_or(Some(Empty::NotApplicable), |value| {
        value.one_of(&[
            ("n/a", Empty::NotApplicable),
            ("pass", Empty::Pass),
            ("fail", Empty::Fail),
            ("evaluate", Empty::Evaluate),
        ])
    });
    let remedy = table
        .get("remedy")
        .map_or(Some(None), |value| remedy(&value).map(Some));
    Some(Check {
        name: name?,
        severity: severity?,
        reason: reason?,
        read: Source {
            menu: menu?,
            filter: filter?,
            proplist: proplist?.into_iter().collect(),
        },
        also: also?,
        applies: applies?,
        expect: expect?,
        evidence: evidence?,
        empty: empty?,
        remedy: remedy?,
        fleet: fleet?,
    })
}

/// How it looks at several devices; nothing for a check of one.
fn fleet(table: &Table<'_>, lists: &[String]) -> Option<Option<Fleet>> {
    let row = |value: &Value<'_>| value.parse(|text| Rule::parse_as(text, lists, Form::RowText));
    let add = match table.get("add") {
        None => Some(BTreeMap::new()),
        Some(value) => {
            let entries = value.table()?.entries();
            let count = entries.len();
            let entries = entries
                .into_iter()
                .filter_map(|(name, value)| Some((name, row(&value)?)));
            Some(entries.collect::<BTreeMap<_, _>>()).filter(|entries| entries.len() == count)
        }
    };
    let kind = table.get("kind");
    match (table.get("across"), table.get("compare")) {
        (None, None) => {
            if let Some(kind) = kind {
                kind.tell("says who is a peer; write compare = \"peers\" too");
            }
            add.filter(|add| {
                if !add.is_empty() {
                    table.tell("has add, which is of use with across only");
                }
                add.is_empty()
            })
            .map(|_| None)
        }
        (Some(_), Some(compare)) => compare.wrong("and across exclude each other"),
        (Some(across), None) => {
            let key = row(&across)?;
            Some(Some(Fleet::Across { key, add: add? }))
        }
        (None, Some(compare)) => match compare.one_of(&[("peers", true), ("baseline", false)])? {
            false => Some(Some(Fleet::Baseline)),
            true => {
                let kind = match kind {
                    Some(kind) => kind.parse(|text| Rule::parse_as(text, lists, Form::Text))?,
                    None => Rule::parse_as("facts.board", lists, Form::Text).ok()?,
                };
                Some(Some(Fleet::Peers { kind }))
            }
        },
    }
}

/// The path of a menu, without a verb.
fn menu(value: &Value<'_>) -> Option<String> {
    let text = value.text()?.trim();
    let menu = text.trim_end_matches('/').trim_end_matches("/print");
    match Command::parse([format!("{menu}/print")]) {
        Ok(command) if command.effect().is_read() && !menu.is_empty() => Some(menu.to_owned()),
        Ok(_) => value.wrong("is to be a menu, for example \"/ip/service\""),
        Err(error) => value.wrong(error.to_string()),
    }
}

fn also(value: &Value<'_>) -> Option<BTreeMap<String, Source>> {
    let mut all = BTreeMap::new();
    let mut good = true;
    for (name, value) in value.table()?.entries() {
        let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            value.tell("has a name that an expression cannot have; letters, digits and _ are possible");
        }
        match menu(&value) {
            Some(menu) => all.insert(
                name,
                Source {
                    menu,
                    filter: None,
                    proplist: BTreeSet::new(),
                },
            ),
            None => {
                good = false;
                None
            }
        };
        good &= fits;
    }
    good.then_some(all)
}

/// A step, or a list of steps.
fn remedy(value: &Value<'_>) -> Option<Plan> {
    let steps = match value.as_list() {
        Some(steps) => steps,
        None => vec![value.clone()],
    };
    let count = steps.len();
    let read = |value: &Value<'_>| step::read(&value.table()?);
    let steps = steps.iter().filter_map(read).collect::<Vec<Vec<Step>>>();
    (steps.len() == count && count > 0).then(|| Plan::new(steps.into_iter().flatten().collect()))
}
