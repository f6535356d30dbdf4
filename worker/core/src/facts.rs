//! What checks know of a device: the questions, and what is read out of the answers.

use muster_model::check::{FACTS, Fact, Facts, Source, number};
use routeros_wire::value::{boolean, duration, size};
use routeros_wire::{Kind, Limits, Sentence, decode_all};

use crate::diff::read_rows;

/// Facts as a text that [`of_text`] reads.
pub(crate) fn to_text(facts: &Facts) -> String {
    let line = |(name, fact): (&&'static str, &Fact)| match fact {
        Fact::Number(number) => format!("{name}#{number}\n"),
        Fact::Text(text) => format!("{name}={}\n", text.replace('\n', " ")),
    };
    facts.iter().map(line).collect()
}

/// Facts that [`to_text`] wrote. What is not known any more is left out.
pub(crate) fn of_text(text: &str) -> Facts {
    let fact = |line: &str| {
        let at = line.find(['#', '='])?;
        let (name, _, _) = FACTS.iter().find(|(name, ..)| *name == &line[..at])?;
        let value = &line[at + 1..];
        let fact = match line.as_bytes()[at] {
            b'#' => Fact::Number(value.parse().ok()?),
            _ => Fact::Text(value.to_owned()),
        };
        Some((*name, fact))
    };
    text.lines().filter_map(fact).collect()
}

