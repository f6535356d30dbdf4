//! Steps that wait, run a script, fetch a file, restart a router, and change its firmware.

use std::collections::BTreeMap;
use std::time::Duration;

use super::verification;
use crate::fetch::Fetch;
use crate::file::{Table, Value};
use crate::firmware::Upgrade;
use crate::plan::Step;
use crate::reboot::Reboot;
use crate::script::{Run, Script};
use crate::step::BadStep;
use crate::wait::Wait;

/// What a key says that may be left out: `None` when it is wrong, which is told.
fn given<'f, T>(
    table: &Table<'f>,
    key: &str,
    read: impl FnOnce(&Value<'f>) -> Option<T>,
) -> Option<Option<T>> {
    match table.get(key) {
        None => Some(None),
        Some(value) => read(&value).map(Some),
    }
}

fn time(table: &Table<'_>, key: &str) -> Option<Option<Duration>> {
    given(table, key, Value::duration)
}

fn text(table: &Table<'_>, key: &str) -> Option<Option<String>> {
    given(table, key, |value| value.text().map(str::to_owned))
}

fn flag(table: &Table<'_>, key: &str) -> Option<bool> {
    given(table, key, Value::bool).map(Option::unwrap_or_default)
}

/// Tells what is wrong where it stands: in a key of the table, or beside it.
fn tell(table: &Table<'_>, at: &Value<'_>, bad: Vec<BadStep>) {
    for BadStep { field, message } in bad {
        match table.get(field) {
            Some(value) => value.tell(message),
            None => at.tell(message),
        }
    }
}

/// `wait = "30s"`, or `wait = { until = "…", within = "5m", every = "5s" }`.
pub(super) fn wait(table: &Table<'_>) -> Option<Step> {
    let value = table.get("wait")?;
    let Some(inner) = value.as_table() else {
        let made = Wait::time(value.duration()?);
        return made
            .map_err(|bad| bad.into_iter().for_each(|bad| value.tell(bad.message)))
            .ok()
            .map(Step::Wait);
    };
    let until = inner.need(
        "until",
        "write what is waited for: until = \"facts.interfaces_up > 2\"",
    );
    let (within, every) = (time(&inner, "within"), time(&inner, "every"));
    let made = match (until.and_then(|until| until.text()), within, every) {
        (Some(until), Some(within), Some(every)) => Wait::until(until, within, every)
            .map_err(|bad| tell(&inner, &value, bad))
            .ok(),
        _ => None,
    };
    inner.finish();
    made.map(Step::Wait)
}

/// `script = "lines"`, or `script = { name = "of the router's" }`; with `verify` and `expect` beside it.
pub(super) fn script(table: &Table<'_>) -> Option<Step> {
    let value = table.get("script")?;
    let verify = table.get("verify");
    let verify = verification(verify.as_ref(), table.get("expect"), table.get("expect-none"));
    let run = match value.as_table() {
        None => value.text().map(|source| Run::Source(source.to_owned())),
        Some(inner) => {
            let run = match inner.which(&["name", "source"]).as_slice() {
                ["name"] => text(&inner, "name").flatten().map(Run::Named),
                ["source"] => text(&inner, "source").flatten().map(Run::Source),
                [] => value
                    .wrong("says no script; write name = \"a script of the router's\", or the script itself"),
                [_, ..] => value.wrong("has a name and a source; one of them is run"),
            };
            inner.finish();
            run
        }
    };
    Script::new(run?, verify?)
        .map_err(|bad| bad.into_iter().for_each(|bad| value.tell(bad.message)))
        .ok()
        .map(Step::Script)
}

/// `fetch = { url = "…", file = "…", sha256 = "…", within = "10m" }`.
pub(super) fn fetch(table: &Table<'_>) -> Option<Step> {
    let value = table.get("fetch")?;
    let inner = value.table()?;
    let url = inner.need("url", "write where the file is: url = \"http://mirror/ca.pem\"");
    let (file, sha256) = (text(&inner, "file"), text(&inner, "sha256"));
    let within = time(&inner, "within");
    let is_read = file.is_some() && sha256.is_some() && within.is_some();
    let (file, sha256, within) = (file.flatten(), sha256.flatten(), within.flatten());
    let made = url.and_then(|url| url.text()).and_then(|url| {
        Fetch::new(url, file.as_deref(), sha256.as_deref(), within)
            .map_err(|bad| tell(&inner, &value, bad))
            .ok()
    });
    inner.finish();
    made.filter(|_| is_read).map(Step::Fetch)
}

