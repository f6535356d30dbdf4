use std::collections::BTreeMap;

use super::*;
use muster_model::Ensure;
use proptest::prelude::*;
use routeros_wire::encode;

use crate::diff::question;

type Item<'a> = &'a [(&'a str, &'a str)];

fn values(item: Item<'_>) -> Values {
    Values::new(item.iter().copied()).expect("valid")
}

fn wanted(key: &[&str], items: &[Item<'_>]) -> Items {
    Items {
        key: key.iter().map(ToString::to_string).collect(),
        items: items.iter().map(|item| values(item)).collect(),
        ..Items::default()
    }
}

fn ensure(items: Items) -> Ensure {
    Ensure::items("/ip/firewall/address-list", items).expect("valid")
}

/// What a device with these items answers; ids count from 1.
fn answer(rows: &[Item<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let mut words = vec!["!re".to_owned(), format!("=.id=*{:X}", at + 1)];
        words.extend(row.iter().map(|(name, value)| format!("={name}={value}")));
        encode::sentence(&mut out, words).expect("no empty words");
    }
    encode::sentence(&mut out, ["!done"]).expect("no empty words");
    out
}

fn texts(diff: &Diff) -> Vec<String> {
    let one = |change: &Change| match change {
        Change::Set { item, name, to, .. } => format!("set {item} {name}={to}"),
        Change::Add { item, .. } => format!("add {item}"),
        Change::Remove { item, values } => format!("remove {item} ({})", values.len()),
        Change::Move { item, before } => format!("move {item} before {before}"),
    };
    diff.changes.iter().map(one).collect()
}

const KEY: &[&str] = &["list", "address"];

#[test]
fn items_are_found_by_what_their_keys_mean() {
    let items = wanted(
        KEY,
        &[
            &[("list", "mgmt"), ("address", "10.0.0.1")],
            &[("list", "mgmt"), ("address", "10.0.0.2"), ("comment", "two")],
            &[("list", "mgmt"), ("address", "10.0.0.3"), ("disabled", "no")],
        ],
    );
    let rows: &[Item<'_>] = &[
        &[("list", "other"), ("address", "10.0.0.1")],
        &[("list", "mgmt"), ("address", "10.0.0.2"), ("comment", "2")],
        &[("list", "mgmt"), ("address", "10.0.0.1/32"), ("disabled", "true")],
        &[("list", "mgmt"), ("address", "10.0.0.3"), ("dynamic", "true")],
    ];
    let ensure = ensure(items);
    let diff = Diff::of(&ensure, &answer(rows)).expect("fits");
    assert_eq!(
        texts(&diff),
        [
            "add list=mgmt,address=10.0.0.3",
            "set list=mgmt,address=10.0.0.2 comment=two"
        ],
        "what is dynamic is not ours, and what the plan does not name stays"
    );
    assert_eq!(
        question(&ensure)[1],
        b"=.proplist=.id,dynamic,address,comment,disabled,list"
    );
}

#[test]
fn what_should_not_be_there_goes_last_and_is_told_as_it_was() {
    let mut items = wanted(KEY, &[&[("list", "mgmt"), ("address", "10.0.0.9")]]);
    items.purge = Some("list=mgmt".into());
    items.absent = vec![values(&[("list", "old")])];
    let rows: &[Item<'_>] = &[
        &[
            ("list", "mgmt"),
            ("address", "10.0.0.1"),
            ("creation-time", "x"),
            ("comment", "c"),
        ],
        &[("list", "old"), ("address", "10.0.0.1")],
        &[("list", "other"), ("address", "10.0.0.1")],
        &[("list", "mgmt"), ("address", "10.0.0.2"), ("dynamic", "yes")],
    ];
    let ensure = ensure(items);
    assert_eq!(question(&ensure).len(), 1, "all properties are read");
    let diff = Diff::of(&ensure, &answer(rows)).expect("fits");
    assert_eq!(
        texts(&diff),
        [
            "add list=mgmt,address=10.0.0.9",
            "remove list=mgmt,address=10.0.0.1 (3)",
            "remove list=old,address=10.0.0.1 (2)",
        ]
    );
    assert_eq!(diff.writes[1], Write::Remove { id: b"*1".to_vec() });
}

#[test]
fn conflicts_are_told_and_nothing_is_done() {
    let items = wanted(&["list"], &[&[("list", "mgmt"), ("address", "10.0.0.9")]]);
    let twice: &[Item<'_>] = &[&[("list", "mgmt")], &[("list", "mgmt")]];
    let error = Diff::of(&ensure(items.clone()), &answer(twice)).expect_err("two of a key");
    assert!(error.message.contains("several items"), "{error}");
    let mut bad = items.clone();
    bad.purge = Some("list=".into());
    bad.purge = Some("list = = x".into());
    assert!(Diff::of(&ensure(bad), &answer(&[])).is_err());
    let same = wanted(
        KEY,
        &[
            &[("list", "a"), ("address", "10.0.0.1")],
            &[("list", "a"), ("address", "10.0.0.1/32")],
        ],
    );
    let error = Diff::of(&ensure(same), &answer(&[])).expect_err("one item");
    assert!(error.message.contains("items 1 and 2"), "{error}");
    let mut placed = items;
    (placed.ordered, placed.place_before) = (true, Some("comment=last".into()));
    let error = Diff::of(&ensure(placed), &answer(&[])).expect_err("no place");
    assert!(error.message.contains("no such item"), "{error}");
}

fn rule(comment: &str) -> Vec<(&str, &str)> {
    vec![("comment", comment), ("chain", "input")]
}

fn in_order(wanted_rules: &[&str], has: &[&str], place: Option<&str>) -> (Ensure, Diff) {
    let rules = wanted_rules
        .iter()
        .map(|comment| rule(comment))
        .collect::<Vec<_>>();
    let rules = rules.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let mut items = wanted(&["comment"], &rules);
    items.ordered = true;
    items.place_before = place.map(str::to_owned);
    let rows = has.iter().map(|comment| rule(comment)).collect::<Vec<_>>();
    let rows = rows.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let ensure = ensure(items);
    let diff = Diff::of(&ensure, &answer(&rows)).expect("fits");
    (ensure, diff)
}

#[test]
fn as_many_as_possible_stay_where_they_are() {
    let moves = |wanted: &[&str], has: &[&str], place| texts(&in_order(wanted, has, place).1);
    assert!(moves(&["a", "b", "c"], &["x", "a", "y", "b", "c"], None).is_empty());
    assert_eq!(
        moves(&["a", "b", "c"], &["c", "a", "b"], None),
        ["move comment=c before "]
    );
    assert_eq!(moves(&["a", "b", "c"], &["a", "x", "c"], None), ["add comment=b"]);
    assert_eq!(
        moves(&["a", "b"], &["drop", "a"], Some("comment=drop")),
        ["add comment=b", "move comment=a before comment=b"]
    );
}

/// A device's ordered menu, for trying the writes.
struct Menu {
    rows: Vec<(String, String)>,
    next: usize,
}

impl Menu {
    fn new(has: &[&str]) -> Self {
        let row = |(at, comment): (usize, &&str)| (format!("*{:X}", at + 1), comment.to_string());
        Self {
            rows: has.iter().enumerate().map(row).collect(),
            next: has.len() + 1,
        }
    }

    fn place(&self, place: &Place, added: &BTreeMap<usize, String>) -> usize {
        let id = match place {
            Place::End => return self.rows.len(),
            Place::Before(id) => String::from_utf8(id.clone()).expect("text"),
            Place::BeforeAdded(write) => added[write].clone(),
        };
        self.rows
            .iter()
            .position(|(known, _)| *known == id)
            .expect("is there")
    }

    fn run(&mut self, diff: &Diff) {
        let mut added = BTreeMap::new();
        for (at, write) in diff.writes.iter().enumerate() {
            match write {
                Write::Add { values, place } => {
                    let id = format!("*{:X}", self.next);
                    self.next += 1;
                    let to = self.place(place, &added);
                    let comment = values.get("comment").expect("the key").to_owned();
                    self.rows.insert(to, (id.clone(), comment));
                    added.insert(at, id);
                }
                Write::Move { id, place } => {
                    let id = String::from_utf8(id.clone()).expect("text");
                    let from = self
                        .rows
                        .iter()
                        .position(|(known, _)| *known == id)
                        .expect("is there");
                    let row = self.rows.remove(from);
                    let to = self.place(place, &added);
                    self.rows.insert(to, row);
                }
                Write::Set { .. } | Write::Remove { .. } => panic!("nothing else is wanted: {write:?}"),
            }
        }
    }

    fn comments(&self) -> Vec<&str> {
        self.rows.iter().map(|(_, comment)| comment.as_str()).collect()
    }
}

proptest! {
    #[test]
    fn whatever_the_order_is_it_becomes_the_wanted_one(
        wanted in Just(vec!["a", "b", "c", "d", "e", "f"]).prop_shuffle(),
        has in proptest::sample::subsequence(vec!["a", "b", "c", "d", "e", "f", "x", "y"], 0..=8).prop_shuffle(),
        count in 1usize..6,
        anchored in any::<bool>(),
    ) {
        let wanted = &wanted[..count];
        let place = (anchored && has.contains(&"x")).then_some("comment=x");
        let (_, diff) = in_order(wanted, &has, place);
        let mut menu = Menu::new(&has);
        menu.run(&diff);
        let after = menu.comments();
        let ours = after.iter().filter(|comment| wanted.contains(comment)).copied().collect::<Vec<_>>();
        prop_assert_eq!(&ours[..], wanted);
        if place.is_some() {
            let at = |wanted: &str| after.iter().position(|comment| *comment == wanted);
            prop_assert!(at(wanted[count - 1]) < at("x"));
        }
        let others = |list: &[&str]| list.iter().filter(|c| !wanted.contains(c)).map(ToString::to_string).collect::<Vec<_>>();
        prop_assert_eq!(others(&after), others(&has), "others stay as they stand");
        let (_, again) = in_order(wanted, &after, place);
        prop_assert!(again.is_empty(), "{:?}", again.changes);
        let moved = diff.writes.iter().filter(|write| matches!(write, Write::Move { .. })).count();
        prop_assert!(moved <= count);
    }
}

#[test]
fn a_menu_that_is_one_item_has_no_items_to_be_found_by_key() {
    let mut out = Vec::new();
    encode::sentence(&mut out, ["!re", "=servers=8.8.8.8"]).expect("no empty words");
    encode::sentence(&mut out, ["!done"]).expect("no empty words");
    let wish = Ensure::items("/ip/dns", wanted(&["servers"], &[&[("servers", "1.1.1.1")]])).expect("valid");
    let error = Diff::of(&wish, &out).expect_err("it does not fit");
    assert!(
        error.message.contains("/ip/dns is a menu that is one item"),
        "{error:?}"
    );
}
