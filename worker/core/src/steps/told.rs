//! Answers that muster writes in the place of a device.

use muster_model::{Command, Effect, Ensure};
use routeros_wire::encode;

use sha2::{Digest as _, Sha256};

use crate::action::Given;
use crate::diff::Diff;

/// The changes that a wish needs.
pub(crate) fn diff(diff: &Diff, ensure: &Ensure) -> Vec<u8> {
    let mut out = Vec::new();
    diff.write(ensure, &mut out);
    done(out)
}

/// A command that a preview does not send: one that does more than read is told.
pub(crate) fn command(command: &Command) -> Vec<u8> {
    let mut out = Vec::new();
    if !command.effect().is_read() {
        let words = [
            "!re".to_owned(),
            "=op=run".to_owned(),
            format!("=effect={}", command.effect().as_str()),
            format!("=command={}", command.words().join(" ")),
        ];
        // No word is empty, and none longer than a plan may be.
        let _ = encode::sentence(&mut out, words);
    }
    done(out)
}

/// What a step would do that a preview does not do.
pub(crate) fn would(effect: Effect, what: &str) -> Vec<u8> {
    row("run", [("effect", effect.as_str()), ("command", what)])
}

/// What a step has done, in one row.
pub(crate) fn row<'a>(op: &str, named: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    let named = named.into_iter().map(|(name, value)| format!("={name}={value}"));
    let words = ["!re".to_owned(), format!("=op={op}")].into_iter().chain(named);
    // No word is empty, and none longer than what came over the wire.
    let _ = encode::sentence(&mut out, words);
    done(out)
}

/// A check that was evaluated, with what it named. A check of which nothing is to be told is only done.
pub(crate) fn check(named: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    if !named.is_empty() {
        let words = named.iter().map(|(name, value)| format!("={name}={value}"));
        let words = ["!re".to_owned(), "=op=check".to_owned()]
            .into_iter()
            .chain(words);
        // No word is empty, and none longer than what came over the wire.
        let _ = encode::sentence(&mut out, words);
    }
    done(out)
}

/// Files that were brought back. None for a step that had nothing to do.
pub(crate) fn kept(given: &[Given]) -> Vec<u8> {
    let mut out = Vec::new();
    for Given { kind, bytes, .. } in given {
        let digest = Sha256::digest(bytes);
        let digest = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        let words = [
            "!re".to_owned(),
            "=op=backup".to_owned(),
            format!("=kind={}", kind.as_str()),
            format!("=bytes={}", bytes.len()),
            format!("=sha256={digest}"),
        ];
        // No word is empty.
        let _ = encode::sentence(&mut out, words);
    }
    done(out)
}

/// Nothing more is told.
pub(crate) fn done(mut out: Vec<u8>) -> Vec<u8> {
    let _ = encode::sentence(&mut out, ["!done"]);
    out
}
