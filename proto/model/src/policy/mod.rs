//! How a job goes over its devices: in which waves, within which limits, when, and what stops it (fleet-semantics B to
//! G). A rollout is a job with a policy; one without has a single wave.
//!
//! Everything here is a checked value. Files become policies in [`crate::file`], messages in `muster-proto`; what a
//! policy means for a running job is decided in the engine's core.

mod amount;
mod gate;
mod limit;
mod rule;
mod snapshot;
mod time;
mod wave;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use amount::{Amount, Share};
pub use gate::{Gate, GateKind, web_address};
pub use limit::{Availability, Cap, Limits, Ramp};
pub use rule::{Action, Class, Classes, Condition, Evidence, Rule, Scope};
pub use snapshot::{Range, Tolerance, measured};
pub use time::{AtEnd, Freeze, Window, WindowError, Zone, cron};
pub use wave::{Size, Strata, Stratum, Wave, waves_are_wrong};

/// The most waves of one job.
pub const MAX_WAVES: usize = 1000;

/// How a job goes over its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// In this order; never empty, and together they are the whole selection.
    pub waves: Vec<Wave>,
    /// Whether devices that come to match later join (B3).
    pub membership: Membership,
    /// What stops it, beside the budget.
    pub rules: Vec<Rule>,
    /// The sequential test, if it is wanted (C4).
    pub evidence: Option<Evidence>,
    /// How much at once, and how much harm at all.
    pub limits: Limits,
    /// How concurrency grows; none for all of it at once (D2).
    pub ramp: Option<Ramp>,
    /// The label that names a device's parent: leaves go first (D4).
    pub parent_label: Option<String>,
    /// When changes may start; any time when there are none (G1).
    pub windows: Vec<Window>,
    /// The label that names the zone of each device, in which windows are then, and not in their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_label: Option<String>,
    /// When nothing may start, whatever the windows say.
    pub freezes: Vec<Freeze>,
    /// What happens to what is in flight when a window ends (G3).
    pub at_end: AtEnd,
    /// How long it may take; devices not reached by then are `expired`.
    pub expires: Duration,
    /// Who has to agree before it begins (H2).
    pub approval: Approval,
    /// What an abort does unless it says otherwise (A7).
    pub abort: Abort,
    /// Devices whose state was not read at preview (F3).
    pub unseen: Unseen,
}

/// Whether devices that come to match later join (B3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    /// What matched when the job was made.
    #[default]
    Snapshot,
    /// Newcomers join the last open wave.
    Continuous,
}

/// Who has to agree before a job begins. Never its author.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Approval {
    /// So many different people; 0 for none.
    pub needed: u32,
    /// Only these; anybody when it is empty.
    pub from: Vec<String>,
}

/// What an abort does (A7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Abort {
    /// Devices that were changed already.
    pub changed: Changed,
    /// Devices that are being changed.
    pub in_flight: InFlight,
}

/// What an abort does to devices that were changed already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// They stay as they are.
    #[default]
    Keep,
    /// A job of its own takes the change back, last wave first.
    Revert,
}

/// What an abort does to devices that are being changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InFlight {
    /// They go through all steps.
    #[default]
    Finish,
    /// They stop before their next step.
    StopAtStep,
}

/// Devices whose state was not read at preview, at apply (F3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// They are `rejected`.
    #[default]
    Reject,
    /// They are changed as all others.
    Allow,
}

impl Policy {
    /// What gates compare of each device, before and after; sorted, each once.
    pub fn measures(&self) -> Vec<&str> {
        let gates = self.waves.iter().flat_map(|wave| &wave.gates);
        let names = gates.flat_map(|gate| match &gate.kind {
            GateKind::Snapshot { tolerances, .. } => tolerances.as_slice(),
            _ => &[],
        });
        let mut names = names.map(|tolerance| tolerance.name.as_str()).collect::<Vec<_>>();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What does not go with devices that join later, if anything: the part, and why.
    pub fn against_newcomers(&self) -> Option<(&'static str, &'static str)> {
        match (self.membership, self.approval.needed, &self.parent_label) {
            (Membership::Snapshot, ..) => None,
            (Membership::Continuous, 1.., _) => Some(("approval", "an approval is of a known selection")),
            (Membership::Continuous, 0, Some(_)) => {
                Some(("order", "an order by parents is of a known selection"))
            }
            (Membership::Continuous, 0, None) => self.zone_label.is_some().then_some((
                "window",
                "the zones of a window's devices are those of a known selection",
            )),
        }
    }

    /// Whether it may have what was changed taken back (A7), so that its plan has to have an inverse.
    pub fn may_revert(&self) -> bool {
        let reverts = |rule: &Rule| rule.action == Action::AbortRevert;
        self.abort.changed == Changed::Revert || self.rules.iter().any(reverts)
    }
}

/// How long a rollout may take unless told otherwise.
pub const EXPIRES: Duration = Duration::from_secs(72 * 3600);

impl Default for Policy {
    /// A canary of one device in a hundred with a bake of ten minutes, then the rest; at most one in a hundred harmed;
    /// halt on 5 % of anything that a device refused or did not survive.
    fn default() -> Self {
        Self {
            waves: Wave::defaults(),
            membership: Membership::default(),
            rules: vec![Rule::default()],
            evidence: None,
            limits: Limits::default(),
            ramp: None,
            parent_label: None,
            windows: Vec::new(),
            zone_label: None,
            freezes: Vec::new(),
            at_end: AtEnd::default(),
            expires: EXPIRES,
            approval: Approval::default(),
            abort: Abort::default(),
            unseen: Unseen::default(),
        }
    }
}
