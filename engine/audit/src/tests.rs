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
        Reads::of(&audit).plan.steps[1].title(),
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
        .skip(1)
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

/// A check over several devices, each with the answers to its prints in the order of the plan, after the look at how busy
/// it is.
fn settled(text: &str, devices: &[(&str, &[&[&[&str]]])]) -> Vec<Judgement> {
    let audit = file::audit(text).expect("a valid file");
    let mut judge = Judge::new(file::audit(text).expect("a valid file"));
    let labels = Labels::default();
    let mut subjects = Vec::new();
    for (name, answers) in devices {
        let done = answer(&[&["!done"]]);
        let replies = answers
            .iter()
            .map(|sentences| answer(&[sentences, &[&["!done"][..]][..]].concat()));
        // The first is that it is not busy.
        let replies = std::iter::once(done).chain(replies).collect::<Vec<_>>();
        let digests = replies
            .iter()
            .map(|reply| Sha256::digest(reply).into())
            .collect::<Vec<_>>();
        let replies = replies.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let asked = Asked {
            about: About {
                name,
                address: "192.0.2.1",
                zone: "",
                labels: &labels,
            },
            state: ExecutionState::Succeeded,
            error: None,
            replies: &replies,
            digests: &digests,
        };
        let said = muster_model::check::deep(|| judge.judge(&asked)).expect("a thread");
        subjects.push(fleet::Subject {
            name: (*name).to_owned(),
            said: said.iter().map(|said| Judgement::clone(said)).collect(),
            baseline: None,
        });
    }
    // What was settled may be settled again, also when it was stored meanwhile.
    for _ in 0..2 {
        for subject in &mut subjects {
            let stored = serde_json::to_string(&subject.said).expect("JSON");
            subject.said = serde_json::from_str(&stored).expect("JSON");
        }
        muster_model::check::deep(|| fleet::settle(&audit, &mut subjects, false)).expect("a thread");
    }
    subjects
        .into_iter()
        .map(|mut subject| subject.said.remove(0))
        .collect()
}

#[test]
fn an_address_that_two_devices_have_is_found_on_both() {
    let text = one("/ip/address", "rows.size() == 1", "across = \"row.address\"");
    let said = settled(
        &text,
        &[
            (
                "r1",
                &[&[&["!re", "=address=10.0.0.1/24"], &["!re", "=address=10.0.1.1/24"]]],
            ),
            ("r2", &[&[&["!re", "=address=10.0.0.1/24"]]]),
            ("r3", &[&[&["!re", "=address=10.0.0.3/24"]]]),
            ("r4", &[&[]]),
        ],
    );
    let verdicts = said.iter().map(|said| said.verdict).collect::<Vec<_>>();
    assert_eq!(
        verdicts,
        [
            Verdict::Fail,
            Verdict::Fail,
            Verdict::Pass,
            Verdict::NotApplicable
        ]
    );
    assert_eq!(said[1].evidence.len(), 2);
    assert_eq!(said[1].evidence[0]["device"], "r1");
}

#[test]
fn both_ends_of_a_link_are_looked_at_together() {
    let text = one(
        "/ip/address",
        "rows.all(a, rows.all(b, a.mtu == b.mtu))",
        "also = { ifs = \"/interface\" }\nacross = \"row.network\"\n\
         add = { mtu = \"also.ifs.filter(i, i.name == row.interface).map(i, i.actual_mtu)[0]\" }",
    );
    let audit = file::audit(&text).expect("valid");
    let titles = Reads::of(&audit)
        .plan
        .steps
        .iter()
        .skip(1)
        .map(muster_model::Step::title)
        .collect::<Vec<_>>();
    assert_eq!(
        titles,
        [
            "/interface/print =.proplist=actual-mtu,name",
            "/ip/address/print =.proplist=interface,network"
        ]
    );
    let address: &[&[&str]] = &[&["!re", "=interface=ether1", "=network=10.9.0.0"]];
    let said = settled(
        &text,
        &[
            ("r1", &[&[&["!re", "=name=ether1", "=actual-mtu=1500"]], address]),
            ("r2", &[&[&["!re", "=name=ether1", "=actual-mtu=1400"]], address]),
            // Its address is on an interface that it does not have.
            (
                "r3",
                &[&[], &[&["!re", "=interface=ether9", "=network=10.9.9.0"]]],
            ),
        ],
    );
    let verdicts = said.iter().map(|said| said.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts, [Verdict::Fail, Verdict::Fail, Verdict::Error]);
}

#[test]
fn a_neighbour_that_sees_and_is_not_seen() {
    let text = one(
        "/ip/neighbor",
        "!rows.all(r, r.identity in fleet) || rows.exists(a, rows.exists(b, a.device != b.device))",
        "across = \"device.name < row.identity ? device.name + ' ' + row.identity : row.identity + ' ' + device.name\"",
    );
    let sees = |name: &'static str| -> [&'static str; 2] {
        [
            "!re",
            match name {
                "r1" => "=identity=r1",
                "r2" => "=identity=r2",
                _ => "=identity=switch",
            },
        ]
    };
    let (one, two, switch) = (sees("r1"), sees("r2"), sees("switch"));
    let said = settled(
        &text,
        &[
            ("r1", &[&[&two[..], &switch[..]]]),
            ("r2", &[&[&one[..]]]),
            ("r3", &[&[&one[..]]]),
        ],
    );
    let verdicts = said.iter().map(|said| said.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Fail]);
}

