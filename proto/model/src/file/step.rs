//! The `[[step]]` tables of a file.

mod maintenance;

use super::{Table, Value};
use crate::backup::Backup;
use crate::check::Check;
use crate::command::{Command, Verify};
use crate::ensure::{Ensure, Items, Values};
use crate::firmware::with_fallbacks;
use crate::plan::{MAX_STEPS, Plan, Step};
use crate::way_back::{AFTER_RANGE, Level, WayBack};

/// The steps of a file as a plan; `None` when anything is wrong with them, which is told.
///
/// ```toml
/// [[step]]
/// check = "facts.free_disk > 20000000"           # what has to hold for the plan to go on
/// [[step]]
/// command = "/ip/dns/cache/flush"                # or a list of words, where one of them has a space
/// [[step]]
/// command = ["/ip/dns/set", "servers=1.1.1.1"]
/// verify = "/ip/dns/print"                       # how to find out whether it was done when its answer is lost
/// expect = "servers=1.1.1.1"                     # or expect-none
/// [[step]]
/// ensure = "/ip/dns"                             # a menu of one item
/// set = { servers = "1.1.1.1,9.9.9.9", allow-remote-requests = false }
/// [[step]]
/// ensure = "/ip/firewall/address-list"           # a menu of items
/// key = ["list", "address"]                      # what tells an item from every other
/// items = [{ list = "mgmt", address = "{{ labels.mgmt_net }}" }]
/// absent = [{ list = "old" }]                    # every item with these values goes
/// purge = "list=mgmt"                            # and every item for which this holds that `items` does not name
/// [[step]]
/// ensure = "/ip/firewall/filter"
/// key = ["comment"]
/// items = [{ comment = "mgmt", chain = "input", action = "accept" }]
/// ordered = true                                 # they stand in this order
/// place-before = "comment=drop"                  # before the first item for which this holds
/// [[step]]
/// backup = { max-age = "1h" }                    # nothing is done with one that is not older; or backup = true; or-export = true
/// [[step]]
/// export = true
/// [[step]]
/// wait = "30s"                                   # or { until = "facts.interfaces_up > 2", within = "5m", every = "5s" }
/// [[step]]
/// script = "/ip dns cache flush"                 # or { name = "a script of the router's" }; verify as with a command
/// [[step]]
/// fetch = { url = "http://mirror/ca.pem", file = "ca.pem", sha256 = "…", within = "10m" }
/// [[step]]
/// reboot = { wait = "15m" }                      # or true
/// [[step]]
/// upgrade = { version = "7.16.2", source = "vendor", routerboot = true, wait = "15m" }
/// [[step]]
/// downgrade = { version = "7.12.1", source = "mirror", url = "http://mirror/{{ version }}/{{ file }}" }
///
/// # What is demanded of the way back; all of it may be left out.
/// [way-back]
/// min-level = "L2"                               # L0 (the default), L4, L3, L2 or L1
/// accept-none = true                             # also where we may be cut off and there is no guard
/// after = "5m"                                   # when a schedule on the device restores its backup
/// failed-check = "revert"                        # or "keep": what becomes of a change after which a check does not hold
/// ```
pub fn plan(file: &Table<'_>) -> Option<Plan> {
    let way_back = way_back(file);
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
    let way_back = way_back?;
    if steps.len() < count {
        return None;
    }
    let steps = match with_fallbacks(steps.into_iter().flatten().collect(), &way_back) {
        Ok(steps) => steps,
        Err(text) => return file.get("way-back").and_then(|value| value.wrong(text)),
    };
    if steps.len() > MAX_STEPS {
        file.tell(format!(
            "they are {} steps when each upgrade is taken for its parts; at most {MAX_STEPS} are allowed",
            steps.len()
        ));
        return None;
    }
    Some(Plan { steps, way_back })
}

