//! Whole flows on virtual time against a router that is a few lines of state, with the connection lost at every exchange:
//! before the command is carried out, and after.

#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass, Fetch, Plan, Reboot, Step, Upgrade};
use muster_worker_core::{Action, Attempt, ConnectFailure, Ended, Mode, Outcome, StepEnd};
use routeros_wire::encode;

/// How long a restart takes.
const AWAY: Duration = Duration::from_secs(20);
/// How long a download takes.
const DOWNLOAD: Duration = Duration::from_secs(5);

/// A router, and the clock of everything.
#[derive(Debug, Default)]
struct Router {
    now: Duration,
    version: &'static str,
    offers: &'static str,
    booted: Duration,
    away: Duration,
    downloading: Option<Duration>,
    known: bool,
    file: bool,
    channel: bool,
    bootloader: &'static str,
    bootloader_waits: bool,
    /// It does not install what it has.
    keeps: bool,
    /// It never comes back.
    bricks: bool,
    restarts: usize,
    /// Commands that were carried out and are not reads.
    done: Vec<String>,
}

impl Router {
    fn new() -> Self {
        Self {
            now: Duration::from_secs(100_000),
            version: "7.13.5",
            offers: "7.16.2",
            bootloader: "7.13.5",
            ..Self::default()
        }
    }

    fn is_away(&self) -> bool {
        self.now < self.away
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.away = if self.bricks {
            Duration::MAX
        } else {
            self.now + AWAY
        };
        self.booted = self.now + AWAY;
        if self.is_downloaded() && !self.keeps {
            self.version = self.offers;
        }
        if std::mem::take(&mut self.bootloader_waits) {
            self.bootloader = self.version;
        }
        (self.downloading, self.known) = (None, false);
    }

    fn is_downloaded(&self) -> bool {
        self.downloading.is_some_and(|since| self.now >= since + DOWNLOAD)
    }

    /// Carries a command out.
    fn run(&mut self, words: &[Vec<u8>]) -> Bytes {
        let word = |at: usize| String::from_utf8_lossy(&words[at]).into_owned();
        let uptime = format!("=uptime={}s", self.now.saturating_sub(self.booted).as_secs());
        let version = format!("=version={} (stable)", self.version);
        let row = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !word(0).ends_with("/print") {
            self.done.push(word(0));
        }
        let row = match word(0).as_str() {
            "/system/resource/print" => row(&[
                &version,
                &uptime,
                "=architecture-name=arm64",
                "=board-name=RB5009",
                "=free-hdd-space=90000000",
            ]),
            "/system/package/print" => row(&["=name=routeros", "=version=1", "=disabled=false"]),
            "/system/routerboard/print" => row(&[
                "=routerboard=true",
                &format!("=current-firmware={}", self.bootloader),
                &format!("=upgrade-firmware={}", self.version),
            ]),
            "/system/package/update/print" => {
                let mut values = vec!["=channel=stable".to_owned()];
                let status = match self.downloading {
                    Some(_) if self.is_downloaded() => "Downloaded, please reboot router to upgrade it",
                    Some(_) => "Downloading 40%",
                    None if self.known => "New version is available",
                    None => "",
                };
                if self.known {
                    values.push(format!("=latest-version={}", self.offers));
                }
                values.push(format!("=status={status}"));
                values
            }
            "/file/print" if self.file => row(&["=.id=*1", "=name=ca.pem", "=size=10"]),
            "/system/package/update/check-for-updates" => {
                (self.known, self.downloading) = (true, None);
                row(&["=status=finding out latest version..."])
            }
            "/system/package/update/download" => {
                self.downloading = Some(self.now);
                Vec::new()
            }
            "/system/package/update/set" => {
                self.channel = true;
                Vec::new()
            }
            "/tool/fetch" => {
                self.file = true;
                row(&["=status=finished"])
            }
            "/system/routerboard/upgrade" => {
                self.bootloader_waits = true;
                Vec::new()
            }
            "/system/reboot" => {
                self.restart();
                Vec::new()
            }
            _ => Vec::new(),
        };
        let mut out = Vec::new();
        if !row.is_empty() {
            let words = ["!re".to_owned()].into_iter().chain(row);
            encode::sentence(&mut out, words).expect("no empty words");
        }
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out.into()
    }
}

/// What happens to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The command does not arrive.
    Before,
    /// It is carried out, and its answer does not come.
    After,
}

fn lost() -> StepEnd {
    StepEnd::NoAnswer(DeviceError::new(ErrorClass::Reset, "lost"))
}

/// The engine's part in it: what it keeps, and what it makes of an attempt's end.
#[derive(Debug)]
struct Engine {
    plan: Arc<Plan>,
    /// The exchange, counted over all attempts, that is lost.
    loses: Option<(usize, Loss)>,
    exchanges: usize,
    step: u32,
    memo: Vec<u8>,
    granted: Duration,
    effects: usize,
}

