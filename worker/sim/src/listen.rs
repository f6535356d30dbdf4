//! Who listens to which menu, and what they hear.
//!
//! A listener hears the whole row of an item that was added or changed, and `=.id=*A =.dead=true` of one that is
//! gone (facts §1.4). It hears until it is cancelled or its connection ends.

use std::time::Duration;

use crate::device::{Caller, Device};
use crate::history::Undo;
use crate::menu::{Menu, MenuId};
use crate::reply::Replies;
use crate::selection::Selection;
use crate::table::id_text;

/// A `listen`, or a print that follows.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) session: u64,
    pub(crate) tag: Option<Vec<u8>>,
    menu: MenuId,
    selection: Selection,
}

/// Sentences for a session that did not ask for them just now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) session: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What a command did to a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: Option<u32>,
    pub(crate) changed: Vec<u32>,
    pub(crate) removed: Vec<u32>,
    /// How to take it back, in the order it was done.
    pub(crate) undo: Vec<Undo>,
}

impl Changes {
    /// The `=ret=` of the command that made them.
    pub(crate) fn returned(&self) -> Option<String> {
        self.added.map(id_text)
    }
}

impl Device {
    pub(crate) fn listen(
        &mut self,
        menu: &'static Menu,
        selection: Selection,
        tag: Option<&[u8]>,
        caller: Caller,
    ) {
        self.listeners.push(Listener {
            session: caller.session,
            tag: tag.map(<[u8]>::to_vec),
            menu: menu.id,
            selection,
        });
    }

    /// Ends the listens of a session that have this tag, or all of them. Returns their tags.
    pub(crate) fn cancel(&mut self, session: u64, tag: Option<&[u8]>) -> Vec<Option<Vec<u8>>> {
        let ends = |listener: &mut Listener| {
            listener.session == session && (tag.is_none() || listener.tag.as_deref() == tag)
        };
        self.listeners
            .extract_if(.., ends)
            .map(|ended| ended.tag)
            .collect()
    }

    /// What listeners hear of changes.
    pub(crate) fn events(&self, menu: &Menu, changes: &Changes, now: Duration) -> Vec<Event> {
        if self.listeners.is_empty() {
            return Vec::new();
        }
        let alive = changes.added.iter().chain(&changes.changed);
        let alive = alive.flat_map(|&id| self.alive(menu, id, now));
        alive
            .chain(changes.removed.iter().flat_map(|&id| self.dead(menu, id)))
            .collect()
    }

    pub(crate) fn alive(&self, menu: &Menu, id: u32, now: Duration) -> Vec<Event> {
        let mut listeners = self.listeners_of(menu).peekable();
        if listeners.peek().is_none() {
            return Vec::new();
        }
        let table = self.table(menu.id, now);
        let Some(row) = table.row(id) else {
            return Vec::new();
        };
        listeners
            .filter(|listener| listener.selection.shows(menu, row))
            .map(|listener| listener.event(|replies| listener.selection.write(replies, menu, row)))
            .collect()
    }

    pub(crate) fn dead(&self, menu: &Menu, id: u32) -> Vec<Event> {
        let dead = self.version().boolean(true);
        let say = |replies: &mut Replies<'_>| {
            replies.row(|re| {
                re.attribute(b".id", id_text(id).as_bytes());
                re.attribute(b".dead", dead.as_bytes());
            });
        };
        self.listeners_of(menu)
            .map(|listener| listener.event(say))
            .collect()
    }

    fn listeners_of(&self, menu: &Menu) -> impl Iterator<Item = &Listener> {
        let id = menu.id;
        self.listeners.iter().filter(move |listener| listener.menu == id)
    }
}

impl Listener {
    fn event(&self, say: impl FnOnce(&mut Replies<'_>)) -> Event {
        let mut bytes = Vec::new();
        say(&mut Replies::new(&mut bytes, self.tag.as_deref()));
        Event {
            session: self.session,
            bytes,
        }
    }
}
