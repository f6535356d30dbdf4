//! Checks, what was before them, and the looks at the end of a soak.

use super::*;

fn check(text: &str) -> Step {
    Step::Check(muster_model::Check::parse(text).expect("valid"))
}

fn free_disk(bytes: &str) -> Bytes {
    answer(&[&[&format!("=free-hdd-space={bytes}")]])
}

#[test]
fn a_check_asks_and_lets_the_plan_go_on_or_not() {
    let plan = || vec![check("facts.free_disk > 1000"), dns()];
    let mut holds = of(plan());
    assert!(sent(holds.connected()).0.starts_with("/system/resource/print"));
    let (words, _) = sent(holds.answered(StepEnd::Completed, free_disk("2000")));
    assert_eq!(words, "/ip/dns/print =.proplist=servers");
    let replies = holds.into_told().replies;
    assert_eq!(
        told(&replies[0]),
        ["!re =op=check =facts.free_disk=2000", "!done"]
    );
    let ends = |end, sentences| {
        let mut attempt = of(plan());
        attempt.connected();
        ended(attempt.answered(end, sentences))
    };
    let low = ends(StepEnd::Completed, free_disk("999"));
    let why = low.error.expect("says why");
    assert_eq!((low.outcome, why.class), (Outcome::Rejected, ErrorClass::Check));
    assert_eq!(
        why.message,
        "facts.free_disk > 1000 does not hold: facts.free_disk=999"
    );
    let trap = StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, "no such command"));
    let unknown = ends(trap, Bytes::new()).error.expect("says why");
    assert!(unknown.message.contains("is not known"), "{unknown}");
    let lost = StepEnd::NoAnswer(error(ErrorClass::Reset));
    assert_eq!(ends(lost, Bytes::new()).outcome, Outcome::Interrupted);
}

#[test]
fn what_was_before_is_asked_before_the_first_step() {
    let up = |count: usize| answer(&vec![&["=running=true"][..]; count]);
    let run = |before: usize, after: usize| {
        let mut attempt = of(vec![dns(), check("post.interfaces_up >= pre.interfaces_up")]);
        assert!(sent(attempt.connected()).0.starts_with("/interface/print"));
        attempt.answered(StepEnd::Completed, up(before));
        attempt.answered(StepEnd::Completed, has("8.8.8.8"));
        attempt.granted();
        attempt.completed();
        let (words, _) = sent(attempt.answered(StepEnd::Completed, has("1.1.1.1")));
        assert!(words.starts_with("/interface/print"));
        let ended = ended(attempt.answered(StepEnd::Completed, up(after)));
        (ended.outcome, ended.steps_done)
    };
    assert_eq!(run(3, 3), (Outcome::Succeeded, 2));
    assert_eq!(
        run(3, 2),
        (Outcome::Rejected, 1),
        "which is broken, after a change"
    );
}

#[test]
fn a_preview_evaluates_what_does_not_compare_with_before() {
    let steps = vec![
        check("facts.free_disk > 1000"),
        dns(),
        check("post.interfaces_up >= pre.interfaces_up"),
    ];
    let mut preview = in_mode(steps.clone(), Mode::Preview);
    assert!(sent(preview.connected()).0.starts_with("/system/resource/print"));
    let (words, _) = sent(preview.answered(StepEnd::Completed, free_disk("2000")));
    assert_eq!(words, "/ip/dns/print =.proplist=servers");
    let end = ended(preview.answered(StepEnd::Completed, has("8.8.8.8")));
    assert_eq!((end.outcome, end.steps_done), (Outcome::Succeeded, 3));
    let Told {
        replies, fingerprint, ..
    } = preview.into_told();
    assert_eq!((told(&replies[0]), replies.len()), (vec!["!done".to_owned()], 3));
    assert!(fingerprint.is_some());
    // What comes after a change is about a device that is not there yet.
    let mut after = in_mode(vec![dns(), check("facts.free_disk > 1000")], Mode::Preview);
    after.connected();
    let end = ended(after.answered(StepEnd::Completed, has("8.8.8.8")));
    assert_eq!((end.outcome, end.steps_done), (Outcome::Succeeded, 2));
    let mut as_wanted = in_mode(vec![dns(), check("facts.free_disk > 1000")], Mode::Preview);
    as_wanted.connected();
    assert!(
        sent(as_wanted.answered(StepEnd::Completed, has("1.1.1.1")))
            .0
            .starts_with("/system/resource/print")
    );
    let mut conflict = in_mode(steps, Mode::Preview);
    conflict.connected();
    assert_eq!(
        outcome(conflict.answered(StepEnd::Completed, free_disk("1"))),
        (Outcome::Rejected, Some(ErrorClass::Check))
    );
}

