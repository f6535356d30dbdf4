//! Firmware.

use std::time::Duration;

use muster_model::{Check, Fetch, Reboot, Step, Upgrade};
use muster_worker_core::Outcome;

use crate::engine::{Engine, Loss};
use crate::fallback::guarded;
use crate::router::{AWAY, Router};

pub(crate) fn upgrade(routerboot: bool, version: &str) -> Vec<Step> {
    let upgrade = Upgrade {
        version: Some(version.to_owned()),
        routerboot,
        wait: Some(Duration::from_secs(120)),
        ..Upgrade::default()
    };
    upgrade.steps().expect("valid")
}

/// To 7.12.1, which the router of a test gets when it is offered that.
pub(crate) fn downgrade() -> Vec<Step> {
    let upgrade = Upgrade {
        version: Some("7.12.1".to_owned()),
        down: true,
        mirror: Some("http://mirror/{{ file }}".to_owned()),
        wait: Some(Duration::from_secs(120)),
        ..Upgrade::default()
    };
    upgrade.steps().expect("valid")
}

/// A router as such a plan wants to find it.
fn found(name: &str) -> Router {
    Router {
        offers: if name == "downgrade" { "7.12.1" } else { "7.16.2" },
        spare: (name == "upgrade with L3").then_some("7.10"),
        fallback_to: "etherboot",
        ..Router::new()
    }
}

