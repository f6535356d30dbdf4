//! A partition to fall back to: what runs is copied to another one before something else is installed (L3).
//!
//! ```text
//! router ──as wanted──▶ done
//!    └──▶ device-mode ──▶ updater ──▶ files ──▶ partitions ──none to fall back to──▶ rejected
//!            (intent) ──▶ copy ──▶ partitions ──the same version──┬── it falls back to that one ──▶ done
//!                                                                 └──▶ (intent) ──▶ set ──▶ partitions ──▶ done
//! ```
//!
//! The partition that is copied to is the one that the router falls back to already; only where it falls back to none is that
//! set. A copy whose end nobody saw is made again: nothing tells a whole one from a part.

use std::time::Duration;

use bytes::Bytes;
use muster_model::trap::{Refusal, refusal};
use muster_model::{Firmware, Follow};
use routeros_wire::value::boolean;

use super::updater::{self, Status, Updater};
use super::{failed, nothing, precheck, rejected, router};
use crate::action::{Exchange, Outcome, StepEnd};
use crate::diff::read_rows;
use crate::steps::router::{RESOURCE, ask, is_yes, prove, value, write};
use crate::steps::{
    Around, Next, Notes, Run, found, look_failed, question_failed, told, words, write_failed,
};

pub(super) const QUESTION: &[&str] = &[
    "/partitions/print",
    "=.proplist=.id,name,fallback-to,version,active,running",
];

/// Files that a router installs when it is started.
const PACKAGES: &[&str] = &["/file/print", "=.proplist=name", "?type=package"];

/// What is noted with an intent: the partition that the router is to fall back to; nothing while it is copied to.
const SETS: &str = "sets";

/// One partition, as the router says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) name: String,
    falls_back_to: String,
    /// As the router writes it, with the day it was made: two that are alike are the same.
    version: String,
    active: bool,
    running: bool,
}

pub(super) fn partitions(answer: &[u8]) -> Vec<Partition> {
    let mut all = Vec::new();
    read_rows(answer, |row| {
        let text = |name: &[u8]| String::from_utf8_lossy(row.get(name).unwrap_or_default()).into_owned();
        let is = |name: &[u8]| row.get(name).and_then(boolean) == Some(true);
        all.push(Partition {
            name: text(b"name"),
            falls_back_to: text(b"fallback-to"),
            version: text(b"version"),
            active: is(b"active"),
            running: is(b"running"),
        });
    });
    all
}

/// The partition that a router runs instead of the active one, and that one: it did not start.
pub(super) fn fell_back(partitions: &[Partition]) -> Option<(&Partition, &Partition)> {
    let running = partitions
        .iter()
        .find(|partition| partition.running && !partition.active)?;
    Some((running, partitions.iter().find(|partition| partition.active)?))
}

/// What is copied, and to where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    from: Partition,
    to: Partition,
    /// Whether the router has to be told that it falls back to it.
    sets: bool,
}

fn choose(partitions: &[Partition]) -> Result<Chosen, String> {
    if let Some((running, active)) = fell_back(partitions) {
        return Err(format!(
            "it runs {}, and {} is its active partition: that one did not start. Look at it first; /partitions/activate makes \
             the one that runs stay",
            running.name, active.name
        ));
    }
    let Some(at) = partitions.iter().position(|partition| partition.running) else {
        return Err("it does not say which of its partitions runs".to_owned());
    };
    if partitions.len() < 2 {
        return Err(
            "its storage is one partition; /partitions/repartition makes two, and restarts it".to_owned(),
        );
    }
    let from = partitions[at].clone();
    let next = &partitions[(at + 1) % partitions.len()];
    let named = partitions
        .iter()
        .find(|partition| partition.name == from.falls_back_to && !partition.running);
    Ok(Chosen {
        sets: named.is_none() && from.falls_back_to != "next",
        to: named.unwrap_or(next).clone(),
        from,
    })
}

/// What is asked before anything is done, by whoever does it and whoever only tells of it.
#[derive(Debug)]
struct Before {
    firmware: Firmware,
    at: Asks,
    /// It is only told of.
    tells: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Router,
    DeviceMode,
    Updater,
    Packages,
    Partitions,
}

impl Before {
    fn new(firmware: Firmware, tells: bool) -> Self {
        Self {
            firmware,
            at: Asks::Router,
            tells,
        }
    }

