//! Whether a router still runs what was installed, at the end of its soak (B4). Reads only.

use std::collections::BTreeSet;

use bytes::Bytes;
use muster_model::Firmware;
use muster_model::firmware::Part;

use super::bootloader::{self, Versions};
use super::precheck::{PACKAGES, installed};
use super::{broken, nothing, router};
use crate::action::StepEnd;
use crate::steps::router::{RESOURCE, ask};
use crate::steps::{Around, Next, Run, question_failed};

/// The look at a part; nothing for one that leaves nothing to look at. The newest version of a channel may be another one by
/// now.
pub(in crate::steps) fn still(firmware: &Firmware) -> Option<Box<dyn Run>> {
    let phase = match firmware.part {
        // What comes after a hop says what is to be there.
        Part::Install if firmware.to.version().is_some() && firmware.below.is_none() => Phase::Router,
        Part::Bootloader => Phase::Bootloader,
        Part::Install | Part::Channel | Part::Fallback | Part::Stage => return None,
    };
    Some(Box::new(Still {
        firmware: firmware.clone(),
        phase,
    }))
}

#[derive(Debug)]
struct Still {
    firmware: Firmware,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Router,
    Packages,
    Bootloader,
}

impl Run for Still {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        match self.phase {
            Phase::Router => ask(RESOURCE),
            Phase::Packages => ask(PACKAGES),
            Phase::Bootloader => ask(bootloader::QUESTION),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        match (&self.phase, end) {
            (Phase::Router, end) => {
                let router = match router(end, &answer) {
                    Ok(router) => router,
                    Err(next) => return next,
                };
                let to = self.firmware.to.version().unwrap_or_default();
                if !router.runs(to) {
                    return broken(format!("it runs {}, not {to} any more", router.version));
                }
                if self.firmware.packages.is_empty() {
                    return nothing();
                }
                self.phase = Phase::Packages;
                ask(PACKAGES)
            }
            (Phase::Packages, StepEnd::Completed) => {
                let wanted = self.firmware.packages.iter().cloned().collect::<BTreeSet<_>>();
                let has = installed(&answer);
                let missing = wanted.difference(&has).map(String::as_str).collect::<Vec<_>>();
                match missing.is_empty() {
                    true => nothing(),
                    false => broken(format!("these packages are gone: {}", missing.join(", "))),
                }
            }
            (Phase::Packages, end) => question_failed(end).telling(answer),
            (Phase::Bootloader, end) => match Versions::of(end, &answer) {
                Ok(Some(versions)) if !versions.is_done() => broken(format!(
                    "its RouterBOOT is {}, not {}",
                    versions.current, versions.upgrade
                )),
                Ok(_) => nothing(),
                Err(next) => next,
            },
        }
    }
}
