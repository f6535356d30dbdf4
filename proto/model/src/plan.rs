//! What is to be done on each device: an immutable list of steps with a content digest (A1).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backup::Backup;
use crate::check::Check;
use crate::command::{Command, Verify};
use crate::effect::Effect;
use crate::ensure::{Ensure, EnsureError};
use crate::fetch::Fetch;
use crate::firmware::{Firmware, Part};
use crate::quiet;
use crate::reboot::Reboot;
use crate::revert::Revert;
use crate::script::Script;
use crate::template;
use crate::wait::Wait;
use crate::way_back::{Level, RESTORED_WITHIN, SAFE_MODE_WITHIN, WayBack};

/// The most steps in one plan.
pub const MAX_STEPS: usize = 1000;

/// An immutable list of steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps in the order they run; each runs only when the one before succeeded.
    pub steps: Vec<Step>,
    /// What it demands of the way back.
    #[serde(default, skip_serializing_if = "WayBack::is_default")]
    pub way_back: WayBack,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A raw command.
    Command(Command),
    /// What should be true of a menu.
    Ensure(Ensure),
    /// What has to hold for the plan to go on.
    Check(Check),
    /// A backup and an export.
    Backup(Backup),
    /// An export.
    Export,
    /// Time that is to pass, or something that is waited for.
    Wait(Wait),
    /// A script.
    Script(Script),
    /// A file that the router fetches.
    Fetch(Fetch),
    /// A restart.
    Reboot(Reboot),
    /// A part of an upgrade or a downgrade.
    Firmware(Firmware),
    /// What a step of another job has done is taken back.
    Revert(Box<Revert>),
}

impl Step {
    /// What it can do to a device.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Command(command) => command.effect(),
            Self::Ensure(_) | Self::Script(_) | Self::Revert(_) => Effect::Change,
            Self::Check(_) | Self::Wait(_) => Effect::Read,
            Self::Backup(_) | Self::Export | Self::Fetch(_) => Effect::Stage,
            Self::Reboot(_) => Effect::Disrupt,
            Self::Firmware(firmware) => firmware.effect(),
        }
    }

    /// How to find out whether it was done, if it is a command or a script that says so.
    pub fn verify(&self) -> Option<&Verify> {
        match self {
            Self::Command(command) => command.verify(),
            Self::Script(script) => script.verify.as_ref(),
            _ => None,
        }
    }

    /// What it compares with what was before the first step.
    pub fn check(&self) -> Option<&Check> {
        match self {
            Self::Check(check) => Some(check),
            Self::Wait(wait) => wait.check(),
            _ => None,
        }
    }

    /// How long it may take beyond the deadline of a command, milliseconds: downloads, waits and restarts have
    /// deadlines of their own.
    pub fn lasts_ms(&self) -> u64 {
        match self {
            Self::Command(_)
            | Self::Ensure(_)
            | Self::Check(_)
            | Self::Backup(_)
            | Self::Export
            | Self::Revert(_)
            | Self::Script(_) => 0,
            Self::Wait(wait) => wait.at_most_ms(),
            Self::Fetch(fetch) => fetch.within_ms,
            Self::Reboot(reboot) => reboot.wait_ms,
            Self::Firmware(firmware) => firmware.wait_ms,
        }
    }

    /// Why there is no way back from it, for one that a router is not the same after; what is done there is undone by a
    /// plan of its own.
    pub fn irreversible(&self) -> Option<&'static str> {
        match self {
            Self::Command(command) => (command.effect() >= Effect::Change)
                .then_some("a command says nothing of what was there before"),
            Self::Script(_) => Some("a script may do anything"),
            Self::Reboot(_) => Some("a restart cannot be taken back"),
            Self::Firmware(firmware) => match firmware.part {
                Part::Install if firmware.down => Some("an upgrade back is a plan of its own"),
                Part::Install => Some("a downgrade is a plan of its own"),
                Part::Bootloader => Some("RouterBOOT is not downgraded"),
                Part::Fallback => Some("what was on the other partition is gone"),
                Part::Channel | Part::Stage => None,
            },
            Self::Ensure(_)
            | Self::Check(_)
            | Self::Backup(_)
            | Self::Export
            | Self::Wait(_)
            | Self::Revert(_)
            | Self::Fetch(_) => None,
        }
    }

    /// Whether there is a way to find out what became of it when its answer is lost (A5). What should be true is its
    /// own: it is read back.
    pub fn is_verifiable(&self) -> bool {
        match self {
            Self::Command(_) | Self::Script(_) => self.verify().is_some(),
            Self::Ensure(_) | Self::Revert(_) => true,
            Self::Check(_) | Self::Backup(_) | Self::Export | Self::Wait(_) => false,
            Self::Fetch(_) | Self::Reboot(_) | Self::Firmware(_) => true,
        }
    }

    /// Whether it may be begun again once it is known not to have been done: it looks first, and does only what is left; or
    /// it adds files that are written over.
    pub fn is_repeatable(&self) -> bool {
        matches!(
            self,
            Self::Fetch(_) | Self::Reboot(_) | Self::Firmware(_) | Self::Backup(_) | Self::Export
        )
    }

    /// Whether it is one that restarts the device, where anything is to be done.
    pub fn restarts(&self) -> bool {
        matches!(self, Self::Reboot(_) | Self::Firmware(_)) && self.effect() == Effect::Disrupt
    }

    /// In a few words, for people: `/ip/dns/set =servers=1.1.1.1`, `ensure /ip/dns`.
    pub fn title(&self) -> String {
        match self {
            Self::Command(command) => command.words().join(" "),
            Self::Ensure(ensure) => format!("ensure {}", ensure.menu()),
            Self::Check(check) => format!("check {}", check.text()),
            Self::Backup(_) => "backup".to_owned(),
            Self::Export => "export".to_owned(),
            Self::Wait(Wait::For(ms)) => format!("wait {:?}", Duration::from_millis(*ms)),
            Self::Wait(Wait::Until { check, .. }) => format!("wait until {}", check.text()),
            Self::Wait(Wait::Idle { max_load, .. }) => format!("wait until cpu-load is {max_load} % at most"),
            Self::Script(script) => script.title(),
            Self::Fetch(fetch) => format!("fetch {}", fetch.file),
            Self::Reboot(_) => "reboot".to_owned(),
            Self::Firmware(firmware) => firmware.title(),
            Self::Revert(revert) => format!("take back ensure {}", revert.ensure.menu()),
        }
    }
}