fn way_back(file: &Table<'_>) -> Option<WayBack> {
    let Some(value) = file.get("way-back") else {
        return Some(WayBack::default());
    };
    let table = value.table()?;
    let min = table
        .get("min-level")
        .map_or(Some(Level::L0), |value| value.parse(str::parse));
    let accept_none = table.get("accept-none").map_or(Some(false), |value| value.bool());
    let after = match table.get("after") {
        None => Some(None),
        Some(value) => value.duration().and_then(|after| {
            let millis = after.as_millis().try_into().ok();
            AFTER_RANGE
                .contains(&after)
                .then_some(millis)
                .or_else(|| value.wrong("is to be 5s to 24h"))
        }),
    };
    let failed = table.get("failed-check").map_or(Some(false), |value| {
        value.one_of(&[("revert", true), ("keep", false)])
    });
    table.finish();
    Some(WayBack {
        min: min?,
        accept_none: accept_none?,
        after_ms: after?,
        on_failed_check: failed?,
    })
}

/// One `[[step]]` table: finds out its kind, reads it and finishes the table. An upgrade is several steps.
pub fn read(table: &Table<'_>) -> Option<Vec<Step>> {
    let one = |step: Option<Step>| step.map(|step| vec![step]);
    let step = match table.which(KINDS).as_slice() {
        ["command"] => one(command(table)),
        ["ensure"] => one(ensure(table)),
        ["check"] => one(check(table)),
        ["backup"] => one(backup(table)),
        ["export"] => one(export(table)),
        ["wait"] => one(maintenance::wait(table)),
        ["script"] => one(maintenance::script(table)),
        ["fetch"] => one(maintenance::fetch(table)),
        ["reboot"] => one(maintenance::reboot(table)),
        ["upgrade"] => maintenance::upgrade(table, "upgrade"),
        ["downgrade"] => maintenance::upgrade(table, "downgrade"),
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
const KINDS: &[&str] = &[
    "backup",
    "check",
    "command",
    "downgrade",
    "ensure",
    "export",
    "fetch",
    "reboot",
    "script",
    "upgrade",
    "wait",
];

fn backup(table: &Table<'_>) -> Option<Step> {
    let value = table.get("backup")?;
    if value.as_bool() == Some(true) {
        return Some(Step::Backup(Backup::default()));
    }
    let Some(options) = value.as_table() else {
        return value.wrong("is to be true, or a table such as { max-age = \"1h\" }");
    };
    let max_age = options.get("max-age").map(|age| age.duration());
    let or_export = options.get("or-export").map_or(Some(false), |value| value.bool());
    options.finish();
    let max_age = match max_age {
        Some(age) => Some(age?.as_millis().try_into().unwrap_or(u64::MAX)),
        None => None,
    };
    Some(Step::Backup(Backup {
        max_age_ms: max_age,
        or_export: or_export?,
    }))
}

fn export(table: &Table<'_>) -> Option<Step> {
    let value = table.get("export")?;
    match value.bool()? {
        true => Some(Step::Export),
        false => value.wrong("is to be true; leave the step out otherwise"),
    }
}

fn check(table: &Table<'_>) -> Option<Step> {
    table.get("check")?.parse(Check::parse).map(Step::Check)
}

fn command(table: &Table<'_>) -> Option<Step> {
    let value = table.get("command")?;
    let verify = table.get("verify");
    let (expect, none) = (table.get("expect"), table.get("expect-none"));
    let declared = table.get("declare-read").map(|value| value.bool());
    let mut command = Command::parse(words(&value)?)
        .map_err(|error| value.tell(error.to_string()))
        .ok()?;
    if declared.unwrap_or(Some(false))? {
        command = command
            .declare_read()
            .map_err(|error| value.tell(error.to_string()))
            .ok()?;
    }
    let Some(made) = verification(verify.as_ref(), expect, none)? else {
        return Some(Step::Command(command));
    };
    let made = command.with_verify(made);
    made.map_err(|error| verify.as_ref().unwrap_or(&value).tell(error.to_string()))
        .ok()
        .map(Step::Command)
}

/// What `verify`, `expect` and `expect-none` say together, if there is a `verify`; `None` when anything is wrong with them,
/// which is told.
fn verification(
    verify: Option<&Value<'_>>,
    expect: Option<Value<'_>>,
    none: Option<Value<'_>>,
) -> Option<Option<Verify>> {
    let Some(verify) = verify else {
        return match expect.or(none) {
            Some(expect) => {
                expect.wrong("says what to expect of nothing; write verify = \"/menu/print\" too")
            }
            None => Some(None),
        };
    };
    let (expect, absent) = match (&expect, &none) {
        (Some(expect), None) => (expect.text()?, false),
        (None, Some(none)) => (none.text()?, true),
        (None, None) => {
            return verify.wrong("needs expect or expect-none, which hold for a row of its answer");
        }
        (Some(_), Some(none)) => return none.wrong("and expect exclude each other"),
    };
    Verify::new(words(verify)?, expect, absent)
        .map_err(|error| verify.tell(error.to_string()))
        .ok()
        .map(Some)
}

/// A command as a text, whose words have no spaces, or as a list of words.
fn words<'f>(value: &Value<'f>) -> Option<Vec<&'f str>> {
    match value.as_text() {
        Some(text) => Some(text.split_whitespace().collect()),
        None if value.as_list().is_some() => value.texts(),
        None => value.wrong("is to be a command in quotes, or a list of its words"),
    }
}

