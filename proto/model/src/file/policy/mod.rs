//! The parts of a file that make a policy.

mod gates;
mod limits;
mod rules;
mod waves;
mod windows;

use super::Table;
use crate::policy::{Abort, Approval, Changed, EXPIRES, InFlight, Membership, Policy, Unseen};

/// Reads the policy of a file: what is not there has its default.
pub(super) fn policy(file: &Table<'_>) -> Option<Policy> {
    let waves = waves::waves(file);
    let membership = word(
        file,
        "membership",
        &[
            ("snapshot", Membership::Snapshot),
            ("continuous", Membership::Continuous),
        ],
    );
    let rules = rules::rules(file);
    let evidence = rules::evidence(file);
    let limits = limits::limits(file);
    let ramp = limits::ramp(file);
    let parent_label = parent_label(file);
    let times = windows::times(file);
    let expires = match file.get("expires") {
        None => Some(EXPIRES),
        Some(value) => value
            .duration()
            .filter(|expires| !expires.is_zero())
            .or_else(|| value.wrong("is to be how long it may take, for example \"72h\"")),
    };
    let approval = approval(file);
    let abort = abort(file);
    let unseen = word(
        file,
        "unseen",
        &[("reject", Unseen::Reject), ("allow", Unseen::Allow)],
    );
    let (windows, freezes, at_end, zone_label) = times?;
    let policy = Policy {
        waves: waves?,
        membership: membership?,
        rules: rules?,
        evidence: evidence?,
        limits: limits?,
        ramp: ramp?,
        parent_label: parent_label?,
        windows,
        zone_label,
        freezes,
        at_end,
        expires: expires?,
        approval: approval?,
        abort: abort?,
        unseen: unseen?,
    };
    match policy.against_newcomers() {
        Some((part, why)) => file
            .get("membership")?
            .wrong(format!("{why}; with [{part}] it is to be \"snapshot\"")),
        None => Some(policy),
    }
}

/// A word with a meaning, or its default.
fn word<T: Copy + Default>(table: &Table<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    match table.get(key) {
        None => Some(T::default()),
        Some(value) => value.one_of(words),
    }
}

/// `[order] parent = "uplink"`.
fn parent_label(file: &Table<'_>) -> Option<Option<String>> {
    let Some(value) = file.get("order") else {
        return Some(None);
    };
    let table = value.table()?;
    let parent = table.need(
        "parent",
        "write the label that names a device's parent, for example \"uplink\"",
    );
    let label = parent.and_then(|value| label(&value));
    table.finish();
    label.map(Some)
}

/// A label's key.
fn label(value: &super::Value<'_>) -> Option<String> {
    value.parse(|text| {
        crate::name::check(text)
            .map(|()| text.to_owned())
            .map_err(|error| format!("is no label: it {error}"))
    })
}

/// `[approval] needed = 2, from = ["ann", "bob"]`.
fn approval(file: &Table<'_>) -> Option<Approval> {
    let Some(value) = file.get("approval") else {
        return Some(Approval::default());
    };
    let table = value.table()?;
    let approval = approvers(&table);
    table.finish();
    approval
}

/// `needed` and `from` of an approval.
fn approvers(table: &Table<'_>) -> Option<Approval> {
    let needed = match table.get("needed") {
        None => Some(1),
        Some(value) => value.integer(1..=100),
    };
    let Some(from) = table.get("from") else {
        let needed = u32::try_from(needed?).ok()?;
        return Some(Approval {
            needed,
            from: Vec::new(),
        });
    };
    let mut names = from.texts()?.into_iter().map(str::to_owned).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    let needed = needed?;
    if (names.len() as u64) < needed {
        return from.wrong(format!("names {} people, and {needed} are needed", names.len()));
    }
    Some(Approval {
        needed: u32::try_from(needed).ok()?,
        from: names,
    })
}

/// `[abort] changed = "revert", in-flight = "stop-at-step"`.
fn abort(file: &Table<'_>) -> Option<Abort> {
    let Some(value) = file.get("abort") else {
        return Some(Abort::default());
    };
    let table = value.table()?;
    let changed = word(
        &table,
        "changed",
        &[("keep", Changed::Keep), ("revert", Changed::Revert)],
    );
    let in_flight = word(
        &table,
        "in-flight",
        &[
            ("finish", InFlight::Finish),
            ("stop-at-step", InFlight::StopAtStep),
        ],
    );
    table.finish();
    Some(Abort {
        changed: changed?,
        in_flight: in_flight?,
    })
}
