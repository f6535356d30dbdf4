//! What has to change in a menu so that it is as wanted, and the sentences that tell of it.
//!
//! A change is told in RouterOS's own wire format like any other answer, so devices that need the same changes have the
//! same bytes and the same digest:
//!
//! ```text
//! !re =op=set =menu=/ip/dns =name=servers =from=8.8.8.8 =to=1.1.1.1,9.9.9.9
//! ```

use muster_model::{DeviceError, Ensure, ErrorClass, Values, Want};
use routeros_wire::{Kind, Limits, Sentence, decode_all, encode};

use crate::meaning::same;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A property gets another value.
    Set {
        /// Its name.
        name: String,
        /// What the device has; `None` when the property is not there.
        from: Option<Vec<u8>>,
        /// What is wanted; empty to unset it.
        to: String,
    },
}

/// The changes that a menu needs, in the order they are made. Empty when it is as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Each change.
    pub changes: Vec<Change>,
}

/// The question that a wish asks of its menu: what it reads is all that it compares.
pub fn question(ensure: &Ensure) -> Vec<Vec<u8>> {
    let Want::Set(set) = ensure.want();
    let names = set.iter().map(|(name, _)| name).collect::<Vec<_>>().join(",");
    vec![
        format!("{}/print", ensure.menu()).into_bytes(),
        format!("=.proplist={names}").into_bytes(),
    ]
}

impl Diff {
    /// Between what a menu answered to its [`question`] and what is wanted of it.
    pub fn of(ensure: &Ensure, answer: &[u8]) -> Result<Self, DeviceError> {
        let Want::Set(set) = ensure.want();
        let (mut items, mut changes) = (0, Vec::new());
        read_rows(answer, |row| {
            items += 1;
            changes = set_changes(set, row);
        });
        match items {
            1 => Ok(Self { changes }),
            items => {
                let text = format!(
                    "{} has {items} items; values without a key are for a menu that is one item",
                    ensure.menu()
                );
                Err(DeviceError::new(ErrorClass::Plan, text))
            }
        }
    }

    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The commands that make the changes, in order: the words of each.
    pub fn commands(&self, ensure: &Ensure) -> Vec<Vec<Vec<u8>>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut words = vec![format!("{}/set", ensure.menu()).into_bytes()];
        let values = self.changes.iter().map(|Change::Set { name, to, .. }| (name, to));
        words.extend(values.map(|(name, to)| format!("={name}={to}").into_bytes()));
        vec![words]
    }

    /// Appends a `!re` for each change.
    pub fn write(&self, ensure: &Ensure, out: &mut Vec<u8>) {
        for Change::Set { name, from, to } in &self.changes {
            let words = [
                b"!re".to_vec(),
                b"=op=set".to_vec(),
                format!("=menu={}", ensure.menu()).into_bytes(),
                format!("=name={name}").into_bytes(),
                [b"=from=", from.as_deref().unwrap_or_default()].concat(),
                format!("=to={to}").into_bytes(),
            ];
            // No word is empty or longer than what came over the wire.
            let _ = encode::sentence(out, words);
        }
    }

    /// For people: `servers is 8.8.8.8, wanted 1.1.1.1`.
    pub fn text(&self) -> String {
        let one = |Change::Set { name, from, to }: &Change| {
            let from = from.as_deref().unwrap_or_default();
            format!("{name} is {:?}, wanted {to:?}", String::from_utf8_lossy(from))
        };
        self.changes.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

fn set_changes(set: &Values, row: Sentence<'_>) -> Vec<Change> {
    let differs = |(name, to): (&str, &str)| {
        let from = row.get(name.as_bytes());
        (!same(name, from, to.as_bytes())).then(|| Change::Set {
            name: name.to_owned(),
            from: from.map(<[u8]>::to_vec),
            to: to.to_owned(),
        })
    };
    set.iter().filter_map(differs).collect()
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
            diff.commands(&ensure),
            [vec![b"/ip/dns/set".to_vec(), b"=servers=1.1.1.1".to_vec()]]
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
        assert!(same.is_empty() && same.commands(&ensure).is_empty());
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
