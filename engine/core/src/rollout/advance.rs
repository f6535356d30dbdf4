//! When a wave ends, what is asked of it then, and when the next one opens (B4, E3).

use std::time::Duration;

use muster_model::policy::{Gate, GateKind, Policy, Wave};

use super::approval;
use super::rule::{self, Runs};
use super::sequential::{Test, Verdict};
use crate::Tally;

/// The wave that is open, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number, from 0.
    pub number: u32,
    /// Its executions.
    pub total: u64,
    /// How they stand; not less what was acknowledged.
    pub tally: Tally,
    /// Executions that are not over and do more than wait for a device that cannot be reached.
    pub busy: u64,
    /// When it ended, Unix milliseconds; none when that was not noted yet.
    pub ended_at: Option<i64>,
    /// What its gates were found to say, by their place, where that is kept: webhooks and people.
    pub answers: Vec<Answer>,
}

/// What a gate was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The gate's place in its wave.
    pub gate: usize,
    /// What it was.
    pub told: Told,
}

/// What a gate was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A person lets it pass, or approves of going on where approvals are asked for.
    Approved(String),
    /// A server's answer.
    Verdict(GateVerdict, String),
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Go on.
    Pass,
    /// Do not.
    Fail,
    /// It cannot be told: a person decides.
    Inconclusive,
}

impl GateVerdict {
    /// As in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Counters of all waves since the last acknowledgement, for gates that are rules.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// By wave.
    pub waves: &'a [(u32, Tally)],
    /// Failures in a row.
    pub runs: &'a Runs,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advance {
    /// The wave is under way.
    Wait,
    /// The wave has ended: that is to be noted.
    Ended,
    /// The next wave is to open.
    Open,
    /// Something keeps the next wave shut.
    Hold(Hold),
    /// It was the last wave.
    Last,
}

/// What keeps the next wave shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// `bake`, `min-good`, `evidence`, or a gate's name.
    pub by: String,
    /// In one sentence.
    pub evidence: String,
    /// When it passes by itself, Unix milliseconds.
    pub until: Option<i64>,
    /// A server that is to be asked, if the gate is one: its place among the gates.
    pub ask: Option<usize>,
    /// Whether a person has to decide.
    pub needs_person: bool,
    /// Whether a gate said no: the job halts.
    pub fails: bool,
}

impl Hold {
    fn by(by: &str, evidence: impl Into<String>) -> Self {
        Self {
            by: by.to_owned(),
            evidence: evidence.into(),
            until: None,
            ask: None,
            needs_person: false,
            fails: false,
        }
    }
}

/// Says what is to be done with the open wave.
pub fn advance(policy: &Policy, wave: &Standing, counted: Counted<'_>, now: i64) -> Advance {
    let Some(rules) = policy.waves.get(wave.number as usize) else {
        return Advance::Last;
    };
    if wave.ended_at.is_none() && wave.busy > 0 {
        return Advance::Wait;
    }
    let is_last = wave.number as usize + 1 >= policy.waves.len();
    let Some(ended_at) = wave.ended_at else {
        return Advance::Ended;
    };
    if is_last {
        return Advance::Last;
    }
    let hold = bake(rules, wave, ended_at, now)
        .or_else(|| enough_good(rules, wave))
        .or_else(|| evidence(policy, wave, counted))
        .or_else(|| gates(rules, wave, counted, ended_at, now));
    match hold {
        Some(hold) => Advance::Hold(hold),
        None => Advance::Open,
    }
}

fn bake(rules: &Wave, wave: &Standing, ended_at: i64, now: i64) -> Option<Hold> {
    let until = ended_at.saturating_add(millis(rules.bake));
    (wave.total > 0 && now < until).then(|| Hold {
        until: Some(until),
        ..Hold::by(
            "bake",
            format!("wave {} rests for {:?}", wave.number + 1, rules.bake),
        )
    })
}

/// How many of so many have to be good for a wave to say something.
pub fn wanted_good(rules: &Wave, total: u64) -> u64 {
    rules.min_good.of(total).max(1).min(total)
}

fn enough_good(rules: &Wave, wave: &Standing) -> Option<Hold> {
    let good = wave.tally.good.max(0).unsigned_abs();
    let wanted = wanted_good(rules, wave.total);
    let waived = wave
        .answers
        .iter()
        .any(|answer| answer.gate == MIN_GOOD && matches!(answer.told, Told::Approved(_)));
    (good < wanted && !waived).then(|| Hold {
        needs_person: true,
        ..Hold::by(
            "min-good",
            format!(
                "{good} of the {} devices of wave {} went well; {wanted} are wanted before it says something",
                wave.total,
                wave.number + 1
            ),
        )
    })
}

/// The place of [`Answer`]s that are about `min-good` and no gate of the wave.
pub const MIN_GOOD: usize = usize::MAX;
/// The place of [`Answer`]s that are about the sequential test.
pub const EVIDENCE: usize = usize::MAX - 1;

