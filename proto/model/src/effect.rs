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

/// Verbs that mean the same in every menu.
const VERBS: &[(&str, Effect)] = &[
    ("getall", Effect::Read),
    ("listen", Effect::Read),
    ("monitor", Effect::Read),
    ("monitor-traffic", Effect::Read),
    ("print", Effect::Read),
];

/// Commands known by their whole path. Everything that is in neither table is a change.
const COMMANDS: &[(&str, Effect)] = &[
    ("/console/inspect", Effect::Read),
    ("/export", Effect::Read),
    ("/file/read", Effect::Read),
    ("/interface/lte/info", Effect::Read),
    ("/ip/route/check", Effect::Read),
    ("/ping", Effect::Read),
    ("/resolve", Effect::Read),
    ("/tool/ping", Effect::Read),
    ("/tool/torch", Effect::Read),
    ("/tool/traceroute", Effect::Read),
    // Writes the files it fetches; device-mode gates it, a read is not gated.
    ("/tool/fetch", Effect::Stage),
    ("/system/backup/save", Effect::Stage),
    // Clears `latest-version` and interrupts a running download (facts §3.2): not a read.
    ("/system/package/update/check-for-updates", Effect::Stage),
    ("/system/package/update/download", Effect::Stage),
    ("/system/sup-output", Effect::Stage),
    // A restored backup reboots the device.
    ("/system/backup/load", Effect::Disrupt),
    ("/system/package/apply-changes", Effect::Disrupt),
    ("/system/package/downgrade", Effect::Disrupt),
    ("/system/package/update/install", Effect::Disrupt),
    ("/system/reboot", Effect::Disrupt),
    ("/system/reset-configuration", Effect::Disrupt),
    ("/system/routerboard/upgrade", Effect::Disrupt),
    ("/system/shutdown", Effect::Disrupt),
];

/// The effect of the command at `path`, with these attribute names (without `=`).
///
/// ```
/// use muster_model::{Effect, effect};
/// assert_eq!(effect::of("/ip/address/print", []), Effect::Read);
/// assert_eq!(effect::of("/export", ["file"]), Effect::Stage);
/// assert_eq!(effect::of("/ip/address/frobnicate", []), Effect::Change);
/// ```
pub fn of<'a>(path: &str, attributes: impl IntoIterator<Item = &'a str>) -> Effect {
    let verb = path.rsplit('/').next().unwrap_or_default();
    let known = COMMANDS.iter().find(|(command, _)| *command == path);
    // `export` exists in every menu.
    let known = known.or_else(|| {
        COMMANDS
            .iter()
            .find(|(command, _)| verb == "export" && *command == "/export")
    });
    let effect = known
        .or_else(|| VERBS.iter().find(|(known, _)| *known == verb))
        .map(|(_, effect)| *effect);
    match effect {
        // `print file=` and `export file=` leave a file behind.
        Some(Effect::Read) if attributes.into_iter().any(|name| name == "file") => Effect::Stage,
        Some(effect) => effect,
        None => Effect::Change,
    }
}

/// Whether the device evaluates query words for the command: only `print` does, and its other name.
pub fn honours_queries(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("print" | "getall"))
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
        let mut paths = COMMANDS.iter().map(|(path, _)| path).collect::<Vec<_>>();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), COMMANDS.len());
    }
}