/// The question of a source.
pub(crate) fn question(source: Source) -> Vec<Vec<u8>> {
    let words: &[&str] = match source {
        Source::Resource => &[
            "/system/resource/print",
            "=.proplist=version,uptime,free-memory,total-memory,cpu-count,cpu-load,free-hdd-space,total-hdd-space,architecture-name,board-name",
        ],
        Source::Load => &["/system/resource/print", "=.proplist=cpu-load"],
        Source::Identity => &["/system/identity/print", "=.proplist=name"],
        Source::Interfaces => &["/interface/print", "=.proplist=running"],
        Source::Routes => &["/ip/route/print", "=count-only="],
        Source::Bgp => &["/routing/bgp/session/print", "=.proplist=established"],
        Source::BgpPeers => &["/routing/bgp/peer/print", "=.proplist=state"],
        Source::Ospf => &["/routing/ospf/neighbor/print", "=.proplist=state"],
        Source::Leases => &["/ip/dhcp-server/lease/print", "=count-only=", "?status=bound"],
    };
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// What the answer says. What it does not say is not there.
pub(crate) fn read(source: Source, answer: &[u8], facts: &mut Facts) {
    match source {
        Source::Resource | Source::Load => read_rows(answer, |row| resource(&row, facts)),
        Source::Identity => read_rows(answer, |row| text(&row, b"name", "identity", facts)),
        Source::Interfaces => {
            let mut up = 0;
            read_rows(answer, |row| {
                up += i64::from(row.get(b"running").and_then(boolean) == Some(true));
            });
            facts.insert("interfaces_up", Fact::Number(up));
        }
        Source::Routes => facts.extend(count(answer).map(|count| ("routes", Fact::Number(count)))),
        Source::Bgp => {
            let up = counted(answer, b"established", |value| boolean(value) == Some(true));
            facts.insert("bgp_up", Fact::Number(up));
        }
        Source::BgpPeers => {
            let up = counted(answer, b"state", |state| {
                state.eq_ignore_ascii_case(b"established")
            });
            facts.insert("bgp_up", Fact::Number(up));
        }
        Source::Ospf => {
            let up = counted(answer, b"state", |state| state.eq_ignore_ascii_case(b"full"));
            facts.insert("ospf_up", Fact::Number(up));
        }
        Source::Leases => facts.extend(count(answer).map(|count| ("leases", Fact::Number(count)))),
    }
}

/// How many items have a value for which this holds.
fn counted(answer: &[u8], property: &[u8], holds: impl Fn(&[u8]) -> bool) -> i64 {
    let mut count = 0;
    read_rows(answer, |row| {
        count += i64::from(row.get(property).is_some_and(&holds));
    });
    count
}

fn resource(row: &Sentence<'_>, facts: &mut Facts) {
    for (property, name) in [
        (&b"cpu-count"[..], "cpu_count"),
        (b"cpu-load", "cpu_load"),
        (b"free-hdd-space", "free_disk"),
        (b"free-memory", "free_memory"),
        (b"total-hdd-space", "total_disk"),
        (b"total-memory", "total_memory"),
    ] {
        let value = row.get(property).and_then(size::parse);
        let value = value.and_then(|value| i64::try_from(value).ok());
        facts.extend(value.map(|value| (name, Fact::Number(value))));
    }
    let uptime = row.get(b"uptime").and_then(duration::parse);
    let uptime = uptime.and_then(|uptime| i64::try_from(uptime.as_secs()).ok());
    facts.extend(uptime.map(|uptime| ("uptime", Fact::Number(uptime))));
    let version = row
        .get(b"version")
        .and_then(|version| std::str::from_utf8(version).ok());
    facts.extend(
        version
            .and_then(number)
            .map(|version| ("version", Fact::Number(version))),
    );
    text(row, b"architecture-name", "architecture", facts);
    text(row, b"board-name", "board", facts);
}

fn text(row: &Sentence<'_>, property: &[u8], name: &'static str, facts: &mut Facts) {
    let value = row.get(property).map(String::from_utf8_lossy);
    facts.extend(value.map(|value| (name, Fact::Text(value.into_owned()))));
}

/// The `=ret=` of a `count-only`.
fn count(answer: &[u8]) -> Option<i64> {
    let mut count = None;
    // Written by the session, sentence by sentence, within the same limits: it decodes.
    let _ = decode_all(answer, Limits::default(), |sentence| {
        if sentence.kind() == Kind::Done {
            let text = sentence.get(b"ret").and_then(|ret| std::str::from_utf8(ret).ok());
            count = text.and_then(|text| text.parse().ok());
        }
    });
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use routeros_wire::encode;

    fn of(source: Source, sentences: &[&[&str]]) -> Facts {
        let mut answer = Vec::new();
        for sentence in sentences {
            encode::sentence(&mut answer, sentence.iter()).expect("no empty words");
        }
        let mut facts = Facts::new();
        read(source, &answer, &mut facts);
        facts
    }

    #[test]
    fn facts_are_read_as_devices_write_them() {
        let resource = [
            "!re",
            "=version=7.16.2 (stable)",
            "=uptime=1w2d3s",
            "=free-hdd-space=7.5MiB",
            "=cpu-load=3",
            "=board-name=RB5009",
        ];
        let facts = of(Source::Resource, &[&resource, &["!done"]]);
        assert_eq!(facts["uptime"], Fact::Number(9 * 86_400 + 3));
        assert_eq!(facts["free_disk"], Fact::Number(7_864_320));
        assert_eq!(facts["board"], Fact::Text("RB5009".into()));
        assert_eq!(facts.get("version"), number("7.16.2").map(Fact::Number).as_ref());
        assert!(!facts.contains_key("total_disk"));
        let up = of(
            Source::Interfaces,
            &[
                &["!re", "=running=true"],
                &["!re", "=running=no"],
                &["!re"],
                &["!done"],
            ],
        );
        assert_eq!(up["interfaces_up"], Fact::Number(1));
        assert_eq!(
            of(Source::Routes, &[&["!done", "=ret=42"]])["routes"],
            Fact::Number(42)
        );
        let sessions: &[&[&str]] = &[&["!re", "=established=true"], &["!re"], &["!done"]];
        assert_eq!(of(Source::Bgp, sessions)["bgp_up"], Fact::Number(1));
        let peers: &[&[&str]] = &[
            &["!re", "=state=established"],
            &["!re", "=state=idle"],
            &["!done"],
        ];
        assert_eq!(of(Source::BgpPeers, peers)["bgp_up"], Fact::Number(1));
        let neighbours: &[&[&str]] = &[
            &["!re", "=state=Full"],
            &["!re", "=state=full"],
            &["!re", "=state=2-Way"],
            &["!done"],
        ];
        assert_eq!(of(Source::Ospf, neighbours)["ospf_up"], Fact::Number(2));
        assert_eq!(of(Source::Ospf, &[&["!done"]])["ospf_up"], Fact::Number(0));
        assert!(of(Source::Leases, &[&["!done"]]).is_empty());
    }
}
