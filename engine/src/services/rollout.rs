//! Rollouts as clients see them: making and previewing them, approving, freezing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::budget::Asked;
use muster_engine_core::rollout::digest::Approved;
use muster_engine_core::rollout::{forecast, rule, sequential};
use muster_model::policy::{Amount, Membership, Unseen, Zone};
use muster_model::{Effect, Plan, Policy, Selector};
use muster_proto::{Violation, time, v1};
use muster_store::{
    Approve, ApproveRefused, DeviceRecord, JobRecord, Mode, NewRollout, RolloutRecord, SetFreeze,
    StorePreview, VerdictRecord,
};
use tonic::Status;

use super::group::{self, GOOD_FOR_MS};
use super::job::{claimed, job, reason};
use super::spec::Spec;
use crate::reconcile::rollouts::{opening, wall_clock, zones_open};
use crate::rollout::{Laid, LayError, lay, seed};
use crate::{Shared, answer, error};

/// Devices read at once.
const PAGE: u32 = 10_000;
/// Devices named in a preview.
const SAMPLE: usize = 10;
/// Skipped devices named in a preview.
const SKIPPED: usize = 1000;

/// What a job with a policy is made with beside what every job is made with.
pub(super) fn new(spec: &Spec, policy: &Policy, break_glass: &str) -> NewRollout {
    NewRollout {
        policy: policy.clone(),
        seed: seed(&spec.plan, policy),
        break_glass: Some(break_glass.to_owned()).filter(|why| !why.is_empty()),
    }
}

/// The same for a rollout that tries outcomes of another one again.
pub(super) fn again(plan: &Plan, policy: &Policy) -> NewRollout {
    NewRollout {
        policy: policy.clone(),
        seed: seed(plan, policy),
        break_glass: None,
    }
}

/// A policy's budget as jobs keep it until they are laid out; the exact one follows then.
pub(super) fn asked(budget: Amount) -> Asked {
    match budget {
        Amount::All => Asked::All,
        Amount::Count(count) => Asked::Count(count),
        Amount::Share(share) => Asked::Share {
            hundredths: (share.millionths() / 100).max(1),
            at_least: 1,
        },
    }
}

/// Lays a rollout over what its selector means now, and refuses one that is not what was approved. What was approved after
/// devices were read is done only where they are as they were found then (F3).
pub(super) async fn prepare(
    shared: &Shared,
    spec: &mut Spec,
    policy: &Policy,
    approve_digest: &str,
) -> Result<(), Status> {
    if let Mode::AsPreviewed { unseen, .. } = &mut spec.mode {
        *unseen |= policy.unseen == Unseen::Allow;
    }
    if approve_digest.is_empty() {
        // A circle is an error of the plan, whoever asks for it.
        return laid(shared, spec, policy).await.map(drop);
    }
    if policy.membership == Membership::Continuous {
        let text = "with membership continuous other devices join later, which no digest can cover; leave one of the two out";
        return Err(error::invalid_field("approve_digest", text));
    }
    let refused = |reason, message| Err(error::precondition(reason, approve_digest, message));
    let before = shared
        .store
        .previewed(approve_digest)
        .await
        .map_err(error::store)?;
    let Some((before, at)) = before else {
        let message = format!(
            "what was approved is no longer true: no preview with the digest {approve_digest} is known; preview it again"
        );
        return refused("DIGEST_CHANGED", message);
    };
    if shared.clock.now() - at > GOOD_FOR_MS {
        let message = "what was approved was previewed more than 24 h ago; preview it again".to_owned();
        return refused("PREVIEW_EXPIRED", message);
    }
    if let (Mode::Apply, Some(preview)) = (&spec.mode, &before.previewed) {
        spec.mode = Mode::AsPreviewed {
            preview: Some(preview.clone()),
            unseen: policy.unseen == Unseen::Allow,
        };
    }
    let laid = laid(shared, spec, policy).await?;
    match laid.approved.digest() == approve_digest {
        true => Ok(()),
        false => refused("DIGEST_CHANGED", changed(&before, &laid.approved)),
    }
}

/// What is different from what was approved.
fn changed(before: &Approved, now: &Approved) -> String {
    let changes = match before.changes(now) {
        none if none.is_empty() => "the digest is another one".to_owned(),
        changes => changes.join("; "),
    };
    format!("what was approved is no longer true: {changes}")
}