impl Engine {
    fn new(steps: Vec<Step>, loses: Option<(usize, Loss)>) -> Self {
        Self {
            plan: Arc::new(Plan::new(steps)),
            loses,
            exchanges: 0,
            step: 0,
            memo: Vec::new(),
            granted: Duration::ZERO,
            effects: 0,
        }
    }

    /// One attempt to its end.
    fn attempt(&mut self, router: &mut Router, resolve: bool) -> Ended {
        let mode = match resolve {
            true => Mode::Resolve(self.step),
            false => Mode::Apply {
                first_step: self.step,
                expected: None,
            },
        };
        let began = router.now;
        let mut attempt =
            Attempt::new(self.plan.clone(), mode).with_memo(&self.memo, began.saturating_sub(self.granted));
        let mut action = Action::Connect;
        for _ in 0..10_000 {
            attempt.tick(router.now.saturating_sub(began));
            action = match action {
                Action::Connect if router.is_away() => {
                    let error = DeviceError::new(ErrorClass::Refused, "away");
                    attempt.connect_failed(ConnectFailure {
                        error,
                        may_pass: true,
                    })
                }
                Action::Connect => attempt.connected(),
                Action::Reconnect(_) if router.is_away() => {
                    let error = DeviceError::new(ErrorClass::Refused, "away");
                    attempt.reconnected(Err(ConnectFailure {
                        error,
                        may_pass: true,
                    }))
                }
                Action::Reconnect(_) => attempt.reconnected(Ok(())),
                Action::Wait(time) => {
                    router.now += time;
                    attempt.tick(router.now.saturating_sub(began));
                    attempt.waited()
                }
                Action::AskIntent { step } => {
                    assert!(!resolve, "who looks does nothing else");
                    (self.step, self.granted, self.memo) = (step, router.now, attempt.memo());
                    self.effects += 1;
                    attempt.granted()
                }
                Action::Exchange(exchange) => {
                    let at = self.exchanges;
                    self.exchanges += 1;
                    match self.loses.filter(|(lost, _)| *lost == at) {
                        Some((_, Loss::Before)) => attempt.answered(lost(), Bytes::new()),
                        Some((_, Loss::After)) => {
                            router.run(&exchange.words);
                            attempt.answered(lost(), Bytes::new())
                        }
                        None if router.is_away() => attempt.answered(lost(), Bytes::new()),
                        None => {
                            let answer = router.run(&exchange.words);
                            attempt.answered(StepEnd::Completed, answer)
                        }
                    }
                }
                Action::End(ended) => return ended,
            };
        }
        panic!("it does not end: {attempt:?}");
    }

    /// As the engine's core has it: attempts, and looks at what became of a lost one, until it is over.
    fn run(&mut self, router: &mut Router) -> Ended {
        let mut resolve = false;
        for _ in 0..20 {
            let ended = self.attempt(router, resolve);
            self.step = self.step.max(ended.steps_done);
            match ended.outcome {
                Outcome::Unknown => resolve = true,
                Outcome::Unreached | Outcome::Interrupted => router.now += Duration::from_secs(15),
                Outcome::FoundDone => {
                    self.step += 1;
                    resolve = false;
                    if self.step as usize == self.plan.steps.len() {
                        return ended;
                    }
                }
                Outcome::FoundNotDone => {
                    // The quiet time, and then it is begun again.
                    router.now += Duration::from_secs(60);
                    resolve = false;
                }
                _ => return ended,
            }
            // A stage that was lost looks first by itself.
            let stages = self.plan.steps[self.step as usize].effect() == muster_model::Effect::Stage;
            resolve &= !stages;
        }
        panic!("it does not end");
    }
}

fn upgrade(routerboot: bool, version: &str) -> Vec<Step> {
    let upgrade = Upgrade {
        version: Some(version.to_owned()),
        routerboot,
        wait: Some(Duration::from_secs(120)),
        ..Upgrade::default()
    };
    upgrade.steps().expect("valid")
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
        let mut router = Router::new();
        let mut engine = Engine::new(steps.clone(), None);
        let ended = engine.run(&mut router);
        assert_eq!(ended.outcome, Outcome::Succeeded, "{name}: {ended:?}");
        assert!(is_wanted(&router), "{name}: {router:?}");
        assert_eq!(router.restarts, restarts, "{name}");
        for at in 0..engine.exchanges {
            for loss in [Loss::Before, Loss::After] {
                let mut router = Router::new();
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
    for (name, steps, ..) in plans().into_iter().take(3) {
        let mut router = Router::new();
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
