//! Every other kind of step, with the connection lost at every exchange: nothing is done twice, and what is told is so.

use std::time::Duration;

use muster_model::script::Run;
use muster_model::{Backup, Check, Command, Ensure, Items, Script, Step, Values, Verify, Wait};
use muster_worker_core::Outcome;

use crate::engine::{Engine, Loss};
use crate::router::Router;

/// A kind of step.
struct Kind {
    name: &'static str,
    step: Step,
    /// How often its effect is to be seen on the router; none for what has none.
    effects: Option<fn(&Router) -> usize>,
    /// Whether done twice it is done once.
    idempotent: bool,
}

const SET: [&str; 2] = ["/ip/dns/set", "servers=1.1.1.1"];

fn verify() -> Verify {
    Verify::new(["/ip/dns/print"], "servers=1.1.1.1", false).expect("a read")
}

fn values(values: &[(&str, &str)]) -> Values {
    Values::new(values.iter().copied()).expect("valid")
}

fn kinds() -> Vec<Kind> {
    let script = |verify| {
        let source = Run::Source("/ip dns set servers=1.1.1.1".to_owned());
        Step::Script(Script::new(source, verify).expect("valid"))
    };
    let command = Command::parse(SET).expect("valid");
    let list = Items {
        key: vec!["list".into(), "address".into()],
        items: vec![values(&[("list", "mgmt"), ("address", "10.0.0.1")])],
        ..Items::default()
    };
    let sets: fn(&Router) -> usize = |router| router.sets;
    let seconds = Some(Duration::from_secs(60));
    let kind = |name, step, effects, idempotent| Kind {
        name,
        step,
        effects,
        idempotent,
    };
    vec![
        kind("command", Step::Command(command.clone()), Some(sets), false),
        kind(
            "command with verify",
            Step::Command(command.with_verify(verify()).expect("a change")),
            Some(sets),
            false,
        ),
        kind(
            "ensure of a menu that is one item",
            Step::Ensure(Ensure::singleton("/ip/dns", values(&[("servers", "1.1.1.1")])).expect("valid")),
            Some(sets),
            true,
        ),
        kind(
            "ensure of items",
            Step::Ensure(Ensure::items("/ip/firewall/address-list", list).expect("valid")),
            Some(|router| router.list.len()),
            true,
        ),
        kind("script", script(None), Some(sets), false),
        kind("script with verify", script(Some(verify())), Some(sets), false),
        kind(
            "wait until",
            Step::Wait(Wait::until("facts.uptime >= 1", seconds, None).expect("valid")),
            None,
            false,
        ),
        kind(
            "wait",
            Step::Wait(Wait::time(Duration::from_secs(30)).expect("valid")),
            None,
            false,
        ),
        kind(
            "check",
            Step::Check(Check::parse("facts.free_disk > 1000").expect("valid")),
            None,
            false,
        ),
        kind("backup", Step::Backup(Backup::default()), None, false),
        kind("export", Step::Export, None, false),
    ]
}

fn is_well(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Succeeded | Outcome::FoundDone | Outcome::Unchanged
    )
}

#[test]
fn a_connection_lost_at_any_exchange_of_any_kind_does_nothing_twice_and_tells_what_is_so() {
    for kind in kinds() {
        let mut clean = Engine::new(vec![kind.step.clone()], None);
        let mut router = Router::new();
        let ended = clean.run(&mut router);
        assert!(is_well(ended.outcome), "{}: {ended:?}", kind.name);
        let done = kind.effects.map(|effects| effects(&router));
        assert_eq!(done.unwrap_or(1), 1, "{}", kind.name);
        for at in 0..clean.exchanges {
            for loss in [Loss::Before, Loss::After] {
                let told = format!("{}, exchange {at} lost {loss:?}", kind.name);
                let mut router = Router::new();
                let ended = Engine::new(vec![kind.step.clone()], Some((at, loss))).run(&mut router);
                let Some(effects) = kind.effects else {
                    // It reads or adds files: it is begun again, and left nothing to look after.
                    assert!(is_well(ended.outcome), "{told}: {ended:?}");
                    let changed = router.sets + router.list.len() + router.restarts;
                    assert_eq!(changed, 0, "{told}: {:?}", router.done);
                    continue;
                };
                match (effects(&router), ended.outcome) {
                    (1, outcome) if is_well(outcome) => {}
                    (0, Outcome::FoundNotDone) => {}
                    // Nobody can tell, and nobody says otherwise.
                    (0 | 1, Outcome::Unknown) if !kind.step.is_verifiable() => {}
                    (done, _) => panic!("{told}: done {done} times, and told {ended:?}"),
                }
            }
        }
    }
}

#[test]
fn a_step_that_is_repeated_does_no_more_than_it_says() {
    for kind in kinds() {
        let mut router = Router::new();
        let outcomes = [0, 1].map(|_| {
            Engine::new(vec![kind.step.clone()], None)
                .run(&mut router)
                .outcome
        });
        assert!(outcomes.into_iter().all(is_well), "{}: {outcomes:?}", kind.name);
        let Some(effects) = kind.effects else {
            continue;
        };
        let expected = if kind.idempotent { 1 } else { 2 };
        assert_eq!(effects(&router), expected, "{}: {:?}", kind.name, router.done);
        let unchanged = outcomes[1] == Outcome::Unchanged;
        assert_eq!(unchanged, kind.idempotent, "{}: {outcomes:?}", kind.name);
    }
}

#[test]
fn a_wait_goes_on_through_connections_that_are_lost_and_has_an_end() {
    let never = Wait::until(
        "facts.uptime < 0",
        Some(Duration::from_secs(30)),
        Some(Duration::from_secs(5)),
    );
    let plan = vec![Step::Wait(never.expect("valid"))];
    let mut clean = Engine::new(plan.clone(), None);
    clean.run(&mut Router::new());
    for at in 0..clean.exchanges {
        let mut router = Router::new();
        let began = router.now;
        let ended = Engine::new(plan.clone(), Some((at, Loss::Before))).run(&mut router);
        assert_eq!(ended.outcome, Outcome::Rejected, "exchange {at}: {ended:?}");
        let waited = router.now - began;
        assert!(waited <= Duration::from_secs(60), "exchange {at}: {waited:?}");
    }
}
