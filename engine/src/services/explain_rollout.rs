//! What keeps a rollout: approvals, windows, gates, the freeze.

use muster_engine_core::explain::{Blocker, Kind};
use muster_engine_core::rollout::approval;
use muster_model::{Effect, JobState};
use muster_store::{JobRecord, Unavailable};
use tonic::Status;

use crate::reconcile::rollouts::opening;
use crate::{Shared, error};

/// What keeps the executions of a job that wait, beside what keeps any job.
pub(super) async fn blockers(
    shared: &Shared,
    job: &JobRecord,
    device: Option<i64>,
    executions: u64,
) -> Result<Vec<Blocker>, Status> {
    let blocker = |kind, text: String| Blocker {
        kind,
        text,
        holders: Vec::new(),
        until: None,
        next_check: None,
        executions,
    };
    let mut blockers = Vec::new();
    let rollout = job.rollout.as_deref();
    let broken = rollout.is_some_and(|(rollout, _)| rollout.break_glass.is_some());
    if let Some(freeze) = shared.store.freeze().await.map_err(error::store)?
        && job.effect > Effect::Stage
        && !broken
    {
        let text = format!(
            "everything is frozen by {}: {}; it ends with: freeze off",
            freeze.claimed_by, freeze.reason
        );
        blockers.push(blocker(Kind::Freeze, text));
    }
    let Some((rollout, approvals)) = rollout else {
        return Ok(blockers);
    };
    match job.state {
        JobState::Scheduled => {
            blockers.push(blocker(
                Kind::Scheduled,
                "its executions are being put into waves".into(),
            ));
        }
        JobState::AwaitingApproval => {
            let given = approvals.iter().filter(|approval| approval.wave.is_none());
            let names = given.clone().map(|approval| approval.who.as_str());
            let missing = approval::missing(rollout.policy.approval.needed, names);
            let text = format!(
                "{missing} of {} approvals are missing; somebody other than {} gives one with: job approve {}",
                rollout.policy.approval.needed, job.claimed_by, job.uuid
            );
            blockers.push(Blocker {
                holders: rollout.policy.approval.from.clone(),
                ..blocker(Kind::Approval, text)
            });
        }
        _ => {}
    }
    if let Some(hold) = rollout.hold.as_ref().filter(|_| job.state == JobState::Gated) {
        let next = match hold.needs_person {
            true => format!("; a person decides: job approve {0}, or job abort {0}", job.uuid),
            false => String::new(),
        };
        blockers.push(Blocker {
            until: hold.until,
            ..blocker(Kind::Gate, format!("{}: {}{next}", hold.by, hold.evidence))
        });
    }
    if job.state == JobState::Running && !rollout.policy.limits.availability.is_empty() {
        let now = shared.clock.now();
        let shut = shared.store.unavailable(job.id, device, now).await;
        blockers.extend(shut.map_err(error::store)?.into_iter().map(unavailable));
    }
    let times = opening(shared, rollout).await.map_err(error::store)?;
    if times.is_closed() {
        let text = match times.opens_at() {
            Some(_) => "its window is shut, or too little is left of it for one execution",
            None => "its window never opens: no window is long enough for one execution",
        };
        blockers.push(Blocker {
            until: times.opens_at(),
            ..blocker(Kind::Window, text.into())
        });
        return Ok(blockers);
    }
    let zone = match (&rollout.local, device) {
        (Some(local), Some(device)) => shared.store.label_of(device, &local.label).await,
        _ => Ok(None),
    };
    let zone = zone.map_err(error::store)?;
    let meant = times
        .shut_zones()
        .filter(|(shut, _)| zone.as_deref().is_none_or(|zone| zone == *shut));
    blockers.extend(meant.take(NAMED).map(|(shut, opens)| Blocker {
        until: opens,
        executions: 0,
        ..blocker(
            Kind::Window,
            format!("the window is shut in {shut}, or too little is left of it for one execution"),
        )
    }));
    Ok(blockers)
}

/// Devices named in a sentence.
const NAMED: usize = 5;

/// A value of a label whose devices may not be disrupted now.
fn unavailable(shut: Unavailable) -> Blocker {
    let Unavailable {
        key,
        value,
        most,
        down,
        disrupted,
        unknown,
        waiting,
    } = shut;
    let named = |names: &[String]| {
        let more = if names.len() > NAMED { ", …" } else { "" };
        let names = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        format!("{names}{more}")
    };
    let parts = [
        ("did not answer when they were last asked", &down),
        ("are being taken out of service", &disrupted),
        ("are being asked first, whether they are there", &unknown),
    ];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let told = parts.map(|(what, names)| format!("{} {what} ({})", names.len(), named(names)));
    let told = told.collect::<Vec<_>>().join(", ");
    Blocker {
        kind: Kind::Availability,
        text: format!("of {key}={value} at most {most} may be out of service at once; {told}"),
        holders: [down, disrupted].concat(),
        until: None,
        next_check: None,
        executions: waiting,
    }
}
