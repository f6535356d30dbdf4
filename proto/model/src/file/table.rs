//! A table of a file, taken apart key by key.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::{Errors, Value};

/// A table. Each key is asked for by its name, and is known from then on; [`Table::finish`] tells the others.
#[derive(Debug)]
pub struct Table<'f> {
    table: &'f DeTable<'f>,
    errors: &'f Errors<'f>,
    /// Of the table itself; empty for the root.
    field: String,
    at: usize,
    known: RefCell<BTreeSet<String>>,
}

impl<'f> Table<'f> {
    pub(super) fn root(table: &'f DeTable<'f>, errors: &'f Errors<'f>) -> Self {
        Self::new(table, errors, String::new(), 0)
    }

    pub(super) fn new(table: &'f DeTable<'f>, errors: &'f Errors<'f>, field: String, at: usize) -> Self {
        Self {
            table,
            errors,
            field,
            at,
            known: RefCell::default(),
        }
    }

    /// Where it is in the file: `step[2]`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'f>> {
        self.known.borrow_mut().insert(key.to_owned());
        let value = self.table.get(key)?;
        Some(self.value(key, value.span().start, value.get_ref()))
    }

    /// The value of a key, which has to be there: `what` says what would be right.
    pub fn need(&self, key: &str, what: &str) -> Option<Value<'f>> {
        let found = self.get(key);
        if found.is_none() {
            self.tell_at(&self.path(key), None, format!("is missing; {what}"));
        }
        found
    }

    /// The entries of a list of tables: `[[key]]`. Empty when there are none.
    pub fn tables(&self, key: &str) -> Vec<Table<'f>> {
        let entries = self
            .get(key)
            .and_then(|list| list.list(&format!("is to be a list of tables; write [[{key}]] before each")));
        let entries = entries.unwrap_or_default();
        entries.into_iter().filter_map(|entry| entry.table()).collect()
    }

    /// A table inside: `[key]`.
    pub fn inner(&self, key: &str) -> Option<Table<'f>> {
        self.get(key)?.table()
    }

    /// Every key with its value, in the order of the keys; all of them are known then.
    pub fn entries(&self) -> Vec<(String, Value<'f>)> {
        let entry = |(key, value): (
            &'f toml::Spanned<toml::de::DeString<'f>>,
            &'f toml::Spanned<DeValue<'f>>,
        )| {
            let key = key.get_ref().to_string();
            self.known.borrow_mut().insert(key.clone());
            let value = self.value(&key, value.span().start, value.get_ref());
            (key, value)
        };
        self.table.iter().map(entry).collect()
    }

    /// Which of these keys are there; all of them are known then.
    pub fn which<'k>(&self, keys: &[&'k str]) -> Vec<&'k str> {
        let there = |key: &&&str| self.get(key).is_some();
        keys.iter().filter(there).copied().collect()
    }

    /// Tells that the table itself is wrong.
    pub fn tell(&self, message: impl Into<String>) {
        self.tell_at(&self.field, None, message);
    }

    /// Tells every key that nobody asked for. To be called when all that are known were asked for.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if known.contains(name) {
                continue;
            }
            let message = match nearest(name, &known) {
                Some(near) => format!("is no key here; did you mean {near}?"),
                None => format!("is no key here; there are {}", join(&known)),
            };
            self.errors
                .tell(key.span().start, &self.path(name), None, message);
        }
    }

    fn value(&self, key: &str, at: usize, value: &'f DeValue<'f>) -> Value<'f> {
        Value::new(value, self.errors, self.path(key), at)
    }

    fn path(&self, key: &str) -> String {
        match self.field.as_str() {
            "" => key.to_owned(),
            field => format!("{field}.{key}"),
        }
    }

    fn tell_at(&self, field: &str, value: Option<&str>, message: impl Into<String>) {
        self.errors.tell(self.at, field, value, message);
    }
}

fn join(known: &BTreeSet<String>) -> String {
    known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The key that was probably meant: at most a third of its letters are different.
fn nearest<'k>(name: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    let distance = |key: &&String| distance(name, key);
    let near = known.iter().min_by_key(distance)?;
    (distance(&near) * 3 <= name.chars().count().max(near.chars().count())).then_some(near)
}

/// Letters to put in, take out or exchange to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b = b.chars().collect::<Vec<_>>();
    let mut row = (0..=b.len()).collect::<Vec<_>>();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let exchanged = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
