use std::time::Duration;

mod rollout;

use super::*;

fn errors<T: std::fmt::Debug>(text: &str, take: impl FnOnce(&Table<'_>) -> Option<T>) -> Vec<String> {
    let found = read(text, take).expect_err("has mistakes");
    found.0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_told_with_its_place_in_the_order_of_the_file() {
    let text = "name = 7\n[limits]\nconcurency = 3\nbudget = \"many\"\n";
    let told = errors(text, |root| {
        let name = root.get("name")?.text().map(str::to_owned);
        if let Some(limits) = root.inner("limits") {
            limits.get("concurrency").and_then(|value| value.integer(1..=9));
            limits.get("budget").and_then(|value| value.integer(1..=9));
            limits.finish();
        }
        name
    });
    assert_eq!(
        told,
        [
            "1:8: name = 7: is to be a text in quotes",
            "3:1: limits.concurency: is no key here; did you mean concurrency?",
            "4:10: limits.budget = \"many\": is to be a whole number, 1 to 9",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let told = errors("name = \"a\nbudget = 1\n", |_| Some(()));
    assert!(told[0].starts_with("1:"), "{told:?}");
    let told = errors("a = 1\na = 2\n", |_| Some(()));
    assert!(
        told[0].starts_with("2:1: ") && told[0].contains("duplicate"),
        "{told:?}"
    );
}

#[test]
fn columns_are_characters() {
    let told = errors("\"мяу\" = 1\n", |_| Some(()));
    assert!(told[0].starts_with("1:1: мяу: is no key here"), "{told:?}");
    let told = errors("a = [\"ы\", 3]\n", |root| {
        root.get("a")?.texts().map(|texts| texts.len())
    });
    assert_eq!(told, ["1:11: a[2] = 3: is to be a text in quotes"]);
}

#[test]
fn values_are_read_as_people_write_them() {
    let text = "d = \"1h30m\"\np = \"2.5%\"\nn = 0x1f\nf = 0.5\nw = \"halt\"\n";
    let read = read(text, |root| {
        Some((
            root.get("d")?.duration()?,
            root.get("p")?.share()?.millionths(),
            root.get("n")?.integer(0..=u64::MAX)?,
            root.get("f")?.number(0.0..=1.0)?,
            root.get("w")?.one_of(&[("halt", 1), ("abort", 2)])?,
        ))
    });
    assert_eq!(read, Ok((Duration::from_secs(5400), 25_000, 31, 0.5, 1)));
    for (text, hint) in [
        ("v = \"0%\"", "percentage"),
        ("v = \"101%\"", "percentage"),
        ("v = 25", "percentage"),
        ("v = \"-1%\"", "percentage"),
    ] {
        let told = errors(text, |root| root.get("v")?.share());
        assert!(told[0].contains(hint), "{told:?}");
    }
    for text in ["v = \"-5s\"", "v = 30", "v = \"30\""] {
        let told = errors(text, |root| root.get("v")?.duration());
        assert!(told[0].contains("duration in quotes"), "{told:?}");
    }
}

#[test]
fn steps_become_a_plan() {
    let text = "[[step]]\ncommand = [\"/ip/dns/set\", \"servers=1.1.1.1\"]\n[[step]]\ncommand = [\"/ip/dns/print\"]\n";
    let plan = read(text, step::plan).expect("valid");
    assert_eq!(plan.steps.len(), 2);
    let told = errors(
        "[[step]]\ncommand = [\"dns\"]\n[[step]]\ncomand = []\n",
        step::plan,
    );
    assert!(
        told[0].contains("step[1].command: \"dns\" is no command"),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains("3:1: step[2]: says nothing to do")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|line| line.contains("did you mean command?")),
        "{told:?}"
    );
}

fn canonical(text: &str) -> String {
    read(text, step::plan)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .canonical()
}

#[test]
fn what_should_be_true_of_a_menu() {
    let text = r#"
[[step]]
ensure = "/ip/dns"
set = { servers = ["1.1.1.1", "9.9.9.9"], allow-remote-requests = false, cache-size = 2048 }
"#;
    let set = r#"{"allow-remote-requests":"no","cache-size":"2048","servers":"1.1.1.1,9.9.9.9"}"#;
    let ensure = format!(r#"{{"steps":[{{"ensure":{{"menu":"/ip/dns","want":{{"set":{set}}}}}}}]}}"#);
    assert_eq!(canonical(text), ensure);
    for (step, told) in [
        ("ensure = \"/ip/dns\"", "1:1: step[1].set: is missing"),
        (
            "ensure = 3\nset = { a = 1 }",
            "2:10: step[1].ensure = 3: is to be a text",
        ),
        (
            "ensure = \"/ip/dns/set\"\nset = { a = 1 }",
            "step[1].ensure = \"/ip/dns/set\": /ip/dns/set is a command",
        ),
        (
            "ensure = \"/ip/dns\"\nset = { a = 1.5, b = [[1]] }",
            "3:13: step[1].set.a = 1.5: is to be a text in quotes, a whole number",
        ),
        (
            "ensure = \"/ip/dns\"\nset = { password = \"x\" }",
            "password is a secret",
        ),
        ("ensure = \"/ip/dns\"\nset = {}", "there are no values"),
        (
            "ensure = \"/ip/dns\"\nset = { a = 1 }\nkeys = []",
            "4:1: step[1].keys: is no key here",
        ),
    ] {
        let all = errors(&format!("[[step]]\n{step}\n"), step::plan).join("\n");
        assert!(all.contains(told), "{step}: {all}");
    }
}

#[test]
fn what_items_a_menu_should_have() {
    let text = r#"
[[step]]
ensure = "/ip/firewall/address-list"
key = ["list", "address"]
items = [{ list = "mgmt", address = "{{ labels.mgmt_net }}" }]
purge = "list=mgmt"
[[step]]
ensure = "/ip/firewall/filter"
key = "comment"
items = [{ comment = "b", chain = "input" }, { comment = "a", chain = "input" }]
absent = [{ comment = "old" }]
ordered = true
place-before = "comment=drop"
"#;
    let steps = canonical(text);
    for part in [
        r#""want":{"items":{"key":["list","address"],"items":[{"address":"{{ labels.mgmt_net }}","list":"mgmt"}],"purge":"list=mgmt"}}"#,
        r#""absent":[{"comment":"old"}],"ordered":true,"place-before":"comment=drop""#,
    ] {
        assert!(steps.contains(part), "{steps}");
    }
    for (step, told) in [
        ("items = [{ a = 1 }]", "there is no key"),
        (
            "key = [\"a\"]\nitems = [{ b = 1 }]",
            "item 1 has no a, which is part of the key",
        ),
        (
            "key = [\"a\"]\nitems = [{ a = 1 }, { a = 1 }]",
            "items 1 and 2 have the same key",
        ),
        (
            "key = [\"a\"]\nitems = [{ a = \"{{ labels.\" }]",
            "step[1].items[1]: a = ",
        ),
        (
            "key = [\"a\"]\nitems = 3",
            "4:9: step[1].items = 3: is to be a list of items",
        ),
        (
            "key = \"a\"\nset = { a = 1 }",
            "is for a menu that is one item, and key for a menu of items",
        ),
        ("purge = 3", "3:9: step[1].purge = 3: is to be a text"),
        (
            "key = \"a\"\nitems = [{ a = 1 }]\nplace-before = \"a=2\"",
            "set ordered too",
        ),
    ] {
        let all = errors(&format!("[[step]]\nensure = \"/x/y\"\n{step}\n"), step::plan).join("\n");
        assert!(all.contains(told), "{step}: {all}");
    }
}

#[test]
fn checks_are_checked_offline() {
    let check = |text: &str| format!("[[step]]\ncheck = \"{text}\"\n");
    let plan = canonical(&check("facts.version >= version('7.12.1')"));
    assert_eq!(
        plan,
        r#"{"steps":[{"check":"facts.version >= version('7.12.1')"}]}"#
    );
    let told = errors(&check("facts.fre_disk > 1"), step::plan);
    assert!(
        told[0].starts_with("2:9: step[1].check = \"facts.fre_disk > 1\": "),
        "{told:?}"
    );
}

#[test]
fn commands_are_texts_or_words_and_say_how_they_are_verified() {
    let text = |text: &str| canonical(&format!("[[step]]\n{text}\n"));
    assert_eq!(
        text("command = \"/ip/dns/set  servers=1.1.1.1\""),
        text("command = [\"/ip/dns/set\", \"servers=1.1.1.1\"]")
    );
    let verified =
        text("command = \"/ip/dns/set servers=1.1.1.1\"\nverify = \"/ip/dns/print\"\nexpect-none = \"a=1\"");
    assert!(
        verified.contains(r#""verify":{"words":["/ip/dns/print"],"expect":"a=1","absent":true}"#),
        "{verified}"
    );
    assert!(text("command = \"/ip/dns/look\"\ndeclare-read = true").contains("declared-read"));
    for (step, told) in [
        ("command = 7", "is to be a command in quotes"),
        ("command = \"/a/set\"\nexpect = \"a\"", "verify = "),
        ("command = \"/a/set\"\nverify = \"/a/print\"", "needs expect"),
        (
            "command = \"/a/set\"\nverify = \"/a/set\"\nexpect = \"a\"",
            "is no read",
        ),
        (
            "command = \"/a/set\"\ndeclare-read = true",
            "is known to change things",
        ),
        (
            "command = \"/a/set\"\nensure = \"/a\"",
            "several things to do: command, ensure",
        ),
    ] {
        let all = errors(&format!("[[step]]\n{step}\n"), step::plan).join("\n");
        assert!(all.contains(told), "{step}: {all}");
    }
}
