//! What a device can do for the way back, and what of it a step gets (I1, I5).

use muster_model::{DeviceError, Effect, ErrorClass, Guard, Level, Step, WayBack};
use routeros_wire::value::{Version, boolean};

use crate::action::Exchange;
use crate::diff::read_rows;
use crate::inverse;
use crate::steps::backup::since;
use crate::steps::words;

/// The first version with `/safe-mode`.
const SAFE_MODE: (u32, u32) = (7, 18);

/// What a device can do for the way back (I1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// It has a safe mode that API clients may take.
    pub safe_mode: bool,
    /// Its clock is synchronised, so that a schedule runs when it is meant to.
    pub clock: bool,
}

impl Caps {
    /// The guard that a change gets which needs this level, if the device has one.
    pub(crate) fn guard(self, need: Level, over_api: bool) -> Option<Guard> {
        match (self.safe_mode && over_api, self.clock && need <= Level::L2) {
            (true, _) => Some(Guard::SafeMode),
            (false, true) => Some(Guard::Scheduler),
            (false, false) => None,
        }
    }
}

/// What is asked to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Version,
    Clock { safe_mode: bool, old: bool },
}

impl Probe {
    pub(crate) fn question(self) -> Exchange {
        Exchange::question(words(
            match self {
                Self::Version => ["/system/resource/print", "=.proplist=version"],
                Self::Clock { .. } => [
                    "/system/ntp/client/print",
                    "=.proplist=enabled,status,synced,last-update-from,last-adjustment",
                ],
            }
            .into_iter(),
        ))
    }

    /// What the answer says, or what is to be asked next.
    pub(crate) fn answered(self, answer: &[u8]) -> Result<Caps, Self> {
        match self {
            Self::Version => {
                let mut version = None;
                read_rows(answer, |row| {
                    version = version.or(row.get(b"version").and_then(Version::parse));
                });
                let has = |gate| version.is_some_and(|version| since(version, gate));
                Err(Self::Clock {
                    safe_mode: has(SAFE_MODE),
                    old: !has((7, 0)),
                })
            }
            Self::Clock { safe_mode, old } => {
                let mut clock = false;
                read_rows(answer, |row| {
                    let said = |name: &[u8]| row.get(name).is_some_and(|value| !value.is_empty());
                    clock |= match old {
                        true => said(b"last-update-from") || said(b"last-adjustment"),
                        false => {
                            row.get(b"status") == Some(b"synchronized")
                                || row.get(b"synced").and_then(boolean) == Some(true)
                        }
                    };
                });
                Ok(Caps { safe_mode, clock })
            }
        }
    }
}

/// The level that a step has on a device, for telling: a guard, and what there is beside it.
fn level_text(guard: Option<Guard>, step: &Step, pre: &[u8]) -> &'static str {
    let invertible = match step {
        Step::Ensure(wish) => inverse::inverse(wish, pre).is_ok(),
        Step::Firmware(firmware) if firmware.fallback => return "L3",
        _ => false,
    };
    match (guard, invertible) {
        (Some(Guard::SafeMode), true) => "L1+L4",
        (Some(Guard::SafeMode), false) => "L1",
        (Some(Guard::Scheduler), true) => "L2+L4",
        (Some(Guard::Scheduler), false) => "L2",
        (None, true) => "L4",
        (None, false) => "L0",
    }
}

/// Whether a step is to be done under a guard where there is one.
pub(crate) fn wants_guard(way: &WayBack, step: &Step) -> bool {
    // What stages adds files only; what restarts the device would set the guard off.
    step.effect() == Effect::Change
        && (way.needs(step) >= Level::L3 || muster_model::way_back::touches_the_way_in(step))
}

/// Why a step is not done on a device that can do so much: it needs a guard, and there is none.
pub(crate) fn refusal(way: &WayBack, step: &Step, caps: Caps, over_api: bool) -> Option<DeviceError> {
    let need = way.needs(step);
    if step.effect() != Effect::Change || need < Level::L3 || caps.guard(need, over_api).is_some() {
        return None;
    }
    let has = match (caps.safe_mode, over_api) {
        (true, false) => "its safe mode cannot be held over REST",
        _ => "it has no safe mode for API clients (RouterOS 7.18)",
    };
    let clock = match (caps.clock, need) {
        (false, Level::L3 | Level::L2) => ", and its clock is not synchronised, so nothing can be scheduled",
        _ => "",
    };
    let (why, without) = match need > way.min {
        true => (
            "it may cut the way by which the device is reached",
            "accept-none in way-back (--accept-no-way-back) does without",
        ),
        false => (
            "the plan demands it",
            "a lower min-level (--min-revert-level) does without",
        ),
    };
    let text = format!(
        "{} needs a way back of level {need} ({why}), and the device has none: {has}{clock}; nothing was written. \
         {without}",
        step.title()
    );
    Some(DeviceError::new(ErrorClass::Plan, text))
}

/// What a preview tells of a step's way back on a device.
pub(crate) fn level_row(way: &WayBack, step: &Step, pre: &[u8], caps: Caps, over_api: bool) -> Vec<u8> {
    let guard = match wants_guard(way, step) {
        true => caps.guard(way.needs(step), over_api),
        false => None,
    };
    let mut out = Vec::new();
    let level = format!("=level={}", level_text(guard, step, pre));
    // No word is empty.
    let _ = routeros_wire::encode::sentence(&mut out, ["!re", "=op=way-back", &level]);
    out
}
