//! `[limits]`, `[[cap]]`, `[[availability]]` and `[ramp]`.

use std::time::Duration;

use super::label;
use crate::file::Table;
use crate::policy::{Amount, Availability, Cap, Limits, Ramp};

pub(super) fn limits(file: &Table<'_>) -> Option<Limits> {
    let caps = all(&file.tables("cap"), cap);
    let availability = all(&file.tables("availability"), availability);
    let defaults = Limits::default();
    let (concurrency, budget) = match file.get("limits") {
        None => (Some(None), Some(defaults.budget)),
        Some(value) => {
            let table = value.table()?;
            let concurrency = match table.get("concurrency") {
                None => Some(None),
                Some(value) => value
                    .integer(1..=u32::MAX.into())
                    .and_then(|cap| u32::try_from(cap).ok())
                    .map(Some),
            };
            let budget = match table.get("budget") {
                None => Some(defaults.budget),
                Some(value) => match value.amount()? {
                    Amount::Count(0) => value.wrong("lets nothing be changed; write at least 1"),
                    budget => Some(budget),
                },
            };
            table.finish();
            (concurrency, budget)
        }
    };
    Some(Limits {
        concurrency: concurrency?,
        budget: budget?,
        caps: caps?,
        availability: availability?,
    })
}

fn all<T>(tables: &[Table<'_>], read: impl Fn(&Table<'_>) -> Option<T>) -> Option<Vec<T>> {
    // Collected in two goes, so that the mistakes of all are told.
    let read = tables.iter().map(read).collect::<Vec<_>>();
    read.into_iter().collect()
}

fn cap(table: &Table<'_>) -> Option<Cap> {
    let what = "write a label, for example \"site\"";
    let key = table.need("label", what).and_then(|value| label(&value));
    let concurrency = table.need(
        "concurrency",
        "write how many devices of one value may be worked on at once",
    );
    let concurrency = concurrency.and_then(|value| value.integer(1..=u32::MAX.into()));
    table.finish();
    Some(Cap {
        label: key?,
        concurrency: u32::try_from(concurrency?).ok()?,
    })
}

fn availability(table: &Table<'_>) -> Option<Availability> {
    let key = table
        .need("label", "write a label, for example \"site\"")
        .and_then(|value| label(&value));
    let max = table.need(
        "max-unavailable",
        "write how many devices of one value may be out of service at once",
    );
    let max = max.and_then(|value| match value.amount()? {
        Amount::Count(0) => value.wrong("could never admit anything; write at least 1"),
        Amount::All => value.wrong("would be no limit; leave [[availability]] out for that"),
        amount => Some(amount),
    });
    table.finish();
    Some(Availability {
        label: key?,
        max_unavailable: max?,
    })
}

pub(super) fn ramp(file: &Table<'_>) -> Option<Option<Ramp>> {
    let Some(value) = file.get("ramp") else {
        return Some(None);
    };
    let table = value.table()?;
    let start = match table.get("start") {
        None => Some(1),
        Some(value) => value.integer(1..=u32::MAX.into()),
    };
    let factor = match table.get("factor") {
        None => Some(2.0),
        Some(value) => value.number(1.01..=100.0),
    };
    let interval = match table.get("interval") {
        None => Some(Duration::from_secs(60)),
        Some(value) => value.duration().and_then(|interval| {
            (interval >= Duration::from_secs(1))
                .then_some(interval)
                .or_else(|| value.wrong("is to be at least \"1s\""))
        }),
    };
    table.finish();
    Some(Some(Ramp {
        start: u32::try_from(start?).ok()?,
        factor_percent: (factor? * 100.0).round() as u32,
        interval: interval?,
    }))
}
