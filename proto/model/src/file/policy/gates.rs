//! `[[wave.gate]]`.

use std::time::Duration;

use super::{approvers, rules};
use crate::file::{Table, Value};
use crate::policy::{Approval, Gate, GateKind, Tolerance};

/// The gates after a wave.
pub(super) fn gates(wave: &Table<'_>) -> Option<Vec<Gate>> {
    let tables = wave.tables("gate");
    let read = tables
        .iter()
        .enumerate()
        .map(|(at, table)| gate(at, table))
        .collect::<Vec<_>>();
    read.into_iter().collect()
}

fn gate(at: usize, table: &Table<'_>) -> Option<Gate> {
    let kind = match table.get("kind") {
        None => {
            table.need(
                "kind",
                "write \"rule\", \"timer\", \"approval\", \"webhook\" or \"snapshot\"",
            );
            None
        }
        Some(value) if value.as_text() == Some("audit") => {
            value.wrong("gates of the kind audit are not there yet; use a rule, a webhook or an approval")
        }
        Some(value) => {
            let kinds: [(&str, Read); 5] = [
                ("rule", rule),
                ("timer", timer),
                ("approval", approval),
                ("webhook", webhook),
                ("snapshot", snapshot),
            ];
            value.one_of(&kinds).and_then(|read| read(table))
        }
    };
    let id = match table.get("name") {
        None => Some(format!("gate-{}", at + 1)),
        Some(value) => value.text().map(str::to_owned),
    };
    let shadow = match table.get("shadow") {
        None => Some(false),
        Some(value) => value.bool(),
    };
    table.finish();
    Some(Gate {
        id: id?,
        kind: kind?,
        shadow: shadow?,
    })
}

type Read = fn(&Table<'_>) -> Option<GateKind>;

fn rule(table: &Table<'_>) -> Option<GateKind> {
    let (condition, classes, scope) = (
        rules::condition(table),
        rules::classes(table),
        rules::scope(table),
    );
    Some(GateKind::Rule {
        condition: condition?,
        classes: classes?,
        scope: scope?,
    })
}

fn timer(table: &Table<'_>) -> Option<GateKind> {
    let after = table.need("after", "write how long, for example \"1h\"")?;
    after.duration().map(GateKind::Timer)
}

fn approval(table: &Table<'_>) -> Option<GateKind> {
    approvers(table).map(|Approval { needed, from }| GateKind::Approval { needed, from })
}

fn webhook(table: &Table<'_>) -> Option<GateKind> {
    let url = table.need("url", "write for example \"http://127.0.0.1:9000/gate\"");
    let url = url.and_then(|value| {
        let text = value.text()?;
        let host = text
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next());
        match host {
            Some(host) if !host.is_empty() && text.is_ascii() && !text.contains(char::is_whitespace) => {
                Some(text.to_owned())
            }
            _ => value.wrong(
                "is no address that can be asked; write http://host:port/path (https is not there yet)",
            ),
        }
    });
    let timeout = match table.get("timeout") {
        None => Some(Duration::from_secs(10)),
        Some(value) => value.duration().and_then(|timeout| {
            (Duration::from_millis(100)..=Duration::from_secs(300))
                .contains(&timeout)
                .then_some(timeout)
                .or_else(|| value.wrong("is to be 100ms to 5m"))
        }),
    };
    Some(GateKind::Webhook {
        url: url?,
        timeout: timeout?,
    })
}

fn snapshot(table: &Table<'_>) -> Option<GateKind> {
    let tolerances = match table.get("tolerate") {
        None => Some(Tolerance::defaults()),
        Some(value) => value.table().and_then(|names| {
            let one = |(name, value): (String, Value<'_>)| {
                let text = value.text()?;
                match Tolerance::new(&name, text) {
                    Ok(tolerance) => Some(tolerance),
                    Err(why) => value.wrong(format!("is wrong: {why}")),
                }
            };
            let tolerances = names.entries().into_iter().map(one).collect::<Vec<_>>();
            if tolerances.is_empty() {
                return value
                    .wrong("is empty; write what is compared, for example { interfaces_up = \"-0\" }");
            }
            tolerances.into_iter().collect::<Option<Vec<_>>>()
        }),
    };
    let max = match table.get("max") {
        None => Some(0),
        Some(value) => value.integer(0..=u32::MAX.into()),
    };
    Some(GateKind::Snapshot {
        tolerances: tolerances?,
        max: max?,
    })
}
