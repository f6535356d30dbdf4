//! What is different between the items of a menu on two devices, or at two times: objects, not text (L6).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::row::Row;

/// Menus whose items are looked through in order.
const ORDERED: &[&str] = &[
    "/ip/firewall/",
    "/ipv6/firewall/filter",
    "/ipv6/firewall/mangle",
    "/ipv6/firewall/nat",
    "/ipv6/firewall/raw",
    "/queue/simple",
    "/routing/filter/rule",
];

/// Properties that change by themselves.
const VOLATILE: &[&str] = &[
    ".id",
    ".nextid",
    "actual-mtu",
    "bad-blocks",
    "bytes",
    "cache-used",
    "cpu-load",
    "creation-time",
    "date",
    "dynamic",
    "free-hdd-space",
    "free-memory",
    "freq-drift",
    "inactive",
    "invalid",
    "last-modified",
    "link-downs",
    "packets",
    "running",
    "slave",
    "status",
    "time",
    "timeout",
    "uptime",
    "write-sect-since-reboot",
    "write-sect-total",
];

/// The properties that tell an item from every other, the best first.
const KEYS: &[&[&str]] = &[
    &["name"],
    &["list", "address"],
    &["address", "interface"],
    &["dst-address", "gateway"],
    &["address"],
    &["interface"],
    &["comment"],
];

/// The items as they are to be compared: without those that are dynamic and without what changes by itself, sorted
/// unless their order means something. Empty and false properties are as good as missing.
pub fn normal(menu: &str, rows: &[&Row<'_>]) -> Vec<Value> {
    let is_static = |row: &&&Row<'_>| row.get("dynamic") != Some("true");
    let item = |row: &&Row<'_>| {
        let kept = row.exact().filter(|(name, value)| {
            let volatile = VOLATILE.contains(name)
                || name.starts_with("last-")
                || name.starts_with("rx-")
                || name.starts_with("tx-");
            !volatile && !value.is_empty() && value != "false"
        });
        let sorted = kept.collect::<BTreeMap<_, _>>();
        json!(sorted)
    };
    let mut items = rows.iter().filter(is_static).map(item).collect::<Vec<_>>();
    if !ORDERED.iter().any(|ordered| menu.starts_with(ordered)) || menu.ends_with("address-list") {
        items.sort_by_key(Value::to_string);
    }
    items
}

/// What `is` has that is different from `was`, item by item: `{"item": …, "name": …, "was": …, "is": …}`, or `"item"` with
/// `"only": "was"` or `"is"`. Items are matched by what names them.
pub fn diff(was: &[Value], is: &[Value]) -> Vec<Value> {
    let key = KEYS.iter().find(|key| {
        let names = |item: &Value| key.iter().all(|name| item.get(name).is_some());
        was.iter().chain(is).all(names) && unique(was, key) && unique(is, key)
    });
    let single = was.len() == 1 && is.len() == 1;
    let of = |item: &Value| match key {
        _ if single => String::new(),
        Some(key) => named(item, key),
        None => item.to_string(),
    };
    let index = |items: &[Value]| {
        items
            .iter()
            .map(|item| (of(item), item.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (index(was), index(is));
    let mut all = Vec::new();
    for (item, old) in &before {
        match after.get(item) {
            None => all.push(json!({ "item": item, "only": "was" })),
            Some(new) => all.extend(properties(item, old, new)),
        }
    }
    let new = after.keys().filter(|item| !before.contains_key(*item));
    all.extend(new.map(|item| json!({ "item": item, "only": "is" })));
    if all.is_empty() && was != is {
        all.push(json!({ "item": "", "only": "order" }));
    }
    all
}

fn unique(items: &[Value], key: &[&str]) -> bool {
    let names = items
        .iter()
        .map(|item| named(item, key))
        .collect::<std::collections::BTreeSet<_>>();
    names.len() == items.len()
}

fn named(item: &Value, key: &[&str]) -> String {
    let part = |name: &&str| {
        format!(
            "{name}={}",
            item.get(*name).and_then(Value::as_str).unwrap_or_default()
        )
    };
    key.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn properties(item: &str, old: &Value, new: &Value) -> Vec<Value> {
    let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (old, new) = (map(old), map(new));
    let names = old
        .keys()
        .chain(new.keys())
        .collect::<std::collections::BTreeSet<_>>();
    let different = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    different
        .map(|name| {
            let text = |values: &serde_json::Map<String, Value>| {
                values
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            json!({ "item": item, "name": name, "was": text(&old), "is": text(&new) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(menu: &str, rows: &[&[(&'static str, &'static str)]]) -> Vec<Value> {
        let rows = rows
            .iter()
            .map(|row| Row::new(row.iter().copied()))
            .collect::<Vec<_>>();
        normal(menu, &rows.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_changes_by_itself_is_no_drift() {
        let a = items(
            "/interface",
            &[
                &[
                    (".id", "*1"),
                    ("name", "ether1"),
                    ("mtu", "1500"),
                    ("rx-byte", "17"),
                    ("disabled", "false"),
                ],
                &[("name", "pppoe-1"), ("dynamic", "true")],
            ],
        );
        let b = items(
            "/interface",
            &[&[
                ("name", "ether1"),
                (".id", "*7"),
                ("mtu", "1500"),
                ("rx-byte", "99"),
                ("comment", ""),
            ]],
        );
        assert_eq!(a, b);
    }

    #[test]
    fn items_are_found_by_what_names_them() {
        let a = items(
            "/interface",
            &[&[("name", "ether1"), ("mtu", "1500")], &[("name", "ether2")]],
        );
        let b = items(
            "/interface",
            &[&[("name", "ether3")], &[("name", "ether1"), ("mtu", "1400")]],
        );
        assert_eq!(
            diff(&a, &b),
            [
                json!({ "item": "name=ether1", "name": "mtu", "was": "1500", "is": "1400" }),
                json!({ "item": "name=ether2", "only": "was" }),
                json!({ "item": "name=ether3", "only": "is" }),
            ]
        );
        let dns = |servers| items("/ip/dns", &[&[("servers", servers)]]);
        assert_eq!(
            diff(&dns("1.1.1.1"), &dns("9.9.9.9")),
            [json!({ "item": "", "name": "servers", "was": "1.1.1.1", "is": "9.9.9.9" })]
        );
        assert!(diff(&a, &a).is_empty());
    }

    #[test]
    fn order_counts_where_it_means_something() {
        let rules: [&[(&str, &str)]; 2] = [&[("comment", "a")], &[("comment", "b")]];
        let turned: [&[(&str, &str)]; 2] = [rules[1], rules[0]];
        assert_ne!(
            items("/ip/firewall/filter", &rules),
            items("/ip/firewall/filter", &turned)
        );
        let order = diff(
            &items("/ip/firewall/filter", &rules),
            &items("/ip/firewall/filter", &turned),
        );
        assert_eq!(order, [json!({ "item": "", "only": "order" })]);
        assert_eq!(items("/ip/route", &rules), items("/ip/route", &turned));
    }
}