    fn next(&mut self, at: Asks, question: &[&str]) -> Next {
        self.at = at;
        ask(question)
    }

    /// What is to be done, once that is known; or what comes next.
    fn ended(&mut self, end: StepEnd, answer: &Bytes, around: &Around<'_>) -> Result<Chosen, Next> {
        let missing =
            matches!(&end, StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent);
        match (self.at, end) {
            (Asks::Router, end) => {
                let router = router(end, answer)?;
                let to = self.firmware.to.version().unwrap_or_default();
                if self.firmware.is_past(&router.version) || router.runs(to) {
                    return Err(nothing());
                }
                // One that has a hop before it is looked at after that.
                let after_hop =
                    self.firmware.below.is_none() && router.is_older_than("7.0") && !self.firmware.down;
                if !(self.tells && after_hop) {
                    precheck::direction(&self.firmware, &router, to)?;
                }
                if !around.over_api {
                    return Err(no_way_back(
                        "copying to a partition takes longer than the minute that a command may take over REST",
                    ));
                }
                Err(self.next(Asks::DeviceMode, precheck::DEVICE_MODE))
            }
            // Versions before 7.17 have none, and let it be done.
            (Asks::DeviceMode, _) if missing => Err(self.next(Asks::Updater, updater::QUESTION)),
            (Asks::DeviceMode, StepEnd::Completed) => {
                let allows = value(answer, "partitions");
                match allows.is_some() && !is_yes(allows.as_deref()) {
                    true => Err(no_way_back(
                        "its device-mode does not allow partitions; /system/device-mode/update, and somebody at its button, \
                         changes that",
                    )),
                    false => Err(self.next(Asks::Updater, updater::QUESTION)),
                }
            }
            (Asks::Updater, StepEnd::Completed) => match Updater::read(answer) {
                Updater {
                    status: Status::Downloaded,
                    latest,
                    ..
                } => Err(no_way_back(&format!(
                    "its updater has downloaded {latest} already: the copy may have it too, and install it when it is \
                     started. /system/package/update/cancel first"
                ))),
                _ => Err(self.next(Asks::Packages, PACKAGES)),
            },
            (Asks::Packages, StepEnd::Completed) => match value(answer, "name") {
                Some(name) => Err(no_way_back(&format!(
                    "{name} is on it already: the copy would have it too, and install it when it is started. Remove it first"
                ))),
                None => Err(self.next(Asks::Partitions, QUESTION)),
            },
            (Asks::Partitions, _) if missing => Err(no_way_back(
                "it has no partitions; RouterBOARDs have them whose storage is NAND",
            )),
            (Asks::Partitions, StepEnd::Completed) => {
                choose(&partitions(answer)).map_err(|why| no_way_back(&why))
            }
            (_, end) => Err(question_failed(end).telling(answer.clone())),
        }
    }
}

fn no_way_back(why: &str) -> Next {
    rejected(format!(
        "the plan demands a way back of level L3 from firmware, and there is none: {why}; nothing was written"
    ))
}

/// A copy that is to be made.
#[derive(Debug)]
pub(super) struct Apply {
    before: Before,
    phase: Phase,
    chosen: Option<Chosen>,
    began: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    Copying,
    Copied,
    Setting,
    Proving,
}

impl Apply {
    pub(super) fn new(firmware: Firmware) -> Self {
        Self {
            before: Before::new(firmware, false),
            phase: Phase::Before,
            chosen: None,
            began: Duration::ZERO,
        }
    }

