//! The restart that installs what was staged, and whether it has.
//!
//! ```text
//! router ──as wanted──▶ done
//!    └──▶ packages ──▶ what is staged ──▶ (intent) ──▶ restart ──▶ version ──▶ packages ──▶ done
//!                                                                     └─another─▶ partitions ──▶ failed, broken, reverted
//! ```
//!
//! A router that has partitions may have started another one, because what was installed did not start.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use muster_model::Firmware;
use muster_model::check::number;
use muster_model::firmware::packages;

use super::precheck::{self, PACKAGES, installed, required};
use super::updater::{self, Status, Updater};
use super::{broken, failed, fallback, nothing, rejected};
use crate::action::{ConnectFailure, Outcome, StepEnd};
use crate::diff::read_rows;
use crate::steps::reboot::{UPTIME, is_new, not_up_yet};
use crate::steps::restart::{Came, Restart, SETTLES, SETTLING};
use crate::steps::router::{RESOURCE, Router, ask, prove, write};
use crate::steps::{Around, Next, Notes, Run, found, look_failed, question_failed, told};
use muster_model::{DeviceError, ErrorClass};

/// What is noted before the restart: what the router ran, what it should run, and the packages it has to have then.
const FROM: &str = "from";
const TO: &str = "to";
const NEEDS: &str = "needs";

/// A restart that is to install.
#[derive(Debug)]
pub(super) struct Apply {
    firmware: Firmware,
    phase: Phase,
    router: Option<Router>,
    read_at: Duration,
    /// The exact version, once it is known.
    to: String,
    has: BTreeSet<String>,
    needs: BTreeSet<String>,
    away: String,
    /// Until when packages that are missing may still come.
    settles_until: Duration,
}

#[derive(Debug)]
enum Phase {
    Router,
    Packages,
    Staged,
    Restarting(Option<Box<Restart>>),
    Proving,
    /// Another version runs than was wanted.
    Partitions(Judged),
}

impl Apply {
    pub(super) fn new(firmware: Firmware) -> Self {
        let to = firmware.to.version().unwrap_or_default().to_owned();
        Self {
            firmware,
            phase: Phase::Router,
            router: None,
            read_at: Duration::ZERO,
            to,
            has: BTreeSet::new(),
            needs: BTreeSet::new(),
            away: String::new(),
            settles_until: Duration::ZERO,
        }
    }

    fn looked_at(&mut self, router: Router, around: &Around<'_>) -> Next {
        if self.firmware.is_past(&router.version) {
            return nothing();
        }
        if self.firmware.to.version().is_some() {
            if router.runs(&self.to) {
                return nothing();
            }
            if let Err(next) = precheck::direction(&self.firmware, &router, &self.to) {
                return next;
            }
        }
        (self.router, self.read_at) = (Some(router), around.now);
        self.phase = Phase::Packages;
        ask(PACKAGES)
    }

    /// What is asked to find out whether everything is there for the restart.
    fn ask_staged(&mut self, answer: &[u8]) -> Next {
        self.has = installed(answer);
        self.phase = Phase::Staged;
        match self.firmware.mirror {
            None => ask(updater::QUESTION),
            Some(_) => ask(&["/file/print", "=.proplist=name,size"]),
        }
    }

    fn staged(&mut self, answer: &Bytes) -> Next {
        let runs = self
            .router
            .as_ref()
            .map(|router| router.version.clone())
            .unwrap_or_default();
        match &self.firmware.mirror {
            None => {
                let updater = Updater::read(answer);
                if self.firmware.to.version().is_none() {
                    if updater.latest.is_empty() || updater.latest == runs {
                        return nothing();
                    }
                    self.to = updater.latest.clone();
                }
                let same = number(&updater.latest) == number(&self.to);
                if updater.status != Status::Downloaded || !same {
                    return failed(format!(
                        "{} is not staged any more: the updater has {:?} and says {:?}",
                        self.to, updater.latest, updater.status
                    ));
                }
            }
            Some(_) => {
                let architecture = self
                    .router
                    .as_ref()
                    .map_or("", |router| router.architecture.as_str());
                let names = self.has.iter().map(String::as_str);
                let needed = packages::needed(names, &self.to, &self.firmware.packages);
                let mut files = needed
                    .into_iter()
                    .map(|name| packages::file(name, &self.to, architecture))
                    .collect::<BTreeSet<_>>();
                read_rows(answer, |row| {
                    if row.get(b"size") != Some(b"0")
                        && let Some(name) = row.get(b"name")
                    {
                        files.remove(&*String::from_utf8_lossy(name));
                    }
                });
                if !files.is_empty() {
                    let files = files.into_iter().collect::<Vec<_>>().join(", ");
                    return failed(format!("what was staged is not there any more: {files}"));
                }
            }
        }
        self.needs = required(&self.has, &self.firmware.packages, &self.to);
        Next::Ask
    }