async fn laid(shared: &Shared, spec: &Spec, policy: &Policy) -> Result<Laid, Status> {
    let (previewed, found) = match &spec.mode {
        Mode::AsPreviewed {
            preview: Some(preview),
            ..
        } => {
            let job = group::check_preview(shared, preview, &spec.plan, shared.clock.now()).await?;
            let found = shared.store.fingerprints(job).await.map_err(error::store)?;
            (Some(preview.clone()), found)
        }
        _ => (None, HashMap::new()),
    };
    let records = devices(shared, &spec.selector).await?;
    check_labels(policy, &records)?;
    let seed = seed(&spec.plan, policy);
    let mut laid = lay(records, &spec.plan, policy, seed, &found).map_err(|error| match error {
        LayError::Cycle(cycle) => error::invalid_field("spec.policy.parent_label", cycle.to_string()),
    })?;
    laid.approved.previewed = previewed;
    Ok(laid)
}

/// A limit of a label that no device has limits nothing, which nobody can have meant.
fn check_labels(policy: &Policy, records: &[DeviceRecord]) -> Result<(), Status> {
    let unknown = |label: &str| {
        !records
            .iter()
            .any(|record| record.device.labels.get(label).is_some())
    };
    let limits = policy.limits.availability.iter().enumerate();
    let wrong = limits.filter(|(_, limit)| !records.is_empty() && unknown(&limit.label));
    let violations = wrong.map(|(at, limit)| {
        let what = format!("no device that is meant has the label {:?}", limit.label);
        Violation::new(format!("spec.policy.availability[{at}].label"), what)
    });
    match violations.chain(check_zones(policy, records)).collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        violations => Err(error::invalid(violations)),
    }
}

/// A window in the zone of each device needs one for each.
fn check_zones(policy: &Policy, records: &[DeviceRecord]) -> Option<Violation> {
    let label = policy.zone_label.as_ref()?;
    let wrong = |record: &DeviceRecord| {
        let device = &record.device;
        match device.labels.get(label) {
            None => Some(format!("{} has no label {label:?}", device.name)),
            Some(zone) => Zone::new(zone)
                .err()
                .map(|error| format!("{}: {error}", device.name)),
        }
    };
    let all = records.iter().filter_map(wrong).collect::<Vec<_>>();
    let first = all.iter().take(3).cloned().collect::<Vec<_>>();
    let more = match all.len() - first.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    (!all.is_empty()).then(|| Violation::new("spec.policy.zone_label", format!("{}{more}", first.join(", "))))
}

async fn devices(shared: &Shared, selector: &Selector) -> Result<Vec<DeviceRecord>, Status> {
    let mut records = Vec::<DeviceRecord>::new();
    loop {
        let after = records
            .last()
            .map(|record| record.device.name.clone())
            .unwrap_or_default();
        let page = shared
            .store
            .devices(selector, &after, PAGE)
            .await
            .map_err(error::store)?;
        let full = page.len() == PAGE as usize;
        records.extend(page);
        if !full {
            return Ok(records);
        }
    }
}

/// What a rollout would do, beside what every job's preview says.
pub(super) async fn preview(
    shared: &Arc<Shared>,
    spec: &Spec,
    policy: &Policy,
    answer: &mut v1::PreviewJobResponse,
) -> Result<(), Status> {
    let laid = laid(shared, spec, policy).await?;
    let plan_digest = spec.plan.digest().0.to_vec();
    let samples = shared.store.durations(&plan_digest).await.map_err(error::store)?;
    let now = shared.clock.now();
    let preview = StorePreview {
        approved: laid.approved.clone(),
        now,
    };
    shared.store.write(preview).await.map_err(error::store)?;
    answer.budget = laid.budget;
    answer.waves = waves(policy, &laid);
    answer.uncovered = laid
        .assignment
        .uncovered
        .iter()
        .map(|short| v1::UncoveredStratum {
            wave: short.wave + 1,
            stratum: short.stratum.clone(),
            has: short.has,
            wants: short.wants,
        })
        .collect();
    answer.digest = laid.approved.digest();
    if laid.approved.previewed.is_some() {
        let unseen = laid.approved.unseen();
        answer.unseen = Some(unseen);
        let (were, they) = match unseen {
            1 => ("1 device was".to_owned(), "it is"),
            many => (format!("{many} devices were"), "they are"),
        };
        let becomes = match policy.unseen {
            Unseen::Reject => "rejected, without unseen = \"allow\"",
            Unseen::Allow => "changed all the same: unseen = \"allow\"",
        };
        if unseen > 0 {
            answer.notes.push(format!("{were} not read; {they} {becomes}"));
        }
    }
    let forecast = forecast::forecast(
        policy,
        &laid.sizes,
        laid.budget,
        &samples,
        seed(&spec.plan, policy),
    );
    let longest = policy.windows.iter().map(|window| window.duration).max();
    if let (Some(forecast), Some(longest)) = (&forecast, longest) {
        answer.notes.push(match forecast.p95 <= longest {
            true => "95 of 100 such rollouts fit into one window".into(),
            false => format!(
                "it does not fit into one window: 95 of 100 such rollouts take up to {:?}, and a window is open for {longest:?}; it goes on in the next one",
                Duration::from_secs(forecast.p95.as_secs())
            ),
        });
    }
    answer.forecast = forecast.map(|forecast| v1::Forecast {
        p50: forecast.p50.try_into().ok(),
        p95: forecast.p95.try_into().ok(),
        samples: forecast.samples as u32,
    });
    answer.skipped = skipped(shared, spec, &laid).await?;
    let zones = laid
        .local(policy)
        .map(|local| local.admit.into_keys().collect::<Vec<_>>());
    let opening = zones_open(policy, zones.as_deref(), Duration::ZERO, wall_clock()).0;
    use muster_engine_core::rollout::window::Opening;
    match opening {
        Opening::Closed(Some(at)) => answer.opens_at = Some(time(at)),
        Opening::Closed(None) => answer.notes.push("its window never opens".into()),
        Opening::Open(_) => {}
    }
    if let Some(freeze) = shared.store.freeze().await.map_err(error::store)? {
        answer.notes.push(format!(
            "everything is frozen by {}: {}",
            freeze.claimed_by, freeze.reason
        ));
    }
    if policy.membership == Membership::Continuous {
        let text = "devices that come to match later join the last open wave; the budget stays as it is";
        answer.notes.push(text.into());
    }
    if policy.approval.needed > 0 {
        answer.notes.push(format!(
            "{} approvals are needed, none of them by its author",
            policy.approval.needed
        ));
    }
    if let Some(evidence) = &policy.evidence {
        let needed = sequential::needed(evidence);
        answer.notes.push(format!(
            "the evidence gate promotes after {needed} that go well, without one that fails"
        ));
    }
    Ok(())
}