/// A step that is nothing for a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {error}")]
pub struct NotRendered {
    /// From 1.
    pub step: usize,
    /// Why.
    pub error: EnsureError,
}

/// SHA-256 of a plan's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanDigest(pub [u8; 32]);

impl Plan {
    /// Steps that demand nothing of the way back.
    pub fn new(steps: Vec<Step>) -> Self {
        Self {
            steps,
            way_back: WayBack::default(),
        }
    }

    /// The strongest effect of any step; a plan without steps reads.
    pub fn effect(&self) -> Effect {
        self.steps.iter().map(Step::effect).max().unwrap_or(Effect::Read)
    }

    /// How long the longest of its steps may take beyond the deadline of a command, milliseconds. Whether a restart was
    /// begun at all is known only when a router that goes on answering was waited for.
    pub fn longest_ms(&self) -> u64 {
        let lasts = |step: &Step| match step {
            step if step.restarts() => {
                let stays_up = quiet::after(quiet::STAYS_UP).as_millis();
                step.lasts_ms().max(u64::try_from(stays_up).unwrap_or(u64::MAX))
            }
            step => step.lasts_ms(),
        };
        self.steps.iter().map(lasts).max().unwrap_or(0)
    }

    /// The same of all its steps together.
    pub fn lasts_ms(&self) -> u64 {
        self.steps.iter().map(Step::lasts_ms).fold(0, u64::saturating_add)
    }

    /// The same of those that it begins with and that only look: a device is with its worker for as long before it asks for
    /// anything.
    pub fn looks_ms(&self) -> u64 {
        let looks = self.steps.iter().take_while(|step| step.effect() == Effect::Read);
        looks.map(Step::lasts_ms).fold(0, u64::saturating_add)
    }

