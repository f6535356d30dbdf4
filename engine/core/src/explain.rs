//! Why something does not move (K3): the words for it. What there is to say is found out by the shell; what it means,
//! and in which order it would have to go away, is decided here.

use crate::budget::Full;

/// A kind of blocker. The numbers are those of `muster.v1.BlockerKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The job is being laid out.
    Draft = 1,
    /// A person paused the job.
    Paused = 2,
    /// No connected worker serves the zone.
    NoWorker = 3,
    /// Workers hold as much as they take.
    WorkersFull = 4,
    /// The job's own cap.
    Cap = 5,
    /// Another job holds the device.
    DeviceLock = 6,
    /// The device could not be reached.
    Offline = 7,
    /// Before the next try for another reason.
    Backoff = 8,
    /// An open intent is looked after.
    Resolving = 9,
    /// A worker has it.
    WithWorker = 10,
    /// A label value has as many executions with workers as it may.
    LabelCap = 45,
    /// A worker has it, and it waits for a limit there.
    Limited = 46,
    /// The budget lets no further device be touched.
    Budget = 11,
    /// A rule stopped the job.
    Halted = 12,
    /// Its wave is not open yet.
    Wave = 13,
    /// Its executions are being put into waves.
    Scheduled = 30,
    /// Approvals are missing.
    Approval = 31,
    /// Its window is shut.
    Window = 32,
    /// A gate, a bake, or too few that went well keep the next wave shut.
    Gate = 33,
    /// Everything is frozen.
    Freeze = 34,
    /// Other devices of the job go first.
    Dependency = 35,
    /// It was changed, and is left alone until it is looked at again.
    Soak = 36,
    /// Too many devices beside it are out of service.
    Availability = 37,
}

impl Kind {
    /// All of them, in the order in which they would have to go away.
    pub const ORDER: &[Self] = &[
        Self::Draft,
        Self::Scheduled,
        Self::Approval,
        Self::Freeze,
        Self::Paused,
        Self::Halted,
        Self::Window,
        Self::Gate,
        Self::Wave,
        Self::Dependency,
        Self::Budget,
        Self::Availability,
        Self::NoWorker,
        Self::WorkersFull,
        Self::Cap,
        Self::LabelCap,
        Self::DeviceLock,
        Self::Offline,
        Self::Backoff,
        Self::Resolving,
        Self::Soak,
        Self::Limited,
        Self::WithWorker,
    ];

    /// Its place in that order.
    pub fn rank(self) -> usize {
        Self::ORDER
            .iter()
            .position(|kind| *kind == self)
            .unwrap_or(usize::MAX)
    }
}

/// One blocker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Which kind.
    pub kind: Kind,
    /// In one sentence.
    pub text: String,
    /// Who or what holds it.
    pub holders: Vec<String>,
    /// When it ends by itself, Unix milliseconds.
    pub until: Option<i64>,
    /// When it is looked at next, Unix milliseconds.
    pub next_check: Option<i64>,
    /// Executions it blocks.
    pub executions: u64,
}

/// Workers as far as they matter to a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// Names of those that serve it and take work.
    pub serving: Vec<String>,
    /// How many more executions they take.
    pub credit: usize,
}

/// Executions that nothing about themselves keeps from being handed out: is it for want of workers?
pub fn for_want_of_workers(zone: &str, workers: &Workers, executions: u64) -> Option<Blocker> {
    let (kind, text) = match workers {
        Workers { serving, .. } if serving.is_empty() => (
            Kind::NoWorker,
            format!("no connected worker serves zone {zone:?}"),
        ),
        Workers { credit: 0, .. } => (
            Kind::WorkersFull,
            format!("the workers of zone {zone:?} hold as many executions as they take"),
        ),
        _ => return None,
    };
    Some(Blocker {
        kind,
        text,
        holders: workers.serving.clone(),
        until: None,
        next_check: None,
        executions,
    })
}

/// The job's cap, when it is reached.
pub fn at_cap(cap: Option<u32>, in_flight: u64, executions: u64) -> Option<Blocker> {
    let cap = cap.filter(|cap| in_flight >= u64::from(*cap))?;
    Some(Blocker {
        kind: Kind::Cap,
        text: format!("the job may have {cap} executions with workers at once, and has {in_flight}"),
        holders: Vec::new(),
        until: None,
        next_check: None,
        executions,
    })
}

/// The budget, when no unit of it is left. `holders` are devices that hold one.
pub fn over_budget(full: &Full, holders: Vec<String>, executions: u64) -> Blocker {
    Blocker {
        kind: Kind::Budget,
        text: full.to_string(),
        holders,
        until: None,
        next_check: None,
        executions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_missing_or_full_or_no_reason() {
        let kind = |workers: &Workers| for_want_of_workers("z", workers, 3).map(|blocker| blocker.kind);
        let mut workers = Workers::default();
        assert_eq!(kind(&workers), Some(Kind::NoWorker));
        workers.serving = vec!["w1".into()];
        assert_eq!(kind(&workers), Some(Kind::WorkersFull));
        workers.credit = 1;
        assert_eq!(kind(&workers), None);
    }

    #[test]
    fn a_cap_blocks_when_it_is_reached() {
        assert_eq!(at_cap(None, 1_000, 1), None);
        assert_eq!(at_cap(Some(3), 2, 1), None);
        assert_eq!(at_cap(Some(3), 3, 7).map(|blocker| blocker.executions), Some(7));
    }
}
