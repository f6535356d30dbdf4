//! RouterBOOT: brought to the router's version, and a restart of its own (J3).
//!
//! ```text
//! versions ──the same, or no RouterBOARD──▶ done
//!     └──▶ uptime ──▶ (intent) ──▶ upgrade ──▶ (intent) ──▶ restart ──▶ versions ──the same──▶ done
//! ```

use std::time::Duration;

use bytes::Bytes;
use muster_model::Firmware;
use muster_model::trap::{Refusal, refusal};

use super::{failed, nothing, rejected, router};
use crate::action::{ConnectFailure, StepEnd};
use crate::steps::reboot::{UPTIME, is_new, not_up_yet};
use crate::steps::restart::{Came, Restart, SETTLES, SETTLING};
use crate::steps::router::{RESOURCE, Router, ask, is_yes, prove, value, write};
use crate::steps::{Around, Next, Notes, Run, found, look_failed, question_failed, told, write_failed};

pub(super) const QUESTION: &[&str] = &["/system/routerboard/print"];

/// What is noted once the restart was asked for: from then on a router that has restarted has had its chance.
const RESTARTS: &str = "restarts";

/// The versions of a RouterBOARD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) current: String,
    pub(super) upgrade: String,
}

impl Versions {
    /// `None` for what is no RouterBOARD (facts §3.1).
    pub(super) fn of(end: StepEnd, answer: &Bytes) -> Result<Option<Self>, Next> {
        match end {
            StepEnd::Completed => {}
            StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => return Ok(None),
            end => return Err(question_failed(end).telling(answer.clone())),
        }
        let is_one = value(answer, "routerboard");
        if is_one.is_some() && !is_yes(is_one.as_deref()) {
            return Ok(None);
        }
        let versions = value(answer, "current-firmware").zip(value(answer, "upgrade-firmware"));
        Ok(versions.map(|(current, upgrade)| Self { current, upgrade }))
    }

    pub(super) fn is_done(&self) -> bool {
        self.current == self.upgrade
    }
}

/// RouterBOOT that is to follow.
#[derive(Debug)]
pub(super) struct Apply {
    firmware: Firmware,
    phase: Phase,
    from: String,
    away: String,
    /// Its uptime, and when that was read.
    read: (Duration, Duration),
    /// Until when a router that was restarted here may still have nothing to tell.
    settles_until: Duration,
}

#[derive(Debug)]
enum Phase {
    Versions,
    /// It told no versions: whether it came up just now, and may tell them yet.
    Settling,
    Router,
    Upgrading,
    Restarting(Option<Box<Restart>>),
    Proving,
}

