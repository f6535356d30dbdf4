//! Rules and gates of a policy.

use std::time::Duration;

use muster_model::policy::{
    Action, Class, Classes, Condition, Gate, GateKind, Rule, Scope, Share, Tolerance, web_address,
};

use super::Check;
use crate::v1;

impl Check {
    pub(super) fn rules(&mut self, messages: &[v1::Rule], path: &str) -> Vec<Rule> {
        let mut rules = Vec::<Rule>::new();
        for (at, message) in messages.iter().enumerate() {
            let path = format!("{path}.rules[{at}]");
            let (condition, classes, scope) = self.condition(message.condition.as_ref(), &path);
            let id = match message.id.as_str() {
                "" => format!("rule-{}", at + 1),
                id => id.to_owned(),
            };
            if id == "budget" || rules.iter().any(|rule| rule.id == id) {
                self.tell(
                    format!("{path}.id"),
                    format!("{id:?} is taken; a rule is told apart by its id"),
                );
            }
            let action = match message.action() {
                v1::RuleAction::Unspecified | v1::RuleAction::Halt => Action::Halt,
                v1::RuleAction::Abort => Action::Abort,
                v1::RuleAction::AbortRevert => Action::AbortRevert,
                v1::RuleAction::Warn => Action::Warn,
            };
            rules.push(Rule {
                id,
                condition,
                classes,
                scope,
                action,
            });
        }
        rules
    }

    fn condition(&mut self, message: Option<&v1::Condition>, path: &str) -> (Condition, Classes, Scope) {
        let kind = message.and_then(|message| message.kind.as_ref());
        let condition = match kind {
            Some(v1::condition::Kind::Count(max)) => Condition::Count(*max),
            Some(v1::condition::Kind::Consecutive(run)) => {
                if *run == 0 {
                    self.tell(
                        format!("{path}.condition.consecutive"),
                        "it would trip at once; give at least 1",
                    );
                }
                Condition::Consecutive(*run)
            }
            Some(v1::condition::Kind::Rate(rate)) => {
                let field = format!("{path}.condition.rate.over");
                if rate.over.is_empty() {
                    self.tell(&field, "it is empty; give a share as \"2%\"");
                }
                Condition::Rate {
                    over: self.text(&rate.over, Share::percent(5), field),
                    min_sample: match rate.min_sample {
                        0 => 20,
                        given => given,
                    },
                }
            }
            None => {
                self.tell(
                    format!("{path}.condition"),
                    "it needs one of count, rate and consecutive",
                );
                Condition::Count(0)
            }
        };
        let classes = message
            .map(|message| message.classes().collect::<Vec<_>>())
            .unwrap_or_default();
        let classes = match classes.is_empty() {
            true => Classes::default(),
            false => Classes::new(classes.into_iter().filter_map(class)),
        };
        let scope = match message.is_some_and(|message| message.per_wave) {
            true => Scope::Wave,
            false => Scope::Job,
        };
        (condition, classes, scope)
    }

    pub(super) fn gates(&mut self, messages: &[v1::Gate], path: &str) -> Vec<Gate> {
        let gate = |(at, message): (usize, &v1::Gate)| {
            let path = format!("{path}.gates[{at}]");
            Some(Gate {
                id: match message.id.as_str() {
                    "" => format!("gate-{}", at + 1),
                    id => id.to_owned(),
                },
                kind: self.gate(message.kind.as_ref(), &path)?,
                shadow: message.shadow,
            })
        };
        messages.iter().enumerate().filter_map(gate).collect()
    }

    fn gate(&mut self, kind: Option<&v1::gate::Kind>, path: &str) -> Option<GateKind> {
        let Some(kind) = kind else {
            self.tell(
                path,
                "a gate needs a kind: rule, timer, approval, webhook, snapshot, control or audit",
            );
            return None;
        };
        Some(match kind {
            v1::gate::Kind::Rule(message) => {
                let (condition, classes, scope) = self.condition(Some(message), path);
                GateKind::Rule {
                    condition,
                    classes,
                    scope,
                }
            }
            v1::gate::Kind::Timer(after) => {
                GateKind::Timer(self.duration(Some(after), Duration::ZERO, format!("{path}.timer")))
            }
            v1::gate::Kind::Approval(message) => {
                let approval = self.approval(message.needed.max(1), &message.from, path, "approval.from");
                GateKind::Approval {
                    needed: approval.needed,
                    from: approval.from,
                }
            }
            v1::gate::Kind::Snapshot(message) => {
                let mut tolerances = Vec::new();
                for (at, message) in message.tolerances.iter().enumerate() {
                    match Tolerance::new(&message.name, &message.range) {
                        Ok(tolerance) => tolerances.push(tolerance),
                        Err(why) => self.tell(format!("{path}.snapshot.tolerances[{at}]"), why),
                    }
                }
                GateKind::Snapshot {
                    tolerances: match message.tolerances.is_empty() {
                        true => Tolerance::defaults(),
                        false => tolerances,
                    },
                    max: message.max,
                }
            }
            v1::gate::Kind::Webhook(message) => {
                let parts = web_address(&message.url);
                if parts.is_none() {
                    let told = format!(
                        "{:?} cannot be asked; give https://host:port/path, or http://",
                        message.url
                    );
                    self.tell(format!("{path}.webhook.url"), told);
                }
                if !message.roots.is_empty() && parts.is_some_and(|(tls, ..)| !tls) {
                    self.tell(
                        format!("{path}.webhook.roots"),
                        "what is asked over http has no certificate",
                    );
                }
                GateKind::Webhook {
                    url: message.url.clone(),
                    timeout: self.duration(
                        message.timeout.as_ref(),
                        Duration::from_secs(10),
                        format!("{path}.webhook.timeout"),
                    ),
                    roots: Some(message.roots.clone()).filter(|roots| !roots.is_empty()),
                }
            }
            v1::gate::Kind::Control(message) => {
                let mut tolerances = Vec::new();
                for (at, message) in message.tolerances.iter().enumerate() {
                    match Tolerance::beside(&message.name, &message.range) {
                        Ok(tolerance) => tolerances.push(tolerance),
                        Err(why) => self.tell(format!("{path}.control.tolerances[{at}]"), why),
                    }
                }
                if !matches!(message.sample, 0 | 3..=2000) {
                    self.tell(
                        format!("{path}.control.sample"),
                        "3 to 2000 are possible, or 0 for 100",
                    );
                }
                GateKind::Control {
                    tolerances: match message.tolerances.is_empty() {
                        true => Tolerance::of_control(),
                        false => tolerances,
                    },
                    sample: match message.sample {
                        0 => 100,
                        given => given,
                    },
                }
            }
            v1::gate::Kind::Audit(message) => {
                if message.definition.is_empty() {
                    self.tell(
                        format!("{path}.audit.definition"),
                        "it is empty; give an audit's file",
                    );
                }
                GateKind::Audit {
                    name: message.name.clone(),
                    definition: message.definition.clone(),
                    max: message.max,
                    min_coverage: self.text(
                        &message.min_coverage,
                        Share::ALL,
                        format!("{path}.audit.min_coverage"),
                    ),
                }
            }
        })
    }
}

fn class(class: v1::HarmClass) -> Option<Class> {
    match class {
        v1::HarmClass::Unspecified => None,
        v1::HarmClass::Harmed => Some(Class::Harmed),
        v1::HarmClass::Rescued => Some(Class::Rescued),
        v1::HarmClass::Refused => Some(Class::Refused),
        v1::HarmClass::Benign => Some(Class::Benign),
        v1::HarmClass::Unreached => Some(Class::Unreached),
    }
}
