//! How a rollout stands, in full.

use muster_proto::v1;
use serde_json::{Value, json};

use super::super::result::{table, timestamp};
use crate::terminal::{number, out, safe};

/// Waves, rules and approvals below what is shown of every job.
pub(crate) fn show(job: &v1::Job) {
    let Some(rollout) = &job.rollout else {
        return;
    };
    let policy = job
        .spec
        .as_ref()
        .and_then(|spec| spec.policy.clone())
        .unwrap_or_default();
    let mut waves = table([
        "WAVE", "SIZE", "DEVICES", "OVER", "GOOD", "HARMED", "BUDGET", "OPENED", "ENDED",
    ]);
    for (at, wave) in job.waves.iter().enumerate() {
        let used = wave.budget_use.unwrap_or_default();
        let size = policy.waves.get(at).map(|wave| match wave.size.as_str() {
            "" => wave.selector.clone(),
            size => size.to_owned(),
        });
        waves.add_row([
            number(wave.number.into()),
            safe(&size.unwrap_or_default()).into_owned(),
            number(wave.total),
            number(wave.ended),
            number(wave.good),
            number(used.harmed + used.rescued),
            wave.budget.map(number).unwrap_or_default(),
            timestamp(wave.opened_at.as_ref()).unwrap_or_default(),
            timestamp(wave.ended_at.as_ref()).unwrap_or_default(),
        ]);
    }
    out(&waves);
    for finding in &rollout.findings {
        out(format_args!(
            "rule {}: {}",
            safe(&finding.rule),
            safe(&finding.evidence)
        ));
    }
    for gate in &rollout.gates {
        let watches = if gate.shadow { " (only watches)" } else { "" };
        out(format_args!(
            "gate {}{watches} after wave {}: {}: {}",
            safe(&gate.gate),
            gate.wave,
            gate.verdict,
            safe(&gate.reason)
        ));
    }
    for approval in &rollout.approvals {
        let of = match approval.wave {
            0 => "the beginning".to_owned(),
            wave => format!("going on after wave {wave}"),
        };
        let at = timestamp(approval.at.as_ref()).unwrap_or_default();
        out(format_args!(
            "approved: {of}, by {} at {at} {}",
            safe(&approval.who),
            safe(&approval.reason)
        ));
    }
    out(format_args!("digest    {}", rollout.digest));
}

/// A rollout as part of its job's object.
pub(crate) fn rollout_json(rollout: &v1::Rollout) -> Value {
    let approvals = rollout.approvals.iter().map(|approval| {
        json!({
            "who": approval.who, "at": timestamp(approval.at.as_ref()), "reason": approval.reason,
            "wave": approval.wave,
        })
    });
    let findings = rollout
        .findings
        .iter()
        .map(|finding| json!({ "rule": finding.rule, "evidence": finding.evidence, "trips": finding.trips }));
    let gates = rollout.gates.iter().map(|gate| {
        json!({
            "wave": gate.wave, "gate": gate.gate, "shadow": gate.shadow, "verdict": gate.verdict,
            "reason": gate.reason, "at": timestamp(gate.at.as_ref()),
        })
    });
    json!({
        "digest": rollout.digest,
        "gates": gates.collect::<Vec<_>>(),
        "approvals_missing": rollout.approvals_missing,
        "approvals": approvals.collect::<Vec<_>>(),
        "hold": rollout.hold.as_ref().map(|hold| json!({
            "by": hold.by, "evidence": hold.evidence, "until": timestamp(hold.until.as_ref()),
            "needs_person": hold.needs_person,
        })),
        "admit_until": timestamp(rollout.admit_until.as_ref()),
        "opens_at": timestamp(rollout.opens_at.as_ref()),
        "pace": (rollout.pace > 0).then_some(rollout.pace),
        "rules": findings.collect::<Vec<_>>(),
    })
}
