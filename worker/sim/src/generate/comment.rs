//! Comments as operators leave them: in whatever code page WinBox ran, with `=` and newlines.

use crate::rng::Rng;
use crate::table::Row;

/// cp1252: `café Zürich`.
pub(super) const LATIN: &[u8] = b"caf\xE9 Z\xFCrich";
/// cp1251: `Склад №2`.
pub(super) const CYRILLIC: &[u8] = b"\xD1\xEA\xEB\xE0\xE4 \xB92";
/// With `=` in it.
pub(super) const KEY_VALUE: &[u8] = b"owner=noc; ticket=4711";
/// With a newline in it.
pub(super) const TWO_LINES: &[u8] = b"temporary, remove me\nsince the move to the new rack";

const PLAIN: [&str; 8] = [
    "uplink",
    "to core switch",
    "defconf",
    "managed by noc",
    "customer 1042",
    "Büro",
    "backup link = do not touch",
    "spare",
];

/// Gives a row a comment in `percent` of cases.
pub(super) fn maybe(row: Row, rng: &mut Rng, percent: u64) -> Row {
    match rng.percent(percent) {
        true => row.with("comment", *rng.pick(&PLAIN)),
        false => row,
    }
}
