//! The inverse of what a wish has changed, out of its differences as they were recorded before (I3, level L4).

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{Check, Ensure, Items, Plan, Step, Values, Want, way_back};
use routeros_wire::Sentence;

use crate::action::Recorded;
use crate::diff::read_rows;
use crate::items::item_text;

/// Properties that devices tell and do not take.
const TOLD_ONLY: &[&str] = &[
    "active",
    "actual-interface",
    "actual-mtu",
    "builtin",
    "default",
    "default-name",
    "inactive",
    "owner",
    "radius",
    "running",
    "slave",
];

/// What has to be true for a wish's menu to be as it was before these differences. `None` when there were none; why it
/// cannot be, when it cannot.
pub fn inverse(wish: &Ensure, pre: &[u8]) -> Result<Option<Ensure>, String> {
    let mut rows = Vec::new();
    read_rows(pre, |row| {
        let values = row.attributes().map(|(name, value)| (text(name), value.to_vec()));
        rows.push(values.collect::<Vec<_>>());
    });
    if rows.is_empty() {
        return Ok(None);
    }
    match wish.want() {
        Want::Set(_) => {
            let mut before = BTreeMap::new();
            for row in &rows {
                let (name, from) = (field(row, "name")?, utf8(row, "from")?);
                before.insert(name, from);
            }
            let values = Values::new(before).map_err(|error| error.to_string())?;
            Ensure::singleton(wish.menu(), values)
                .map(Some)
                .map_err(|error| error.to_string())
        }
        Want::Items(items) => of_items(wish.menu(), items, &rows).map(Some),
    }
}

/// A plan with what takes back each step of another job made a wish, by what was recorded of the device before them. A step
/// that had changed nothing there becomes one that does nothing.
pub fn prepare(plan: &Plan, before: &[Recorded]) -> Result<Plan, String> {
    let mut steps = Vec::new();
    for step in &plan.steps {
        let Step::Revert(revert) = step else {
            steps.push(step.clone());
            continue;
        };
        let recorded = before.iter().find(|recorded| recorded.step == revert.step);
        let back = match recorded {
            Some(recorded) => inverse(&revert.ensure, &recorded.pre)
                .map_err(|why| format!("step {} of the job cannot be taken back: {why}", revert.step + 1))?,
            None => None,
        };
        steps.push(match back {
            Some(wish) => Step::Ensure(wish),
            None => Step::Check(Check::parse("true").map_err(|error| error.to_string())?),
        });
    }
    Ok(Plan {
        steps,
        way_back: plan.way_back.clone(),
    })
}

type Row = Vec<(String, Vec<u8>)>;

