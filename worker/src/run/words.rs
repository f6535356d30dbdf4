//! An attempt in the engine's words: what an assignment says to it, and what it has to say.

use std::collections::HashMap;
use std::time::Duration;

use muster_model::{Guard, template};
use muster_proto::v1;
use muster_worker_core::{self as core, Attempt, Ended, Mode, Note, Outcome, Recorded};

pub(super) fn device(context: &v1::DeviceContext) -> template::Device {
    let map = |map: &HashMap<String, String>| map.clone().into_iter().collect();
    template::Device {
        labels: map(&context.labels),
        facts: map(&context.facts),
        device: map(&context.device),
    }
}

pub(super) fn mode(assignment: &v1::Assignment) -> Mode {
    match (assignment.resolve, assignment.preview) {
        (true, _) => Mode::Resolve(assignment.first_step),
        (false, true) => Mode::Preview,
        (false, false) => Mode::Apply {
            first_step: assignment.first_step,
            expected: assignment.fingerprint.as_slice().try_into().ok(),
        },
    }
}

/// What earlier attempts have recorded.
pub(super) fn recorded(states: &[v1::PreState]) -> Vec<Recorded> {
    let states = states.iter().map(|state| Recorded {
        step: state.step,
        pre: state.pre.clone(),
        facts: state.facts.clone(),
        guard: Guard::from_number(state.guard),
    });
    states.collect()
}

/// What an attempt has to say of a step, as the engine takes it.
pub(super) fn state(execution: u64, note: Note) -> v1::PreState {
    let (guard, within) = note.guard.unzip();
    v1::PreState {
        execution,
        step: note.step,
        pre: note.pre,
        facts: note.facts,
        guard: guard.map_or(0, Guard::number),
        guard_ms: within.map_or(0, |within| within.as_millis().try_into().unwrap_or(u64::MAX)),
    }
}

pub(super) fn file(given: &core::Given) -> v1::GivenFile {
    v1::GivenFile {
        kind: given.kind.number(),
        content: given.bytes.to_vec(),
        version: given.version.clone(),
    }
}

pub(super) fn report(
    assignment: &v1::Assignment,
    ended: &Ended,
    attempt: Attempt,
    elapsed: Duration,
) -> v1::Report {
    let core::Told {
        replies,
        fingerprint,
        given,
        before,
        after,
    } = attempt.into_told();
    let measured = |numbers: core::Measured| v1::Measured {
        numbers: numbers
            .into_iter()
            .map(|(name, number)| (name.to_owned(), number))
            .collect(),
    };
    let outcome = match ended.outcome {
        Outcome::Broken => v1::ReportOutcome::Broken,
        Outcome::Reverted => v1::ReportOutcome::Reverted,
        Outcome::Lost => v1::ReportOutcome::Lost,
        Outcome::Cancelled => v1::ReportOutcome::Cancelled,
        Outcome::Failed => v1::ReportOutcome::Failed,
        Outcome::FoundDone => v1::ReportOutcome::FoundDone,
        Outcome::FoundNotDone => v1::ReportOutcome::FoundNotDone,
        Outcome::HandedBack => v1::ReportOutcome::HandedBack,
        Outcome::Interrupted => v1::ReportOutcome::Interrupted,
        Outcome::Rejected => v1::ReportOutcome::Rejected,
        Outcome::Succeeded => v1::ReportOutcome::Succeeded,
        Outcome::Unchanged => v1::ReportOutcome::Unchanged,
        Outcome::Unknown => v1::ReportOutcome::Unknown,
        Outcome::Unreached => v1::ReportOutcome::Unreached,
    };
    v1::Report {
        execution: assignment.execution,
        epoch: assignment.epoch,
        outcome: outcome.into(),
        error: ended.error.as_ref().map(Into::into),
        replies,
        elapsed_ms: elapsed.as_millis().try_into().unwrap_or(u64::MAX),
        age_ms: 0,
        steps_done: ended.steps_done,
        first_step: assignment.first_step,
        fingerprint: fingerprint.map_or_else(Vec::new, |found| found.to_vec()),
        given: given.iter().map(file).collect(),
        before: before.map(measured),
        after: after.map(measured),
    }
}