/// `reboot = true`, or `reboot = { wait = "15m" }`.
pub(super) fn reboot(table: &Table<'_>) -> Option<Step> {
    let value = table.get("reboot")?;
    let made = match (value.as_bool(), value.as_table()) {
        (Some(true), _) => Reboot::new(None).ok(),
        (Some(false), _) => value.wrong("is a step that is not done; leave it out"),
        (None, Some(inner)) => {
            let made = time(&inner, "wait")
                .and_then(|wait| Reboot::new(wait).map_err(|bad| tell(&inner, &value, bad)).ok());
            inner.finish();
            made
        }
        (None, None) => value.wrong("is to be true, or { wait = \"15m\" }"),
    };
    made.map(Step::Reboot)
}

/// `upgrade = { version = "7.16.2", source = "vendor", routerboot = true, wait = "15m" }`, and `downgrade` likewise.
pub(super) fn upgrade(table: &Table<'_>, kind: &str) -> Option<Vec<Step>> {
    let value = table.get(kind)?;
    let inner = value.table()?;
    let (upgrade, unread) = read_upgrade(&inner, kind == "downgrade");
    let made = upgrade
        .steps()
        .map_err(|mut bad| {
            // What could not be read was told; what depends on it may be right.
            bad.retain(|bad| !unread.iter().any(|field| depends(bad.field, field)));
            tell(&inner, &value, bad);
        })
        .ok();
    inner.finish();
    made.filter(|_| unread.is_empty())
}

/// Whether what is wrong with one field may be so because another could not be read.
fn depends(field: &str, on: &str) -> bool {
    let related = [
        ["version", "channel"],
        ["source", "url"],
        ["url", "sha256"],
        ["routerboot", "stage-only"],
    ];
    field == on
        || related
            .iter()
            .any(|pair| pair.contains(&field) && pair.contains(&on))
}

/// An upgrade with what could be read of it, and the fields that could not.
fn read_upgrade(table: &Table<'_>, down: bool) -> (Upgrade, Vec<&'static str>) {
    let source = given(table, "source", |value| {
        value.one_of(&[("vendor", false), ("mirror", true)])
    });
    let url = text(table, "url");
    let mirror = match (source, &url) {
        (Some(Some(true)), Some(None)) => {
            table.need(
                "url",
                "write where its files are: url = \"http://mirror/{{ version }}/{{ file }}\"",
            );
            None
        }
        (Some(Some(false)), Some(Some(_))) => table
            .get("url")
            .and_then(|url| url.wrong("is of a mirror; write source = \"mirror\", or leave it out")),
        (Some(_), Some(url)) => Some(url.clone()),
        (None, _) | (_, None) => None,
    };
    let (version, channel) = (text(table, "version"), text(table, "channel"));
    let sha256 = given(table, "sha256", |value| {
        let entries = value.table()?.entries();
        let entry = |(name, value): (String, Value<'_>)| Some((name, value.text()?.to_lowercase()));
        let count = entries.len();
        let entries = entries.into_iter().filter_map(entry).collect::<BTreeMap<_, _>>();
        (entries.len() == count).then_some(entries)
    });
    let packages = given(table, "packages", |value| {
        let texts = value.texts()?;
        Some(texts.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    let reserve = given(table, "reserve", |value| match value.as_integer() {
        Some(_) => value.integer(0..=1 << 40),
        None => value.parse(size),
    });
    let (routerboot, stage_only) = (flag(table, "routerboot"), flag(table, "stage-only"));
    let wait = time(table, "wait");
    let unread = [
        ("version", version.is_none()),
        ("channel", channel.is_none()),
        ("source", source.is_none()),
        ("url", mirror.is_none()),
        ("sha256", sha256.is_none()),
        ("packages", packages.is_none()),
        ("reserve", reserve.is_none()),
        ("routerboot", routerboot.is_none()),
        ("stage-only", stage_only.is_none()),
        ("wait", wait.is_none()),
    ];
    let upgrade = Upgrade {
        version: version.flatten(),
        channel: channel.flatten(),
        down,
        mirror: mirror.flatten(),
        sha256: sha256.flatten().unwrap_or_default(),
        routerboot: routerboot.unwrap_or_default(),
        packages: packages.flatten().unwrap_or_default(),
        wait: wait.flatten(),
        stage_only: stage_only.unwrap_or_default(),
        reserve: reserve.flatten(),
    };
    let unread = unread.into_iter().filter(|(_, is)| *is);
    (upgrade, unread.map(|(field, _)| field).collect())
}

/// `4MiB`, `500KiB`.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    let parsed = UNITS.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.trim().parse::<u64>().ok()?;
        number.checked_mul(*bytes)
    });
    parsed.ok_or_else(|| format!("{text:?} is no size; write for example 4MiB, or a number of bytes"))
}
