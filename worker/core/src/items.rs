//! Items of a menu: found by their keys, and what has to come, change, go and move so that they are as wanted.

use std::collections::{BTreeSet, HashMap};

use muster_model::{DeviceError, ErrorClass, Items, Values};
use routeros_wire::value::boolean;
use routeros_wire::{Expression, Sentence};

use crate::diff::{Change, Diff, Place, Write, read_rows, set_changes};
use crate::meaning::{normal, same};

/// Properties that say when and how often, and not what. An item that was removed would not get them back.
const PASSING: &[&[u8]] = &[
    b"age",
    b"bytes",
    b"creation-time",
    b"dynamic",
    b"expires-after",
    b"invalid",
    b"last-seen",
    b"packets",
    b"rx-byte",
    b"rx-packet",
    b"tx-byte",
    b"tx-packet",
];

/// The properties that a wish reads. `None` for all of them: what is to be removed is told as it was, and an expression
/// may name anything.
pub(crate) fn proplist(items: &Items) -> Option<String> {
    if !items.absent.is_empty() || items.purge.is_some() || items.place_before.is_some() {
        return None;
    }
    let names = named(items);
    Some(
        [".id", "dynamic"]
            .into_iter()
            .chain(names)
            .collect::<Vec<_>>()
            .join(","),
    )
}

/// Every property that a wish names, each once.
pub(crate) fn named(items: &Items) -> BTreeSet<&str> {
    let values = items.items.iter().chain(&items.absent);
    let names = values.flat_map(|values| values.iter().map(|(name, _)| name));
    names.chain(items.key.iter().map(String::as_str)).collect()
}

/// Whether the device made it for itself.
pub(crate) fn is_dynamic(row: &Sentence<'_>) -> bool {
    row.get(b"dynamic").and_then(boolean) == Some(true)
}

pub(crate) fn expression(text: Option<&str>, what: &str) -> Result<Option<Expression>, DeviceError> {
    let parse = |text: &str| {
        text.parse::<Expression>()
            .map_err(|error| plan_error(format!("{what} {text:?}: {error}")))
    };
    text.map(parse).transpose()
}

pub(crate) fn holds(expression: Option<&Expression>, row: &Sentence<'_>) -> bool {
    expression.is_some_and(|expression| expression.matches(&|name| row.get(name)))
}

fn plan_error(text: impl Into<String>) -> DeviceError {
    DeviceError::new(ErrorClass::Plan, text)
}

/// An item of the device that is wanted.
struct Found {
    id: Vec<u8>,
    /// Its place among all rows.
    at: usize,
    changes: Vec<Change>,
}

/// An item of the device that is not.
struct Unwanted {
    id: Vec<u8>,
    item: String,
    values: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What is to be found in one pass over the rows.
struct Look<'w> {
    wanted: &'w Items,
    purge: Option<Expression>,
    place_before: Option<Expression>,
    /// Wanted items by their key in one spelling.
    by_key: HashMap<Vec<u8>, usize>,
    found: Vec<Option<Found>>,
    unwanted: Vec<Unwanted>,
    /// The item that the wanted ones stand before.
    anchor: Option<(Vec<u8>, usize)>,
    conflict: Option<DeviceError>,
    rows: usize,
    key: Vec<u8>,
}

/// Between what a menu answered and the items wanted in it.
pub(crate) fn diff(menu: &str, wanted: &Items, answer: &[u8]) -> Result<Diff, DeviceError> {
    let mut look = Look {
        wanted,
        purge: expression(wanted.purge.as_deref(), "purge")?,
        place_before: expression(wanted.place_before.as_deref(), "place-before")?,
        by_key: HashMap::with_capacity(wanted.items.len()),
        found: Vec::new(),
        unwanted: Vec::new(),
        anchor: None,
        conflict: None,
        rows: 0,
        key: Vec::new(),
    };
    look.found.resize_with(wanted.items.len(), || None);
    for (at, values) in wanted.items.iter().enumerate() {
        let mut key = Vec::new();
        write_key(&mut key, &wanted.key, |name| values.get(name).map(str::as_bytes));
        if let Some(before) = look.by_key.insert(key, at) {
            let text = format!(
                "items {} and {} of {menu} are the same to a device",
                before + 1,
                at + 1
            );
            return Err(plan_error(text));
        }
    }
    read_rows(answer, |row| look.row(menu, &row));
    match look.conflict.take() {
        Some(conflict) => Err(conflict),
        None => look.changes(),
    }
}