#[test]
fn at_the_end_of_a_soak_it_is_looked_whether_all_is_still_as_it_was_done() {
    let wanted = Values::new([("servers", "1.1.1.1")]).expect("valid");
    let ensure = Step::Ensure(Ensure::singleton("/ip/dns", wanted).expect("valid"));
    let flush = Step::Command(Command::parse(["/ip/dns/cache/flush"]).expect("valid"));
    let after = || {
        in_mode(
            vec![flush.clone(), ensure.clone()],
            Mode::Apply {
                first_step: 2,
                expected: None,
            },
        )
    };
    let mut attempt = after();
    let (words, manner) = sent(attempt.connected());
    assert!(words.starts_with("/ip/dns/print"), "{words}");
    assert_eq!(manner, Manner::Question);
    let still = answer(&[&["=servers=1.1.1.1"]]);
    let end = attempt.answered(StepEnd::Completed, still);
    assert_eq!(ended(end).outcome, Outcome::Unchanged);
    assert!(attempt.into_told().replies.is_empty());

    let mut attempt = after();
    let _ = attempt.connected();
    let other = answer(&[&["=servers=8.8.8.8"]]);
    let end = attempt.answered(StepEnd::Completed, other);
    assert_eq!(outcome(end), (Outcome::Broken, Some(ErrorClass::NotAsWanted)));

    let command = Step::Command(Command::parse(["/ip/dns/cache/flush"]).expect("valid"));
    let mut attempt = in_mode(
        vec![command],
        Mode::Apply {
            first_step: 1,
            expected: None,
        },
    );
    assert_eq!(
        outcome(attempt.connected()),
        (Outcome::Unchanged, None),
        "it answers, and that is all"
    );
}

#[test]
fn at_the_end_of_a_soak_firmware_is_looked_at_too() {
    let steps = || {
        let upgrade = muster_model::Upgrade {
            version: Some("7.16.2".into()),
            ..muster_model::Upgrade::default()
        };
        upgrade.steps().expect("valid")
    };
    let after = || {
        let first_step = steps().len() as u32;
        in_mode(
            steps(),
            Mode::Apply {
                first_step,
                expected: None,
            },
        )
    };
    let runs = |version| {
        answer(&[&[
            version,
            "=architecture-name=arm64",
            "=board-name=hAP",
            "=uptime=1h",
            "=free-hdd-space=9000000",
        ]])
    };
    let mut attempt = after();
    let (words, _) = sent(attempt.connected());
    assert!(words.starts_with("/system/resource/print"), "{words}");
    let end = attempt.answered(StepEnd::Completed, runs("=version=7.16.2 (stable)"));
    assert_eq!(outcome(end), (Outcome::Unchanged, None));
    // It came up with its other partition.
    let mut attempt = after();
    let _ = attempt.connected();
    let end = attempt.answered(StepEnd::Completed, runs("=version=7.13.5 (stable)"));
    assert_eq!(outcome(end), (Outcome::Broken, Some(ErrorClass::NotAsWanted)));
}

#[test]
fn neighbours_of_bgp_are_counted_whatever_the_version() {
    let mut attempt = of(vec![check("facts.bgp_up > 1 && facts.ospf_up > 0")]);
    assert!(
        sent(attempt.connected())
            .0
            .starts_with("/routing/bgp/session/print")
    );
    let none = StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, "no such command prefix"));
    let (words, _) = sent(attempt.answered(none, Bytes::new()));
    assert!(words.starts_with("/routing/bgp/peer/print"), "{words}");
    let peers = answer(&[
        &["=state=established"],
        &["=state=established"],
        &["=state=active"],
    ]);
    let (words, _) = sent(attempt.answered(StepEnd::Completed, peers));
    assert!(words.starts_with("/routing/ospf/neighbor/print"), "{words}");
    let end = attempt.answered(StepEnd::Completed, answer(&[&["=state=Full"]]));
    assert_eq!(outcome(end), (Outcome::Succeeded, None));
}

