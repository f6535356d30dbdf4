//! The verbs that change a table: `add`, `set`, `unset`, `enable`, `disable`, `remove` and `move`.
//!
//! A command is checked as a whole before anything is changed: a trap leaves the device as it was.

use std::net::Ipv4Addr;
use std::time::Duration;

use routeros_wire::Sentence;

use crate::device::Device;
use crate::field::{Field, prefix};
use crate::history::Undo;
use crate::listen::Changes;
use crate::menu::{Menu, MenuId, Shape, Verb};
use crate::selection::list;
use crate::table::{Row, Table};
use crate::trap::Trap;
use crate::version::Version;

/// A property and its new value, none when it is to be absent.
struct Edit {
    field: &'static Field,
    value: Option<Vec<u8>>,
}

impl Device {
    pub(crate) fn change(
        &mut self,
        menu: &'static Menu,
        verb: Verb,
        request: Sentence<'_>,
    ) -> Result<Changes, Trap> {
        match verb {
            Verb::Add => self.add(menu, request),
            Verb::Disable => self.toggle(menu, request, false),
            Verb::Enable => self.toggle(menu, request, true),
            Verb::Move => self.relocate(menu, request),
            Verb::Remove => self.remove(menu, request),
            Verb::Set => self.set(menu, request),
            Verb::Unset => self.unset(menu, request),
            Verb::GetAll | Verb::Listen | Verb::Print => Ok(Changes::default()),
        }
    }

    fn add(&mut self, menu: &'static Menu, request: Sentence<'_>) -> Result<Changes, Trap> {
        let version = self.version();
        let place: &[&[u8]] = match menu.shape {
            Shape::Ordered => &[b"place-before"],
            Shape::Singleton | Shape::Table => &[],
        };
        let edits = self.edits(menu, request, place)?;
        let given = |field: &Field| edits.iter().any(|edit| edit.field.name == field.name);
        if let Some(missing) = menu
            .fields
            .iter()
            .find(|field| field.is_needed() && !given(field))
        {
            return Err(Trap::missing(missing.name));
        }
        let table = self.table_mut(menu.id);
        check_unique(menu, table, &edits, &[])?;
        let before = match request.get(b"place-before") {
            Some(name) => Some(table.find(name, menu.key).ok_or_else(Trap::no_such_item)?),
            None => None,
        };
        let mut row = Row::default();
        for field in menu.fields.iter().filter(|field| field.exists_in(version)) {
            match edits.iter().rev().find(|edit| edit.field.name == field.name) {
                Some(Edit {
                    value: Some(value), ..
                }) => row.set(field.name, value.clone()),
                Some(Edit { value: None, .. }) => {}
                None => {
                    if let Some(default) = field.default_in(version) {
                        row.set(field.name, default);
                    }
                }
            }
        }
        derive(menu, &mut row, &edits, version);
        let id = table.add(row, before);
        Ok(Changes {
            added: Some(id),
            undo: vec![Undo::Remove(id)],
            ..Changes::default()
        })
    }

    fn set(&mut self, menu: &'static Menu, request: Sentence<'_>) -> Result<Changes, Trap> {
        let version = self.version();
        let targets: &[&[u8]] = if menu.is_singleton() {
            &[]
        } else {
            &[b".id", b"numbers"]
        };
        let edits = self.edits(menu, request, targets)?;
        let table = self.table_mut(menu.id);
        let ids = find_targets(menu, table, request)?;
        check_unique(menu, table, &edits, &ids)?;
        Ok(apply(menu, table, &ids, &edits, version))
    }

