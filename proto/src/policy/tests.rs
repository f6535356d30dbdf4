use muster_model::policy::{Amount, Policy};

use super::policy;
use crate::v1;

const FILE: &str = r#"
name = "x"
all = true
[[step]]
command = ["/ip/dns/set", "servers=1.1.1.1"]
[[wave]]
name = "canary"
size = 10
budget = 1
bake = "5m"
per-stratum = 1
[[wave.gate]]
kind = "approval"
needed = 2
from = ["ann", "bob"]
[[wave.gate]]
kind = "rule"
consecutive = 3
scope = "wave"
[[wave.gate]]
kind = "timer"
after = "1h"
shadow = true
[[wave.gate]]
kind = "webhook"
url = "http://127.0.0.1:9/x"
[[wave]]
select = "site=lab"
[[wave]]
size = "33.3333%"
min-good = "75%"
[[wave]]
size = "rest"
[[cap]]
label = "site"
concurrency = 3
[[availability]]
label = "site"
max-unavailable = "10%"
[[rule]]
rate = "2%"
min-sample = 50
classes = ["harmed", "refused"]
action = "abort-revert"
[evidence]
acceptable = "0.5%"
unacceptable = "3%"
[ramp]
start = 10
factor = 1.5
[order]
parent = "uplink"
[[window]]
cron = "0 1 * * *"
duration = "4h"
zone = "Europe/Riga"
at-end = "stop"
[[freeze]]
from = 2026-12-24
to = 2026-12-27
reason = "holidays"
[approval]
needed = 2
[abort]
changed = "revert"
in-flight = "stop-at-step"
"#;

#[test]
fn a_policy_goes_there_and_back() {
    let read = muster_model::file::rollout(FILE).expect("valid");
    let message = v1::Policy::from(&read.policy);
    let back = policy(
        &message,
        "spec.policy",
        read.policy.limits.budget,
        read.policy.limits.concurrency,
    );
    assert_eq!(back, Ok(read.policy));
}

#[test]
fn an_empty_message_is_the_default() {
    let budget = Policy::default().limits.budget;
    assert_eq!(
        policy(&v1::Policy::default(), "p", budget, None),
        Ok(Policy::default())
    );
}

#[test]
fn every_violation_is_told() {
    let wave = |size: &str| v1::WavePolicy {
        size: size.into(),
        ..Default::default()
    };
    let message = v1::Policy {
        waves: vec![wave("10"), wave("lots")],
        rules: vec![v1::Rule {
            id: "budget".into(),
            ..Default::default()
        }],
        windows: vec![v1::Window {
            cron: "0 25 * * *".into(),
            ..Default::default()
        }],
        approvers: vec!["ann".into()],
        approvals_needed: 2,
        ..Default::default()
    };
    let violations = policy(&message, "p", Amount::All, None).expect_err("all wrong");
    let fields = violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect::<Vec<_>>();
    assert_eq!(
        fields,
        [
            "p.waves[1].size",
            "p.rules[0].condition",
            "p.rules[0].id",
            "p.windows[0]",
            "p.approvers"
        ]
    );
}
