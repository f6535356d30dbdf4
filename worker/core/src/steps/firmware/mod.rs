//! The parts of an upgrade: each looks first what the router runs, and does nothing where nothing is to be done.

mod bootloader;
mod channel;
mod fallback;
mod install;
mod precheck;
mod stage;
mod still;
mod updater;

use bytes::Bytes;
use muster_model::firmware::Part;
use muster_model::{DeviceError, ErrorClass, Firmware};

use super::router::{RESOURCE, Router, ask};
use super::{Around, Next, Run, question_failed, told};
use crate::action::{Outcome, StepEnd};

/// A part that is to be done.
pub(super) fn apply(firmware: &Firmware) -> Box<dyn Run> {
    match firmware.part {
        Part::Channel => Box::new(channel::Apply::new(firmware.clone())),
        Part::Fallback => Box::new(fallback::Apply::new(firmware.clone())),
        Part::Stage => Box::new(stage::Apply::new(firmware.clone())),
        Part::Install => Box::new(install::Apply::new(firmware.clone())),
        Part::Bootloader => Box::new(bootloader::Apply::new(firmware.clone())),
    }
}

/// A part whose answer was lost.
pub(super) fn look(firmware: &Firmware) -> Box<dyn Run> {
    match firmware.part {
        Part::Channel => Box::new(channel::Look::new(firmware.clone())),
        Part::Fallback => Box::new(fallback::Look),
        Part::Stage => Box::new(stage::Look),
        Part::Install => Box::new(install::Look::new(firmware.clone())),
        Part::Bootloader => Box::new(bootloader::Look::default()),
    }
}

pub(super) use still::still;

/// A part that is told of.
pub(super) fn preview(firmware: &Firmware) -> Box<dyn Run> {
    match firmware.part {
        Part::Fallback => Box::new(fallback::Preview::new(firmware.clone())),
        _ => Box::new(Preview(firmware.clone())),
    }
}

fn rejected(text: impl Into<String>) -> Next {
    Next::stop(Outcome::Rejected, DeviceError::new(ErrorClass::Plan, text))
}

fn failed(text: impl Into<String>) -> Next {
    Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::NotAsWanted, text))
}

fn broken(text: impl Into<String>) -> Next {
    Next::stop(Outcome::Broken, DeviceError::new(ErrorClass::NotAsWanted, text))
}

/// Nothing was to be done.
fn nothing() -> Next {
    Next::done(told::done(Vec::new()))
}

/// What a router says it is, or how the attempt ends instead.
fn router(end: StepEnd, answer: &Bytes) -> Result<Router, Next> {
    match (end, Router::read(answer)) {
        (StepEnd::Completed, Some(router)) => Ok(router),
        (end, _) => Err(question_failed(end).telling(answer.clone())),
    }
}

/// What a part would do.
#[derive(Debug)]
struct Preview(Firmware);

impl Run for Preview {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        match self.0.part {
            Part::Bootloader => ask(bootloader::QUESTION),
            Part::Channel | Part::Fallback | Part::Stage | Part::Install => ask(RESOURCE),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        let firmware = &self.0;
        let would = |text: String| Next::Done {
            reply: told::would(firmware.effect(), &text).into(),
            changes: true,
        };
        if firmware.part == Part::Bootloader {
            return match bootloader::Versions::of(end, &answer) {
                Ok(Some(versions)) if !versions.is_done() => would(format!(
                    "RouterBOOT {} to {}, and a restart",
                    versions.current, versions.upgrade
                )),
                // What it has after an upgrade it does not have yet.
                Ok(Some(_)) => would(
                    "RouterBOOT, and a restart, where it is older than the router's version then".into(),
                ),
                Ok(None) => nothing(),
                Err(next) => next,
            };
        }
        let router = match router(end, &answer) {
            Ok(router) => router,
            Err(next) => return next,
        };
        if firmware.is_past(&router.version) {
            return nothing();
        }
        if let Some(version) = firmware.to.version()
            && (firmware.part != Part::Channel)
        {
            if router.runs(version) {
                return nothing();
            }
            // One that has a hop before it is looked at after that.
            let after_hop = firmware.below.is_none() && router.is_older_than("7.0") && !firmware.down;
            if !after_hop && let Err(next) = precheck::direction(firmware, &router, version) {
                return next;
            }
        }
        match firmware.part {
            Part::Channel => would(firmware.title()),
            Part::Stage
                if firmware
                    .mirror
                    .as_ref()
                    .is_some_and(|mirror| mirror.sha256.is_empty()) =>
            {
                would(format!(
                    "{}, from {}; what is there is fetched again, because without sha256 nobody can tell what it is",
                    firmware.title(),
                    router.version
                ))
            }
            _ => would(format!("{}, from {}", firmware.title(), router.version)),
        }
    }
}