    /// How long the way back from one of its steps may take that a device goes by itself, milliseconds; 0 where none is
    /// demanded.
    pub fn back_ms(&self) -> u64 {
        let way = &self.way_back;
        let back = |step: &Step| match way.needs(step) {
            _ if step.effect() < Effect::Change => Duration::ZERO,
            // A router that falls back does so within the time that its restart may take.
            _ if matches!(step, Step::Firmware(_)) => Duration::ZERO,
            Level::L0 => Duration::ZERO,
            Level::L1 => SAFE_MODE_WITHIN,
            _ => way.after().saturating_add(RESTORED_WITHIN),
        };
        let longest = self.steps.iter().map(back).max().unwrap_or_default();
        u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is different for each device.
    pub fn is_template(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Ensure(ensure) => ensure.is_template(),
            Step::Revert(revert) => revert.ensure.is_template(),
            _ => false,
        })
    }

    /// The same for one device.
    pub fn render(&self, device: &template::Device) -> Result<Self, NotRendered> {
        let render = |(at, step): (usize, &Step)| match step {
            Step::Ensure(ensure) => ensure
                .render(device)
                .map(Step::Ensure)
                .map_err(|error| NotRendered { step: at + 1, error }),
            Step::Revert(revert) => {
                let step = revert.step;
                let made = revert.ensure.render(device);
                made.map(|ensure| Step::Revert(Box::new(Revert { ensure, step })))
                    .map_err(|error| NotRendered { step: at + 1, error })
            }
            step => Ok(step.clone()),
        };
        Ok(Self {
            steps: self
                .steps
                .iter()
                .enumerate()
                .map(render)
                .collect::<Result<_, _>>()?,
            way_back: self.way_back.clone(),
        })
    }

    /// Its canonical form: compact JSON with the fields in the order of their declaration.
    pub fn canonical(&self) -> String {
        // Strings and lists only: nothing in a plan can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Its digest.
    pub fn digest(&self) -> PlanDigest {
        PlanDigest(Sha256::digest(self.canonical()).into())
    }
}

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(commands: &[&[&str]]) -> Plan {
        let steps = commands
            .iter()
            .map(|words| Step::Command(Command::parse(*words).expect("valid")));
        Plan::new(steps.collect())
    }

    #[test]
    fn the_digest_is_of_the_content() {
        let a = plan(&[&["/ip/dns/set", "servers=1.1.1.1"]]);
        assert_eq!(a.digest(), plan(&[&["/ip/dns/set", "=servers=1.1.1.1"]]).digest());
        assert_ne!(a.digest(), plan(&[&["/ip/dns/set", "servers=9.9.9.9"]]).digest());
        assert_eq!(
            serde_json::from_str::<Plan>(&a.canonical()).expect("round trip"),
            a
        );
    }

    #[test]
    fn what_should_be_true_has_a_canonical_form() {
        let wish = |values: [(&str, &str); 2]| {
            let set = crate::Values::new(values).expect("valid");
            Plan::new(vec![Step::Ensure(
                Ensure::singleton("/ip/dns", set).expect("valid"),
            )])
        };
        let (a, b) = (("servers", "1.1.1.1"), ("allow-remote-requests", "no"));
        let plan = wish([a, b]);
        let canonical = r#"{"steps":[{"ensure":{"menu":"/ip/dns","want":{"set":{"allow-remote-requests":"no","servers":"1.1.1.1"}}}}]}"#;
        assert_eq!(plan.canonical(), canonical);
        assert_eq!(plan.digest(), wish([b, a]).digest());
        assert_eq!(serde_json::from_str::<Plan>(canonical).expect("round trip"), plan);
        assert_eq!((plan.effect(), plan.marks().as_str()), (Effect::Change, "C"));
    }

    #[test]
    fn its_way_back_takes_time_where_one_is_demanded() {
        let mut plan = plan(&[&["/ip/dns/set", "servers=1.1.1.1"], &["/ip/dns/print"]]);
        assert_eq!(plan.back_ms(), 0);
        plan.way_back.min = Level::L1;
        assert_eq!(plan.back_ms(), 600_000);
        plan.way_back.min = Level::L2;
        plan.way_back.after_ms = Some(60_000);
        assert_eq!(plan.back_ms(), 360_000);
    }

    #[test]
    fn a_plan_is_as_harmful_as_its_worst_step() {
        assert_eq!(
            plan(&[&["/a/print"], &["/system/reboot"], &["/a/set"]]).effect(),
            Effect::Disrupt
        );
        assert_eq!(plan(&[]).effect(), Effect::Read);
    }
}
