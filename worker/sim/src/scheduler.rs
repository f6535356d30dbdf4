//! What a device does by itself: its clock, what it runs at a time or when it starts, and the end of safe mode.
//!
//! A device is looked at when somebody talks to it or connects to it, and then does whatever was due since, in order. So
//! nothing has to wait for it, and thousands of devices with schedules cost nothing.

use std::time::Duration;

use routeros_wire::value::{DateTime, boolean, duration};

use crate::device::{Caller, Device, Group};
use crate::generate::FLEET_EPOCH_S;
use crate::listen::Changes;
use crate::menu::MenuId;
use crate::table::{Row, Table};

/// What came of the time that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// It restarted: every connection ends.
    pub(crate) restarted: bool,
    /// Something happened at all.
    pub(crate) anything: bool,
}

/// What a clock says that was reset: 1970-01-02 00:00:00.
const RESET_S: i64 = 86_400;

/// Things that a device does one after the other before it is taken to go round in a circle.
const MOST: usize = 10_000;

impl Device {
    /// What its clock says at a time, in seconds since 1970. After a start it says the second of January 1970 until a server
    /// has set it.
    pub(crate) fn clock_at(&self, now: Duration) -> i64 {
        match (self.booted, self.clock_is_set_at()) {
            (Some(booted), Some(set)) if now < set => RESET_S + now.saturating_sub(booted).as_secs() as i64,
            _ => FLEET_EPOCH_S + now.as_secs() as i64 + self.clock_shift,
        }
    }

    /// When a server sets its clock after its last start, if that reset it.
    fn clock_is_set_at(&self) -> Option<Duration> {
        let after = self.firmware.config.clock_set_after;
        self.booted
            .filter(|_| !after.is_zero())
            .map(|booted| booted + after)
    }

    /// Does what is due.
    pub(crate) fn pass(&mut self, now: Duration) -> Passed {
        let mut passed = Passed::default();
        for _ in 0..MOST {
            if std::mem::take(&mut self.starts) {
                passed.anything = true;
                passed.restarted |= self.run_at_startup(now);
                continue;
            }
            // What is scheduled next is known by the clock: when that is set, it is looked for anew.
            if let Some(set) = self
                .clock_is_set_at()
                .filter(|set| (self.passed..now).contains(set))
                && self.passed < set
                && self.next_scheduled().is_none_or(|(at, _)| at > set)
            {
                self.passed = set;
                continue;
            }
            let scheduled = self.next_scheduled();
            let ends = self.safe_mode_ends();
            let scheduled = scheduled.filter(|(at, _)| *at <= now && ends.is_none_or(|ends| *at <= ends));
            if let Some((at, id)) = scheduled {
                self.passed = at;
                passed.anything = true;
                passed.restarted |= self.run_scheduled(id, at);
            } else if let Some(at) = ends.filter(|ends| *ends <= now) {
                self.passed = at;
                passed.anything = true;
                self.roll_back();
                self.look_for_cut();
            } else {
                break;
            }
        }
        self.passed = now;
        passed
    }

    /// What is scheduled next, after the time that has passed, and when.
    fn next_scheduled(&self) -> Option<(Duration, u32)> {
        let table = self.changed(MenuId::SystemScheduler)?;
        let clock = self.clock_at(self.passed);
        let yes = self.version().boolean(true).as_bytes();
        let due = |row: &Row| {
            if row.get(b"disabled") == Some(yes) {
                return None;
            }
            let interval = duration::parse(row.get(b"interval")?).map_or(0, |every| every.as_secs() as i64);
            let start = match row.get(b"start-time")? {
                b"startup" => self.clock_at(self.booted.unwrap_or_default()),
                time => moment(row.get(b"start-date")?, time)?,
            };
            let at = match (start > clock, interval) {
                (true, _) => start,
                (false, 0) => return None,
                (false, every) => start + ((clock - start) / every + 1) * every,
            };
            let after = u64::try_from(at - clock).ok()?;
            Some((Duration::from_secs(self.passed.as_secs() + after), row.id))
        };
        table.rows().iter().filter_map(due).min()
    }

    fn run_at_startup(&mut self, now: Duration) -> bool {
        let yes = self.version().boolean(true).as_bytes();
        let table = self.changed(MenuId::SystemScheduler);
        let rows = table.map_or(&[][..], Table::rows);
        let at_start = rows
            .iter()
            .filter(|row| row.get(b"start-time") == Some(b"startup") && row.get(b"disabled") != Some(yes));
        let ids = at_start.map(|row| row.id).collect::<Vec<_>>();
        // One that restarts the device is the last one to run.
        ids.into_iter().any(|id| self.run_scheduled(id, now))
    }

