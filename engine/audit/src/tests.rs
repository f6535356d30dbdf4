use muster_model::{ExecutionState, Labels};
use routeros_wire::encode;
use sha2::{Digest as _, Sha256};

use super::*;

pub(crate) fn answer(sentences: &[&[&str]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sentence in sentences {
        encode::sentence(&mut bytes, sentence.iter()).expect("no empty words");
    }
    bytes
}

pub(crate) fn judged(text: &str, answers: &[(&str, Vec<u8>)]) -> Vec<Judgement> {
    let mut judge = Judge::new(file::audit(text).expect("a valid file"));
    let replies = judge.reads().plan.steps.iter().map(|step| {
        let title = step.title();
        let menu = title.split("/print").next().unwrap_or_default();
        let found = answers.iter().find(|(known, _)| *known == menu);
        found.map_or_else(|| answer(&[&["!done"]]), |(_, bytes)| bytes.clone())
    });
    let replies = replies.collect::<Vec<_>>();
    let digests = replies
        .iter()
        .map(|reply| Sha256::digest(reply).into())
        .collect::<Vec<_>>();
    let replies = replies.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let labels = Labels::default();
    let asked = Asked {
        about: About {
            name: "r1",
            address: "192.0.2.1",
            zone: "",
            labels: &labels,
        },
        state: ExecutionState::Succeeded,
        error: None,
        replies: &replies,
        digests: &digests,
    };
    let all = muster_model::check::deep(|| {
        let first = judge.judge(&asked);
        // What is remembered is what was said.
        assert_eq!(first, judge.judge(&asked));
        first
    });
    let all = all.expect("a thread");
    all.iter().map(|said| Judgement::clone(said)).collect()
}

const TELNET: &str = r#"
name = "baseline"
[[check]]
name = "telnet is off"
severity = "high"
read = "/ip/service"
where = "name=telnet"
expect = "rows.all(r, r.disabled == 'true')"
remedy = { ensure = "/ip/service", key = ["name"], items = [{ name = "telnet", disabled = true }] }
"#;

#[test]
fn the_example_of_the_readme_says_what_it_should() {
    let audit = file::audit(TELNET).expect("valid");
    assert_eq!(audit.checks[0].severity, Severity::High);
    assert_eq!(
        Reads::of(&audit).plan.steps[0].title(),
        "/ip/service/print =.proplist=disabled,dynamic,name ?name=telnet"
    );
    for (value, verdict) in [
        ("=disabled=yes", Verdict::Pass),
        ("=disabled=true", Verdict::Pass),
        ("=disabled=false", Verdict::Fail),
    ] {
        let said = judged(TELNET, &[("/ip/service", answer(&[&["!re", value], &["!done"]]))]);
        assert_eq!(said[0].verdict, verdict, "{value}");
    }
    // Left out, it is not disabled.
    let said = judged(TELNET, &[("/ip/service", answer(&[&["!re"], &["!done"]]))]);
    assert_eq!(said[0].verdict, Verdict::Fail);
    // Who is connected is no service.
    let connected: &[&str] = &["!re", "=disabled=false", "=dynamic=true"];
    let said = judged(
        TELNET,
        &[(
            "/ip/service",
            answer(&[&["!re", "=disabled=true"], connected, &["!done"]]),
        )],
    );
    assert_eq!(said[0].verdict, Verdict::Pass);
    let said = judged(TELNET, &[("/ip/service", answer(&[&["!empty"], &["!done"]]))]);
    assert_eq!(said[0].verdict, Verdict::NotApplicable);
    let trap: &[&str] = &[
        "!trap",
        "=category=0",
        "=message=no such command or directory (service)",
    ];
    let said = judged(
        TELNET,
        &[(
            "/ip/service",
            answer(&[trap, &["!trap", "=message=no such command prefix"], &["!done"]]),
        )],
    );
    assert_eq!(said[0].verdict, Verdict::NotApplicable);
    assert!(
        said[0].reason.contains("no such command or directory"),
        "{}",
        said[0].reason
    );
    let said = judged(
        TELNET,
        &[(
            "/ip/service",
            answer(&[&["!trap", "=message=not enough permissions (9)"], &["!done"]]),
        )],
    );
    assert_eq!(said[0].verdict, Verdict::Error);
    let said = judged(TELNET, &[("/ip/service", answer(&[&["!re", "=disabled=true"]]))]);
    assert_eq!(said[0].verdict, Verdict::Error, "cut off");
}

fn one(read: &str, expect: &str, more: &str) -> String {
    format!("name = \"a\"\n[[check]]\nname = \"c\"\nread = \"{read}\"\nexpect = \"{expect}\"\n{more}\n")
}

#[test]
fn what_divides_by_zero_is_an_error_there_and_nowhere_else() {
    let text = one("/interface", "rows.all(r, 100 / int(r.mtu) < 1)", "");
    let of = |mtu: &str| {
        judged(
            &text,
            &[(
                "/interface",
                answer(&[&["!re", &format!("=mtu={mtu}")], &["!done"]]),
            )],
        )
        .remove(0)
    };
    assert_eq!(of("1500").verdict, Verdict::Pass);
    assert_eq!(of("0"), Judgement::new(Verdict::Error, "division by zero"));
    assert_eq!(of("50").verdict, Verdict::Fail);
}

#[test]
fn checks_of_a_menu_share_one_print() {
    let text = format!(
        "{}[[check]]\nname = \"d\"\nread = \"/interface\"\nwhere = \"type=ether\"\nexpect = \"rows.exists(r, r.name == 'ether1')\"\n\
         [[check]]\nname = \"e\"\nread = \"/ip/dns\"\nalso = {{ i = \"/interface\" }}\nexpect = \"also.i.all(i, i.l2mtu != '') || facts.version > 1\"\n",
        one(
            "/interface",
            "rows.all(r, has(r.comment) && r.comment != '')",
            "evidence = [\"name\"]"
        )
    );
    let audit = file::audit(&text).expect("valid");
    let titles = Reads::of(&audit)
        .plan
        .steps
        .iter()
        .map(muster_model::Step::title)
        .collect::<Vec<_>>();
    assert_eq!(
        titles,
        [
            "/interface/print =.proplist=comment,l2mtu,name,type",
            "/ip/dns/print =.proplist=.id",
            "/system/resource/print =.proplist=version"
        ]
    );
    let interfaces = answer(&[
        &["!re", "=name=ether1", "=type=ether", "=comment=up"],
        &["!re", "=name=bridge1", "=type=bridge"],
        &["!done"],
    ]);
    let said = judged(
        &text,
        &[
            ("/interface", interfaces),
            ("/ip/dns", answer(&[&["!re", "=.id=*1"], &["!done"]])),
        ],
    );
    assert_eq!(
        (said[0].verdict, said[0].reason.as_str()),
        (Verdict::Fail, "1 of 2 items")
    );
    assert_eq!(said[0].evidence, [serde_json::json!({ "name": "bridge1" })]);
    assert_eq!(said[1].verdict, Verdict::Pass);
    // It needs the version, which the device did not tell.
    assert_eq!(said[2].verdict, Verdict::Error);
}

#[test]
fn names_with_dashes_and_words_for_truth() {
    let dns = |value: &str| {
        vec![(
            "/ip/dns",
            answer(&[&["!re", &format!("=allow-remote-requests={value}")], &["!done"]]),
        )]
    };
    for expect in [
        "rows.all(r, r.allow_remote_requests == 'no')",
        "rows.all(r, r['allow-remote-requests'] == 'false')",
        "!rows.exists(r, r.allow_remote_requests in ['yes'])",
        "rows[0].allow_remote_requests != 'true'",
    ] {
        let text = one("/ip/dns", expect, "");
        assert_eq!(judged(&text, &dns("no"))[0].verdict, Verdict::Pass, "{expect}");
        assert_eq!(judged(&text, &dns("true"))[0].verdict, Verdict::Fail, "{expect}");
    }
}

#[test]
fn an_empty_answer_means_what_the_check_says() {
    for (empty, verdict) in [
        ("n/a", Verdict::NotApplicable),
        ("pass", Verdict::Pass),
        ("fail", Verdict::Fail),
        ("evaluate", Verdict::Pass),
    ] {
        let text = one("/ip/upnp", "rows.size() == 0", &format!("empty = \"{empty}\""));
        assert_eq!(judged(&text, &[])[0].verdict, verdict, "{empty}");
    }
}

#[test]
fn every_mistake_of_a_file_is_told() {
    let text = r#"
name = "x"
[[check]]
name = "a"
read = "/ip/service"
expect = "rows.all(r, r.disabled = 'true')"
[[check]]
name = "b"
raed = "/ip/service"
expect = "row.all(r, true)"
[[check]]
name = "c"
read = "ip service"
expect = "rows.all(a, rows.all(b, rows.all(c, a == c)))"
severity = "bad"
[[check]]
name = "d"
read = "/ip/dns"
where = "name="
expect = "facts.routes > 1"
[[check]]
name = "e"
read = "/ip/dns"
expect = "rows.size()"
[[check]]
name = "f"
read = "/ip/dns"
expect = "rows.all(r, r.servers > 3) && sizeof(rows) == 1"
remedy = { ensure = "/ip/dns" }
"#;
    let errors = file::audit(text).expect_err("wrong").to_string();
    for told in [
        "6:",
        "raed: is no key here",
        "check[2].read: is missing",
        "\"row\" is not known",
        "stand 3 deep",
        "check[3].severity",
        "check[3].read",
        "check[4].where",
        "facts.routes",
        "neither true nor false",
        "no function \"sizeof\"",
        "check[6].remedy",
    ] {
        assert!(errors.contains(told), "{told}: {errors}");
    }
}

#[test]
fn tallies_show_both_shares() {
    let mut tally = Tally::default();
    for (verdict, count) in [
        (Verdict::Pass, 80),
        (Verdict::Fail, 9),
        (Verdict::NotApplicable, 1),
        (Verdict::Unreached, 10),
    ] {
        (0..count).for_each(|_| tally.add(verdict));
    }
    // A tenth of the fleet is offline: that is coverage, and no compliance.
    assert_eq!(tally.coverage(), Some(0.9));
    assert_eq!(tally.compliance(), Some(80.0 / 89.0));
    assert_eq!(Tally::default().compliance(), None);
}
