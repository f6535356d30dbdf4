//! What has to change in a menu so that it is as wanted, and the sentences that tell of it.
//!
//! A change is told in RouterOS's own wire format like any other answer, and without item ids, so devices that need the
//! same changes have the same bytes and the same digest:
//!
//! ```text
//! !re =op=set    =menu=/ip/dns =name=servers =from=8.8.8.8 =to=1.1.1.1,9.9.9.9
//! !re =op=set    =menu=/ip/firewall/address-list =item=list=mgmt,address=10.0.0.1 =name=comment =from= =to=core
//! !re =op=add    =menu=/ip/firewall/address-list =item=list=mgmt,address=10.0.0.2 =to.address=10.0.0.2 =to.list=mgmt
//! !re =op=remove =menu=/ip/firewall/address-list =item=list=mgmt,address=10.0.0.3 =from.address=10.0.0.3 …
//! !re =op=move   =menu=/ip/firewall/filter =item=comment=a =before=comment=b
//! ```

use muster_model::{DeviceError, Ensure, ErrorClass, Values, Want};
use routeros_wire::{Kind, Limits, Sentence, decode_all, encode};

use crate::items;
use crate::meaning::same;

/// One change, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A property gets another value.
    Set {
        /// Which item; empty in a menu that is one.
        item: String,
        /// Its name.
        name: String,
        /// What the device has; `None` when the property is not there.
        from: Option<Vec<u8>>,
        /// What is wanted; empty to unset it.
        to: String,
    },
    /// An item comes.
    Add {
        /// Which item.
        item: String,
        /// What it is to be.
        values: Values,
    },
    /// An item goes.
    Remove {
        /// Which item.
        item: String,
        /// What it was: everything but counters and times.
        values: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// An item goes to another place.
    Move {
        /// Which item.
        item: String,
        /// The item it is to stand before; empty for the end.
        before: String,
    },
}

/// One command that makes changes, with the device's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Values of an item, or of a menu that is one.
    Set {
        /// The item.
        id: Option<Vec<u8>>,
        /// Its values.
        values: Vec<(String, String)>,
    },
    /// A new item.
    Add {
        /// Its values.
        values: Values,
        /// Where.
        place: Place,
    },
    /// An item to another place.
    Move {
        /// The item.
        id: Vec<u8>,
        /// Where.
        place: Place,
    },
    /// An item's end.
    Remove {
        /// The item.
        id: Vec<u8>,
    },
}

/// A place in an ordered menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The end.
    End,
    /// Before this item.
    Before(Vec<u8>),
    /// Before the item that this write, counted from 0, has added.
    BeforeAdded(usize),
}

/// The changes that a menu needs, in the order they are made. Empty when it is as wanted.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Each change.
    pub changes: Vec<Change>,
    /// The commands that make them.
    pub writes: Vec<Write>,
}

/// The question that a wish asks of its menu: what it reads is all that it compares.
pub fn question(ensure: &Ensure) -> Vec<Vec<u8>> {
    let names = match ensure.want() {
        Want::Set(set) => Some(set.iter().map(|(name, _)| name).collect::<Vec<_>>().join(",")),
        Want::Items(items) => items::proplist(items),
    };
    let mut words = vec![format!("{}/print", ensure.menu()).into_bytes()];
    words.extend(names.map(|names| format!("=.proplist={names}").into_bytes()));
    words
}

impl Diff {
    /// Between what a menu answered to its [`question`] and what is wanted of it.
    pub fn of(ensure: &Ensure, answer: &[u8]) -> Result<Self, DeviceError> {
        match ensure.want() {
            Want::Set(set) => Self::of_one(ensure.menu(), set, answer),
            Want::Items(wanted) => items::diff(ensure.menu(), wanted, answer),
        }
    }

    fn of_one(menu: &str, set: &Values, answer: &[u8]) -> Result<Self, DeviceError> {
        let (mut count, mut changes) = (0, Vec::new());
        read_rows(answer, |row| {
            count += 1;
            changes = set_changes("", set, &row);
        });
        if count != 1 {
            let text =
                format!("{menu} has {count} items; values without a key are for a menu that is one item");
            return Err(DeviceError::new(ErrorClass::Plan, text));
        }
        let mut diff = Self::default();
        diff.set(None, changes);
        Ok(diff)
    }

    /// Takes in changes of values, which are one command.
    pub(crate) fn set(&mut self, id: Option<Vec<u8>>, changes: Vec<Change>) {
        let value = |change: &Change| match change {
            Change::Set { name, to, .. } => Some((name.clone(), to.clone())),
            Change::Add { .. } | Change::Remove { .. } | Change::Move { .. } => None,
        };
        let values = changes.iter().filter_map(value).collect::<Vec<_>>();
        if !values.is_empty() {
            self.writes.push(Write::Set { id, values });
            self.changes.extend(changes);
        }
    }

    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Appends a `!re` for each change.
    pub fn write(&self, ensure: &Ensure, out: &mut Vec<u8>) {
        for change in &self.changes {
            // No word is empty or longer than what came over the wire.
            let _ = encode::sentence(out, change.words(ensure.menu()));
        }
    }