fn ensure(table: &Table<'_>) -> Option<Step> {
    let menu = table.get("ensure")?;
    let of_items = table.which(&["key", "items", "absent", "purge", "ordered", "place-before"]);
    let made = match (table.get("set"), of_items.as_slice()) {
        (Some(set), []) => {
            let set = values(&set)?;
            Ensure::singleton(menu.text()?, set)
        }
        (Some(set), [first, ..]) => {
            return set.wrong(format!(
                "is for a menu that is one item, and {first} for a menu of items; leave one of the two out"
            ));
        }
        (None, []) => {
            table.need(
                "set",
                "write what the menu's values should be: set = { servers = \"1.1.1.1\" }, or key and items for a menu of items",
            );
            return None;
        }
        (None, _) => Ensure::items(menu.text()?, items(table)?),
    };
    made.map_err(|error| menu.tell(error.to_string()))
        .ok()
        .map(Step::Ensure)
}

/// What is wanted of a menu of items.
fn items(table: &Table<'_>) -> Option<Items> {
    let list = |name: &str| match table.get(name) {
        None => Some(Vec::new()),
        Some(list) => {
            let entries = list.list("is to be a list of items: [{ name = \"value\" }]")?;
            let count = entries.len();
            let entries = entries.iter().filter_map(values).collect::<Vec<_>>();
            (entries.len() == count).then_some(entries)
        }
    };
    let key = match table.get("key") {
        None => Some(Vec::new()),
        // One name may stand by itself.
        Some(key) => match key.as_text() {
            Some(name) => Some(vec![name.to_owned()]),
            None => key
                .texts()
                .map(|names| names.into_iter().map(str::to_owned).collect()),
        },
    };
    let text = |name: &str| match table.get(name) {
        None => Some(None),
        Some(value) => value.text().map(|text| Some(text.to_owned())),
    };
    let ordered = table.get("ordered").map_or(Some(false), |value| value.bool());
    let (items, absent) = (list("items"), list("absent"));
    let (purge, place_before) = (text("purge"), text("place-before"));
    Some(Items {
        key: key?,
        items: items?,
        absent: absent?,
        purge: purge?,
        ordered: ordered?,
        place_before: place_before?,
    })
}

/// A table of properties and their values.
fn values(value: &Value<'_>) -> Option<Values> {
    let entries = value.table()?.entries();
    let count = entries.len();
    let written = |(name, value): (String, Value<'_>)| Some((name, written(&value)?));
    let entries = entries.into_iter().filter_map(written).collect::<Vec<_>>();
    if entries.len() < count {
        return None;
    }
    Values::new(entries)
        .map_err(|error| value.tell(error.to_string()))
        .ok()
}

/// A value as it is sent: booleans as every version takes them, lists with commas.
fn written(value: &Value<'_>) -> Option<String> {
    if let Some(on) = value.as_bool() {
        return Some(if on { "yes" } else { "no" }.to_owned());
    }
    if let Some(number) = value.as_integer() {
        return Some(number.to_string());
    }
    if let Some(text) = value.as_text() {
        return Some(text.to_owned());
    }
    let hint = "is to be a text in quotes, a whole number, true or false, or a list of those";
    let Some(parts) = value.as_list() else {
        return value.wrong(hint);
    };
    if let Some(inner) = parts.iter().find(|part| part.as_list().is_some()) {
        return inner.wrong(hint);
    }
    let count = parts.len();
    let parts = parts.iter().filter_map(written).collect::<Vec<_>>();
    (parts.len() == count).then(|| parts.join(","))
}