    /// What the router says of its partitions after a write: whether the copy is one, and is fallen back to.
    fn compare(&mut self, answer: &[u8]) -> Next {
        let now = partitions(answer);
        let named = |name: &str| now.iter().find(|partition| partition.name == name);
        let Some(chosen) = &self.chosen else {
            return failed("nobody has chosen a partition to fall back to");
        };
        let (Some(from), Some(to)) = (named(&chosen.from.name), named(&chosen.to.name)) else {
            return failed("the partitions are other ones than a moment ago");
        };
        if from.version != to.version {
            return failed(format!(
                "what runs was copied to {}, and that has {:?}, not {:?}",
                to.name, to.version, from.version
            ));
        }
        if chosen.sets && from.falls_back_to != to.name {
            return match self.phase {
                Phase::Copied => Next::Ask,
                _ => failed(format!(
                    "the router was told to fall back to {}, and says {:?}",
                    to.name, from.falls_back_to
                )),
            };
        }
        let mut named = vec![
            ("partition", to.name.as_str()),
            ("version", to.version.as_str()),
            ("was", chosen.to.version.as_str()),
        ];
        if chosen.sets {
            named.push(("fallback-to", to.name.as_str()));
            named.push(("fallback-was", chosen.from.falls_back_to.as_str()));
        }
        Next::done(told::row("fallback", named))
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        self.before.next(Asks::Router, RESOURCE)
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        let (from, to) = self.chosen.as_ref().map_or(("", ""), |chosen| {
            (chosen.from.name.as_str(), chosen.to.name.as_str())
        });
        if self.phase == Phase::Copied {
            self.phase = Phase::Setting;
            return write(&[
                "/partitions/set",
                &format!("=numbers={from}"),
                &format!("=fallback-to={to}"),
            ]);
        }
        (self.phase, self.began) = (Phase::Copying, around.now);
        Next::Exchange(Exchange {
            // Its rows are its progress.
            follow: Some(Follow {
                lasts_ms: self.before.firmware.wait_ms,
                rows: None,
            }),
            ..Exchange::write(words(
                ["/partitions/copy-to", &format!("=numbers={to}")].into_iter(),
            ))
        })
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match (self.phase, end) {
            (Phase::Before, end) => match self.before.ended(end, &answer, around) {
                Ok(chosen) => {
                    self.chosen = Some(chosen);
                    Next::Ask
                }
                Err(next) => next,
            },
            (Phase::Copying, StepEnd::Completed) => {
                let lasts = Duration::from_millis(self.before.firmware.wait_ms);
                if around.now.saturating_sub(self.began) >= lasts {
                    return failed(format!("the copy did not end within {} s", lasts.as_secs()))
                        .telling(answer);
                }
                self.phase = Phase::Copied;
                prove(QUESTION)
            }
            // What runs is as it was, and so is what it falls back to, or that is a copy in part that nobody relies on.
            (Phase::Copying | Phase::Setting, StepEnd::Trapped(error)) => {
                Next::stop(Outcome::Failed, error).telling(answer)
            }
            (Phase::Setting, StepEnd::Completed) => {
                self.phase = Phase::Proving;
                prove(QUESTION)
            }
            (Phase::Copied | Phase::Proving, StepEnd::Completed) => self.compare(&answer),
            (_, end) => write_failed(end),
        }
    }

    fn notes(&self) -> Notes {
        match (&self.phase, &self.chosen) {
            (Phase::Copied, Some(chosen)) => Notes::from([(SETS.to_owned(), chosen.to.name.clone())]),
            _ => Notes::new(),
        }
    }

    fn is_in_the_middle(&self) -> bool {
        !matches!(self.phase, Phase::Before | Phase::Copied)
    }
}

/// A copy whose end nobody saw, or that nobody saw set.
#[derive(Debug)]
pub(super) struct Look;

impl Run for Look {
    fn begin(&mut self, around: &Around<'_>) -> Next {
        match around.notes.contains_key(SETS) {
            true => ask(QUESTION),
            false => found(false),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match end {
            StepEnd::Completed => {
                let wanted = around.notes.get(SETS).map(String::as_str);
                let partitions = partitions(&answer);
                let running = partitions
                    .iter()
                    .find(|partition| partition.running && partition.active);
                found(running.is_some_and(|running| Some(running.falls_back_to.as_str()) == wanted))
            }
            end => look_failed(end),
        }
    }
}

/// A copy that is told of.
#[derive(Debug)]
pub(super) struct Preview(Before);

impl Preview {
    pub(super) fn new(firmware: Firmware) -> Self {
        Self(Before::new(firmware, true))
    }
}

impl Run for Preview {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        self.0.next(Asks::Router, RESOURCE)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let firmware = self.0.firmware.clone();
        match self.0.ended(end, &answer, around) {
            Ok(Chosen { from, to, sets }) => {
                let sets = if sets {
                    ", which it is told to fall back to"
                } else {
                    ""
                };
                let text = format!(
                    "copy {} to {}{sets}, in the place of what is there ({})",
                    from.name, to.name, to.version
                );
                Next::Done {
                    reply: told::would(firmware.effect(), &text).into(),
                    changes: true,
                }
            }
            Err(next) => next,
        }
    }
}
