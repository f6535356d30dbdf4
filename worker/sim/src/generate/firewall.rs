//! Filter rules: the usual beginning, then whatever accumulated.

use crate::rng::Rng;
use crate::table::{Row, Table};

use super::{Profile, Purpose, comment};

type Rule = &'static [(&'static str, &'static str)];

/// The rules that every device begins with. Their comments hold what parsers trip over.
const FIRST: [Rule; 5] = [
    &[
        ("chain", "input"),
        ("action", "accept"),
        ("connection-state", "established,related,untracked"),
    ],
    &[
        ("chain", "input"),
        ("action", "drop"),
        ("connection-state", "invalid"),
    ],
    &[("chain", "input"), ("action", "accept"), ("protocol", "icmp")],
    &[
        ("chain", "input"),
        ("action", "accept"),
        ("protocol", "tcp"),
        ("dst-port", "22,8291,8728"),
        ("src-address", "10.0.0.0/8"),
    ],
    &[
        ("chain", "forward"),
        ("action", "fasttrack-connection"),
        ("connection-state", "established,related"),
    ],
];

const COMMENTS: [Option<&[u8]>; 5] = [
    Some(b"defconf: accept established,related,untracked"),
    Some(comment::KEY_VALUE),
    None,
    Some(comment::TWO_LINES),
    None,
];

const MORE: [Rule; 5] = [
    &[
        ("chain", "forward"),
        ("action", "drop"),
        ("connection-state", "invalid"),
    ],
    &[
        ("chain", "forward"),
        ("action", "accept"),
        ("protocol", "tcp"),
        ("dst-port", "443"),
    ],
    &[
        ("chain", "forward"),
        ("action", "accept"),
        ("protocol", "udp"),
        ("dst-port", "53"),
    ],
    &[
        ("chain", "forward"),
        ("action", "drop"),
        ("src-address-list", "blocked"),
    ],
    &[("chain", "input"), ("action", "drop"), ("in-interface", "ether1")],
];

pub(super) fn filter(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Filter);
    let mut table = Table::default();
    let code_page = *rng.pick(&[comment::LATIN, comment::CYRILLIC]);
    for (at, (first, comment)) in FIRST.into_iter().zip(COMMENTS).enumerate() {
        let row = rule(profile, &mut rng, first);
        let comment = if at == 2 { Some(code_page) } else { comment };
        let row = match comment {
            Some(comment) => row.with("comment", comment),
            None => row,
        };
        table.add(row, None);
    }
    for _ in 0..rng.below(16) {
        let more = *rng.pick(&MORE);
        let row = rule(profile, &mut rng, more);
        let disabled = rng.percent(10);
        let row = row.with("disabled", profile.boolean(disabled));
        table.add(comment::maybe(row, &mut rng, 40), None);
    }
    table
}

fn rule(profile: &Profile, rng: &mut Rng, properties: Rule) -> Row {
    let row = properties
        .iter()
        .fold(Row::default(), |row, &(name, value)| row.with(name, value));
    let packets = rng.below(1 << 30);
    row.with("log", profile.boolean(false))
        .with("log-prefix", "")
        .with("bytes", (packets * rng.between(64, 1400)).to_string())
        .with("packets", packets.to_string())
        .with("invalid", profile.boolean(false))
        .with("dynamic", profile.boolean(false))
        .with("disabled", profile.boolean(false))
}