/// A plan: its name, its steps, whether a router is as it wants, and how often it restarts one.
type Case = (&'static str, Vec<Step>, fn(&Router) -> bool, usize);

/// Every kind of plan.
fn plans() -> Vec<Case> {
    let fetch = Fetch::new("http://mirror/ca.pem", None, None, None).expect("valid");
    let reboot = Reboot::new(Some(Duration::from_secs(120))).expect("valid");
    let channel = Upgrade {
        channel: Some("stable".into()),
        wait: Some(Duration::from_secs(120)),
        ..Upgrade::default()
    };
    vec![
        (
            "upgrade",
            upgrade(false, "7.16.2"),
            |router| router.version == "7.16.2",
            1,
        ),
        (
            "upgrade with RouterBOOT",
            upgrade(true, "7.16.2"),
            |router| router.version == "7.16.2" && router.bootloader == "7.16.2",
            2,
        ),
        (
            "channel",
            channel.steps().expect("valid"),
            |router| router.version == "7.16.2",
            1,
        ),
        ("downgrade", downgrade(), |router| router.version == "7.12.1", 1),
        (
            "upgrade with L3",
            guarded(upgrade(false, "7.16.2")),
            |router| router.version == "7.16.2",
            1,
        ),
        ("fetch", vec![Step::Fetch(fetch)], |router| router.file, 0),
        (
            "reboot",
            vec![Step::Reboot(reboot)],
            |router| router.restarts > 0,
            1,
        ),
    ]
}

#[test]
fn a_connection_that_is_lost_anywhere_does_no_harm_and_nothing_is_done_twice() {
    for (name, steps, is_wanted, restarts) in plans() {
        let mut router = found(name);
        let mut engine = Engine::new(steps.clone(), None);
        let ended = engine.run(&mut router);
        assert_eq!(ended.outcome, Outcome::Succeeded, "{name}: {ended:?}");
        assert!(is_wanted(&router), "{name}: {router:?}");
        assert_eq!(router.restarts, restarts, "{name}");
        for at in 0..engine.exchanges {
            for loss in [Loss::Before, Loss::After] {
                let mut router = found(name);
                let ended = Engine::new(steps.clone(), Some((at, loss))).run(&mut router);
                let good = matches!(
                    ended.outcome,
                    Outcome::Succeeded | Outcome::FoundDone | Outcome::Unchanged
                );
                assert!(good, "{name}, exchange {at} lost {loss:?}: {ended:?}");
                assert!(
                    is_wanted(&router),
                    "{name}, exchange {at} lost {loss:?}: {router:?}"
                );
                assert_eq!(
                    router.restarts, restarts,
                    "{name}, exchange {at} lost {loss:?}: {:?}",
                    router.done
                );
            }
        }
    }
}

#[test]
fn a_router_that_is_as_wanted_is_left_alone() {
    for (name, steps, ..) in plans().into_iter().take(5) {
        let mut router = found(name);
        Engine::new(steps.clone(), None).run(&mut router);
        let before = router.done.len();
        let mut again = Engine::new(steps, None);
        let ended = again.run(&mut router);
        let checks = router.done[before..]
            .iter()
            .filter(|word| !word.ends_with("check-for-updates"));
        assert_eq!((ended.outcome, checks.count()), (Outcome::Unchanged, 0), "{name}");
    }
}

#[test]
fn one_that_comes_back_as_it_was_is_told_and_not_restarted_again() {
    let mut router = Router {
        keeps: true,
        ..Router::new()
    };
    let ended = Engine::new(upgrade(false, "7.16.2"), None).run(&mut router);
    let why = ended.error.expect("says why").message;
    assert_eq!((ended.outcome, router.restarts), (Outcome::Failed, 1));
    assert!(why.contains("came back with 7.13.5"), "{why}");
    // The same when nobody was there to see it.
    let mut clean = Engine::new(upgrade(false, "7.16.2"), None);
    clean.run(&mut Router::new());
    for at in 0..clean.exchanges {
        let mut router = Router {
            keeps: true,
            ..Router::new()
        };
        let ended = Engine::new(upgrade(false, "7.16.2"), Some((at, Loss::After))).run(&mut router);
        assert!(
            matches!(ended.outcome, Outcome::Failed | Outcome::Rejected),
            "{at}: {ended:?}"
        );
        assert_eq!(router.restarts, 1, "exchange {at}: {:?}", router.done);
    }
}

#[test]
fn one_that_never_comes_back_is_lost() {
    let mut router = Router {
        bricks: true,
        ..Router::new()
    };
    let began = router.now;
    let ended = Engine::new(upgrade(false, "7.16.2"), None).run(&mut router);
    assert_eq!((ended.outcome, router.restarts), (Outcome::Lost, 1));
    assert!(router.now - began < Duration::from_secs(200), "it has a deadline");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let refused = |version: &'static str, to: &str, offers: &'static str| {
        let mut router = Router {
            version,
            offers,
            ..Router::new()
        };
        let ended = Engine::new(upgrade(false, to), None).run(&mut router);
        assert_eq!(
            (ended.outcome, router.restarts),
            (Outcome::Rejected, 0),
            "{ended:?}"
        );
        ended.error.expect("says why").message
    };
    let newer = refused("7.17", "7.16.2", "7.17");
    assert!(newer.contains("a downgrade is a step of its own"), "{newer}");
    let other = refused("7.13.5", "7.16.2", "7.18");
    assert!(other.contains("offers 7.18, not 7.16.2"), "{other}");
}

/// The power goes at every exchange: what was wanted is there in the end or it is told why not, and no restart is sent twice.
#[test]
fn a_power_cut_at_any_instant_is_got_over_or_told() {
    for (name, steps, is_wanted, restarts) in plans() {
        let mut clean = Engine::new(steps.clone(), None);
        clean.run(&mut found(name));
        for at in 0..clean.exchanges {
            let mut router = found(name);
            let ended = Engine::new(steps.clone(), Some((at, Loss::Power))).run(&mut router);
            let told = format!("{name}, exchange {at}: {ended:?}, {:?}", router.done);
            match ended.outcome {
                Outcome::Succeeded | Outcome::FoundDone | Outcome::Unchanged => {
                    let by_itself = name == "reboot" && router.restarts == 0;
                    assert!(is_wanted(&router) || by_itself, "{told}");
                }
                Outcome::Failed | Outcome::Rejected | Outcome::Broken => {
                    assert!(
                        ended.error.is_some_and(|error| !error.message.is_empty()),
                        "{told}"
                    );
                }
                _ => panic!("{told}"),
            }
            assert!(router.restarts <= restarts, "{told}");
        }
    }
}

#[test]
fn a_router_is_found_to_be_back_soon_after_it_is() {
    let reboot = Reboot::new(Some(Duration::from_secs(900))).expect("valid");
    let mut router = Router::new();
    let began = router.now;
    let ended = Engine::new(vec![Step::Reboot(reboot)], None).run(&mut router);
    assert_eq!(ended.outcome, Outcome::Succeeded);
    let took = router.now - began;
    let looks = Duration::from_secs(2);
    assert!(took <= AWAY.mul_f64(1.1) + looks, "{took:?} of {AWAY:?}");
}

/// What a router that has just come up does not have yet is no reason to call it broken, or to leave its RouterBOOT as it was.
#[test]
fn one_whose_menus_and_links_come_up_after_it_is_waited_for() {
    let mut steps = upgrade(true, "7.16.2");
    steps.push(Step::Check(
        Check::parse("post.interfaces_up >= pre.interfaces_up").expect("valid"),
    ));
    let mut clean = Engine::new(steps.clone(), None);
    clean.run(&mut Router::new());
    let losses = (0..clean.exchanges).map(|at| Some((at, Loss::After)));
    for loss in losses.chain([None]) {
        let mut router = Router {
            late: Duration::from_secs(25),
            ..Router::new()
        };
        let ended = Engine::new(steps.clone(), loss).run(&mut router);
        let good = matches!(ended.outcome, Outcome::Succeeded | Outcome::FoundDone);
        assert!(good, "{loss:?}: {ended:?}");
        assert_eq!(
            (router.version, router.bootloader, router.restarts),
            ("7.16.2", "7.16.2", 2),
            "{loss:?}: {:?}",
            router.done
        );
    }
}

#[test]
fn what_stays_away_after_a_restart_is_told() {
    let mut steps = upgrade(false, "7.16.2");
    steps.push(Step::Check(
        Check::parse("post.interfaces_up >= pre.interfaces_up").expect("valid"),
    ));
    for (late, says) in [
        (100, "these packages are missing: container"),
        (1000, "container"),
    ] {
        let mut router = Router {
            late: Duration::from_secs(late),
            ..Router::new()
        };
        let ended = Engine::new(steps.clone(), None).run(&mut router);
        let why = ended.error.expect("says why").message;
        assert_eq!((ended.outcome, router.restarts), (Outcome::Broken, 1), "{why}");
        assert!(why.contains(says), "{why}");
    }
    // The check alone: after two minutes what is down is down.
    let reboot = Reboot::new(Some(Duration::from_secs(120))).expect("valid");
    let steps = vec![Step::Reboot(reboot), steps.pop().expect("the check")];
    let ended = |late| {
        let mut router = Router {
            late: Duration::from_secs(late),
            ..Router::new()
        };
        Engine::new(steps.clone(), None).run(&mut router).outcome
    };
    assert_eq!(ended(100), Outcome::Succeeded);
    assert_eq!(ended(130), Outcome::Rejected);
}

#[test]
fn a_restart_that_is_refused_and_comes_is_seen_and_one_that_does_not_come_is_told() {
    for (after, outcome, restarts) in [
        (4, Outcome::Succeeded, 1),
        (90, Outcome::Succeeded, 1),
        (1000, Outcome::Failed, 0),
    ] {
        let mut router = Router {
            refuses: Some(Duration::from_secs(after)),
            ..Router::new()
        };
        let ended = Engine::new(upgrade(false, "7.16.2"), None).run(&mut router);
        assert_eq!((ended.outcome, router.restarts), (outcome, restarts), "{ended:?}");
    }
}

/// From 6 by 7.12.1, with an updater that stays in the channel that has nothing else; the connection is lost anywhere.
#[test]
fn one_of_version_6_comes_out_of_the_channel_that_has_only_the_hop() {
    let found = || Router {
        version: "6.49.17",
        offers: "6.49.18",
        has_channels: true,
        ..Router::new()
    };
    let mut clean = Engine::new(upgrade(false, "7.16.2"), None);
    clean.run(&mut found());
    for loss in (0..clean.exchanges).flat_map(|at| [Loss::Before, Loss::After].map(|loss| Some((at, loss)))) {
        let mut router = found();
        let ended = Engine::new(upgrade(false, "7.16.2"), loss).run(&mut router);
        let told = format!("{loss:?}: {ended:?}, {:?}", router.done);
        assert!(
            matches!(ended.outcome, Outcome::Succeeded | Outcome::FoundDone),
            "{told}"
        );
        assert_eq!(
            (router.version, router.restarts, router.channel),
            ("7.16.2", 2, false),
            "{told}"
        );
    }
}

#[test]
fn one_that_drops_the_question_for_its_partitions_is_judged_by_its_version() {
    let found = || Router {
        keeps: true,
        drops: "/partitions/print",
        ..Router::new()
    };
    let mut clean = Engine::new(upgrade(false, "7.16.2"), None);
    clean.run(&mut found());
    for loss in (0..clean.exchanges)
        .map(|at| Some((at, Loss::After)))
        .chain([None])
    {
        let mut router = found();
        let ended = Engine::new(upgrade(false, "7.16.2"), loss).run(&mut router);
        let told = format!("{loss:?}: {ended:?}, {:?}", router.done);
        assert!(
            matches!(ended.outcome, Outcome::Failed | Outcome::Rejected),
            "{told}"
        );
        assert_eq!((router.version, router.restarts), ("7.13.5", 1), "{told}");
    }
}