impl Look<'_> {
    fn row(&mut self, menu: &str, row: &Sentence<'_>) {
        self.rows += 1;
        if is_dynamic(row) {
            return;
        }
        let Some(id) = row.get(b".id").map(<[u8]>::to_vec) else {
            self.conflict = Some(plan_error(format!(
                "{menu} is a menu that is one item; say what its values should be with set, without key and items"
            )));
            return;
        };
        self.key.clear();
        write_key(&mut self.key, &self.wanted.key, |name| row.get(name.as_bytes()));
        let Some(&at) = self.by_key.get(&self.key) else {
            if self.is_unwanted(row) {
                self.unwanted.push(Unwanted {
                    id,
                    item: key_text(&self.wanted.key, |name| row.get(name.as_bytes())),
                    values: lasting(row),
                });
            } else if self.anchor.is_none() && holds(self.place_before.as_ref(), row) {
                self.anchor = Some((id, self.rows));
            }
            return;
        };
        let item = item_text(self.wanted, at);
        if id.is_empty() {
            self.conflict = Some(plan_error(format!(
                "{menu} has no item ids; is it a menu of items?"
            )));
        } else if self.found[at].is_some() {
            let text = format!("several items of {menu} have {item}; the key does not tell them apart");
            self.conflict = Some(plan_error(text));
        } else {
            let changes = set_changes(&item, &self.wanted.items[at], row);
            self.found[at] = Some(Found {
                id,
                at: self.rows,
                changes,
            });
        }
    }

    fn is_unwanted(&self, row: &Sentence<'_>) -> bool {
        let has_all = |values: &Values| {
            values
                .iter()
                .all(|(name, value)| same(name, row.get(name.as_bytes()), value.as_bytes()))
        };
        holds(self.purge.as_ref(), row) || self.wanted.absent.iter().any(has_all)
    }

    /// New items first, and the old ones go last: what protects a device is never missing in between.
    fn changes(self) -> Result<Diff, DeviceError> {
        let mut diff = Diff::default();
        if self.wanted.ordered {
            self.in_order(&mut diff)?;
        } else {
            for (at, values) in self.wanted.items.iter().enumerate() {
                if self.found[at].is_none() {
                    add(&mut diff, item_text(self.wanted, at), values, Place::End);
                }
            }
        }
        for found in self.found.into_iter().flatten() {
            diff.set(Some(found.id), found.changes);
        }
        for Unwanted { id, item, values } in self.unwanted {
            diff.writes.push(Write::Remove { id });
            diff.changes.push(Change::Remove { item, values });
        }
        Ok(diff)
    }

    /// From the last to the first, each before the one after it; as many as possible stay where they are.
    fn in_order(&self, diff: &mut Diff) -> Result<(), DeviceError> {
        let end = match (&self.anchor, &self.wanted.place_before) {
            (Some((_, at)), _) => *at,
            (None, None) => usize::MAX,
            (None, Some(text)) => {
                return Err(plan_error(format!(
                    "place-before {text:?}: there is no such item to stand before"
                )));
            }
        };
        let mut places = Vec::new();
        for (wanted, found) in self.found.iter().enumerate() {
            if let Some(found) = found.as_ref().filter(|found| found.at < end) {
                places.push((wanted, found.at));
            }
        }
        let stay = longest_rising(&places);
        let anchor_text = || self.wanted.place_before.clone().unwrap_or_default();
        let (mut place, mut before) = match &self.anchor {
            Some((id, _)) => (Place::Before(id.clone()), anchor_text()),
            None => (Place::End, String::new()),
        };
        for (at, values) in self.wanted.items.iter().enumerate().rev() {
            let item = item_text(self.wanted, at);
            place = match &self.found[at] {
                Some(found) => {
                    if !stay.contains(&at) {
                        diff.writes.push(Write::Move {
                            id: found.id.clone(),
                            place,
                        });
                        diff.changes.push(Change::Move {
                            item: item.clone(),
                            before,
                        });
                    }
                    Place::Before(found.id.clone())
                }
                None => {
                    add(diff, item.clone(), values, place);
                    Place::BeforeAdded(diff.writes.len() - 1)
                }
            };
            before = item;
        }
        Ok(())
    }
}

fn add(diff: &mut Diff, item: String, values: &Values, place: Place) {
    diff.writes.push(Write::Add {
        values: values.clone(),
        place,
    });
    diff.changes.push(Change::Add {
        item,
        values: values.clone(),
    });
}

/// The wanted items that may stay where they are: the longest run of them that is in order already.
fn longest_rising(places: &[(usize, usize)]) -> BTreeSet<usize> {
    // For each length, where the run of that length with the lowest end ends; and what stands before each in its run.
    let (mut ends, mut before) = (Vec::<usize>::new(), vec![None; places.len()]);
    for (at, &(_, place)) in places.iter().enumerate() {
        let length = ends.partition_point(|&end| places[end].1 < place);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut run = BTreeSet::new();
    let mut last = ends.last().copied();
    while let Some(at) = last {
        run.insert(places[at].0);
        last = before[at];
    }
    run
}

/// The key's values in one spelling, each with its length in front. What is not there is empty.
fn write_key<'v>(out: &mut Vec<u8>, key: &[String], get: impl Fn(&str) -> Option<&'v [u8]>) {
    for name in key {
        let value = normal(name, get(name).unwrap_or_default());
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(&value);
    }
}

/// `list=mgmt,address=10.0.0.1`, for people and for finding the item again.
fn key_text<'v>(key: &[String], get: impl Fn(&str) -> Option<&'v [u8]>) -> String {
    let part = |name: &String| {
        let value = get(name).unwrap_or_default();
        format!("{name}={}", String::from_utf8_lossy(value))
    };
    key.iter().map(part).collect::<Vec<_>>().join(",")
}

pub(crate) fn item_text(wanted: &Items, at: usize) -> String {
    let values = &wanted.items[at];
    key_text(&wanted.key, |name| values.get(name).map(str::as_bytes))
}

/// A row's values that say what it is.
fn lasting(row: &Sentence<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lasts = |name: &[u8]| !name.starts_with(b".") && !PASSING.contains(&name);
    let mut values = row
        .attributes()
        .filter(|(name, _)| lasts(name))
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect::<Vec<_>>();
    // Devices give them in any order.
    values.sort();
    values
}

#[cfg(test)]
mod tests;
