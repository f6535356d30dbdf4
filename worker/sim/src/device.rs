//! One simulated device as pure state: a command and the time go in, replies come out.
//!
//! ```text
//! request ─→ execute ─→ replies, into the buffer of the connection that asked
//!               │
//!               ├─────→ events: rows for those who listen, on this and other connections
//!               └─────→ whether it was a trap, whether everybody is disconnected
//! ```
//!
//! A device knows neither sockets nor faults. Time is a duration since the fleet was started; the device's own
//! calendar starts at [`FLEET_EPOCH_S`].

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use routeros_wire::Sentence;

use crate::fault::Fault;
use crate::files::Files;
use crate::firmware::{Firmware, Work};
use crate::generate::{FLEET_EPOCH_S, Profile};
use crate::history::{History, SafeMode};
use crate::listen::{Event, Listener};
use crate::menu::{Menu, MenuId, Verb};
use crate::partitions::Partitions;
use crate::reply::Replies;
use crate::rng::Rng;
use crate::route::{Act, NoRoute, Route};
use crate::selection::{Follow, Selection};
use crate::table::{Row, Table};
use crate::trap::Trap;
use crate::version::{Version, duration};

/// The user whom a fleet's configuration lets in everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

/// What a user may do: the groups that every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Everything.
    Full,
    /// Look.
    Read,
    /// Everything but users, which takes the policy `policy`.
    Write,
}

/// Who gives a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The connection, by a number that no other connection of the fleet has.
    pub(crate) session: u64,
    pub(crate) group: Group,
}

/// What a command led to, beside its replies.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    /// The message of the trap, if the command was refused.
    pub(crate) trap: Option<Vec<u8>>,
    pub(crate) events: Vec<Event>,
    /// Whether the device restarts: every connection ends.
    pub(crate) reboots: bool,
    /// What it has begun and tells of until it is over, and where a file comes from.
    pub(crate) works: Option<(Work, Vec<u8>)>,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) profile: Profile,
    account: Arc<Account>,
    /// The tables that are no longer what the profile generates.
    changed: Vec<(MenuId, Table)>,
    pub(crate) listeners: Vec<Listener>,
    active: Vec<Active>,
    last_active: u32,
    /// When it was last restarted; never since the fleet was started, if none.
    pub(crate) booted: Option<Duration>,
    pub(crate) files: Files,
    pub(crate) history: History,
    pub(crate) safe_mode: SafeMode,
    /// The port of the API that clients see.
    pub(crate) api_port: u16,
    /// What its clock is ahead of the fleet's, seconds.
    pub(crate) clock_shift: i64,
    /// Until when it has done what was due.
    pub(crate) passed: Duration,
    /// It has just been switched on.
    pub(crate) starts: bool,
    /// A change has cut off those who are connected.
    pub(crate) cut: bool,
    /// Backups come out empty.
    pub(crate) saves_nothing: bool,
    pub(crate) scripts_deep: u32,
    pub(crate) firmware: Firmware,
    pub(crate) partitions: Partitions,
}

/// A row of `/user/active`.
#[derive(Debug)]
struct Active {
    id: u32,
    session: u64,
    since: Duration,
    user: Vec<u8>,
    group: Group,
    peer: Ipv4Addr,
}

impl Device {
    pub(crate) fn new(profile: Profile, account: Arc<Account>) -> Self {
        Self {
            profile,
            account,
            changed: Vec::new(),
            listeners: Vec::new(),
            active: Vec::new(),
            last_active: 0,
            booted: None,
            files: Files::default(),
            history: History::default(),
            safe_mode: SafeMode::default(),
            api_port: 0,
            clock_shift: 0,
            passed: Duration::ZERO,
            starts: false,
            cut: false,
            saves_nothing: false,
            scripts_deep: 0,
            firmware: Firmware::new(Arc::default()),
            partitions: Partitions::default(),
        }
    }

    /// With what its fleet says of all devices.
    pub(crate) fn set_up(mut self, safe_mode: SafeMode, api_port: u16, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self.safe_mode = safe_mode;
        self.api_port = api_port;
        self
    }

    pub(crate) fn version(&self) -> Version {
        self.profile.version
    }

    /// The name that `/system/identity` shows now.
    pub(crate) fn identity(&self) -> Vec<u8> {
        match self
            .changed(MenuId::SystemIdentity)
            .and_then(|table| table.rows().first())
        {
            Some(row) => row.get(b"name").unwrap_or_default().to_vec(),
            None => self.profile.identity().into_bytes(),
        }
    }