fn of_items(menu: &str, wanted: &Items, rows: &[Row]) -> Result<Ensure, String> {
    let named = |item: &str| {
        let at = (0..wanted.items.len()).find(|at| item_text(wanted, *at) == item);
        let values = at.map(|at| &wanted.items[at]);
        values.ok_or_else(|| format!("{menu} has a difference at {item}, which the step does not name"))
    };
    let key_of = |values: &Values| {
        let part = |name: &String| (name.clone(), values.get(name).unwrap_or_default().to_owned());
        wanted.key.iter().map(part).collect::<BTreeMap<_, _>>()
    };
    let (mut sets, mut absent) = (BTreeMap::<String, BTreeMap<String, String>>::new(), Vec::new());
    let mut removed = Vec::new();
    for row in rows {
        let item = field(row, "item").unwrap_or_default();
        match field(row, "op")?.as_str() {
            "set" => {
                let key = key_of(named(&item)?);
                let values = sets.entry(item).or_insert(key);
                values.insert(field(row, "name")?, utf8(row, "from")?);
            }
            "add" => absent.push(key_of(named(&item)?)),
            "remove" => removed.push(before(menu, row)?),
            op => {
                return Err(format!(
                    "{menu}: an item that was moved ({op}) is not put back to its place"
                ));
            }
        }
    }
    if !removed.is_empty() && way_back::is_ordered(menu) {
        return Err(format!(
            "{menu} has an order, and an item that is gone is not put back to its place"
        ));
    }
    let key = match wanted.key.is_empty() {
        false => wanted.key.clone(),
        // Whatever tells them apart.
        true => {
            let names = removed.iter().flat_map(|values| values.keys().cloned());
            names.collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    for values in &mut removed {
        for name in &key {
            values.entry(name.clone()).or_default();
        }
    }
    let made = |values: Vec<BTreeMap<String, String>>| {
        let values = values.into_iter().map(Values::new);
        values
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{menu}: {error}"))
    };
    let items = Items {
        key,
        items: made(sets.into_values().chain(removed).collect())?,
        absent: made(absent)?,
        ..Items::default()
    };
    Ensure::items(menu, items).map_err(|error| format!("{menu}: {error}"))
}

/// What an item was, as far as a device takes it.
fn before(menu: &str, row: &Row) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for (name, value) in row {
        let Some(name) = name.strip_prefix("from.") else {
            continue;
        };
        if TOLD_ONLY.contains(&name) {
            continue;
        }
        let value = String::from_utf8(value.clone())
            .map_err(|_| format!("{menu}: {name} of an item that is gone is not UTF-8"))?;
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

fn field(row: &Row, name: &str) -> Result<String, String> {
    let found = row.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| text(value))
        .ok_or_else(|| format!("a recorded difference has no {name}"))
}

fn utf8(row: &Row, name: &str) -> Result<String, String> {
    let found = row.iter().find(|(known, _)| known == name);
    let value = found.map(|(_, value)| value.clone()).unwrap_or_default();
    String::from_utf8(value).map_err(|_| "a value that was there before is not UTF-8".to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether something was recorded at all.
pub(crate) fn is_something(pre: &[u8]) -> bool {
    let mut any = false;
    read_rows(pre, |_: Sentence<'_>| any = true);
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::Diff;
    use crate::steps::told;
    use routeros_wire::encode;

    fn rows(rows: &[&[&str]]) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            let words = std::iter::once("!re".to_owned()).chain(row.iter().map(|word| format!("={word}")));
            encode::sentence(&mut out, words).expect("no empty words");
        }
        out
    }

    /// What a wish changes, and what its inverse changes on the device that it leaves.
    fn there_and_back(wish: &Ensure, before: &[&[&str]], after: &[&[&str]]) -> (Diff, Diff) {
        let diff = Diff::of(wish, &rows(before)).expect("fits");
        let back = inverse(wish, &told::diff(&diff, wish))
            .expect("can be inverted")
            .expect("something");
        let back_diff = Diff::of(&back, &rows(after)).expect("fits");
        let done = Diff::of(&back, &rows(before)).expect("fits");
        assert!(
            done.is_empty(),
            "what was before is what the inverse wants: {done:?}"
        );
        (diff, back_diff)
    }

    fn values(values: &[(&str, &str)]) -> Values {
        Values::new(values.iter().copied()).expect("valid")
    }

    #[test]
    fn values_and_items_come_back() {
        let dns = Ensure::singleton("/ip/dns", values(&[("servers", "1.1.1.1")])).expect("valid");
        let (_, back) = there_and_back(&dns, &[&["servers=8.8.8.8,9.9.9.9"]], &[&["servers=1.1.1.1"]]);
        assert_eq!(back.changes.len(), 1);
        let (_, back) = there_and_back(&dns, &[&[]], &[&["servers=1.1.1.1"]]);
        assert_eq!(back.changes.len(), 1, "what was not there is unset");

        let list = |address: &str| values(&[("list", "mgmt"), ("address", address)]);
        let items = Items {
            key: vec!["list".into(), "address".into()],
            items: vec![
                list("10.0.0.1"),
                values(&[("list", "mgmt"), ("address", "10.0.0.2"), ("comment", "new")]),
            ],
            purge: Some("list=mgmt".into()),
            ..Items::default()
        };
        let wish = Ensure::items("/ip/firewall/address-list", items).expect("valid");
        let before: &[&[&str]] = &[
            &[
                ".id=*1",
                "list=mgmt",
                "address=10.0.0.2",
                "comment=old",
                "dynamic=false",
            ],
            &[
                ".id=*2",
                "list=mgmt",
                "address=10.0.0.3",
                "creation-time=2026-01-01 00:00:00",
                "dynamic=false",
            ],
            &[".id=*3", "list=other", "address=10.0.0.4", "dynamic=false"],
        ];
        let after: &[&[&str]] = &[
            &[
                ".id=*1",
                "list=mgmt",
                "address=10.0.0.2",
                "comment=new",
                "dynamic=false",
            ],
            &[".id=*4", "list=mgmt", "address=10.0.0.1", "dynamic=false"],
            &[".id=*3", "list=other", "address=10.0.0.4", "dynamic=false"],
        ];
        let (diff, back) = there_and_back(&wish, before, after);
        assert_eq!((diff.writes.len(), back.writes.len()), (3, 3), "{back:?}");
    }

    #[test]
    fn a_plan_is_taken_back_by_what_was_recorded() {
        let wish = |name: &str| {
            Step::Ensure(Ensure::singleton(name, values(&[("servers", "1.1.1.1")])).expect("valid"))
        };
        let backup = Step::Backup(muster_model::Backup::default());
        let plan = Plan::new(vec![backup, wish("/a"), wish("/b")]);
        let back = muster_model::revert::plan(&plan).expect("can be taken back");
        let diff = Diff::of(
            &Ensure::singleton("/a", values(&[("servers", "1.1.1.1")])).expect("valid"),
            &rows(&[&["servers=8.8.8.8"]]),
        );
        let Step::Ensure(a) = wish("/a") else {
            unreachable!("it is one")
        };
        let recorded = Recorded {
            step: 1,
            pre: told::diff(&diff.expect("fits"), &a).into(),
            ..Recorded::default()
        };
        let prepared = prepare(&back, &[recorded]).expect("prepared");
        assert!(
            matches!(&prepared.steps[0], Step::Check(_)),
            "/b was as wanted: {prepared:?}"
        );
        let Step::Ensure(wish) = &prepared.steps[1] else {
            panic!("{prepared:?}")
        };
        assert_eq!(
            wish,
            &Ensure::singleton("/a", values(&[("servers", "8.8.8.8")])).expect("valid")
        );
        let command = Step::Command(muster_model::Command::parse(["/ip/dns/cache/flush"]).expect("valid"));
        let none = muster_model::revert::plan(&Plan::new(vec![command])).expect_err("no inverse");
        assert!(
            none.contains("step 1, /ip/dns/cache/flush, has no inverse"),
            "{none}"
        );
    }

    #[test]
    fn what_has_a_place_is_not_put_back_by_its_values() {
        let items = Items {
            key: vec!["comment".into()],
            absent: vec![values(&[("comment", "x")])],
            ..Items::default()
        };
        let wish = Ensure::items("/ip/firewall/filter", items).expect("valid");
        let diff = Diff::of(&wish, &rows(&[&[".id=*1", "comment=x", "chain=input"]])).expect("fits");
        let why = inverse(&wish, &told::diff(&diff, &wish)).expect_err("no place");
        assert!(why.contains("has an order"), "{why}");
        assert_eq!(inverse(&wish, &told::diff(&Diff::default(), &wish)), Ok(None));
    }
}
