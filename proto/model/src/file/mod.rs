//! Files that people write (TOML): rollouts and what is like them. Read with the place of every value, so that each
//! mistake is told as `line:column`, field, value and what would be right; all of them at once.
//!
//! [`read`] parses a text and hands its root to a function that takes it apart. What the function asks a [`Table`] for
//! is checked and noted as known; a key that nobody asked for is an error with a suggestion.

mod error;
mod number;
mod policy;
mod rollout;
pub mod step;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use error::{FileError, FileErrors};
pub use rollout::{Rollout, rollout, rollout_beside};
pub use table::Table;
pub use value::Value;

use std::cell::RefCell;

use toml::de::{DeTable, Error};

/// The longest file, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// Parses a text and takes it apart; everything that is wrong, if anything is.
///
/// `take` gives `None` only after it told an error.
pub fn read<T>(text: &str, take: impl FnOnce(&Table<'_>) -> Option<T>) -> Result<T, FileErrors> {
    read_beside(
        text,
        &|_, _| Err("files beside this one cannot be read here".into()),
        take,
    )
}

/// What a file that is named in another one is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// An audit's.
    Audit,
    /// Certificates, PEM.
    Certificates,
}

/// Reads a file that is named in another one, and checks it: its text, or what is wrong.
pub type Files<'t> = dyn Fn(Beside, &str) -> Result<String, String> + 't;

/// The same for a text that names other files.
pub fn read_beside<T>(
    text: &str,
    files: &Files<'_>,
    take: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Result<T, FileErrors> {
    let errors = Errors::new(text, files);
    if text.len() > MAX_BYTES {
        errors.tell(0, "", None, format!("the file is over {} MiB", MAX_BYTES >> 20));
        return Err(errors.into());
    }
    let (root, mistakes) = DeTable::parse_recoverable(text);
    if !mistakes.is_empty() {
        mistakes.iter().for_each(|mistake| errors.syntax(mistake));
        return Err(errors.into());
    }
    let taken = {
        let table = Table::root(root.get_ref(), &errors);
        let taken = take(&table);
        table.finish();
        taken
    };
    match (taken, errors.is_empty()) {
        (Some(taken), true) => Ok(taken),
        _ => Err(errors.into()),
    }
}

/// Whether a text is only a plan: steps without anything that makes a rollout of them.
pub fn is_plan(text: &str) -> bool {
    let (root, _) = DeTable::parse_recoverable(text);
    let there = |key: &&str| root.get_ref().get(*key).is_some();
    there(&"step") && !["name", "select", "all", "wave"].iter().any(there)
}

/// What was found to be wrong with a text so far.
struct Errors<'t> {
    text: &'t str,
    files: &'t Files<'t>,
    found: RefCell<Vec<(usize, FileError)>>,
}

impl std::fmt::Debug for Errors<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Errors")
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

impl<'t> Errors<'t> {
    fn new(text: &'t str, files: &'t Files<'t>) -> Self {
        Self {
            text,
            files,
            found: RefCell::default(),
        }
    }

    fn tell(&self, at: usize, field: &str, value: Option<&str>, message: impl Into<String>) {
        let (line, column) = place(self.text, at);
        let error = FileError {
            line,
            column,
            field: field.to_owned(),
            value: value.map(str::to_owned),
            message: message.into(),
        };
        self.found.borrow_mut().push((at, error));
    }

    fn syntax(&self, mistake: &Error) {
        let at = mistake.span().map_or(0, |span| span.start);
        self.tell(at, "", None, mistake.message());
    }

    fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }
}

impl From<Errors<'_>> for FileErrors {
    fn from(errors: Errors<'_>) -> Self {
        let mut found = errors.found.into_inner();
        found.sort_by_key(|(at, _)| *at);
        Self(found.into_iter().map(|(_, error)| error).collect())
    }
}

/// Line and column of a byte, both from 1; a column is a character.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