#[test]
fn one_that_is_not_like_the_others() {
    let text = "name = \"a\"\n[[check]]\nname = \"c\"\nread = \"/ip/dns\"\ncompare = \"peers\"\n";
    let audit = file::audit(text).expect("valid");
    let titles = Reads::of(&audit)
        .plan
        .steps
        .iter()
        .skip(1)
        .map(muster_model::Step::title)
        .collect::<Vec<_>>();
    assert_eq!(
        titles,
        ["/ip/dns/print", "/system/resource/print =.proplist=board-name"]
    );
    let usual: &[&[&str]] = &[&["!re", "=servers=1.1.1.1", "=cache-used=17"]];
    let other: &[&[&str]] = &[&["!re", "=servers=9.9.9.9", "=cache-used=1"]];
    let (ax, ccr): (&[&[&str]], &[&[&str]]) =
        (&[&["!re", "=board-name=hAP"]], &[&["!re", "=board-name=CCR"]]);
    let said = settled(
        text,
        &[
            ("r1", &[usual, ax]),
            ("r2", &[usual, ax]),
            ("r3", &[other, ax]),
            ("r4", &[other, ccr]),
        ],
    );
    let verdicts = said.iter().map(|said| said.verdict).collect::<Vec<_>>();
    assert_eq!(
        verdicts,
        [
            Verdict::Pass,
            Verdict::Pass,
            Verdict::Fail,
            Verdict::NotApplicable
        ]
    );
    assert_eq!(said[2].reason, "differs from the other 2 of its kind (hAP)");
    assert_eq!(
        said[2].evidence,
        [serde_json::json!({ "item": "", "name": "servers", "was": "1.1.1.1", "is": "9.9.9.9" })]
    );
    let wrong =
        "name = \"a\"\n[[check]]\nname = \"c\"\nread = \"/ip/dns\"\ncompare = \"peer\"\nexpect = \"true\"\n";
    let error = file::audit(wrong).expect_err("wrong").to_string();
    assert!(error.contains("\"peers\", \"baseline\""), "{error}");
}

#[test]
fn a_busy_router_is_not_asked_and_says_so() {
    let of = |more: &str| {
        let audit = file::audit(&format!("{more}\n{TELNET}")).expect("valid");
        Reads::of(&audit).plan.steps[0].title()
    };
    assert_eq!(of(""), "wait until cpu-load is 90 % at most");
    assert_eq!(of("max-cpu = \"75%\""), "wait until cpu-load is 75 % at most");
    assert!(of("max-cpu = \"100%\"").starts_with("/ip/service/print"));
    for wrong in ["\"0%\"", "\"12.5%\"", "90", "\"101%\""] {
        let errors = file::audit(&format!("max-cpu = {wrong}\n{TELNET}")).expect_err("refused");
        assert!(errors.to_string().contains("max-cpu"), "{errors}");
    }
    let mut judge = Judge::new(file::audit(TELNET).expect("valid"));
    let labels = Labels::default();
    let error = muster_model::DeviceError::new(muster_model::ErrorClass::Check, "it was too busy");
    let asked = Asked {
        about: About {
            name: "r1",
            address: "192.0.2.1",
            zone: "",
            labels: &labels,
        },
        state: ExecutionState::Rejected,
        error: Some(&error),
        replies: &[],
        digests: &[],
    };
    let said = judge.judge(&asked).remove(0);
    assert_eq!(
        (said.verdict, said.reason.as_str()),
        (Verdict::Unreached, "it was too busy")
    );
}

#[test]
fn bytes_that_are_not_utf_8_come_through_as_they_are() {
    let text = one(
        "/system/identity",
        "rows.all(r, r.name == '')",
        "evidence = [\"name\"]",
    );
    let mut bytes = Vec::new();
    encode::sentence(&mut bytes, [&b"!re"[..], b"=name=caf\xE9"]).expect("no empty words");
    encode::sentence(&mut bytes, ["!done"]).expect("no empty words");
    let said = judged(&text, &[("/system/identity", bytes.clone())]).remove(0);
    assert_eq!(said.verdict, Verdict::Fail);
    assert_eq!(
        said.evidence,
        [serde_json::json!({ "name": { "hex": "636166e9" } })]
    );
    // Two that differ in such a byte are different.
    let mut other = bytes.clone();
    let at = other.iter().position(|byte| *byte == 0xE9).expect("it is there");
    other[at] = 0xE8;
    let [one, other] = [&bytes, &other].map(|bytes| {
        let answer = Answer::read(bytes);
        drift::normal("/system/identity", &answer.rows.iter().collect::<Vec<_>>())
    });
    assert_ne!(one, other);
}
