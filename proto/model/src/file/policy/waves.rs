//! `[[wave]]`.

use std::time::Duration;

use super::gates;
use crate::file::{Table, Value};
use crate::policy::{Amount, MAX_WAVES, Share, Size, Strata, Stratum, Wave, waves_are_wrong};

pub(super) fn waves(file: &Table<'_>) -> Option<Vec<Wave>> {
    let soak = duration(file, "soak");
    let tables = file.tables("wave");
    if tables.is_empty() {
        let mut waves = Wave::defaults();
        let soak = soak?;
        waves.iter_mut().for_each(|wave| wave.soak = soak);
        return Some(waves);
    }
    if tables.len() > MAX_WAVES {
        tables[MAX_WAVES].tell(format!("is one too many; at most {MAX_WAVES} waves are allowed"));
        return None;
    }
    let soak = soak.unwrap_or_default();
    let read = tables.iter().map(|table| wave(table, soak)).collect::<Vec<_>>();
    let waves = read.into_iter().collect::<Option<Vec<_>>>()?;
    let wrong = waves_are_wrong(&waves);
    for (at, what) in &wrong {
        match tables[*at].get("size") {
            Some(size) => size.tell(what),
            None => tables[*at].tell(what),
        }
    }
    wrong.is_empty().then_some(waves)
}

fn wave(table: &Table<'_>, soak: Duration) -> Option<Wave> {
    let name = match table.get("name") {
        None => Some(String::new()),
        Some(value) => value.text().map(str::to_owned),
    };
    let size = size(table);
    let strata = strata(table);
    let budget = match table.get("budget") {
        None => Some(Amount::All),
        Some(value) => value.amount(),
    };
    let soak = match table.get("soak") {
        None => Some(soak),
        Some(value) => value.duration(),
    };
    let bake = duration(table, "bake");
    let min_good = match table.get("min-good") {
        None => Some(Share::percent(50)),
        Some(value) => value.share(),
    };
    let gates = gates::gates(table);
    table.finish();
    Some(Wave {
        name: name?,
        size: size?,
        strata: strata?,
        budget: budget?,
        soak: soak?,
        bake: bake?,
        min_good: min_good?,
        gates: gates?,
    })
}

fn size(table: &Table<'_>) -> Option<Size> {
    match (table.get("size"), table.get("select")) {
        (Some(size), Some(_)) => {
            size.wrong("a size and a selector exclude each other; write a wave for each")
        }
        (None, Some(select)) => select.parse(str::parse).map(Size::Select),
        (Some(size), None) => read_size(&size),
        (None, None) => {
            table.need("size", SIZE);
            None
        }
    }
}

const SIZE: &str = "write a count as 10, a share of the selection as \"25%\", or \"rest\"";

fn read_size(size: &Value<'_>) -> Option<Size> {
    match (size.as_integer(), size.as_text()) {
        (Some(_), _) => size.integer(1..=u64::MAX).map(Size::Count),
        (None, Some("rest")) => Some(Size::Rest),
        (None, Some(text)) if text.trim_end().ends_with('%') => size.share().map(Size::Upto),
        _ => size.wrong(format!("is no size; {SIZE}")),
    }
}

fn strata(table: &Table<'_>) -> Option<Option<Strata>> {
    let per = table.get("per-stratum").map(|value| value.integer(1..=1_000_000));
    let by = table.get("strata").map(|value| {
        let texts = value.texts()?;
        match texts.is_empty() {
            true => value
                .wrong("names nothing to tell kinds apart by; write for example [\"board\", \"version\"]"),
            false => Some(texts.into_iter().map(Stratum::parse).collect()),
        }
    });
    match (per, by) {
        (None, None) => Some(None),
        (per, by) => Some(Some(Strata {
            per: u32::try_from(per.unwrap_or(Some(1))?).ok()?,
            by: by.unwrap_or_else(|| Some(Strata::by_default()))?,
        })),
    }
}

/// A duration that may be left out.
fn duration(table: &Table<'_>, key: &str) -> Option<Duration> {
    match table.get(key) {
        None => Some(Duration::ZERO),
        Some(value) => value.duration(),
    }
}