    fn back(&mut self, router: &Router, around: &Around<'_>) -> Next {
        let from = self
            .router
            .as_ref()
            .map(|router| router.version.clone())
            .unwrap_or_default();
        match judge(router, &from, &self.to) {
            None => {
                self.phase = Phase::Proving;
                self.settles_until = around.now + SETTLES;
                prove(PACKAGES)
            }
            Some(judged) => {
                self.phase = Phase::Partitions(judged);
                prove(fallback::QUESTION)
            }
        }
    }
}

/// What a router runs after a restart that was to install something, and did not.
#[derive(Clone, Debug)]
struct Judged {
    runs: String,
    from: String,
    to: String,
}

/// `None` when it runs what was wanted.
fn judge(router: &Router, from: &str, to: &str) -> Option<Judged> {
    (!router.runs(to)).then(|| Judged {
        runs: router.version.clone(),
        from: from.to_owned(),
        to: to.to_owned(),
    })
}

impl Judged {
    /// How it ends, when its partitions were asked for: an answer without any says that it has none. `copied`: what ran is on
    /// the one that it falls back to. `as_before` is the end of a restart that left everything as it was.
    fn ends(&self, answer: &[u8], copied: bool, as_before: fn(String) -> Next) -> Next {
        let Self { runs, from, to } = self;
        let is_before = number(runs) == number(from);
        let partitions = fallback::partitions(answer);
        match (fallback::fell_back(&partitions), is_before) {
            (Some((running, active)), _) => {
                let text = format!(
                    "{to} did not start: the router fell back from partition {} to {}, which has {runs}. {} is still the \
                     active one: look at it, or let /partitions/activate make {} stay",
                    active.name, running.name, active.name, running.name
                );
                match copied && is_before {
                    true => Next::stop(Outcome::Reverted, DeviceError::new(ErrorClass::NotAsWanted, text)),
                    // Nobody knows how old what is there is.
                    false => broken(text),
                }
            }
            (None, true) => as_before(format!(
                "it restarted and came back with {runs}, not {to}: nothing was installed"
            )),
            (None, false) => broken(format!(
                "it restarted and came back with {runs}, neither {to} nor the {from} from before"
            )),
        }
    }
}

/// Whether the end of the question for partitions decides. Which version runs is known already: only where a copy was made
/// to fall back to does it matter that the router tells of them.
fn says_nothing_else(end: &StepEnd, copied: bool) -> bool {
    match end {
        StepEnd::Completed | StepEnd::Trapped(_) => true,
        StepEnd::NoAnswer(_) | StepEnd::NotSent(_) | StepEnd::Refused(_) => !copied,
        StepEnd::Cancelled => false,
    }
}

