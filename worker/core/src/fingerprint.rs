//! What a device has in the menus that a plan wants something of, as one number: equal before and after, nobody touched
//! it (F3).
//!
//! It covers what the plan compares and nothing else: the properties it names, in one spelling, of items that are not
//! dynamic. Counters and dates are in it only if a plan names them.

use muster_model::{Ensure, Items, Want};
use routeros_wire::Sentence;
use sha2::{Digest as _, Sha256};

use crate::diff::read_rows;
use crate::items::{expression, holds, is_dynamic, named};
use crate::meaning::normal;

/// SHA-256 over the menus of a plan, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Takes in what a menu answered to a wish's question.
    pub(crate) fn add(&mut self, ensure: &Ensure, answer: &[u8]) {
        let mut rows = Vec::new();
        match ensure.want() {
            Want::Set(set) => read_rows(answer, |row| {
                rows.push(values(&row, set.iter().map(|(name, _)| name)));
            }),
            Want::Items(items) => rows = items_of(items, answer),
        }
        let mut menu = Vec::new();
        part(&mut menu, ensure.menu().as_bytes());
        self.0.update(menu);
        for row in rows {
            self.0.update((row.len() as u64).to_le_bytes());
            self.0.update(row);
        }
        self.0.update(u64::MAX.to_le_bytes());
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The items of a menu, in their order if that matters to the wish. An item that would be removed is told from one that
/// only looks like it in what the plan names.
fn items_of(items: &Items, answer: &[u8]) -> Vec<Vec<u8>> {
    let names = named(items);
    // A wish with a bad expression is refused before anything is written.
    let purge = expression(items.purge.as_deref(), "purge").unwrap_or_default();
    let place = expression(items.place_before.as_deref(), "place-before").unwrap_or_default();
    let mut rows = Vec::new();
    read_rows(answer, |row| {
        if !is_dynamic(&row) {
            let mut bytes = values(&row, names.iter().copied());
            bytes.push(u8::from(holds(purge.as_ref(), &row)));
            bytes.push(u8::from(holds(place.as_ref(), &row)));
            rows.push(bytes);
        }
    });
    if !items.ordered {
        rows.sort();
    }
    rows
}

fn values<'n>(row: &Sentence<'_>, names: impl Iterator<Item = &'n str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        if let Some(value) = row.get(name.as_bytes()) {
            part(&mut bytes, name.as_bytes());
            part(&mut bytes, &normal(name, value));
        }
    }
    bytes
}

/// With its length in front, so that no two ways to cut the same bytes are the same.
fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::Values;
    use routeros_wire::encode;

    fn of(rows: &[&[&str]]) -> [u8; 32] {
        let set = Values::new([("servers", ""), ("cache-max-ttl", "")]).expect("valid");
        let ensure = Ensure::singleton("/ip/dns", set).expect("valid");
        let mut answer = Vec::new();
        for row in rows {
            encode::sentence(&mut answer, ["!re"].iter().chain(row.iter())).expect("no empty words");
        }
        let mut fingerprint = Fingerprint::new();
        fingerprint.add(&ensure, &answer);
        fingerprint.finish()
    }

    #[test]
    fn it_is_of_what_the_plan_names_as_it_is_meant() {
        let same = of(&[&["=servers=1.1.1.1", "=cache-max-ttl=1w"]]);
        assert_eq!(
            of(&[&["=cache-max-ttl=7d", "=cache-used=99", "=servers=1.1.1.1"]]),
            same
        );
        for other in [
            &[&["=servers=1.1.1.2", "=cache-max-ttl=1w"][..]][..],
            &[&["=servers=1.1.1.1"]],
            &[&["=servers=1.1.1.1"], &["=cache-max-ttl=1w"]],
            &[],
        ] {
            assert_ne!(of(other), same, "{other:?}");
        }
    }
}
