use std::time::Duration;

use crate::file::rollout;
use crate::policy::{
    Action, Amount, AtEnd, Changed, Class, Condition, GateKind, InFlight, Policy, Share, Size, Wave,
};

const STEP: &str = "[[step]]\ncommand = [\"/ip/dns/set\", \"servers=1.1.1.1\"]\n";

fn policy(text: &str) -> Policy {
    let file = format!("name = \"x\"\nselect = \"role=cpe\"\n{text}\n{STEP}");
    rollout(&file).unwrap_or_else(|errors| panic!("{errors}")).policy
}

fn errors(text: &str) -> Vec<String> {
    let file = format!("name = \"x\"\nselect = \"role=cpe\"\n{text}\n{STEP}");
    let errors = rollout(&file).expect_err("has mistakes");
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_that_says_little_gets_safe_defaults() {
    let policy = policy("");
    assert_eq!(policy, Policy::default());
    assert_eq!(policy.waves[0].size, Size::Upto(Share::percent(1)));
    assert_eq!(policy.waves[0].budget, Amount::Count(1));
    assert_eq!(policy.limits.budget.of(10_000), Some(100));
    assert_eq!(policy.limits.budget.of(7), Some(1));
}

#[test]
fn waves_rules_limits_and_windows_are_read() {
    let policy = policy(
        r#"
        soak = "30s"
        expires = "12h"
        [[wave]]
        size = 10
        budget = 1
        bake = "5m"
        per-stratum = 2
        [[wave.gate]]
        kind = "approval"
        needed = 2
        from = ["ann", "bob"]
        [[wave.gate]]
        kind = "rule"
        rate = "1%"
        min-sample = 5
        shadow = true
        [[wave]]
        select = "site=lab"
        [[wave]]
        size = "25%"
        [[wave]]
        size = "100%"
        [limits]
        concurrency = 500
        budget = 10
        [[cap]]
        label = "site"
        concurrency = 3
        [[availability]]
        label = "site"
        max-unavailable = "10%"
        [[rule]]
        rate = "2%"
        min-sample = 50
        action = "halt"
        [[rule]]
        name = "row"
        consecutive = 3
        classes = ["refused", "harmed"]
        scope = "wave"
        action = "abort-revert"
        [evidence]
        acceptable = "0.5%"
        unacceptable = "3%"
        [ramp]
        start = 10
        [order]
        parent = "uplink"
        [window]
        cron = "0 1 * * *"
        duration = "4h"
        zone = "Europe/Riga"
        at-end = "stop"
        [[freeze]]
        from = 2026-12-24
        to = 2026-12-27T06:00:00
        zone = "Europe/Riga"
        reason = "holidays"
        [abort]
        changed = "revert"
        in-flight = "stop-at-step"
        "#,
    );
    let sizes = policy
        .waves
        .iter()
        .map(|wave| wave.size.to_string())
        .collect::<Vec<_>>();
    assert_eq!(sizes, ["10", "site=lab", "25%", "100%"]);
    let Wave {
        budget,
        soak,
        bake,
        strata,
        gates,
        ..
    } = &policy.waves[0];
    assert_eq!(
        (*budget, *soak, *bake),
        (
            Amount::Count(1),
            Duration::from_secs(30),
            Duration::from_secs(300)
        )
    );
    assert_eq!(
        strata.as_ref().map(|strata| (strata.per, strata.by.len())),
        Some((2, 4))
    );
    assert!(matches!(&gates[0].kind, GateKind::Approval { needed: 2, from } if from.len() == 2));
    assert!(gates[1].shadow);
    assert_eq!(
        (policy.limits.concurrency, policy.limits.budget),
        (Some(500), Amount::Count(10))
    );
    assert_eq!(
        policy.rules[0].condition,
        Condition::Rate {
            over: Share::percent(2),
            min_sample: 50
        }
    );
    assert_eq!(
        (policy.rules[1].id.as_str(), policy.rules[1].action),
        ("row", Action::AbortRevert)
    );
    assert_eq!(
        policy.rules[1].classes.iter().collect::<Vec<_>>(),
        [Class::Harmed, Class::Refused]
    );
    assert_eq!(
        policy.evidence.map(|evidence| evidence.false_halt),
        Some(Share::percent(5))
    );
    assert_eq!(
        (policy.at_end, policy.windows[0].zone.name()),
        (AtEnd::Stop, "Europe/Riga")
    );
    // Midnight and six in Riga are 22:00 and 04:00 in UTC.
    assert_eq!(
        (policy.freezes[0].from, policy.freezes[0].to),
        (1_798_063_200_000, 1_798_344_000_000)
    );
    assert_eq!(
        (policy.abort.changed, policy.abort.in_flight),
        (Changed::Revert, InFlight::StopAtStep)
    );
    let json = serde_json::to_string(&policy).expect("plain values");
    assert_eq!(serde_json::from_str::<Policy>(&json).expect("round trip"), policy);
}

#[test]
fn mistakes_of_all_parts_are_told_at_once() {
    let told = errors(
        "[[wave]]\nsize = \"25%\"\n[[wave]]\nsize = \"10%\"\n[limits]\nbudget = 0\nconcurency = 3\n\
         [[rule]]\nrate = 2\n[window]\ncron = \"0 25 * * *\"\nduration = \"0s\"\nzone = \"Europe/Rigga\"\n",
    );
    let expected = [
        "6:8: wave[2].size = \"10%\": 10% is not more than the 25% before",
        "6:8: wave[2].size = \"10%\": the last wave has to take what is left",
        "8:10: limits.budget = 0: lets nothing be changed",
        "11:8: rule[1].rate = 2: is to be a percentage in quotes",
        "13:8: window.cron = \"0 25 * * *\": \"0 25 * * *\" is no cron expression",
        "15:8: window.zone = \"Europe/Rigga\": \"Europe/Rigga\" is no time zone",
    ];
    for wanted in expected {
        assert!(
            told.iter().any(|line| line.starts_with(wanted)),
            "{wanted}\n{told:#?}"
        );
    }
}

#[test]
fn mistakes_say_what_would_be_right() {
    for (text, hint) in [
        ("[[wave]]\nsize = \"a lot\"", "\"25%\", or \"rest\""),
        ("[[wave]]\nbake = \"1m\"", "wave[1].size: is missing"),
        (
            "[[wave]]\nsize = 1\nselect = \"a=b\"\n[[wave]]\nsize=\"rest\"",
            "exclude each other",
        ),
        ("[[rule]]\naction = \"halt\"", "count, rate and consecutive"),
        ("[[rule]]\ncount = 1\nmin-sample = 3", "of use with a rate"),
        ("[[rule]]\ncount = 1\naction = \"explode\"", "one of \"halt\""),
        ("[[rule]]\nname = \"budget\"\ncount = 1", "is taken"),
        (
            "[evidence]\nacceptable = \"3%\"\nunacceptable = \"1%\"",
            "higher than acceptable",
        ),
        ("[approval]\nneeded = 3\nfrom = [\"a\", \"b\"]", "names 2 people"),
        (
            "membership = \"continuous\"\n[approval]\nneeded = 1",
            "known selection",
        ),
        (
            "[[freeze]]\nfrom = 2026-12-27\nto = 2026-12-24",
            "later than from",
        ),
        (
            "[[wave]]\nsize = \"rest\"\n[[wave.gate]]\nkind = \"webhook\"\nurl = \"x/gate\"",
            "write https://host:port/path",
        ),
        (
            "[[wave]]\nsize = \"rest\"\n[[wave.gate]]\nkind = \"audit\"",
            "gate[1].file: is missing",
        ),
        (
            "[[wave]]\nsize = \"rest\"\n[[wave.gate]]\nkind = \"audit\"\nfile = \"a.toml\"",
            "files beside this one cannot be read here",
        ),
        (
            "membership = \"continuous\"\n[order]\nparent = \"uplink\"",
            "an order by parents is of a known selection",
        ),
        ("[windows]\ncron = \"0 1 * * *\"", "did you mean window?"),
        ("expires = \"0s\"", "how long it may take"),
        ("all = true", "exclude each other"),
    ] {
        let told = errors(text).join("\n");
        assert!(told.contains(hint), "{text}\n{told}");
    }
    let told = rollout(STEP).expect_err("no name").to_string();
    assert!(
        told.contains("name: is missing") && told.contains("select: is missing"),
        "{told}"
    );
}
