//! What was done to a device, how it is taken back, and safe mode, which takes back whatever was done while it was held
//! when the session that holds it goes (facts §3.4).
//!
//! ```text
//! take ──▶ held ──release──▶ kept            by any session
//!            │ ──unroll───▶ taken back
//!            │ ──its session goes──▶ taken back after a while; until then nobody can take it
//!            │ ──more actions than the history holds──▶ kept: it is left without a word
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::device::{Caller, Device};
use crate::menu::{MenuId, Verb};
use crate::table::{Row, Table};
use crate::trap::Trap;

/// Actions that a device remembers.
const ACTIONS: usize = 100;

/// One part of taking back what was done to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// The item comes back to this place.
    Insert(Row, usize),
    /// Items stand in this order again.
    Order(Vec<u32>),
    /// The item goes.
    Remove(u32),
    /// The item is as it was.
    Row(Row),
}

/// What somebody did.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    id: u32,
    menu: MenuId,
    undo: Vec<Undo>,
    text: String,
    by: Vec<u8>,
    at: Duration,
    /// Done while safe mode was held.
    floating: bool,
}

/// The actions of a device, and who holds safe mode.
#[derive(Debug, Default)]
pub(crate) struct History {
    actions: VecDeque<Action>,
    last_id: u32,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    session: u64,
    /// When what was done is taken back, because the session is gone.
    ends: Option<Duration>,
}

/// How long a device takes to notice that the session which holds safe mode is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafeMode {
    /// When its connection was closed.
    pub closed: Duration,
    /// When nothing comes from it any more, because its packets are dropped.
    pub dead: Duration,
}

impl Default for SafeMode {
    /// As was observed: some 2 s after a FIN, and 9 minutes for a connection that is silent.
    fn default() -> Self {
        Self {
            closed: Duration::from_secs(2),
            dead: Duration::from_secs(540),
        }
    }
}

impl History {
    /// The rows of `/system/history`, the newest first.
    pub(crate) fn table(&self, device: &Device) -> Table {
        let mut table = Table::default();
        for action in self.actions.iter().rev() {
            let when = device.clock_at(action.at);
            table.push(
                Row::numbered(action.id)
                    .with("action", action.text.clone())
                    .with("by", action.by.clone())
                    .with("policy", "write")
                    .with("time", device.version().date(when))
                    .with("undoable", device.version().boolean(!action.floating))
                    .with("floating-undo", device.version().boolean(action.floating)),
            );
        }
        table
    }

    fn settle(&mut self) {
        self.holder = None;
        self.actions.iter_mut().for_each(|action| action.floating = false);
    }
}

impl Device {
    /// Notes what was done, so that it can be taken back.
    pub(crate) fn remember(
        &mut self,
        menu: MenuId,
        verb: Verb,
        undo: Vec<Undo>,
        caller: Caller,
        now: Duration,
    ) {
        if undo.is_empty() || matches!(menu, MenuId::File | MenuId::SystemPackage) {
            return;
        }
        let by = self.user_of(caller.session);
        let history = &mut self.history;
        if history.actions.len() == ACTIONS
            && history.actions.pop_front().is_some_and(|oldest| oldest.floating)
        {
            // There is no room for what it would take back: it is left, and nobody is told.
            history.settle();
        }
        history.last_id += 1;
        let name = menu.menu().path.rsplit('/').next().unwrap_or_default();
        let done = match verb {
            Verb::Add => "added",
            Verb::Move => "moved",
            Verb::Remove => "removed",
            _ => "changed",
        };
        history.actions.push_back(Action {
            id: history.last_id,
            menu,
            undo,
            text: format!("{name} {done}"),
            by,
            at: now,
            floating: history.holder.is_some(),
        });
    }

    /// `/undo`.
    pub(crate) fn undo(&mut self) -> Result<(), Trap> {
        let last = self.history.actions.pop_back();
        let last = last.ok_or_else(|| Trap::failure("nothing to undo"))?;
        self.take_back(last);
        Ok(())
    }

    fn take_back(&mut self, action: Action) {
        let table = self.table_mut(action.menu);
        for part in action.undo.into_iter().rev() {
            match part {
                Undo::Insert(row, at) => table.restore(row, at),
                Undo::Order(order) => table.reorder(&order),
                Undo::Remove(id) => table.remove(id),
                Undo::Row(row) => {
                    if let Some(now) = table.row_mut(row.id) {
                        *now = row;
                    }
                }
            }
        }
    }

    /// `/safe-mode/take`.
    pub(crate) fn take_safe_mode(&mut self, session: u64) -> Result<(), Trap> {
        if self.history.holder.is_some() {
            return Err(Trap::failure("safe mode is already taken"));
        }
        self.history.holder = Some(Holder { session, ends: None });
        Ok(())
    }

    /// `/safe-mode/release`, which any session may say.
    pub(crate) fn release_safe_mode(&mut self) -> Result<(), Trap> {
        if self.history.holder.is_none() {
            return Err(Trap::failure("safe mode is not taken"));
        }
        self.history.settle();
        Ok(())
    }

    /// `/safe-mode/unroll`.
    pub(crate) fn unroll_safe_mode(&mut self) -> Result<(), Trap> {
        if self.history.holder.is_none() {
            return Err(Trap::failure("safe mode is not taken"));
        }
        self.roll_back();
        Ok(())
    }

    /// Takes back what was done while safe mode was held, the newest first.
    pub(crate) fn roll_back(&mut self) {
        while let Some(action) = self.history.actions.pop_back() {
            if !action.floating {
                self.history.actions.push_back(action);
                break;
            }
            self.take_back(action);
        }
        self.history.settle();
    }

    /// A session is gone. If it holds safe mode, the device notices after a while.
    pub(crate) fn holder_left(&mut self, session: u64, now: Duration) {
        let after = match self.is_cut() {
            true => self.safe_mode.dead,
            false => self.safe_mode.closed,
        };
        if let Some(holder) = &mut self.history.holder
            && holder.session == session
            && holder.ends.is_none()
        {
            holder.ends = Some(now + after);
        }
    }

    /// Nothing comes from a session any more, though it has not said that it goes.
    pub(crate) fn holder_is_silent(&mut self, now: Duration) {
        let after = self.safe_mode.dead;
        if let Some(holder) = &mut self.history.holder
            && holder.ends.is_none()
        {
            holder.ends = Some(now + after);
        }
    }

    /// When safe mode ends because its session is gone.
    pub(crate) fn safe_mode_ends(&self) -> Option<Duration> {
        self.history.holder.as_ref()?.ends
    }

    pub(crate) fn forget_history(&mut self) {
        self.history = History::default();
    }
}