impl Apply {
    pub(super) fn new(firmware: Firmware) -> Self {
        Self {
            firmware,
            phase: Phase::Versions,
            from: String::new(),
            away: String::new(),
            read: (Duration::ZERO, Duration::ZERO),
            settles_until: Duration::ZERO,
        }
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(QUESTION)
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        match &mut self.phase {
            Phase::Restarting(restart) => {
                let (uptime, at) = self.read;
                *restart = Some(Box::new(Restart::new(around, self.firmware.wait_ms, uptime, at)));
                write(&["/system/reboot"])
            }
            _ => {
                self.phase = Phase::Upgrading;
                write(&["/system/routerboard/upgrade"])
            }
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match (&mut self.phase, end) {
            (Phase::Versions, end) => match Versions::of(end, &answer) {
                Ok(Some(versions)) if !versions.is_done() => {
                    self.from = versions.current;
                    self.phase = Phase::Router;
                    ask(RESOURCE)
                }
                Ok(Some(_)) => nothing(),
                Ok(None) => {
                    self.phase = Phase::Settling;
                    ask(RESOURCE)
                }
                Err(next) => next,
            },
            (Phase::Settling, end) => match router(end, &answer) {
                // Its menus may not be there yet.
                Ok(router) if router.settles() && !router.is_a_computer() => Next::Wait(SETTLING),
                Ok(_) => nothing(),
                Err(next) => next,
            },
            (Phase::Router, end) => match router(end, &answer) {
                Ok(router) => {
                    self.read = (router.uptime, around.now);
                    Next::Ask
                }
                Err(next) => next,
            },
            (Phase::Upgrading, StepEnd::Completed) => {
                self.phase = Phase::Restarting(None);
                Next::Ask
            }
            (Phase::Upgrading, StepEnd::Trapped(error)) if refusal(&error.message) == Refusal::Permanent => {
                rejected(format!("RouterBOOT cannot be upgraded: {}", error.message)).telling(answer)
            }
            (Phase::Restarting(Some(restart)), end) => match restart.ended(end, &answer, around) {
                Came::Next(next) => next,
                Came::Back(_, away) => {
                    self.away = away;
                    self.phase = Phase::Proving;
                    self.settles_until = around.now + SETTLES;
                    prove(QUESTION)
                }
            },
            (Phase::Proving, end @ (StepEnd::Completed | StepEnd::Trapped(_))) => {
                match Versions::of(end, &answer) {
                    Ok(Some(versions)) if versions.is_done() => {
                        let named = [
                            ("from", self.from.as_str()),
                            ("to", versions.current.as_str()),
                            ("away", self.away.as_str()),
                        ];
                        Next::done(told::row("routerboot", named))
                    }
                    Ok(Some(versions)) => failed(format!(
                        "it restarted, and RouterBOOT is {}, not {}",
                        versions.current, versions.upgrade
                    )),
                    Ok(None) if around.now < self.settles_until => Next::Wait(SETTLING),
                    Ok(None) => failed("it restarted, and does not tell the version of RouterBOOT"),
                    Err(next) => next,
                }
            }
            (Phase::Upgrading | Phase::Restarting(None) | Phase::Proving, end) => write_failed(end),
        }
    }

    fn waited(&mut self, around: &Around<'_>) -> Next {
        match &self.phase {
            Phase::Restarting(Some(restart)) => restart.waited(),
            Phase::Proving => prove(QUESTION),
            Phase::Settling => {
                self.phase = Phase::Versions;
                self.begin(around)
            }
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
        let restarts = matches!(self.phase, Phase::Restarting(_));
        Notes::from([
            (UPTIME.to_owned(), self.read.0.as_millis().to_string()),
            (RESTARTS.to_owned(), restarts.to_string()),
        ])
    }

    fn only_waits(&self) -> bool {
        matches!(&self.phase, Phase::Restarting(Some(restart)) if restart.is_waited_for())
    }

    fn doing(&self) -> &'static str {
        "it waits for the router to be back with its RouterBOOT"
    }

    fn is_in_the_middle(&self) -> bool {
        matches!(self.phase, Phase::Restarting(_) | Phase::Proving)
    }
}

/// RouterBOOT whose answer was lost.
#[derive(Debug, Default)]
pub(super) struct Look(Option<Versions>);

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(QUESTION)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let Some(versions) = &self.0 else {
            return match (end, Versions::of(StepEnd::Completed, &answer)) {
                (StepEnd::Completed, Ok(Some(versions))) if versions.is_done() => found(true),
                (StepEnd::Completed, Ok(Some(versions))) => {
                    self.0 = Some(versions);
                    ask(RESOURCE)
                }
                // Its menus may not be there yet.
                (StepEnd::Completed | StepEnd::Trapped(_), _) => not_up_yet(),
                (end, _) => look_failed(end),
            };
        };
        let restarts = around.notes.get(RESTARTS).is_some_and(|yes| yes == "true");
        match (end, Router::read(&answer)) {
            (StepEnd::Completed, Some(router)) if restarts && is_new(&router, around) => {
                let text = format!(
                    "it restarted, and RouterBOOT is {}, not {}",
                    versions.current, versions.upgrade
                );
                rejected(text)
            }
            (StepEnd::Completed, Some(_)) => found(false),
            (StepEnd::Completed, None) => not_up_yet(),
            (end, _) => look_failed(end),
        }
    }
}