    /// For people: `servers is "8.8.8.8", wanted "1.1.1.1"`; the first few.
    pub fn text(&self) -> String {
        const SHOWN: usize = 5;
        let shown = self.changes.iter().take(SHOWN).map(Change::text);
        let more = self.changes.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("and {more} more differences"));
        shown.chain(more).collect::<Vec<_>>().join("; ")
    }
}

impl Change {
    fn words(&self, menu: &str) -> Vec<Vec<u8>> {
        let head = |op: &str, item: &str| {
            let mut words = vec![
                b"!re".to_vec(),
                format!("=op={op}").into_bytes(),
                format!("=menu={menu}").into_bytes(),
            ];
            if !item.is_empty() {
                words.push(format!("=item={item}").into_bytes());
            }
            words
        };
        match self {
            Self::Set { item, name, from, to } => {
                let mut words = head("set", item);
                words.push(format!("=name={name}").into_bytes());
                words.push([b"=from=", from.as_deref().unwrap_or_default()].concat());
                words.push(format!("=to={to}").into_bytes());
                words
            }
            Self::Add { item, values } => {
                let mut words = head("add", item);
                let values = values.iter();
                words.extend(values.map(|(name, value)| format!("=to.{name}={value}").into_bytes()));
                words
            }
            Self::Remove { item, values } => {
                let mut words = head("remove", item);
                let values = values.iter();
                words.extend(values.map(|(name, value)| [b"=from.", &name[..], b"=", value].concat()));
                words
            }
            Self::Move { item, before } => {
                let mut words = head("move", item);
                words.push(format!("=before={before}").into_bytes());
                words
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Set { item, name, from, to } => {
                let from = from.as_deref().unwrap_or_default();
                let of = if item.is_empty() {
                    String::new()
                } else {
                    format!(" of {item}")
                };
                format!("{name}{of} is {:?}, wanted {to:?}", String::from_utf8_lossy(from))
            }
            Self::Add { item, .. } => format!("{item} is not there"),
            Self::Remove { item, .. } => format!("{item} is there"),
            Self::Move { item, before } if before.is_empty() => format!("{item} is not at its place"),
            Self::Move { item, before } => format!("{item} is not before {before}"),
        }
    }
}

/// The values of a row that are not as wanted.
pub(crate) fn set_changes(item: &str, wanted: &Values, row: &Sentence<'_>) -> Vec<Change> {
    let differs = |(name, to): (&str, &str)| {
        let from = row.get(name.as_bytes());
        (!same(name, from, to.as_bytes())).then(|| Change::Set {
            item: item.to_owned(),
            name: name.to_owned(),
            from: from.map(<[u8]>::to_vec),
            to: to.to_owned(),
        })
    };
    wanted.iter().filter_map(differs).collect()
}

pub(crate) fn read_rows(answer: &[u8], mut each: impl FnMut(Sentence<'_>)) {
    // Written by the session, sentence by sentence, within the same limits: it decodes.
    let _ = decode_all(answer, Limits::default(), |sentence| {
        if sentence.kind() == Kind::Re {
            each(sentence);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(values: [(&str, &str); 2]) -> Ensure {
        Ensure::singleton("/ip/dns", Values::new(values).expect("valid")).expect("valid")
    }

    fn answer(rows: &[&[&str]]) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            let words = ["!re"].iter().chain(row.iter());
            encode::sentence(&mut out, words).expect("no empty words");
        }
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out
    }

    #[test]
    fn only_what_is_different_is_written() {
        let ensure = dns([("servers", "1.1.1.1"), ("allow-remote-requests", "no")]);
        let words = question(&ensure).concat();
        assert_eq!(
            String::from_utf8_lossy(&words),
            "/ip/dns/print=.proplist=allow-remote-requests,servers"
        );
        let diff = Diff::of(
            &ensure,
            &answer(&[&["=servers=8.8.8.8", "=allow-remote-requests=false"]]),
        )
        .expect("one item");
        assert_eq!(
            diff.writes,
            [Write::Set {
                id: None,
                values: vec![("servers".into(), "1.1.1.1".into())]
            }]
        );
        assert_eq!(diff.text(), r#"servers is "8.8.8.8", wanted "1.1.1.1""#);
        let mut told = Vec::new();
        diff.write(&ensure, &mut told);
        let mut sentences = Vec::new();
        decode_all(&told, Limits::default(), |sentence| {
            sentences.push(sentence.to_vec());
        })
        .expect("decodes");
        let words = [
            "!re",
            "=op=set",
            "=menu=/ip/dns",
            "=name=servers",
            "=from=8.8.8.8",
            "=to=1.1.1.1",
        ];
        assert_eq!(sentences, [words.map(|word| word.as_bytes().to_vec())]);
        let same = Diff::of(&ensure, &answer(&[&["=servers=1.1.1.1"]])).expect("one item");
        assert!(same.is_empty() && same.writes.is_empty());
    }

    #[test]
    fn a_menu_of_items_has_no_values_of_its_own() {
        let ensure = dns([("servers", "1.1.1.1"), ("cache-size", "1")]);
        for rows in [&[][..], &[&["=servers=1.1.1.1"][..], &["=servers=9.9.9.9"]]] {
            let error = Diff::of(&ensure, &answer(rows)).expect_err("not one item");
            assert_eq!(error.class, ErrorClass::Plan);
            assert!(
                error.message.contains(&format!("has {} items", rows.len())),
                "{error}"
            );
        }
    }
}