fn waves(policy: &Policy, laid: &Laid) -> Vec<v1::WavePreview> {
    let wave = |(number, wave): (u32, &muster_model::policy::Wave)| {
        let total = laid.sizes[number as usize];
        v1::WavePreview {
            number: number + 1,
            name: wave.name.clone(),
            size: wave.size.to_string(),
            total,
            budget: laid.wave_budgets[number as usize],
            sample: laid.sample(number, SAMPLE),
            claim: sequential::claim_of(total),
        }
    };
    (0..).zip(&policy.waves).map(wave).collect()
}

async fn skipped(shared: &Shared, spec: &Spec, laid: &Laid) -> Result<Vec<v1::SkippedDevice>, Status> {
    if spec.plan.effect() < Effect::Change {
        return Ok(Vec::new());
    }
    let quarantined = shared
        .store
        .quarantined(shared.clock.now())
        .await
        .map_err(error::store)?;
    let meant = laid.records.iter().map(|record| record.device.name.as_str());
    let meant = meant.collect::<std::collections::BTreeSet<_>>();
    let skipped = quarantined
        .into_iter()
        .filter(|name| meant.contains(name.as_str()));
    Ok(skipped
        .take(SKIPPED)
        .map(|device| v1::SkippedDevice {
            device,
            reason: "quarantined".into(),
        })
        .collect())
}

/// How a rollout stands, for its job.
pub(super) async fn status(shared: &Shared, record: &JobRecord) -> Result<Option<v1::Rollout>, Status> {
    let Some((rollout, approvals)) = record.rollout.as_deref() else {
        return Ok(None);
    };
    let times = opening(shared, rollout).await.map_err(error::store)?;
    let given = approvals.iter().filter(|approval| approval.wave.is_none());
    let missing = muster_engine_core::rollout::approval::missing(
        rollout.policy.approval.needed,
        given.map(|approval| approval.who.as_str()),
    );
    let over = record.state.is_terminal();
    Ok(Some(v1::Rollout {
        digest: rollout.digest.clone().unwrap_or_default(),
        approvals_missing: if rollout.break_glass.is_some() || over {
            0
        } else {
            missing
        },
        approvals: approvals
            .iter()
            .map(|approval| v1::Approval {
                who: approval.who.clone(),
                at: Some(time(approval.at)),
                reason: approval.reason.clone(),
                wave: approval.wave.map_or(0, |wave| wave + 1),
            })
            .collect(),
        hold: rollout.hold.as_ref().filter(|_| !over).map(|hold| v1::Hold {
            by: hold.by.clone(),
            evidence: hold.evidence.clone(),
            until: hold.until.map(time),
            needs_person: hold.needs_person,
        }),
        admit_until: rollout.admit_until.filter(|until| *until > 0 && !over).map(time),
        opens_at: times.opens_at().filter(|_| !over).map(time),
        pace: rollout.pace.unwrap_or(0),
        findings: findings(rollout, record),
        gates: gates(shared, rollout).await?,
    }))
}

