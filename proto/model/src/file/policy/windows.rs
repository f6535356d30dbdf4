//! `[window]` or `[[window]]`, and `[[freeze]]`.

use super::{label, word};
use crate::file::{Table, Value};
use crate::policy::{AtEnd, Freeze, Window, WindowError, Zone, cron};

type Times = (Vec<Window>, Vec<Freeze>, AtEnd, Option<String>);

/// The windows, the freezes, what happens at the end of a window, and the label that names each device's zone.
pub(super) fn times(file: &Table<'_>) -> Option<Times> {
    let tables = match file.get("window") {
        None => Vec::new(),
        Some(value) => match value.as_table() {
            Some(table) => vec![table],
            None => {
                let entries =
                    value.list("is to be a table; write [window], or [[window]] for each of several")?;
                entries.iter().filter_map(Value::table).collect()
            }
        },
    };
    let windows = tables.iter().map(window).collect::<Vec<_>>();
    let freezes = file.tables("freeze");
    let freezes = freezes.iter().map(freeze).collect::<Vec<_>>();
    let windows = windows.into_iter().collect::<Option<Vec<_>>>()?;
    // What is in flight is asked one question, whichever window ends.
    let at_end = match windows.iter().any(|(_, at_end)| *at_end == AtEnd::Stop) {
        true => AtEnd::Stop,
        false => AtEnd::Finish,
    };
    let windows = windows.into_iter().map(|(window, _)| window).collect();
    let labels = tables.iter().map(|table| match table.get("zone-label") {
        None => Some(None),
        Some(value) => label(&value).map(Some),
    });
    let labels = labels.collect::<Option<Vec<_>>>()?;
    let zone_label = labels.first().cloned().flatten();
    if let Some(at) = labels.iter().position(|label| *label != zone_label) {
        tables[at].tell("all windows are in zones that one label names, or none of them");
        return None;
    }
    Some((
        windows,
        freezes.into_iter().collect::<Option<Vec<_>>>()?,
        at_end,
        zone_label,
    ))
}

fn window(table: &Table<'_>) -> Option<(Window, AtEnd)> {
    let expression = table.need("cron", "write for example \"0 1 * * *\", every day at one");
    let expression = expression.and_then(|value| value.parse(|text| cron(text).map(|_| text.to_owned())));
    let duration = table.need("duration", "write for example \"4h\"");
    let at = duration.clone();
    let duration = duration.and_then(|value| value.duration());
    let zone = zone(table);
    // It is read where all windows are known.
    let local = table.get("zone-label");
    let at_end = word(
        table,
        "at-end",
        &[("finish", AtEnd::Finish), ("stop", AtEnd::Stop)],
    );
    table.finish();
    if let (Some(_), Some(zone)) = (&local, table.get("zone")) {
        return zone.wrong("a zone and a label that names each device's exclude each other");
    }
    let window = Window {
        cron: expression?,
        duration: duration?,
        zone: zone?,
    };
    match (window.check(), at) {
        (Err(error @ WindowError::Duration), Some(value)) => value.wrong(error.to_string()),
        _ => Some((window, at_end?)),
    }
}

fn zone(table: &Table<'_>) -> Option<Zone> {
    match table.get("zone") {
        None => Some(Zone::default()),
        Some(value) => value.parse(Zone::new),
    }
}

fn freeze(table: &Table<'_>) -> Option<Freeze> {
    let zone = zone(table);
    let zone_or_utc = zone.clone().unwrap_or_default();
    let moment = |key: &str| {
        let value = table.need(key, "write for example 2026-12-24")?;
        value.moment(&zone_or_utc)
    };
    let (from, to) = (moment("from"), moment("to"));
    let reason = match table.get("reason") {
        None => Some(String::new()),
        Some(value) => value.text().map(str::to_owned),
    };
    table.finish();
    zone?;
    let (from, to) = (from?, to?);
    if to <= from {
        return table.get("to")?.wrong("is to be later than from");
    }
    Some(Freeze {
        from,
        to,
        reason: reason?,
    })
}
