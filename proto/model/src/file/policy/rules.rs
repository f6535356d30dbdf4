//! `[[rule]]` and `[evidence]`.

use super::word;
use crate::file::Table;
use crate::policy::{Action, Class, Classes, Condition, Evidence, Rule, Scope, Share};

/// The rules of a file; the default one when it names none.
pub(super) fn rules(file: &Table<'_>) -> Option<Vec<Rule>> {
    let tables = file.tables("rule");
    if tables.is_empty() {
        return Some(vec![Rule::default()]);
    }
    let read = tables.iter().enumerate().map(|(at, table)| rule(at, table));
    let rules = read.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
    for (at, rule) in rules.iter().enumerate() {
        if rule.id == "budget" || rules[..at].iter().any(|other| other.id == rule.id) {
            let name = tables[at].get("name")?;
            return name.wrong("is taken; a rule is told apart by its name");
        }
    }
    Some(rules)
}

fn rule(at: usize, table: &Table<'_>) -> Option<Rule> {
    let id = match table.get("name") {
        None => Some(format!("rule-{}", at + 1)),
        Some(value) => value.parse(|text| {
            crate::name::check(text)
                .map(|()| text.to_owned())
                .map_err(|error| format!("is no name: it {error}"))
        }),
    };
    let condition = condition(table);
    let classes = classes(table);
    let scope = scope(table);
    let action = word(
        table,
        "action",
        &[
            ("halt", Action::Halt),
            ("abort", Action::Abort),
            ("abort-revert", Action::AbortRevert),
            ("warn", Action::Warn),
        ],
    );
    table.finish();
    Some(Rule {
        id: id?,
        condition: condition?,
        classes: classes?,
        scope: scope?,
        action: action?,
    })
}

/// `count = 3`, `rate = "2%"` with `min-sample`, or `consecutive = 5`.
pub(super) fn condition(table: &Table<'_>) -> Option<Condition> {
    let min_sample = table.get("min-sample");
    let condition = match table.which(&["count", "rate", "consecutive"]).as_slice() {
        ["count"] => Condition::Count(table.get("count")?.integer(0..=u64::MAX)?),
        ["consecutive"] => Condition::Consecutive(table.get("consecutive")?.integer(1..=u64::MAX)?),
        ["rate"] => {
            let over = table.get("rate")?.share();
            let min_sample = match &min_sample {
                None => Some(20),
                Some(value) => value.integer(1..=u64::MAX),
            };
            return Some(Condition::Rate {
                over: over?,
                min_sample: min_sample?,
            });
        }
        _ => {
            table.tell("is to have one of count, rate and consecutive; for example rate = \"2%\"");
            return None;
        }
    };
    match min_sample {
        Some(value) => value.wrong("is of use with a rate only"),
        None => Some(condition),
    }
}

/// `classes = ["harmed", "rescued"]`.
pub(super) fn classes(table: &Table<'_>) -> Option<Classes> {
    let Some(value) = table.get("classes") else {
        return Some(Classes::default());
    };
    let words = Class::ALL.map(|class| (class.as_str(), class));
    let entries = value.list("is to be a list, for example [\"harmed\", \"rescued\"]")?;
    let read = entries
        .iter()
        .map(|entry| entry.one_of(&words))
        .collect::<Vec<_>>();
    let classes = read.into_iter().collect::<Option<Vec<_>>>()?;
    match classes.is_empty() {
        true => value.wrong("counts nothing; leave it out for harmed and rescued"),
        false => Some(Classes::new(classes)),
    }
}

/// `scope = "wave"`.
pub(super) fn scope(table: &Table<'_>) -> Option<Scope> {
    word(table, "scope", &[("job", Scope::Job), ("wave", Scope::Wave)])
}

/// `[evidence]`.
pub(super) fn evidence(file: &Table<'_>) -> Option<Option<Evidence>> {
    let Some(value) = file.get("evidence") else {
        return Some(None);
    };
    let table = value.table()?;
    let needed = |key: &str| {
        let what = "write a rate of failures, for example \"1%\"";
        table.need(key, what).and_then(|value| value.share())
    };
    let (acceptable, unacceptable) = (needed("acceptable"), needed("unacceptable"));
    let error = |key: &str| match table.get(key) {
        None => Some(Share::percent(5)),
        Some(value) => {
            let half = |share: &Share| share.fraction() < 0.5;
            let share = value.share()?;
            Some(share)
                .filter(half)
                .or_else(|| value.wrong("is to be below 50%, or the test would say nothing"))
        }
    };
    let (false_halt, false_promote) = (error("false-halt"), error("false-promote"));
    table.finish();
    let evidence = Evidence {
        acceptable: acceptable?,
        unacceptable: unacceptable?,
        false_halt: false_halt?,
        false_promote: false_promote?,
    };
    if evidence.unacceptable <= evidence.acceptable || evidence.unacceptable == Share::ALL {
        let value = table.get("unacceptable")?;
        return value.wrong("is to be higher than acceptable, and below 100%");
    }
    Some(Some(evidence))
}
