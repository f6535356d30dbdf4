//! What is kept with an intent: what the device said before the first step, and what the step has noted. A sentence in
//! RouterOS's wire format.

use muster_model::check::{FACTS, Fact, Facts, Kind};
use routeros_wire::encode;

use crate::diff::read_rows;
use crate::steps::Notes;

/// Empty for nothing.
pub(super) fn write(pre: &Facts, notes: &Notes) -> Vec<u8> {
    let mut out = Vec::new();
    if pre.is_empty() && notes.is_empty() {
        return out;
    }
    let facts = pre.iter().map(|(name, fact)| match fact {
        Fact::Number(number) => format!("=pre.{name}={number}"),
        Fact::Text(text) => format!("=pre.{name}={text}"),
    });
    let notes = notes.iter().map(|(name, value)| format!("={name}={value}"));
    // No word is empty, and none is long.
    let _ = encode::sentence(&mut out, ["!re".to_owned()].into_iter().chain(facts).chain(notes));
    out
}

/// What was written; of what is no such sentence, nothing.
pub(super) fn read(memo: &[u8]) -> (Facts, Notes) {
    let (mut pre, mut notes) = (Facts::new(), Notes::new());
    read_rows(memo, |row| {
        for (name, value) in row.attributes() {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            let Some(fact) = name.strip_prefix("pre.") else {
                notes.insert(name.into_owned(), value.into_owned());
                continue;
            };
            let Some((known, kind, _)) = FACTS.iter().find(|(known, ..)| *known == fact) else {
                continue;
            };
            let fact = match kind {
                Kind::Number => value.parse().ok().map(Fact::Number),
                Kind::Text => Some(Fact::Text(value.into_owned())),
            };
            pre.extend(fact.map(|fact| (*known, fact)));
        }
    });
    (pre, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pre = Facts::from([
            ("version", Fact::Number(7_016_002_009_000)),
            ("board", Fact::Text("hAP ac=2".into())),
        ]);
        let notes = Notes::from([("uptime".to_owned(), "1500".to_owned())]);
        assert_eq!(read(&write(&pre, &notes)), (pre, notes));
        assert!(write(&Facts::new(), &Notes::new()).is_empty());
        assert_eq!(read(b"nonsense"), (Facts::new(), Notes::new()));
    }
}