    fn unset(&mut self, menu: &'static Menu, request: Sentence<'_>) -> Result<Changes, Trap> {
        let version = self.version();
        for (name, _) in request.attributes() {
            if ![&b".id"[..], b"numbers", b"value-name"].contains(&name) {
                return Err(Trap::unknown_parameter(name));
            }
        }
        let name = request
            .get(b"value-name")
            .ok_or_else(|| Trap::missing("value-name"))?;
        let field = menu
            .field(name)
            .filter(|field| field.may_be_set() && field.exists_in(version));
        let field = field
            .filter(|field| !field.is_needed())
            .ok_or_else(|| Trap::no_match("value-name"))?;
        let edits = [Edit {
            field,
            value: field.default_in(version),
        }];
        let table = self.table_mut(menu.id);
        let ids = find_targets(menu, table, request)?;
        Ok(apply(menu, table, &ids, &edits, version))
    }

    fn toggle(&mut self, menu: &'static Menu, request: Sentence<'_>, on: bool) -> Result<Changes, Trap> {
        let version = self.version();
        only_targets(request)?;
        let table = self.table_mut(menu.id);
        let ids = find_targets(menu, table, request)?;
        // Packages change at the next restart, and until then say so.
        let (name, value) = match (menu.id, on) {
            (MenuId::SystemPackage, true) => ("scheduled", "scheduled for enable"),
            (MenuId::SystemPackage, false) => ("scheduled", "scheduled for disable"),
            _ => ("disabled", version.boolean(!on)),
        };
        let Some(field) = menu.field(name.as_bytes()) else {
            return Err(Trap::no_such_command());
        };
        let edits = [Edit {
            field,
            value: Some(value.into()),
        }];
        Ok(apply(menu, table, &ids, &edits, version))
    }

    fn remove(&mut self, menu: &'static Menu, request: Sentence<'_>) -> Result<Changes, Trap> {
        only_targets(request)?;
        let table = self.table_mut(menu.id);
        let ids = find_targets(menu, table, request)?;
        let builtin = |id: &u32| {
            table
                .row(*id)
                .is_some_and(|row| row.get(b"type") == Some(b"ether"))
        };
        if menu.id == MenuId::Interface && ids.iter().any(builtin) {
            return Err(Trap::cannot_remove());
        }
        let mut undo = Vec::new();
        for &id in &ids {
            if let (Some(row), Some(at)) = (table.row(id).cloned(), table.place_of(id)) {
                undo.push(Undo::Insert(row, at));
            }
            table.remove(id);
        }
        Ok(Changes {
            removed: ids,
            undo,
            ..Changes::default()
        })
    }

    fn relocate(&mut self, menu: &'static Menu, request: Sentence<'_>) -> Result<Changes, Trap> {
        for (name, _) in request.attributes() {
            if ![&b".id"[..], b"numbers", b"destination"].contains(&name) {
                return Err(Trap::unknown_parameter(name));
            }
        }
        let table = self.table_mut(menu.id);
        let ids = find_targets(menu, table, request)?;
        let before = match request.get(b"destination") {
            Some(name) => Some(table.find(name, menu.key).ok_or_else(Trap::no_such_item)?),
            None => None,
        };
        let order = table.rows().iter().map(|row| row.id).collect();
        table.relocate(&ids, before);
        Ok(Changes {
            changed: ids,
            undo: vec![Undo::Order(order)],
            ..Changes::default()
        })
    }

    /// Carries out what packages have scheduled, as a restart does.
    pub(crate) fn apply_scheduled(&mut self) {
        let version = self.version();
        for row in self.table_mut(MenuId::SystemPackage).rows_mut() {
            let disabled = match row.get(b"scheduled") {
                Some(b"scheduled for enable") => false,
                Some(b"scheduled for disable") => true,
                _ => continue,
            };
            row.set("disabled", version.boolean(disabled).into());
            row.set("scheduled", Vec::new());
        }
    }

