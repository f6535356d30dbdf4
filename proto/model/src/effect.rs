//! What a command can do to a device (fleet-semantics A3).

use serde::{Deserialize, Serialize};

/// The class of a command's effect, from harmless to disruptive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Looks, and leaves no trace but a line in the log.
    Read,
    /// Adds files only.
    Stage,
    /// Changes configuration or state; also whatever muster does not know.
    Change,
    /// Interrupts service: reboots, upgrades.
    Disrupt,
}

impl Effect {
    /// Whether the command may be repeated without asking what became of it.
    pub fn is_read(self) -> bool {
        self == Self::Read
    }

    /// What it does, as a verb: "it is known to …".
    pub fn does(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Stage => "leave files",
            Self::Change => "change things",
            Self::Disrupt => "interrupt service",
        }
    }

    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Stage => "stage",
            Self::Change => "change",
            Self::Disrupt => "disrupt",
        }
    }
}

/// Verbs that mean the same in every menu, with the reason for their class. What is known to change anything is listed
/// too, although it would be a change anyway: nobody can declare it a read.
const VERBS: &[(&str, Effect, &str)] = &[
    ("getall", Effect::Read, "print by its other name"),
    ("listen", Effect::Read, "rows as they change"),
    ("monitor", Effect::Read, "values as they change"),
    ("monitor-traffic", Effect::Read, "values as they change"),
    ("print", Effect::Read, "rows"),
    ("add", Effect::Change, "a new item"),
    ("comment", Effect::Change, "an item's comment"),
    ("disable", Effect::Change, "an item's state"),
    ("edit", Effect::Change, "an item's value"),
    ("enable", Effect::Change, "an item's state"),
    ("flush", Effect::Change, "drops what was learned"),
    ("move", Effect::Change, "the order of items"),
    ("release", Effect::Change, "gives up an address or a hold"),
    ("remove", Effect::Change, "an item goes"),
    ("renew", Effect::Change, "a lease or a certificate"),
    ("reset", Effect::Change, "values fall back"),
    ("reset-counters", Effect::Change, "counters are state"),
    ("reset-counters-all", Effect::Change, "counters are state"),
    ("reset-mac-address", Effect::Change, "an address changes"),
    ("run", Effect::Change, "runs a script, which may do anything"),
    ("set", Effect::Change, "an item's values"),
    ("unset", Effect::Change, "an item's value"),
];

/// Commands known by their whole path, with the reason for their class. Everything that is in neither table is a
/// change.
const COMMANDS: &[(&str, Effect, &str)] = &[
    ("/console/inspect", Effect::Read, "the command tree"),
    ("/export", Effect::Read, "prints the configuration"),
    ("/file/read", Effect::Read, "a part of a file"),
    ("/interface/lte/info", Effect::Read, "values as they change"),
    ("/ip/route/check", Effect::Read, "where a packet would go"),
    ("/ping", Effect::Read, "sends packets"),
    ("/resolve", Effect::Read, "asks for a name"),
    ("/tool/ping", Effect::Read, "sends packets"),
    ("/tool/torch", Effect::Read, "values as they change"),
    ("/tool/traceroute", Effect::Read, "sends packets"),
    (
        "/tool/fetch",
        Effect::Stage,
        "writes the files it fetches; device-mode gates it, a read is not gated",
    ),
    ("/system/backup/save", Effect::Stage, "a file"),
    (
        "/system/package/update/check-for-updates",
        Effect::Stage,
        "clears latest-version and interrupts a running download (facts §3.2)",
    ),
    ("/system/package/update/download", Effect::Stage, "files"),
    ("/system/sup-output", Effect::Stage, "a file"),
    ("/execute", Effect::Change, "runs a script, which may do anything"),
    ("/import", Effect::Change, "runs a script, which may do anything"),
    ("/redo", Effect::Change, "an action again"),
    ("/undo", Effect::Change, "an action back"),
    ("/safe-mode/take", Effect::Change, "a hold that ends by undoing"),
    ("/safe-mode/unroll", Effect::Change, "undoes"),
    (
        "/system/device-mode/update",
        Effect::Change,
        "what the device allows",
    ),
    (
        "/system/backup/load",
        Effect::Disrupt,
        "a restored backup reboots the device",
    ),
    ("/system/package/apply-changes", Effect::Disrupt, "reboots"),
    ("/system/package/downgrade", Effect::Disrupt, "reboots"),
    ("/system/package/update/install", Effect::Disrupt, "reboots"),
    ("/system/reboot", Effect::Disrupt, "reboots"),
    (
        "/system/reset-configuration",
        Effect::Disrupt,
        "reboots, and forgets",
    ),
    (
        "/system/routerboard/upgrade",
        Effect::Disrupt,
        "new firmware at the next boot",
    ),
    (
        "/system/shutdown",
        Effect::Disrupt,
        "nobody is there to switch it on",
    ),
];

