//! `[[wave.gate]]`.

use std::time::Duration;

use super::{approvers, rules};
use crate::file::{Beside, Table, Value};
use crate::policy::{Approval, Gate, GateKind, Share, Tolerance, web_address};

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
                "write \"rule\", \"timer\", \"approval\", \"webhook\", \"snapshot\", \"control\" or \"audit\"",
            );
            None
        }
        Some(value) => {
            let kinds: [(&str, Read); 7] = [
                ("rule", rule),
                ("timer", timer),
                ("approval", approval),
                ("webhook", webhook),
                ("snapshot", snapshot),
                ("control", control),
                ("audit", audit),
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
        match web_address(text) {
            Some(_) => Some(text.to_owned()),
            None => value.wrong("is no address that can be asked; write https://host:port/path, or http://"),
        }
    });
    let roots = match table.get("ca") {
        None => Some(None),
        Some(value) => match url.as_deref().is_some_and(|url| url.starts_with("http://")) {
            true => value.wrong("says whom to trust, and what is asked over http has no certificate"),
            false => value.file(Beside::Certificates).map(Some),
        },
    };
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
        roots: roots?,
    })
}

fn audit(table: &Table<'_>) -> Option<GateKind> {
    let file = table.need(
        "file",
        "write the audit's file, for example \"checks.toml\", or \"baseline\"",
    );
    let name = file.as_ref().and_then(|value| value.text().map(str::to_owned));
    let definition = file.and_then(|value| value.file(Beside::Audit));
    let min_coverage = match table.get("min-coverage") {
        None => Some(Share::ALL),
        Some(value) => value.share(),
    };
    let max = match table.get("max") {
        None => Some(0),
        Some(value) => value.integer(0..=u32::MAX.into()),
    };
    Some(GateKind::Audit {
        name: name?,
        definition: definition?,
        min_coverage: min_coverage?,
        max: max?,
    })
}

fn control(table: &Table<'_>) -> Option<GateKind> {
    let tolerances = tolerances(table, Tolerance::beside, Tolerance::of_control);
    let sample = match table.get("sample") {
        None => Some(100),
        Some(value) => value.integer(3..=2000),
    };
    Some(GateKind::Control {
        tolerances: tolerances?,
        sample: u32::try_from(sample?).ok()?,
    })
}

/// `tolerate = { NAME = "RANGE" }`.
fn tolerances(
    table: &Table<'_>,
    make: fn(&str, &str) -> Result<Tolerance, String>,
    defaults: fn() -> Vec<Tolerance>,
) -> Option<Vec<Tolerance>> {
    let Some(value) = table.get("tolerate") else {
        return Some(defaults());
    };
    let names = value.table()?;
    let one = |(name, value): (String, Value<'_>)| match make(&name, value.text()?) {
        Ok(tolerance) => Some(tolerance),
        Err(why) => value.wrong(format!("is wrong: {why}")),
    };
    let tolerances = names.entries().into_iter().map(one).collect::<Vec<_>>();
    if tolerances.is_empty() {
        return value.wrong("is empty; write what is compared, for example { interfaces_up = \"-0\" }");
    }
    tolerances.into_iter().collect()
}

fn snapshot(table: &Table<'_>) -> Option<GateKind> {
    let tolerances = tolerances(table, Tolerance::new, Tolerance::defaults);
    let max = match table.get("max") {
        None => Some(0),
        Some(value) => value.integer(0..=u32::MAX.into()),
    };
    Some(GateKind::Snapshot {
        tolerances: tolerances?,
        max: max?,
    })
}