#[test]
fn what_a_check_finds_bad_is_taken_back_if_the_plan_wants_it() {
    let plan = |on_failed_check| Plan {
        steps: vec![dns(), check("facts.free_disk > 1000")],
        way_back: WayBack {
            on_failed_check,
            ..WayBack::default()
        },
    };
    let mode = Mode::Apply {
        first_step: 0,
        expected: None,
    };
    let failing = |on_failed_check| {
        let mut attempt = Attempt::new(Arc::new(plan(on_failed_check)), mode);
        attempt.connected();
        attempt.answered(StepEnd::Completed, has("8.8.8.8"));
        let note = attempt.note().expect("something to be recorded");
        assert_eq!(
            told(&note.pre),
            [
                "!re =op=set =menu=/ip/dns =name=servers =from=8.8.8.8 =to=1.1.1.1",
                "!done"
            ]
        );
        attempt.granted();
        attempt.completed();
        attempt.answered(StepEnd::Completed, has("1.1.1.1"));
        let next = attempt.answered(StepEnd::Completed, free_disk("1"));
        (attempt, next)
    };
    let (_, end) = failing(false);
    assert_eq!(outcome(end), (Outcome::Rejected, Some(ErrorClass::Check)));
    let (mut attempt, next) = failing(true);
    assert_eq!(sent(next).0, "/ip/dns/print =.proplist=servers");
    let asks = attempt.answered(StepEnd::Completed, has("1.1.1.1"));
    assert_eq!(asks, Action::AskIntent { step: 0 }, "an intent of its own");
    assert_eq!(sent(attempt.granted()).0, "/ip/dns/set =servers=8.8.8.8");
    attempt.completed();
    let end = attempt.answered(StepEnd::Completed, has("8.8.8.8"));
    assert_eq!(outcome(end), (Outcome::Reverted, Some(ErrorClass::Check)));
}

#[test]
fn what_was_recorded_decides_what_became_of_a_step_of_many_items() {
    let item = |address: &str| Values::new([("list", "a"), ("address", address)]).expect("valid");
    let items = muster_model::Items {
        key: vec!["address".into()],
        items: vec![item("10.0.0.1"), item("10.0.0.2")],
        ..Default::default()
    };
    let step = Step::Ensure(Ensure::items("/ip/firewall/address-list", items).expect("valid"));
    let mut attempt = of(vec![step.clone()]);
    attempt.connected();
    attempt.completed();
    let pre = attempt.note().expect("something").pre;
    let recorded = Recorded {
        step: 0,
        pre,
        ..Recorded::default()
    };
    let found = |addresses: &[&str], recorded: Vec<Recorded>| {
        let plan = Arc::new(Plan::new(vec![step.clone()]));
        let mut look = Attempt::new(plan, Mode::Resolve(0)).with_recorded(recorded);
        look.connected();
        let rows = addresses.iter().map(|address| ["=.id=*1", "=list=a", address]);
        let rows = rows.collect::<Vec<_>>();
        let rows = rows.iter().map(|row| &row[..]).collect::<Vec<_>>();
        outcome(look.answered(StepEnd::Completed, answer(&rows))).0
    };
    let (one, two) = ("=address=10.0.0.1", "=address=10.0.0.2");
    assert_eq!(found(&[one, two], vec![recorded.clone()]), Outcome::FoundDone);
    assert_eq!(found(&[], vec![recorded.clone()]), Outcome::FoundNotDone);
    assert_eq!(found(&[one], vec![recorded]), Outcome::Broken);
    assert_eq!(
        found(&[one], Vec::new()),
        Outcome::Failed,
        "nobody knows what was before"
    );
}

#[test]
fn what_was_before_is_known_to_an_attempt_that_goes_on() {
    let steps = vec![dns(), check("post.interfaces_up >= pre.interfaces_up")];
    let mut first = of(steps.clone());
    first.connected();
    first.answered(
        StepEnd::Completed,
        answer(&[&["=running=true"], &["=running=true"]]),
    );
    first.answered(StepEnd::Completed, has("8.8.8.8"));
    let note = first.note().expect("something");
    let recorded = Recorded {
        step: 0,
        facts: note.facts,
        ..Recorded::default()
    };
    let goes_on = |up: &[&[&str]]| {
        let mode = Mode::Apply {
            first_step: 1,
            expected: None,
        };
        let mut next = in_mode(steps.clone(), mode).with_recorded(vec![recorded.clone()]);
        next.connected();
        ended(next.answered(StepEnd::Completed, answer(up))).outcome
    };
    assert_eq!(
        goes_on(&[&["=running=true"], &["=running=true"]]),
        Outcome::Unchanged,
        "in this attempt"
    );
    assert_eq!(goes_on(&[&["=running=true"]]), Outcome::Rejected);
}