/// Those of the packages that are not there.
fn missing(needs: &BTreeSet<String>, answer: &[u8]) -> Option<String> {
    let has = installed(answer);
    let missing = needs.difference(&has).map(String::as_str).collect::<Vec<_>>();
    (!missing.is_empty()).then(|| {
        format!(
            "it restarted, and these packages are missing: {}",
            missing.join(", ")
        )
    })
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(RESOURCE)
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        let uptime = self
            .router
            .as_ref()
            .map(|router| router.uptime)
            .unwrap_or_default();
        let restart = Restart::new(around, self.firmware.wait_ms, uptime, self.read_at);
        self.phase = Phase::Restarting(Some(Box::new(restart)));
        match self.firmware.down {
            true => write(&["/system/package/downgrade"]),
            false => write(&["/system/reboot"]),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match (&mut self.phase, end) {
            (Phase::Router, end) => match precheck::with_packages(end, &answer) {
                Ok(router) => self.looked_at(router, around),
                Err(next) => next,
            },
            (Phase::Packages, StepEnd::Completed) => self.ask_staged(&answer),
            (Phase::Staged, StepEnd::Completed) => self.staged(&answer),
            (Phase::Restarting(Some(restart)), end) => match restart.ended(end, &answer, around) {
                Came::Next(next) => next,
                Came::Back(router, away) => {
                    self.away = away;
                    self.back(&router, around)
                }
            },
            (Phase::Proving, StepEnd::Completed) => match missing(&self.needs, &answer) {
                // It may still be loading them.
                Some(_) if around.now < self.settles_until => Next::Wait(SETTLING),
                Some(text) => broken(text),
                None => {
                    let from = self.router.as_ref().map_or("", |router| router.version.as_str());
                    let named = [("from", from), ("to", &self.to), ("away", &self.away)];
                    Next::done(told::row("firmware", named))
                }
            },
            // It has no partitions, or says nothing of them.
            (Phase::Partitions(judged), end) if says_nothing_else(&end, self.firmware.fallback) => {
                judged.ends(&answer, self.firmware.fallback, failed)
            }
            (Phase::Proving | Phase::Partitions(_), end) => crate::steps::write_failed(end),
            (Phase::Packages | Phase::Staged | Phase::Restarting(None), end) => {
                question_failed(end).telling(answer)
            }
        }
    }

    fn waited(&mut self, around: &Around<'_>) -> Next {
        match &self.phase {
            Phase::Restarting(Some(restart)) => restart.waited(),
            Phase::Proving => prove(PACKAGES),
            _ => self.begin(around),
        }
    }

    fn reconnected(&mut self, made: Result<(), ConnectFailure>, around: &Around<'_>) -> Next {
        match &mut self.phase {
            Phase::Restarting(Some(restart)) => restart.reconnected(made, around),
            _ => self.begin(around),
        }
    }

    fn notes(&self) -> Notes {
        let router = self.router.as_ref();
        let uptime = router.map(|router| router.uptime).unwrap_or_default();
        let from = router.map(|router| router.version.clone()).unwrap_or_default();
        let needs = self.needs.iter().cloned().collect::<Vec<_>>().join(",");
        Notes::from([
            (UPTIME.to_owned(), uptime.as_millis().to_string()),
            (FROM.to_owned(), from),
            (TO.to_owned(), self.to.clone()),
            (NEEDS.to_owned(), needs),
        ])
    }

    fn only_waits(&self) -> bool {
        matches!(&self.phase, Phase::Restarting(Some(restart)) if restart.is_waited_for())
    }

    fn doing(&self) -> &'static str {
        "it waits for the router to be back with its new version"
    }

    fn is_in_the_middle(&self) -> bool {
        matches!(
            self.phase,
            Phase::Restarting(_) | Phase::Proving | Phase::Partitions(_)
        )
    }
}

/// A restart whose answer was lost, or whose worker.
#[derive(Debug)]
pub(super) struct Look {
    firmware: Firmware,
    asks: Asks,
}

#[derive(Debug)]
enum Asks {
    Router,
    /// The version is as wanted; whether it came up just now.
    Packages {
        settles: bool,
    },
    /// It is another.
    Partitions(Judged),
}

impl Look {
    pub(super) fn new(firmware: Firmware) -> Self {
        Self {
            firmware,
            asks: Asks::Router,
        }
    }
}

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(RESOURCE)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let note = |name: &str| around.notes.get(name).map(String::as_str);
        match (&self.asks, end) {
            (Asks::Partitions(judged), end) if says_nothing_else(&end, self.firmware.fallback) => {
                // It happened, and left it as it was.
                judged.ends(&answer, self.firmware.fallback, rejected)
            }
            (&Asks::Packages { settles }, StepEnd::Completed) => {
                let needs = note(NEEDS)
                    .unwrap_or_default()
                    .split(',')
                    .filter(|name| !name.is_empty());
                let needs = needs.map(str::to_owned).collect::<BTreeSet<_>>();
                match missing(&needs, &answer) {
                    Some(_) if settles => not_up_yet(),
                    Some(text) => broken(text),
                    None => found(true),
                }
            }
            (Asks::Router, StepEnd::Completed) => {
                let Some(router) = Router::read(&answer) else {
                    return not_up_yet();
                };
                let Some(to) = self.firmware.to.version().or_else(|| note(TO)) else {
                    let text = "which version the updater had offered is not known any more";
                    return Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::Worker, text));
                };
                let judged = judge(&router, note(FROM).unwrap_or(&router.version), to);
                match judged {
                    None => {
                        self.asks = Asks::Packages {
                            settles: router.settles(),
                        };
                        ask(PACKAGES)
                    }
                    Some(_) if !is_new(&router, around) => found(false),
                    Some(judged) => {
                        self.asks = Asks::Partitions(judged);
                        ask(fallback::QUESTION)
                    }
                }
            }
            // Its menus may not be there yet.
            (_, StepEnd::Trapped(_)) => not_up_yet(),
            (_, end) => look_failed(end),
        }
    }
}
