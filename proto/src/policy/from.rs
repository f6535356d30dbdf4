//! Policies as messages.

use muster_model::policy::{
    Action, Amount, AtEnd, Changed, Class, Classes, Condition, Gate, GateKind, InFlight, Membership, Policy,
    Rule, Scope, Size, Tolerance, Unseen, Wave,
};

use crate::{time, v1};

impl From<&Policy> for v1::Policy {
    fn from(policy: &Policy) -> Self {
        let membership = match policy.membership {
            Membership::Snapshot => v1::Membership::Snapshot,
            Membership::Continuous => v1::Membership::Continuous,
        };
        Self {
            waves: policy.waves.iter().map(Into::into).collect(),
            membership: membership.into(),
            rules: policy.rules.iter().map(Into::into).collect(),
            evidence: policy.evidence.map(|evidence| v1::Evidence {
                acceptable: evidence.acceptable.to_string(),
                unacceptable: evidence.unacceptable.to_string(),
                false_halt: evidence.false_halt.to_string(),
                false_promote: evidence.false_promote.to_string(),
            }),
            caps: policy
                .limits
                .caps
                .iter()
                .map(|cap| v1::LabelCap {
                    label: cap.label.clone(),
                    concurrency: cap.concurrency,
                })
                .collect(),
            availability: policy
                .limits
                .availability
                .iter()
                .map(|limit| v1::Availability {
                    label: limit.label.clone(),
                    max_unavailable: limit.max_unavailable.to_string(),
                })
                .collect(),
            ramp: policy.ramp.map(|ramp| v1::Ramp {
                start: ramp.start,
                factor_percent: ramp.factor_percent,
                interval: ramp.interval.try_into().ok(),
            }),
            parent_label: policy.parent_label.clone().unwrap_or_default(),
            windows: policy
                .windows
                .iter()
                .map(|window| v1::Window {
                    cron: window.cron.clone(),
                    duration: window.duration.try_into().ok(),
                    zone: window.zone.name().to_owned(),
                })
                .collect(),
            zone_label: policy.zone_label.clone().unwrap_or_default(),
            freezes: policy
                .freezes
                .iter()
                .map(|freeze| v1::FreezePeriod {
                    from: Some(time(freeze.from)),
                    to: Some(time(freeze.to)),
                    reason: freeze.reason.clone(),
                })
                .collect(),
            stop_at_window_end: policy.at_end == AtEnd::Stop,
            expires: policy.expires.try_into().ok(),
            approvals_needed: policy.approval.needed,
            approvers: policy.approval.from.clone(),
            abort_reverts: policy.abort.changed == Changed::Revert,
            abort_stops_at_step: policy.abort.in_flight == InFlight::StopAtStep,
            allow_unseen: policy.unseen == Unseen::Allow,
        }
    }
}

impl From<&Wave> for v1::WavePolicy {
    fn from(wave: &Wave) -> Self {
        let (size, selector) = match &wave.size {
            Size::Select(selector) => (String::new(), selector.to_string()),
            size => (size.to_string(), String::new()),
        };
        let strata = wave.strata.as_ref();
        Self {
            name: wave.name.clone(),
            size,
            selector,
            per_stratum: strata.map_or(0, |strata| strata.per),
            strata: strata
                .into_iter()
                .flat_map(|strata| &strata.by)
                .map(ToString::to_string)
                .collect(),
            budget: match wave.budget {
                Amount::All => String::new(),
                budget => budget.to_string(),
            },
            soak: wave.soak.try_into().ok(),
            bake: wave.bake.try_into().ok(),
            min_good: wave.min_good.to_string(),
            gates: wave.gates.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Rule> for v1::Rule {
    fn from(rule: &Rule) -> Self {
        let action = match rule.action {
            Action::Halt => v1::RuleAction::Halt,
            Action::Abort => v1::RuleAction::Abort,
            Action::AbortRevert => v1::RuleAction::AbortRevert,
            Action::Warn => v1::RuleAction::Warn,
        };
        Self {
            id: rule.id.clone(),
            condition: Some(condition(rule.condition, &rule.classes, rule.scope)),
            action: action.into(),
        }
    }
}

impl From<Class> for v1::HarmClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Harmed => Self::Harmed,
            Class::Rescued => Self::Rescued,
            Class::Refused => Self::Refused,
            Class::Benign => Self::Benign,
            Class::Unreached => Self::Unreached,
        }
    }
}

impl From<&Gate> for v1::Gate {
    fn from(gate: &Gate) -> Self {
        let kind = match &gate.kind {
            GateKind::Rule {
                condition: when,
                classes,
                scope,
            } => Some(v1::gate::Kind::Rule(condition(*when, classes, *scope))),
            GateKind::Timer(after) => (*after).try_into().ok().map(v1::gate::Kind::Timer),
            GateKind::Approval { needed, from } => Some(v1::gate::Kind::Approval(v1::ApprovalGate {
                needed: *needed,
                from: from.clone(),
            })),
            GateKind::Snapshot { tolerances, max } => Some(v1::gate::Kind::Snapshot(v1::SnapshotGate {
                tolerances: tolerances.iter().map(tolerance).collect(),
                max: *max,
            })),
            GateKind::Control { tolerances, sample } => Some(v1::gate::Kind::Control(v1::ControlGate {
                tolerances: tolerances.iter().map(tolerance).collect(),
                sample: *sample,
            })),
            GateKind::Audit {
                name,
                definition,
                min_coverage,
                max,
            } => Some(v1::gate::Kind::Audit(v1::AuditGate {
                name: name.clone(),
                definition: definition.clone(),
                max: *max,
                min_coverage: min_coverage.to_string(),
            })),
            GateKind::Webhook { url, timeout, roots } => Some(v1::gate::Kind::Webhook(v1::WebhookGate {
                url: url.clone(),
                timeout: (*timeout).try_into().ok(),
                roots: roots.clone().unwrap_or_default(),
            })),
        };
        Self {
            id: gate.id.clone(),
            shadow: gate.shadow,
            kind,
        }
    }
}

fn tolerance(tolerance: &Tolerance) -> v1::Tolerance {
    v1::Tolerance {
        name: tolerance.name.clone(),
        range: tolerance.range.to_string(),
    }
}

fn condition(condition: Condition, classes: &Classes, scope: Scope) -> v1::Condition {
    let kind = match condition {
        Condition::Count(max) => v1::condition::Kind::Count(max),
        Condition::Rate { over, min_sample } => v1::condition::Kind::Rate(v1::Rate {
            over: over.to_string(),
            min_sample,
        }),
        Condition::Consecutive(run) => v1::condition::Kind::Consecutive(run),
    };
    v1::Condition {
        kind: Some(kind),
        classes: classes
            .iter()
            .map(|class| v1::HarmClass::from(class).into())
            .collect(),
        per_wave: scope == Scope::Wave,
    }
}
