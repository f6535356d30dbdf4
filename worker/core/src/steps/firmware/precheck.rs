//! Whether a version is one for a router (J2): its way there, its packages, its space, its device-mode.

use std::collections::BTreeSet;

use bytes::Bytes;
use muster_model::Firmware;
use muster_model::check::number;
use muster_model::firmware::{HOP, packages};
use muster_model::trap::{Refusal, refusal};

use super::{rejected, router};
use crate::action::StepEnd;
use crate::diff::read_rows;
use crate::steps::router::{Router, is_yes, value};
use crate::steps::{Next, question_failed};

/// The questions beside the one for what the router is.
pub(super) const PACKAGES: &[&str] = &[
    "/system/package/print",
    "=.proplist=name,version,disabled,available",
];
pub(super) const DEVICE_MODE: &[&str] = &["/system/device-mode/print"];

/// Whether the way from what the router runs to `version` is one that it can go in this step.
pub(super) fn direction(firmware: &Firmware, router: &Router, version: &str) -> Result<(), Next> {
    let runs = &router.version;
    if firmware.down {
        if router.is_older_than(version) {
            return Err(rejected(format!(
                "it runs {runs}, which is older than {version}; an upgrade is a step of its own"
            )));
        }
        // What it was made with is the oldest that it can run (the downgrade floor).
        if let Some(factory) = router
            .factory
            .as_deref()
            .filter(|factory| number(version) < number(factory))
        {
            return Err(rejected(format!(
                "it was made with {factory} and cannot run the older {version}"
            )));
        }
        return Ok(());
    }
    if !router.is_older_than(version) {
        return Err(rejected(format!(
            "it runs {runs}, which is newer than {version}; a downgrade is a step of its own"
        )));
    }
    let seven = number(version) >= number("7.0");
    if seven && router.is_older_than("7.0") && number(version) != number(HOP) {
        return Err(rejected(format!(
            "it runs {runs}, and the way from 6 to {version} is by {HOP}; upgrade to that first"
        )));
    }
    Ok(())
}

/// Whether there is room beside what has to stay free.
pub(super) fn space(firmware: &Firmware, router: &Router) -> Result<(), Next> {
    match router.free_disk {
        Some(free) if free <= firmware.reserve => Err(rejected(format!(
            "it has {free} bytes of storage left, and {} are to stay free",
            firmware.reserve
        ))),
        _ => Ok(()),
    }
}

/// Whether the router's device-mode lets it be done (facts §3.4). A router without one lets everything.
pub(super) fn device_mode(firmware: &Firmware, end: StepEnd, answer: &Bytes) -> Result<(), Next> {
    match end {
        StepEnd::Completed => {}
        StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => return Ok(()),
        end => return Err(question_failed(end).telling(answer.clone())),
    }
    let mode = |name: &str| value(answer, name);
    let off = |name: &str| {
        let given = mode(name);
        given.is_some() && !is_yes(given.as_deref())
    };
    if is_yes(mode("flagged").as_deref()) {
        return Err(rejected(
            "its configuration is flagged: check it for changes nobody made, and update device-mode",
        ));
    }
    if firmware.mirror.is_some() && off("fetch") {
        return Err(rejected(
            "its device-mode does not allow fetch, which a mirror needs",
        ));
    }
    if firmware.down && off("install-any-version") {
        return Err(rejected(
            "its device-mode does not allow install-any-version, which a downgrade needs",
        ));
    }
    Ok(())
}

/// The packages that a router has and uses, by name.
pub(super) fn installed(answer: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    read_rows(answer, |row| {
        let yes = |name: &[u8]| row.get(name).and_then(routeros_wire::value::boolean) == Some(true);
        // After a check, packages that could be installed are listed too, without a version (facts §3.2).
        let there = row.get(b"version").is_some_and(|version| !version.is_empty());
        if there
            && !yes(b"available")
            && !yes(b"disabled")
            && let Some(name) = row.get(b"name")
        {
            names.insert(String::from_utf8_lossy(name).into_owned());
        }
    });
    names
}

/// Those of these packages that have to be there after the upgrade, with what the plan wants beside them.
pub(super) fn required(before: &BTreeSet<String>, wanted: &[String], version: &str) -> BTreeSet<String> {
    let kept = before
        .iter()
        .filter(|name| packages::is_kept(name, version) && name.as_str() != "routeros");
    // From 6 to 7 the bundle's packages become one.
    let seven = number(version) >= number("7.0");
    let kept = kept.filter(|name| seven || !packages::is_bundled(name));
    kept.chain(wanted).cloned().collect()
}

/// The router, once its answer is there; also whether it is one whose architecture there are packages for.
pub(super) fn with_packages(end: StepEnd, answer: &Bytes) -> Result<Router, Next> {
    let router = router(end, answer)?;
    match packages::ARCHITECTURES.contains(&router.architecture.as_str()) {
        true => Ok(router),
        false => Err(rejected(format!(
            "its architecture is {:?}, and there are packages for {}",
            router.architecture,
            packages::ARCHITECTURES.join(", ")
        ))),
    }
}
