//! The partitions of a device whose storage is NAND: each may hold a system, and one that does not start is left for another.
//!
//! ```text
//! start ──the active one──▶ runs
//!   └──does not start──▶ what it falls back to ──▶ runs, and is not active
//! ```
//!
//! Texts for people are made up: nobody has written down what devices say.

use std::time::Duration;

use routeros_wire::Sentence;

use crate::device::Device;
use crate::fault::Fault;
use crate::files::Files;
use crate::firmware::Work;
use crate::menu::MenuId;
use crate::table::{Row, Table};
use crate::trap::Trap;
use crate::version::Version;

/// What is on the partitions beside the one that runs.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    /// The places of the one that is started first, and the one that was.
    active: usize,
    running: usize,
    /// The active one does not start any more.
    broken: bool,
    systems: Vec<(usize, System)>,
}

/// A system that does not run.
#[derive(Clone, Debug)]
struct System {
    version: Version,
    tables: Vec<(MenuId, Table)>,
    files: Files,
}

/// What came of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    Active,
    Fallback,
    None,
}

impl Partitions {
    /// What was installed on the one that runs does not start.
    pub(crate) fn breaks(&mut self) {
        self.broken |= self.running == self.active;
    }

    fn system(&self, place: usize) -> Option<&System> {
        self.systems
            .iter()
            .find(|(known, _)| *known == place)
            .map(|(_, system)| system)
    }

    fn put(&mut self, place: usize, system: System) {
        self.systems.retain(|(known, _)| *known != place);
        self.systems.push((place, system));
    }
}

impl Device {
    pub(crate) fn has_partitions(&self) -> bool {
        self.profile.board().has_nand()
    }

    /// The partitions as they are by birth, what is on them left out.
    pub(crate) fn born_partitions(&self) -> Table {
        let mut table = Table::default();
        for place in 0..self.firmware.config.partitions.clamp(1, 8) {
            let row = Row::default()
                .with("name", format!("part{place}"))
                .with("fallback-to", "next");
            table.add(row, None);
        }
        table
    }

    fn named_partitions(&self) -> Table {
        let changed = self.changed(MenuId::Partitions);
        changed.map_or_else(|| self.born_partitions(), Clone::clone)
    }

    /// `/partitions` now.
    pub(crate) fn partition_table(&self) -> Table {
        let mut table = self.named_partitions();
        let own = self.version();
        let count = table.rows().len().max(1);
        let size = format!("{}MiB", self.profile.board().storage() / count as u64);
        for (place, row) in table.rows_mut().iter_mut().enumerate() {
            let runs = place == self.partitions.running;
            let version = match self.partitions.system(place) {
                _ if runs => Some(own),
                system => system.map(|system| system.version),
            };
            let text = version.map_or_else(
                || "EMPTY".to_owned(),
                |version| {
                    let built = own.date(crate::generate::FLEET_EPOCH_S - 86_400);
                    format!("RouterOS v{version} {built}")
                },
            );
            row.set("version", text.into_bytes());
            row.set("size", size.clone().into_bytes());
            row.set("active", own.boolean(place == self.partitions.active).into());
            row.set("running", own.boolean(runs).into());
        }
        table
    }

    /// The place of the partition that a command names, which is not the one that runs.
    fn other_partition(&self, request: Sentence<'_>) -> Result<usize, Trap> {
        if self.firmware.trouble == Some(Fault::DeviceMode) {
            return Err(Trap::failure("not allowed by device-mode"));
        }
        let name = request.get(b".id").or_else(|| request.get(b"numbers"));
        let name = name.ok_or_else(|| Trap::missing("numbers"))?;
        let table = self.named_partitions();
        let id = table.find(name, Some("name")).ok_or_else(Trap::no_such_item)?;
        let place = table.rows().iter().position(|row| row.id == id);
        match place.filter(|place| *place != self.partitions.running) {
            Some(place) => Ok(place),
            None => Err(Trap::failure("it is the running partition")),
        }
    }