    /// The properties that a request gives values to, the parameters in `others` left out. `=!name=` clears.
    fn edits(&self, menu: &Menu, request: Sentence<'_>, others: &[&[u8]]) -> Result<Vec<Edit>, Trap> {
        let version = self.version();
        let mut edits = Vec::new();
        for (name, value) in request.attributes().filter(|(name, _)| !others.contains(name)) {
            let (known, clears) = match name.strip_prefix(b"!") {
                Some(name) => (name, true),
                None => (name, false),
            };
            let field = menu
                .field(known)
                .filter(|field| field.may_be_set() && field.exists_in(version))
                .ok_or_else(|| Trap::unknown_parameter(known))?;
            let value = match clears {
                true if field.is_needed() => return Err(Trap::invalid(field.name)),
                true => field.default_in(version),
                false => field.accept(value, version, |name| self.has_interface(name))?,
            };
            edits.push(Edit { field, value });
        }
        Ok(edits)
    }

    fn has_interface(&self, name: &[u8]) -> bool {
        let interfaces = self.table(MenuId::Interface, Duration::ZERO);
        interfaces.holder("name", name, None).is_some()
    }
}

/// The items that `.id` or `numbers` names, each once; the one item of a singleton.
fn find_targets(menu: &Menu, table: &Table, request: Sentence<'_>) -> Result<Vec<u32>, Trap> {
    if menu.is_singleton() {
        return Ok(table.rows().iter().map(|row| row.id).collect());
    }
    let names = request.get(b".id").or_else(|| request.get(b"numbers"));
    let names = names.map(list).filter(|names| !names.is_empty());
    let mut ids = Vec::new();
    for name in names.ok_or_else(|| Trap::missing(".id"))? {
        let id = table.find(&name, menu.key).ok_or_else(Trap::no_such_item)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn only_targets(request: Sentence<'_>) -> Result<(), Trap> {
    let other = request
        .attributes()
        .find(|(name, _)| ![&b".id"[..], b"numbers"].contains(name));
    other.map_or(Ok(()), |(name, _)| Err(Trap::unknown_parameter(name)))
}

/// Refuses a value that an item other than `ids` has, or that several of `ids` would share.
fn check_unique(menu: &Menu, table: &Table, edits: &[Edit], ids: &[u32]) -> Result<(), Trap> {
    let Some((name, message)) = menu.unique else {
        return Ok(());
    };
    let mut values = edits.iter().filter(|edit| edit.field.name == name);
    let taken = values.any(|edit| {
        let value = edit.value.as_deref().unwrap_or_default();
        ids.len() > 1 || table.holder(name, value, ids.first().copied()).is_some()
    });
    if taken {
        Err(Trap::duplicate(message))
    } else {
        Ok(())
    }
}

fn apply(menu: &Menu, table: &mut Table, ids: &[u32], edits: &[Edit], version: Version) -> Changes {
    let mut changes = Changes::default();
    for &id in ids {
        let Some(row) = table.row_mut(id) else { continue };
        let before = row.clone();
        for Edit { field, value } in edits {
            match value {
                Some(value) => row.set(field.name, value.clone()),
                None => row.unset(field.name),
            }
        }
        derive(menu, row, edits, version);
        if *row != before {
            changes.changed.push(id);
            changes.undo.push(Undo::Row(before));
        }
    }
    changes
}

/// Sets the properties that follow from those just set.
fn derive(menu: &Menu, row: &mut Row, edits: &[Edit], version: Version) {
    let edited = |name| edits.iter().any(|edit| edit.field.name == name);
    match menu.id {
        MenuId::IpAddress => {
            let address = row.get(b"address").and_then(prefix);
            if let Some((address, length)) = address
                && edited("address")
                && !edited("network")
            {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                let network = Ipv4Addr::from(u32::from(address) & mask);
                row.set("network", network.to_string().into_bytes());
            }
            if let Some(interface) = row.get(b"interface").map(<[u8]>::to_vec) {
                row.set("actual-interface", interface);
            }
        }
        // A link goes down with its interface and comes back with it.
        MenuId::Interface if edited("disabled") => {
            let disabled = row.get(b"disabled") == Some(version.boolean(true).as_bytes());
            row.set("running", version.boolean(!disabled).into());
        }
        _ => {}
    }
}
