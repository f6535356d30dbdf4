//! From the first word of a request to what it asks for.

use crate::menu::{MENUS, Menu, Verb};

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// A command that is no verb of a menu.
    Act(Act),
    /// A verb of a menu.
    Menu(&'static Menu, Verb),
}

/// The commands beside the verbs of menus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    BackupLoad,
    BackupSave,
    BandwidthTest,
    Cancel,
    Execute,
    Export,
    Fetch,
    FileRead,
    FlushDnsCache,
    Login,
    MonitorTraffic,
    PackageCheck,
    PackageDowngrade,
    PackageDownload,
    PackageInstall,
    PartitionActivate,
    PartitionCopy,
    PartitionRestore,
    PartitionSave,
    Password,
    Ping,
    Quit,
    Reboot,
    RouterboardUpgrade,
    SafeModeRelease,
    SafeModeTake,
    SafeModeUnroll,
    ScriptRun,
    Undo,
}

impl Act {
    const ALL: [(Self, &'static str); 29] = [
        (Self::BackupLoad, "/system/backup/load"),
        (Self::BackupSave, "/system/backup/save"),
        (Self::BandwidthTest, "/tool/bandwidth-test"),
        (Self::Cancel, "/cancel"),
        (Self::Execute, "/execute"),
        (Self::Export, "/export"),
        (Self::Fetch, "/tool/fetch"),
        (Self::FileRead, "/file/read"),
        (Self::FlushDnsCache, "/ip/dns/cache/flush"),
        (Self::Login, "/login"),
        (Self::MonitorTraffic, "/interface/monitor-traffic"),
        (Self::PackageCheck, "/system/package/update/check-for-updates"),
        (Self::PackageDowngrade, "/system/package/downgrade"),
        (Self::PackageDownload, "/system/package/update/download"),
        (Self::PackageInstall, "/system/package/update/install"),
        (Self::PartitionActivate, "/partitions/activate"),
        (Self::PartitionCopy, "/partitions/copy-to"),
        (Self::PartitionRestore, "/partitions/restore-config-from"),
        (Self::PartitionSave, "/partitions/save-config-to"),
        (Self::Password, "/password"),
        (Self::Ping, "/ping"),
        (Self::Quit, "/quit"),
        (Self::Reboot, "/system/reboot"),
        (Self::RouterboardUpgrade, "/system/routerboard/upgrade"),
        (Self::SafeModeRelease, "/safe-mode/release"),
        (Self::SafeModeTake, "/safe-mode/take"),
        (Self::SafeModeUnroll, "/safe-mode/unroll"),
        (Self::ScriptRun, "/system/script/run"),
        (Self::Undo, "/undo"),
    ];

    pub(crate) fn is_of_partitions(self) -> bool {
        matches!(
            self,
            Self::PartitionActivate | Self::PartitionCopy | Self::PartitionRestore | Self::PartitionSave
        )
    }
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute<'a> {
    /// The menu exists and has no such verb.
    Command,
    /// This part of the path does not exist.
    Directory(&'a [u8]),
}

impl Route {
    /// Number of routes that [`slot`](Self::slot) tells apart.
    pub(crate) const SLOTS: usize = Act::ALL.len() + MENUS.len() * Verb::ALL.len();

    /// Reads a path such as `/ip/address/print`.
    pub(crate) fn of(path: &[u8]) -> Result<Self, NoRoute<'_>> {
        if let Some(&(act, _)) = Act::ALL.iter().find(|(_, known)| known.as_bytes() == path) {
            return Ok(Self::Act(act));
        }
        let split = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let (parent, last) = path.split_at(split);
        match MENUS.iter().find(|menu| menu.path.as_bytes() == parent) {
            Some(menu) => {
                let verb = last
                    .get(1..)
                    .and_then(Verb::named)
                    .filter(|verb| menu.verbs.contains(verb));
                verb.map(|verb| Self::Menu(menu, verb)).ok_or(NoRoute::Command)
            }
            None => Err(NoRoute::Directory(missing_part(path))),
        }
    }

    /// The first version that has it.
    pub(crate) fn since(self) -> (u16, u16) {
        match self {
            Self::Act(Act::FileRead) => (7, 13),
            Self::Menu(menu, _) => menu.id.since(),
            Self::Act(Act::SafeModeRelease | Act::SafeModeTake | Act::SafeModeUnroll) => (7, 18),
            _ => (0, 0),
        }
    }

    pub(crate) fn is_mutating(self) -> bool {
        match self {
            Self::Act(act) => !matches!(
                act,
                Act::BandwidthTest
                    | Act::Cancel
                    | Act::FileRead
                    | Act::Login
                    | Act::MonitorTraffic
                    | Act::Ping
                    | Act::Quit
            ),
            Self::Menu(_, verb) => verb.is_mutating(),
        }
    }

    /// A number for this route, below [`SLOTS`](Self::SLOTS).
    pub(crate) fn slot(self) -> usize {
        match self {
            Self::Act(act) => act as usize,
            Self::Menu(menu, verb) => Act::ALL.len() + menu.id as usize * Verb::ALL.len() + verb as usize,
        }
    }

    /// The path of the route with this number.
    pub(crate) fn path_of(slot: usize) -> String {
        match slot.checked_sub(Act::ALL.len()) {
            None => Act::ALL[slot].1.to_owned(),
            Some(at) => format!(
                "{}/{}",
                MENUS[at / Verb::ALL.len()].path,
                Verb::ALL[at % Verb::ALL.len()].1
            ),
        }
    }
}

/// The first part of `path` that leads out of everything there is.
fn missing_part(path: &[u8]) -> &[u8] {
    let known = |prefix: &[u8]| {
        let paths = MENUS
            .iter()
            .map(|menu| menu.path)
            .chain(Act::ALL.map(|(_, path)| path));
        paths.into_iter().any(|path| {
            let rest = path.as_bytes().strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    };
    let mut end = 0;
    for part in path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .split(|&byte| byte == b'/')
    {
        end += usize::from(path[end..].starts_with(b"/")) + part.len();
        if !known(&path[..end]) {
            return part;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_verbs() {
        assert!(matches!(Route::of(b"/login"), Ok(Route::Act(Act::Login))));
        let route = Route::of(b"/ip/address/print").expect("exists");
        assert!(matches!(route, Route::Menu(menu, Verb::Print) if menu.path == "/ip/address"));
        assert!(matches!(Route::of(b"/user/print"), Ok(Route::Menu(..))));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (path, part) in [
            ("/ip/foo/print", "foo"),
            ("/nonsense", "nonsense"),
            ("/system/identity/deep/print", "deep"),
            ("print", "print"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(
                Route::of(path.as_bytes()).unwrap_err(),
                NoRoute::Directory(part.as_bytes()),
                "{path}"
            );
        }
        assert_eq!(Route::of(b"/interface/frobnicate").unwrap_err(), NoRoute::Command);
        assert_eq!(Route::of(b"/interface/add").unwrap_err(), NoRoute::Command);
    }

    #[test]
    fn every_slot_has_a_path_that_leads_back() {
        let mut routes = 0;
        for slot in 0..Route::SLOTS {
            if let Ok(route) = Route::of(Route::path_of(slot).as_bytes()) {
                assert_eq!(route.slot(), slot);
                routes += 1;
            }
        }
        assert!(routes > 60, "{routes}");
        for (at, (act, _)) in Act::ALL.iter().enumerate() {
            assert_eq!(*act as usize, at);
        }
        for (at, (verb, _)) in Verb::ALL.iter().enumerate() {
            assert_eq!(*verb as usize, at);
        }
    }
}