async fn gates(shared: &Shared, rollout: &RolloutRecord) -> Result<Vec<v1::GateFinding>, Status> {
    let verdicts = shared.store.verdicts(rollout.job).await.map_err(error::store)?;
    let finding = |told: VerdictRecord| {
        let wave = rollout.policy.waves.get(told.wave as usize)?;
        let gate = wave.gates.get(told.gate)?;
        Some(v1::GateFinding {
            wave: told.wave + 1,
            gate: gate.id.clone(),
            shadow: gate.shadow,
            verdict: told.verdict.as_str().to_owned(),
            reason: told.reason,
            at: Some(time(told.at)),
        })
    };
    Ok(verdicts.into_iter().filter_map(finding).collect())
}

fn findings(rollout: &RolloutRecord, record: &JobRecord) -> Vec<v1::RuleFinding> {
    let counted = rollout.counted(&record.waves);
    let rules = rollout.policy.rules.iter();
    let mut findings = rules
        .flat_map(|rule| rule::findings(rule, &counted, &rollout.runs))
        .map(|finding| v1::RuleFinding {
            rule: finding.rule,
            evidence: finding.evidence,
            trips: finding.trips,
        })
        .collect::<Vec<_>>();
    if let Some(evidence) = &rollout.policy.evidence {
        let test = sequential::Test::of(evidence, &rule::sum(&counted));
        findings.push(v1::RuleFinding {
            rule: "evidence".into(),
            evidence: test.describe(),
            trips: test.verdict() == sequential::Verdict::Halt,
        });
    }
    findings
}

/// A job with everything that is known of it.
pub(super) async fn full(shared: &Shared, record: &JobRecord) -> Result<v1::Job, Status> {
    let mut message = answer::job(record);
    message.rollout = status(shared, record).await?;
    Ok(message)
}

pub(super) async fn approve(
    shared: &Shared,
    request: v1::ApproveJobRequest,
) -> Result<v1::ApproveJobResponse, Status> {
    let approve = Approve {
        uuid: request.id.clone(),
        digest: request.digest.clone(),
        claimed_by: claimed(&request.claimed_by),
        reason: reason(&request.reason)?,
        now: shared.clock.now(),
    };
    let approved = shared.store.write(approve).await.map_err(error::store)?;
    let approved = match approved {
        Ok(approved) => approved,
        Err(refused) => return Err(refusal(shared, &request.id, refused).await?),
    };
    shared.committed();
    shared.work_appeared();
    shared.reconcilers.rollouts.wake();
    let record = job(shared, &request.id).await?;
    Ok(v1::ApproveJobResponse {
        job: Some(full(shared, &record).await?),
        of: approved.of,
        missing: approved.missing,
    })
}

/// An approval that is not taken: of another digest than the job's, what is different.
async fn refusal(shared: &Shared, id: &str, refused: ApproveRefused) -> Result<Status, Status> {
    let reason = match &refused {
        ApproveRefused::NotFound => return Ok(error::not_found("job", id)),
        ApproveRefused::NotWaiting(_) => "NOT_WAITING",
        ApproveRefused::Person(_) => "MAY_NOT_APPROVE",
        ApproveRefused::Digest { .. } => "DIGEST_CHANGED",
    };
    let mut message = refused.to_string();
    if let ApproveRefused::Digest { given, .. } = &refused {
        let before = shared.store.previewed(given).await.map_err(error::store)?;
        let rollout = shared.store.rollout(id).await.map_err(error::store)?;
        let now = match &rollout {
            Some(rollout) => shared.store.approved(rollout).await.map_err(error::store)?,
            None => None,
        };
        let told = match (before, now) {
            (Some((before, _)), Some(now)) => changed(&before, &now),
            _ => "no preview with that digest is known".to_owned(),
        };
        message.push_str("; ");
        message.push_str(&told);
    }
    Ok(error::precondition(reason, id, message))
}

pub(super) async fn set_freeze(
    shared: &Shared,
    request: v1::SetFreezeRequest,
) -> Result<v1::SetFreezeResponse, Status> {
    let set = SetFreeze {
        on: request.on,
        claimed_by: claimed(&request.claimed_by),
        reason: reason(&request.reason)?,
        now: shared.clock.now(),
    };
    let changed = shared.store.write(set).await.map_err(error::store)?;
    tracing::warn!(
        on = request.on,
        by = request.claimed_by,
        reason = request.reason,
        "freeze"
    );
    shared.committed();
    shared.work_appeared();
    Ok(v1::SetFreezeResponse { changed })
}

pub(super) async fn get_freeze(shared: &Shared) -> Result<v1::GetFreezeResponse, Status> {
    let freeze = shared.store.freeze().await.map_err(error::store)?;
    Ok(match freeze {
        None => v1::GetFreezeResponse::default(),
        Some(freeze) => v1::GetFreezeResponse {
            on: true,
            since: Some(time(freeze.since)),
            reason: freeze.reason,
            claimed_by: freeze.claimed_by,
        },
    })
}
