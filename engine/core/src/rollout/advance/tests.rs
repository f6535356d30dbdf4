use super::*;
use muster_model::policy::{Classes, Condition, Scope, Share, Size};

fn policy(gates: Vec<GateKind>) -> Policy {
    let gate = |(at, kind): (usize, GateKind)| Gate {
        id: format!("gate-{}", at + 1),
        kind,
        shadow: false,
    };
    let canary = Wave {
        bake: Duration::from_secs(60),
        gates: gates.into_iter().enumerate().map(gate).collect(),
        ..Wave::new(Size::Count(10))
    };
    Policy {
        waves: vec![canary, Wave::new(Size::Rest)],
        ..Policy::default()
    }
}

fn standing(good: i64, busy: u64) -> Standing {
    Standing {
        number: 0,
        total: 10,
        tally: Tally {
            good,
            touched: good,
            ended: good,
            ..Tally::default()
        },
        busy,
        ended_at: (busy == 0).then_some(1000),
        answers: Vec::new(),
    }
}

fn decide(policy: &Policy, wave: &Standing, now: i64) -> Advance {
    let waves = [(0, wave.tally)];
    let counted = Counted {
        waves: &waves,
        runs: &Runs::default(),
    };
    advance(policy, wave, counted, now)
}

fn held_by(advance: Advance) -> String {
    match advance {
        Advance::Hold(hold) => hold.by,
        other => panic!("{other:?}"),
    }
}

const LATER: i64 = 1_000_000;

#[test]
fn a_wave_ends_bakes_and_opens_the_next() {
    let policy = policy(Vec::new());
    assert_eq!(decide(&policy, &standing(3, 7), LATER), Advance::Wait);
    let mut wave = standing(10, 0);
    wave.ended_at = None;
    assert_eq!(decide(&policy, &wave, LATER), Advance::Ended);
    let wave = standing(10, 0);
    assert_eq!(held_by(decide(&policy, &wave, 60_999)), "bake");
    assert_eq!(decide(&policy, &wave, 61_000), Advance::Open);
    let mut last = standing(10, 0);
    last.number = 1;
    assert_eq!(decide(&policy, &last, LATER), Advance::Last);
}

#[test]
fn a_canary_that_nobody_answered_proves_nothing() {
    let policy = policy(Vec::new());
    // Four good ones, the others only wait for devices that are offline.
    let mut wave = standing(4, 0);
    let Advance::Hold(hold) = decide(&policy, &wave, LATER) else {
        panic!("held")
    };
    assert!(hold.needs_person && hold.by == "min-good", "{hold:?}");
    assert_eq!(decide(&policy, &standing(5, 0), LATER), Advance::Open);
    wave.answers.push(Answer {
        gate: MIN_GOOD,
        told: Told::Approved("ann".into()),
    });
    assert_eq!(
        decide(&policy, &wave, LATER),
        Advance::Open,
        "a person takes it on"
    );
}

#[test]
fn an_empty_wave_is_passed() {
    let wave = Standing {
        total: 0,
        ..standing(0, 0)
    };
    assert_eq!(decide(&policy(Vec::new()), &wave, 1000), Advance::Open);
}

#[test]
fn a_gate_whose_sample_is_missing_holds() {
    let gate = GateKind::Rule {
        condition: Condition::Rate {
            over: Share::percent(2),
            min_sample: 50,
        },
        classes: Classes::default(),
        scope: Scope::Job,
    };
    let policy = policy(vec![gate]);
    let Advance::Hold(hold) = decide(&policy, &standing(10, 0), LATER) else {
        panic!("held")
    };
    assert!(hold.needs_person && !hold.fails, "{hold:?}");
    assert_eq!(hold.evidence, "0 of 10 failed; 50 are needed to tell");
}

#[test]
fn a_gate_that_fails_halts() {
    let gate = GateKind::Rule {
        condition: Condition::Count(0),
        classes: Classes::default(),
        scope: Scope::Wave,
    };
    let mut wave = standing(9, 0);
    (wave.tally.harmed, wave.tally.touched) = (1, 10);
    let Advance::Hold(hold) = decide(&policy(vec![gate]), &wave, LATER) else {
        panic!("held")
    };
    assert!(hold.fails && hold.by == "gate-1", "{hold:?}");
}

#[test]
fn people_and_timers_and_servers_are_waited_for() {
    let asked = GateKind::Approval {
        needed: 2,
        from: Vec::new(),
    };
    let timer = GateKind::Timer(Duration::from_secs(600));
    let server = GateKind::Webhook {
        url: "http://x/".into(),
        timeout: Duration::from_secs(1),
        roots: None,
    };
    let policy = policy(vec![timer, asked, server]);
    let mut wave = standing(10, 0);
    assert_eq!(held_by(decide(&policy, &wave, 100_000)), "gate-1");
    assert_eq!(held_by(decide(&policy, &wave, 601_000)), "gate-2");
    let approve = |who: &str| Answer {
        gate: 1,
        told: Told::Approved(who.into()),
    };
    wave.answers.extend([approve("ann"), approve("ann")]);
    assert_eq!(
        held_by(decide(&policy, &wave, 601_000)),
        "gate-2",
        "one person counts once"
    );
    wave.answers.push(approve("bob"));
    let Advance::Hold(hold) = decide(&policy, &wave, 601_000) else {
        panic!("held")
    };
    assert_eq!((hold.by.as_str(), hold.ask), ("gate-3", Some(2)));
    let verdict = |verdict| Answer {
        gate: 2,
        told: Told::Verdict(verdict, "because".into()),
    };
    wave.answers.push(verdict(GateVerdict::Inconclusive));
    assert!(matches!(
        decide(&policy, &wave, 601_000),
        Advance::Hold(Hold {
            needs_person: true,
            ..
        })
    ));
    wave.answers.push(verdict(GateVerdict::Pass));
    assert_eq!(decide(&policy, &wave, 601_000), Advance::Open);
}

#[test]
fn a_shadow_gate_never_holds() {
    let mut policy = policy(vec![GateKind::Approval {
        needed: 1,
        from: Vec::new(),
    }]);
    policy.waves[0].gates[0].shadow = true;
    assert_eq!(decide(&policy, &standing(10, 0), LATER), Advance::Open);
}