/// Verbs that act on one item, or on the menu's only one: a trap says that it was not done (A5).
const ON_ONE_ITEM: &[&str] = &["add", "disable", "enable", "move", "remove", "set", "unset"];

/// The effect of the command at `path`, with these attribute names (without `=`).
///
/// ```
/// use muster_model::{Effect, effect};
/// assert_eq!(effect::of("/ip/address/print", []), Effect::Read);
/// assert_eq!(effect::of("/export", ["file"]), Effect::Stage);
/// assert_eq!(effect::of("/ip/address/frobnicate", []), Effect::Change);
/// ```
pub fn of<'a>(path: &str, attributes: impl IntoIterator<Item = &'a str>) -> Effect {
    known(path, attributes).unwrap_or(Effect::Change)
}

/// The effect of the command at `path` if it is in the tables.
pub fn known<'a>(path: &str, attributes: impl IntoIterator<Item = &'a str>) -> Option<Effect> {
    let verb = verb(path);
    let whole = |wanted: &str| COMMANDS.iter().find(|(command, ..)| *command == wanted);
    // `export` exists in every menu.
    let command = whole(path).or_else(|| whole("/export").filter(|_| verb == "export"));
    let known = command.or_else(|| VERBS.iter().find(|(known, ..)| *known == verb));
    match known.map(|(_, effect, _)| *effect) {
        // `print file=` and `export file=` leave a file behind.
        Some(Effect::Read) if attributes.into_iter().any(|name| name == "file") => Some(Effect::Stage),
        known => known,
    }
}

/// Whether the command acts on one item at most, if it names one.
pub fn acts_on_one_item(path: &str) -> bool {
    ON_ONE_ITEM.contains(&verb(path)) && COMMANDS.iter().all(|(command, ..)| *command != path)
}

/// Whether the device evaluates query words for the command: only `print` does, and its other name.
pub fn honours_queries(path: &str) -> bool {
    matches!(verb(path), "print" | "getall")
}

fn verb(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_matches_only() {
        for (path, effect) in [
            ("/system/resource/print", Effect::Read),
            ("/interface/getall", Effect::Read),
            ("/interface/monitor-traffic", Effect::Read),
            ("/ip/firewall/export", Effect::Read),
            ("/ip/dns/set", Effect::Change),
            ("/printer/reset", Effect::Change),
            ("/system/script/run", Effect::Change),
            ("/interface/print-and-burn", Effect::Change),
            ("/system/package/update/check-for-updates", Effect::Stage),
            ("/system/reboot", Effect::Disrupt),
            ("/x/reboot", Effect::Change),
        ] {
            assert_eq!(of(path, []), effect, "{path}");
        }
    }

    #[test]
    fn a_read_that_leaves_a_file_is_staging() {
        assert_eq!(of("/ip/address/print", ["file"]), Effect::Stage);
        assert_eq!(of("/interface/export", ["file"]), Effect::Stage);
    }

    #[test]
    fn the_tables_are_free_of_duplicates() {
        for table in [COMMANDS, VERBS] {
            let mut names = table.iter().map(|(name, ..)| name).collect::<Vec<_>>();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), table.len());
            assert!(table.iter().all(|(.., reason)| !reason.is_empty()));
        }
    }
}