    /// Returns whether that restarts the device.
    fn run_scheduled(&mut self, id: u32, now: Duration) -> bool {
        let Some(row) = self.table_mut(MenuId::SystemScheduler).row_mut(id) else {
            return false;
        };
        let runs = row
            .get(b"run-count")
            .and_then(|count| std::str::from_utf8(count).ok()?.parse::<u64>().ok());
        row.set("run-count", (runs.unwrap_or(0) + 1).to_string().into_bytes());
        let event = row.get(b"on-event").unwrap_or_default().to_vec();
        // A name of a script stands for it.
        let scripts = self.table(MenuId::SystemScript, now);
        let script = scripts.find(&event, Some("name")).and_then(|id| scripts.row(id));
        let source = script
            .and_then(|row| row.get(b"source"))
            .unwrap_or(&event)
            .to_vec();
        drop(scripts);
        let caller = Caller {
            session: 0,
            group: Group::Full,
        };
        self.run_script(&source, caller, now).restarts
    }

    /// What an entry of `/system/scheduler` begins with that does not say when.
    pub(crate) fn date_entries(&mut self, changes: &Changes, now: Duration) {
        let when = self.version().date(self.clock_at(now));
        let (date, time) = when.split_once(' ').unwrap_or_default();
        let (date, time) = (date.to_owned(), time.to_owned());
        for id in changes.added.iter().chain(&changes.changed) {
            if let Some(row) = self.table_mut(MenuId::SystemScheduler).row_mut(*id) {
                let at_start = row.get(b"start-time") == Some(b"startup");
                if row.get(b"start-time").is_none() {
                    row.set("start-time", time.clone().into_bytes());
                }
                if row.get(b"start-date").is_none() && !at_start {
                    row.set("start-date", date.clone().into_bytes());
                }
            }
        }
    }

    /// Entries of `/system/scheduler` with the times at which they run next.
    pub(crate) fn scheduler(&self) -> Table {
        let mut table = match self.changed(MenuId::SystemScheduler) {
            Some(table) => table.clone(),
            None => return Table::default(),
        };
        if let Some((at, id)) = self.next_scheduled()
            && let Some(row) = table.row_mut(id)
        {
            row.set("next-run", self.version().date(self.clock_at(at)).into_bytes());
        }
        table
    }

    /// `/system/clock` now.
    pub(crate) fn clock(&self, now: Duration) -> Table {
        let mut table = self
            .changed(MenuId::SystemClock)
            .map_or_else(|| self.profile.table(MenuId::SystemClock), Clone::clone);
        let when = self.version().date(self.clock_at(now));
        let (date, time) = when.split_once(' ').unwrap_or_default();
        for row in table.rows_mut() {
            row.set("date", date.as_bytes().to_vec());
            row.set("time", time.as_bytes().to_vec());
        }
        table
    }

    /// `/system/ntp/client` now.
    pub(crate) fn ntp_client(&self, now: Duration) -> Table {
        let mut table = self
            .changed(MenuId::SystemNtpClient)
            .map_or_else(|| self.profile.table(MenuId::SystemNtpClient), Clone::clone);
        let new = self.version().since(7, 0);
        let waits = self.clock_is_set_at().is_some_and(|set| now < set);
        for row in table.rows_mut() {
            let on = row.get(b"enabled").and_then(boolean) == Some(true);
            match (new, on) {
                (true, true) if waits => row.set("status", b"waiting".to_vec()),
                (false, true) if waits => row.unset("last-update-from"),
                (true, true) => row.set("status", b"synchronized".to_vec()),
                (true, false) => row.set("status", b"stopped".to_vec()),
                (false, true) => row.set("last-update-from", b"10.0.0.1".to_vec()),
                (false, false) => row.unset("last-update-from"),
            }
        }
        table
    }

    /// Somebody has set the clock.
    pub(crate) fn set_clock(&mut self, now: Duration) {
        let shown = self.clock_at(now);
        let date = self.version().date(shown);
        let (today, time_now) = date.split_once(' ').unwrap_or_default();
        let Some(row) = self.table_mut(MenuId::SystemClock).rows_mut().first_mut() else {
            return;
        };
        let day = row.get(b"date").unwrap_or(today.as_bytes()).to_vec();
        let time = row.get(b"time").unwrap_or(time_now.as_bytes()).to_vec();
        row.unset("date");
        row.unset("time");
        if let Some(set) = moment(&day, &time) {
            self.clock_shift += set - shown;
        }
    }
}

/// A date and a time of day, in seconds since 1970.
fn moment(date: &[u8], time: &[u8]) -> Option<i64> {
    let whole = [date, b" ", time].concat();
    let date = DateTime::parse(&whole)?;
    let date = jiff::civil::date(
        date.year.try_into().ok()?,
        date.month.try_into().ok()?,
        date.day.try_into().ok()?,
    )
    .at(
        date.hour.try_into().ok()?,
        date.minute.try_into().ok()?,
        date.second.try_into().ok()?,
        0,
    );
    let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}