fn evidence(policy: &Policy, wave: &Standing, counted: Counted<'_>) -> Option<Hold> {
    let test = Test::of(policy.evidence.as_ref()?, &rule::sum(counted.waves));
    let waived = wave
        .answers
        .iter()
        .any(|answer| answer.gate == EVIDENCE && matches!(answer.told, Told::Approved(_)));
    match test.verdict() {
        _ if waived => None,
        Verdict::Promote => None,
        Verdict::Halt => Some(Hold {
            fails: true,
            ..Hold::by("evidence", test.describe())
        }),
        Verdict::Undecided => Some(Hold {
            needs_person: true,
            ..Hold::by("evidence", test.describe())
        }),
    }
}

fn gates(rules: &Wave, wave: &Standing, counted: Counted<'_>, ended_at: i64, now: i64) -> Option<Hold> {
    let gates = rules.gates.iter().enumerate().filter(|(_, gate)| !gate.shadow);
    gates
        .filter_map(|(at, gate)| gate_holds(at, gate, wave, counted, ended_at, now))
        .next()
}

/// What a gate says now; nothing when it lets pass.
fn gate_holds(
    at: usize,
    gate: &Gate,
    wave: &Standing,
    counted: Counted<'_>,
    ended_at: i64,
    now: i64,
) -> Option<Hold> {
    let told = |told: &&Answer| told.gate == at;
    let approved = wave
        .answers
        .iter()
        .filter(told)
        .filter_map(|answer| match &answer.told {
            Told::Approved(who) => Some(who.as_str()),
            Told::Verdict(..) => None,
        });
    let approved = approved.collect::<Vec<_>>();
    let hold = |evidence: String| Hold::by(&gate.id, evidence);
    match &gate.kind {
        GateKind::Approval { needed, .. } => match approval::missing(*needed, approved.iter().copied()) {
            0 => None,
            missing => Some(Hold {
                needs_person: true,
                ..hold(format!("{missing} of {needed} approvals are missing"))
            }),
        },
        // Whatever else a gate asks, a person may let it pass.
        _ if !approved.is_empty() => None,
        GateKind::Timer(after) => {
            let until = ended_at.saturating_add(millis(*after));
            (now < until).then(|| Hold {
                until: Some(until),
                ..hold(format!("{after:?} have to pass after wave {}", wave.number + 1))
            })
        }
        GateKind::Rule { .. } => {
            let (verdict, evidence) = judge(gate, counted)?;
            match verdict {
                GateVerdict::Pass => None,
                GateVerdict::Fail => Some(Hold {
                    fails: true,
                    ..hold(evidence)
                }),
                GateVerdict::Inconclusive => Some(Hold {
                    needs_person: true,
                    ..hold(evidence)
                }),
            }
        }
        GateKind::Webhook { .. }
        | GateKind::Snapshot { .. }
        | GateKind::Audit { .. }
        | GateKind::Control { .. } => {
            let (whom, asking) = match &gate.kind {
                GateKind::Webhook { url, .. } => (format!("{url} says"), format!("{url} is being asked")),
                GateKind::Audit { name, .. } => (
                    format!("audit {name}"),
                    format!("audit {name} is being run over wave {}", wave.number + 1),
                ),
                GateKind::Control { .. } => (
                    "beside those that were not changed".into(),
                    "devices that were changed are being compared with those that were not".into(),
                ),
                _ => (
                    "before and after".into(),
                    "what the devices measured is being compared".into(),
                ),
            };
            let verdict = wave
                .answers
                .iter()
                .rev()
                .filter(told)
                .find_map(|answer| match &answer.told {
                    Told::Verdict(verdict, why) => Some((*verdict, why)),
                    Told::Approved(_) => None,
                });
            match verdict {
                Some((GateVerdict::Pass, _)) => None,
                Some((GateVerdict::Fail, why)) => Some(Hold {
                    fails: true,
                    ..hold(format!("{whom}: {why}"))
                }),
                Some((GateVerdict::Inconclusive, why)) => Some(Hold {
                    needs_person: true,
                    ..hold(format!("{whom}: undecided: {why}"))
                }),
                None => Some(Hold {
                    ask: Some(at),
                    ..hold(asking)
                }),
            }
        }
    }
}

/// What a gate that is a rule says; nothing for gates of other kinds.
pub fn judge(gate: &Gate, counted: Counted<'_>) -> Option<(GateVerdict, String)> {
    let GateKind::Rule {
        condition,
        classes,
        scope,
    } = &gate.kind
    else {
        return None;
    };
    let rule = muster_model::policy::Rule {
        id: gate.id.clone(),
        condition: *condition,
        classes: classes.clone(),
        scope: *scope,
        action: muster_model::policy::Action::Halt,
    };
    let findings = rule::findings(&rule, counted.waves, counted.runs);
    let worst = findings.iter().find(|finding| finding.trips);
    let worst = worst.or_else(|| findings.iter().find(|finding| !finding.is_enough));
    match worst.or(findings.first()) {
        None => Some((GateVerdict::Inconclusive, "nothing was counted".into())),
        Some(finding) if finding.trips => Some((GateVerdict::Fail, finding.evidence.clone())),
        Some(finding) if !finding.is_enough => Some((GateVerdict::Inconclusive, finding.evidence.clone())),
        Some(finding) => Some((GateVerdict::Pass, finding.evidence.clone())),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