    /// `/partitions/copy-to`: takes a while.
    pub(crate) fn copy_to_partition(&mut self, request: Sentence<'_>, now: Duration) -> Result<Work, Trap> {
        let to = self.other_partition(request)?;
        self.begin_work(Work::Copy { to, since: now }, now)
    }

    /// What was there is gone as soon as it is written to.
    pub(crate) fn begin_copy(&mut self, to: usize) {
        self.partitions.systems.retain(|(place, _)| *place != to);
    }

    pub(crate) fn end_copy(&mut self, to: usize) {
        let system = self.own_system();
        self.partitions.put(to, system);
    }

    fn own_system(&self) -> System {
        System {
            version: self.version(),
            tables: self.system(),
            files: self.files.clone(),
        }
    }

    /// `/partitions/activate`.
    pub(crate) fn activate_partition(&mut self, request: Sentence<'_>) -> Result<(), Trap> {
        let place = match self.other_partition(request) {
            Ok(place) => place,
            // The one that runs, and may have been fallen back to.
            Err(_) if self.partitions.running != self.partitions.active => self.partitions.running,
            Err(trap) => return Err(trap),
        };
        if place != self.partitions.running && self.partitions.system(place).is_none() {
            return Err(Trap::failure("the partition is empty"));
        }
        (self.partitions.active, self.partitions.broken) = (place, false);
        Ok(())
    }

    /// `/partitions/save-config-to`: what else is there stays.
    pub(crate) fn save_to_partition(&mut self, request: Sentence<'_>) -> Result<(), Trap> {
        let place = self.other_partition(request)?;
        let own = self.system();
        let found = self
            .partitions
            .systems
            .iter_mut()
            .find(|(known, _)| *known == place);
        let (_, system) = found.ok_or_else(|| Trap::failure("the partition is empty"))?;
        let is_package = |menu: &MenuId| *menu == MenuId::SystemPackage;
        system.tables.retain(|(menu, _)| is_package(menu));
        system
            .tables
            .extend(own.into_iter().filter(|(menu, _)| !is_package(menu)));
        Ok(())
    }

    /// `/partitions/restore-config-from`.
    pub(crate) fn restore_from_partition(&mut self, request: Sentence<'_>) -> Result<(), Trap> {
        let place = self.other_partition(request)?;
        let system = self.partitions.system(place);
        let tables = system.ok_or_else(|| Trap::failure("the partition is empty"))?;
        let tables = tables.tables.iter();
        let tables = tables.filter(|(menu, _)| *menu != MenuId::SystemPackage);
        self.replace_configuration(tables.cloned().collect());
        Ok(())
    }

    /// Where the device goes when it is started: to the active partition, or to the one that it falls back to.
    pub(crate) fn start_partition(&mut self) -> Started {
        let place = match self.partitions.broken {
            false => self.partitions.active,
            true => match self.fallback_place() {
                Some(place) => place,
                None => return Started::None,
            },
        };
        if place != self.partitions.running {
            let Some(system) = self.partitions.system(place).cloned() else {
                return Started::None;
            };
            if !system.files.packages().is_empty() {
                // It has what did not start, too.
                return Started::None;
            }
            let left = self.own_system();
            self.partitions.put(self.partitions.running, left);
            self.partitions.running = place;
            self.profile.version = system.version;
            self.replace_system(system.tables);
            self.files = system.files;
            self.look_for_cut();
        }
        match self.partitions.broken {
            true => Started::Fallback,
            false => Started::Active,
        }
    }

    /// The partition that the active one falls back to.
    fn fallback_place(&self) -> Option<usize> {
        let table = self.named_partitions();
        let rows = table.rows();
        let to = rows.get(self.partitions.active)?.get(b"fallback-to")?;
        match to {
            b"etherboot" => None,
            b"next" => Some((self.partitions.active + 1) % rows.len()),
            name => rows.iter().position(|row| row.get(b"name") == Some(name)),
        }
        .filter(|place| *place != self.partitions.active)
    }
}
