//! A partition to fall back to (L3).

use muster_model::firmware::with_fallbacks;
use muster_model::{Ensure, Level, Step, Values, WayBack};
use muster_worker_core::{Ended, Outcome};

use crate::engine::{Engine, Loss};
use crate::firmware::{downgrade, upgrade};
use crate::router::Router;

pub(crate) fn guarded(steps: Vec<Step>) -> Vec<Step> {
    let way = WayBack {
        min: Level::L3,
        ..WayBack::default()
    };
    with_fallbacks(steps, &way).expect("it has a way back")
}

fn router(fallback_to: &'static str) -> Router {
    Router {
        spare: Some("7.10"),
        fallback_to,
        ..Router::new()
    }
}

fn why(ended: &Ended) -> &str {
    ended.error.as_ref().map_or("", |error| &error.message)
}

fn count(router: &Router, command: &str) -> usize {
    router.done.iter().filter(|done| *done == command).count()
}

#[test]
fn what_runs_is_copied_before_anything_is_downloaded_and_a_second_time_nothing_is_done() {
    for (name, steps, offers) in [
        ("upgrade", upgrade(false, "7.16.2"), "7.16.2"),
        ("downgrade", downgrade(), "7.12.1"),
    ] {
        for (fallback_to, sets) in [("next", 0), ("part1", 0), ("etherboot", 1)] {
            let mut router = Router {
                offers,
                ..router(fallback_to)
            };
            let ended = Engine::new(guarded(steps.clone()), None).run(&mut router);
            assert_eq!(ended.outcome, Outcome::Succeeded, "{name}: {ended:?}");
            assert_eq!((router.version, router.spare), (offers, Some("7.13.5")));
            let at = |command: &str| router.done.iter().position(|done| done == command);
            let brings = at("/system/package/update/download").or(at("/tool/fetch"));
            assert!(at("/partitions/copy-to") < brings, "{:?}", router.done);
            assert_eq!(count(&router, "/partitions/set"), sets, "{name}, {fallback_to}");
            let before = count(&router, "/partitions/copy-to");
            let again = Engine::new(guarded(steps.clone()), None).run(&mut router);
            assert_eq!(again.outcome, Outcome::Unchanged, "{name}");
            assert_eq!(count(&router, "/partitions/copy-to"), before);
        }
    }
}

#[test]
fn firmware_that_does_not_start_is_taken_back_and_told_also_when_nobody_saw_it() {
    let bricks = || Router {
        bricks: true,
        ..router("etherboot")
    };
    let mut clean = Engine::new(guarded(upgrade(false, "7.16.2")), None);
    let mut healed = bricks();
    let ended = clean.run(&mut healed);
    assert_eq!(
        (ended.outcome, healed.restarts),
        (Outcome::Reverted, 1),
        "{ended:?}"
    );
    assert!(
        why(&ended).contains(
            "7.16.2 did not start: the router fell back from partition part0 to part1, which has 7.13.5"
        ),
        "{ended:?}"
    );
    for at in 0..clean.exchanges {
        for loss in [Loss::Before, Loss::After] {
            let mut router = bricks();
            let ended = Engine::new(guarded(upgrade(false, "7.16.2")), Some((at, loss))).run(&mut router);
            assert_eq!(
                ended.outcome,
                Outcome::Reverted,
                "{at} {loss:?}: {ended:?}, {:?}",
                router.done
            );
            assert_eq!(
                router.restarts, 1,
                "exchange {at} lost {loss:?}: {:?}",
                router.done
            );
            assert!(count(&router, "/partitions/copy-to") <= 2, "{:?}", router.done);
        }
    }
    // The next upgrade would go to nobody knows where.
    let again = Engine::new(guarded(upgrade(false, "7.16.2")), None).run(&mut healed);
    assert_eq!(again.outcome, Outcome::Rejected);
    assert!(why(&again).contains("part0 is its active partition"), "{again:?}");
}

#[test]
fn without_a_copy_of_ours_one_that_fell_back_is_broken_and_one_without_partitions_is_lost() {
    let mut other = Router {
        bricks: true,
        ..router("next")
    };
    let ended = Engine::new(upgrade(false, "7.16.2"), None).run(&mut other);
    assert_eq!(
        ended.outcome,
        Outcome::Broken,
        "its configuration is one of long ago: {ended:?}"
    );
    assert!(why(&ended).contains("which has 7.10"), "{ended:?}");
    let mut none = Router {
        bricks: true,
        ..Router::new()
    };
    let ended = Engine::new(upgrade(false, "7.16.2"), None).run(&mut none);
    assert_eq!(ended.outcome, Outcome::Lost);
}

#[test]
fn where_there_is_nothing_to_fall_back_to_nothing_is_begun() {
    let cases: [(Router, &str); 4] = [
        (Router::new(), "its storage is one partition"),
        (
            Router {
                partitions_off: true,
                ..router("next")
            },
            "its device-mode does not allow partitions",
        ),
        (
            Router {
                package: true,
                ..router("next")
            },
            "routeros-7.12.1-arm64.npk is on it already",
        ),
        (
            Router {
                fell_back: true,
                ..router("next")
            },
            "it runs part1, and part0 is its active partition",
        ),
    ];
    for (mut router, text) in cases {
        let ended = Engine::new(guarded(upgrade(false, "7.16.2")), None).run(&mut router);
        assert_eq!(ended.outcome, Outcome::Rejected, "{ended:?}");
        assert!(why(&ended).contains(text), "{ended:?}");
        assert_eq!((router.restarts, count(&router, "/partitions/copy-to")), (0, 0));
    }
}

/// What is known to be nothing for a device is known before anything else is changed on it.
#[test]
fn a_plan_that_cannot_be_done_to_its_end_is_not_begun() {
    let dns = Values::new([("servers", "1.1.1.1")]).expect("valid");
    let wish = || Step::Ensure(Ensure::singleton("/ip/dns", dns.clone()).expect("valid"));
    let plan = |upgrade: Vec<Step>| [vec![wish()], upgrade].concat();
    let newer = || Router {
        version: "7.18",
        ..router("next")
    };
    for (steps, mut router) in [
        (plan(guarded(upgrade(false, "7.16.2"))), Router::new()),
        (plan(guarded(upgrade(false, "7.16.2"))), newer()),
        (plan(upgrade(false, "7.16.2")), newer()),
    ] {
        let ended = Engine::new(steps, None).run(&mut router);
        assert_eq!(ended.outcome, Outcome::Rejected, "{ended:?}");
        assert_eq!((router.sets, router.done.len()), (0, 0), "{:?}", router.done);
    }
    let mut router = router("next");
    let ended = Engine::new(plan(guarded(upgrade(false, "7.16.2"))), None).run(&mut router);
    assert_eq!((ended.outcome, router.sets), (Outcome::Succeeded, 1), "{ended:?}");
}