    /// Where a path leads on this device: what is no RouterBOARD has no `/system/routerboard`.
    pub(crate) fn route<'p>(&self, path: &'p [u8]) -> Result<Route, NoRoute<'p>> {
        match Route::of(path)? {
            Route::Menu(menu, _)
                if menu.id == MenuId::SystemRouterboard && !self.profile.board().is_routerboard() =>
            {
                Err(NoRoute::Directory(b"routerboard"))
            }
            Route::Menu(menu, _) if menu.id == MenuId::Partitions && !self.has_partitions() => {
                Err(NoRoute::Directory(b"partitions"))
            }
            Route::Act(act) if act.is_of_partitions() && !self.has_partitions() => {
                Err(NoRoute::Directory(b"partitions"))
            }
            route if !self.version().since(route.since().0, route.since().1) => {
                let first = path.split(|byte| *byte == b'/').find(|part| !part.is_empty());
                Err(match route {
                    Route::Act(Act::FileRead) => NoRoute::Command,
                    _ => NoRoute::Directory(first.unwrap_or_default()),
                })
            }
            route => Ok(route),
        }
    }

    /// Carries out one command and writes its replies, the last `!done` included, to `out`. A `listen` gets no
    /// reply: its rows are [`Event`]s until it is cancelled.
    pub(crate) fn execute(
        &mut self,
        route: Route,
        request: Sentence<'_>,
        caller: Caller,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Executed {
        let mut replies = Replies::new(out, request.tag());
        let result = match caller.group.allows(route) {
            false => Err(Trap::not_enough_permissions()),
            true => self.run(route, request, caller, now, &mut replies),
        };
        result.unwrap_or_else(|trap| {
            replies.trap(&trap);
            replies.done();
            Executed {
                trap: Some(trap.message.into_owned()),
                ..Executed::default()
            }
        })
    }

    pub(crate) fn run(
        &mut self,
        route: Route,
        request: Sentence<'_>,
        caller: Caller,
        now: Duration,
        replies: &mut Replies<'_>,
    ) -> Result<Executed, Trap> {
        let changed = match route {
            Route::Act(act) => return self.act(act, request, caller, now, replies),
            Route::Menu(menu, Verb::GetAll | Verb::Print) => {
                self.print(menu, request, caller, now, replies)?;
                return Ok(Executed::default());
            }
            Route::Menu(menu, Verb::Listen) => {
                self.listen(menu, Selection::of(request)?, request.tag(), caller);
                return Ok(Executed::default());
            }
            Route::Menu(menu, Verb::Remove) if menu.id == MenuId::File => {
                (menu, Verb::Remove, self.remove_files(request, now)?)
            }
            Route::Menu(menu, Verb::Set) if menu.id == MenuId::SystemPackageUpdate => {
                self.set_channel(request)?;
                replies.done();
                return Ok(Executed::default());
            }
            Route::Menu(menu, verb) => (menu, verb, self.change(menu, verb, request)?),
        };
        let (menu, verb, mut changes) = changed;
        match menu.id {
            MenuId::SystemScheduler => self.date_entries(&changes, now),
            MenuId::SystemClock => self.set_clock(now),
            _ => {}
        }
        self.remember(menu.id, verb, std::mem::take(&mut changes.undo), caller, now);
        if matches!(
            menu.id,
            MenuId::Interface | MenuId::IpAddress | MenuId::IpFirewallFilter
        ) {
            self.look_for_cut();
            if self.cut {
                self.holder_is_silent(now);
            }
        }
        match changes.returned() {
            Some(id) => replies.returned(id.as_bytes()),
            None => replies.done(),
        }
        Ok(Executed {
            events: self.events(menu, &changes, now),
            ..Executed::default()
        })
    }

    fn print(
        &mut self,
        menu: &'static Menu,
        request: Sentence<'_>,
        caller: Caller,
        now: Duration,
        replies: &mut Replies<'_>,
    ) -> Result<(), Trap> {
        let selection = Selection::of(request)?;
        if selection.follow != Follow::Only {
            let table = self.table(menu.id, now);
            let shown = table.rows().iter().filter(|row| selection.shows(menu, row));
            if selection.count_only {
                replies.returned(shown.count().to_string().as_bytes());
                return Ok(());
            }
            let count = shown.map(|row| selection.write(replies, menu, row)).count();
            if count == 0 && selection.follow == Follow::No && self.version().says_empty() {
                replies.empty();
            }
        }
        match selection.follow {
            Follow::No => replies.done(),
            Follow::Only | Follow::Yes => self.listen(menu, selection, request.tag(), caller),
        }
        Ok(())
    }

    /// Whether it was started so lately that some of its menus are not there yet.
    fn is_starting(&self, now: Duration) -> bool {
        let after = self.firmware.config.menus_after;
        self.booted.is_some_and(|booted| now < booted + after)
    }

    /// The items of a menu now.
    pub(crate) fn table(&self, menu: MenuId, now: Duration) -> Cow<'_, Table> {
        match menu {
            MenuId::File => Cow::Owned(self.files.table(self, now)),
            MenuId::Partitions => Cow::Owned(self.partition_table()),
            MenuId::SystemClock => Cow::Owned(self.clock(now)),
            MenuId::SystemDeviceMode => Cow::Owned(self.device_mode()),
            MenuId::SystemPackageUpdate => Cow::Owned(self.package_update(now)),
            MenuId::SystemRouterboard if self.is_starting(now) => Cow::Owned(Table::default()),
            MenuId::SystemPackage if self.is_starting(now) => {
                let mut first = Table::default();
                if let Some(row) = self.lasting(menu).rows().first() {
                    first.push(row.clone());
                }
                Cow::Owned(first)
            }
            MenuId::SystemRouterboard => Cow::Owned(self.routerboard()),
            MenuId::SystemHistory => Cow::Owned(self.history.table(self)),
            MenuId::SystemNtpClient => Cow::Owned(self.ntp_client(now)),
            MenuId::SystemScheduler => Cow::Owned(self.scheduler()),
            MenuId::UserActive => Cow::Owned(self.active_users()),
            MenuId::SystemResource => Cow::Owned(self.resource(now)),
            _ => self.lasting(menu),
        }
    }

    /// The items of a menu whatever the time is.
    pub(crate) fn lasting(&self, menu: MenuId) -> Cow<'_, Table> {
        match self.changed(menu) {
            Some(table) => Cow::Borrowed(table),
            None => Cow::Owned(self.generated(menu)),
        }
    }

    /// The items of a menu, to be changed and kept.
    pub(crate) fn table_mut(&mut self, menu: MenuId) -> &mut Table {
        let at = match self.changed.iter().position(|(known, _)| *known == menu) {
            Some(at) => at,
            None => {
                let table = self.generated(menu);
                self.changed.push((menu, table));
                self.changed.len() - 1
            }
        };
        &mut self.changed[at].1
    }

    pub(crate) fn changed(&self, menu: MenuId) -> Option<&Table> {
        let found = self.changed.iter().find(|(known, _)| *known == menu);
        found.map(|(_, table)| table)
    }

    /// The configuration that somebody has changed, as a backup has it.
    pub(crate) fn configuration(&self) -> impl Iterator<Item = (MenuId, &Table)> {
        let kept = self
            .changed
            .iter()
            .filter(|(menu, _)| !matches!(menu, MenuId::SystemPackage | MenuId::Partitions));
        kept.map(|(menu, table)| (*menu, table))
    }

    /// Puts the configuration of a backup in the place of what there is.
    pub(crate) fn replace_configuration(&mut self, tables: Vec<(MenuId, Table)>) {
        self.changed
            .retain(|(menu, _)| matches!(menu, MenuId::SystemPackage | MenuId::Partitions));
        self.changed.extend(tables);
        self.forget_history();
        self.look_for_cut();
    }

    /// Notes whether a change has cut off those who are connected.
    pub(crate) fn look_for_cut(&mut self) {
        self.cut = self.is_cut();
    }

    /// The name of the user of a session.
    pub(crate) fn user_of(&self, session: u64) -> Vec<u8> {
        let found = self.active.iter().find(|active| active.session == session);
        found.map_or_else(|| self.account.name.clone(), |active| active.user.clone())
    }

    /// The tables that belong to the system that runs, configuration and packages.
    pub(crate) fn system(&self) -> Vec<(MenuId, Table)> {
        let own = self
            .changed
            .iter()
            .filter(|(menu, _)| *menu != MenuId::Partitions);
        own.cloned().collect()
    }

    /// Another system runs.
    pub(crate) fn replace_system(&mut self, tables: Vec<(MenuId, Table)>) {
        self.changed.retain(|(menu, _)| *menu == MenuId::Partitions);
        self.changed.extend(tables);
    }

    fn generated(&self, menu: MenuId) -> Table {
        if menu == MenuId::Partitions {
            return self.born_partitions();
        }
        let mut table = self.profile.table(menu);
        if menu == MenuId::User
            && let Some(row) = table.row_mut(1)
        {
            row.set("name", self.account.name.clone());
            row.set("password", self.account.password.clone());
            while let Some(namesake) = table.holder("name", &self.account.name, Some(1)) {
                table.remove(namesake);
            }
        }
        table
    }

    fn resource(&self, now: Duration) -> Table {
        let mut table = self.profile.table(MenuId::SystemResource);
        let uptime = match self.booted {
            Some(at) => now.saturating_sub(at),
            None => self.profile.uptime_before() + now,
        };
        // The load changes every few seconds, as it does on a device.
        let load = Rng::keyed(self.profile.seed, &[self.profile.index as u64, now.as_secs() / 5]).below(30);
        let load = match self.firmware.trouble {
            Some(Fault::Busy) => 100 - load / 10,
            _ => load,
        };
        if let Some(row) = table.row_mut(0) {
            row.set("uptime", duration(uptime.as_secs()).into_bytes());
            row.set("cpu-load", load.to_string().into_bytes());
        }
        table
    }

    fn active_users(&self) -> Table {
        let mut table = Table::default();
        for active in &self.active {
            let when = FLEET_EPOCH_S + active.since.as_secs() as i64;
            table.push(
                Row::numbered(active.id)
                    .with("when", self.version().date(when))
                    .with("name", active.user.clone())
                    .with("address", active.peer.to_string())
                    .with("via", "api")
                    .with("group", active.group.name())
                    .with("radius", self.version().boolean(false)),
            );
        }
        table
    }

    /// The password and the group of a user who may log in.
    pub(crate) fn credentials(&self, name: &[u8]) -> Option<(Vec<u8>, Group)> {
        if name == self.account.name && self.changed(MenuId::User).is_none() {
            return Some((self.account.password.clone(), Group::Full));
        }
        let users = self.table(MenuId::User, Duration::ZERO);
        let row = users.row(users.find(name, Some("name"))?)?;
        if row.get(b"disabled") == Some(self.version().boolean(true).as_bytes()) {
            return None;
        }
        let group = Group::named(row.get(b"group").unwrap_or_default());
        Some((row.get(b"password").unwrap_or_default().to_vec(), group))
    }

    /// Notes that a session has logged in, again perhaps. Returns what listeners hear of it.
    pub(crate) fn attach(
        &mut self,
        caller: Caller,
        user: &[u8],
        peer: Ipv4Addr,
        now: Duration,
    ) -> Vec<Event> {
        let mut events = self.leave(caller.session);
        self.last_active += 1;
        self.active.push(Active {
            id: self.last_active,
            session: caller.session,
            since: now,
            user: user.to_vec(),
            group: caller.group,
            peer,
        });
        events.extend(self.alive(MenuId::UserActive.menu(), self.last_active, now));
        events
    }

    /// Notes that a session has ended. Returns what listeners hear of it.
    pub(crate) fn detach(&mut self, session: u64) -> Vec<Event> {
        self.listeners.retain(|listener| listener.session != session);
        self.leave(session)
    }

    fn leave(&mut self, session: u64) -> Vec<Event> {
        let Some(at) = self.active.iter().position(|active| active.session == session) else {
            return Vec::new();
        };
        let gone = self.active.swap_remove(at).id;
        self.dead(MenuId::UserActive.menu(), gone)
    }

    pub(crate) fn reboot(&mut self, now: Duration) {
        // What was done in safe mode was never made to last.
        self.roll_back();
        self.forget_history();
        self.look_for_cut();
        let now = self.restart_firmware(now);
        self.booted = Some(now);
        self.passed = now;
        self.starts = true;
        self.listeners.clear();
        self.active.clear();
        if self.changed(MenuId::SystemPackage).is_some() {
            self.apply_scheduled();
        }
    }
}

impl Group {
    fn named(name: &[u8]) -> Self {
        match name {
            b"full" => Self::Full,
            b"write" => Self::Write,
            _ => Self::Read,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    fn allows(self, route: Route) -> bool {
        match (self, route) {
            (Self::Full, _) => true,
            (_, route) if !route.is_mutating() => true,
            (_, Route::Act(Act::Password)) => true,
            (Self::Write, Route::Menu(menu, _)) => menu.id != MenuId::User,
            (Self::Write, Route::Act(_)) => true,
            (Self::Read, _) => false,
        }
    }
}

#[cfg(test)]
mod tests;
