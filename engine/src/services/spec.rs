//! What a client wants a job to be: everything that is wrong with it is told at once.

use std::time::Duration;

use muster_engine_core::budget::{Asked, BadBudget};
use muster_model::policy::{Amount, GateKind};
use muster_model::{Effect, Plan, Policy, Priority, Selector, Step, Want};
use muster_proto::{Violation, duration, plan, v1};
use muster_store::{Deed, Mode, Spread};
use routeros_wire::Expression;

use super::rollout;
use crate::schedule;

/// The deadline of a command unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

/// A checked spec.
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) plan: Plan,
    pub(super) selector: Selector,
    pub(super) timeout: Duration,
    pub(super) priority: Priority,
    pub(super) concurrency: Option<u32>,
    pub(super) budget: Asked,
    /// How it goes over its devices, if it is a rollout.
    pub(super) policy: Option<Policy>,
    pub(super) mode: Mode,
    pub(super) spread: Option<Spread>,
}

impl Spec {
    /// For the history: what the caller takes upon themselves.
    pub(super) fn deeds(&self, job: &str, claimed_by: &str) -> Vec<Deed> {
        let changes = self.mode != Mode::Preview && self.plan.effect() >= Effect::Change;
        let lifted = self.budget == Asked::All && changes;
        let lifted = lifted.then(|| lifted_budget(job, claimed_by));
        self.declared_reads(job, claimed_by)
            .into_iter()
            .chain(lifted)
            .collect()
    }

    /// Commands that are reads on the caller's word alone.
    fn declared_reads(&self, job: &str, claimed_by: &str) -> Option<Deed> {
        let declared = self.plan.steps.iter().filter_map(|step| match step {
            Step::Command(command) => command.is_declared_read().then(|| command.path()),
            _ => None,
        });
        let declared = declared.collect::<Vec<_>>();
        (!declared.is_empty()).then(|| Deed {
            claimed_by: claimed_by.to_owned(),
            action: "job.declare_read",
            subject: job.to_owned(),
            reason: String::new(),
            detail: declared.join(", "),
        })
    }
}

/// For the history: a job that may harm any number of devices (C3).
pub(super) fn lifted_budget(job: &str, claimed_by: &str) -> Deed {
    Deed {
        claimed_by: claimed_by.to_owned(),
        action: "job.budget",
        subject: job.to_owned(),
        reason: String::new(),
        detail: "all: no limit on how many devices it may harm".to_owned(),
    }
}

/// Expressions of verifications: the model knows where they stand, the codec knows what they mean.
fn check_expectations(plan: &Plan) -> Vec<Violation> {
    let check = |(at, step): (usize, &Step)| {
        let expect = &step.verify()?.expect;
        let error = (!expect.is_empty())
            .then(|| expect.parse::<Expression>().err())
            .flatten()?;
        let kind = if matches!(step, Step::Script(_)) {
            "script"
        } else {
            "command"
        };
        let field = format!("spec.plan.steps[{at}].{kind}.verify.expect");
        Some(Violation::new(field, format!("{expect:?}: {error}")))
    };
    plan.steps.iter().enumerate().filter_map(check).collect()
}

/// Expressions over the items of a menu.
fn check_wishes(plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let Step::Ensure(ensure) = step else { continue };
        let Want::Items(items) = ensure.want() else {
            continue;
        };
        for (name, text) in [("purge", &items.purge), ("place_before", &items.place_before)] {
            if let Some(text) = text
                && let Err(error) = text.parse::<Expression>()
            {
                let field = format!("spec.plan.steps[{at}].ensure.items.{name}");
                violations.push(Violation::new(field, format!("{text:?}: {error}")));
            }
        }
    }
    violations
}

/// A rollout's policy, with the budget that stands beside it.
fn policy(message: &v1::Policy, budget: &str, concurrency: Option<u32>) -> Result<Policy, Vec<Violation>> {
    let budget = match budget.trim() {
        "" => Policy::default().limits.budget,
        // What is no budget is told beside this.
        text => text.parse().unwrap_or(Amount::All),
    };
    let policy = muster_proto::policy(message, "spec.policy", budget, concurrency)?;
    match check_audits(&policy) {
        none if none.is_empty() => Ok(policy),
        wrong => Err(wrong),
    }
}

/// Audits that gates run.
fn check_audits(policy: &Policy) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (wave, gates) in policy.waves.iter().map(|wave| &wave.gates).enumerate() {
        for (gate, asked) in gates.iter().enumerate() {
            let GateKind::Audit { definition, .. } = &asked.kind else {
                continue;
            };
            let field = format!("spec.policy.waves[{wave}].gates[{gate}].audit.definition");
            let errors = muster_audit::file::audit(definition).err();
            let errors = errors.into_iter().flat_map(|errors| errors.0);
            violations.extend(errors.map(|error| Violation::new(&*field, error.to_string())));
        }
    }
    violations
}

/// What the worst of a job that is asked for does to a device.
pub(crate) fn check_job(spec: &v1::JobSpec) -> Result<Effect, Vec<Violation>> {
    let spec = check(spec)?;
    Ok(match spec.mode {
        Mode::Preview => Effect::Read,
        Mode::Apply | Mode::AsPreviewed { .. } => spec.plan.effect(),
    })
}

/// Checks a spec; all that is wrong with it is told.
pub(super) fn check(spec: &v1::JobSpec) -> Result<Spec, Vec<Violation>> {
    let mut violations = Vec::new();
    let plan = plan(spec.plan.as_ref(), "spec.plan").unwrap_or_else(|bad| {
        violations.extend(bad);
        Plan::new(Vec::new())
    });
    violations.extend(check_expectations(&plan));
    let reverts = plan
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| matches!(step, Step::Revert(_)));
    violations.extend(reverts.map(|(at, _)| {
        let field = format!("spec.plan.steps[{at}].revert");
        Violation::new(field, "such steps are made by RevertJob only")
    }));
    violations.extend(check_wishes(&plan));
    let priority = match spec.priority() {
        v1::JobPriority::Unspecified if spec.priority != 0 => {
            let text = format!("{} is no priority", spec.priority);
            violations.push(Violation::new("spec.priority", text));
            Priority::Interactive
        }
        v1::JobPriority::Unspecified => Priority::Interactive,
        given => Priority::from_number(given.into()).unwrap_or(Priority::Interactive),
    };
    let text = spec.selector.trim();
    let selector = match (text.is_empty(), spec.all) {
        (true, true) => Selector::default(),
        (true, false) => {
            let reason = "it is empty; give a selector, or set all for every device";
            violations.push(Violation::new("spec.selector", reason));
            Selector::default()
        }
        (false, true) => {
            violations.push(Violation::new(
                "spec.all",
                "a selector and all exclude each other",
            ));
            Selector::default()
        }
        (false, false) => text.parse().unwrap_or_else(|error: muster_model::SelectorError| {
            violations.push(Violation::new("spec.selector", error.to_string()));
            Selector::default()
        }),
    };
    let timeout = spec.timeout.as_ref().map_or(Some(Duration::ZERO), duration);
    let timeout = match timeout {
        Some(Duration::ZERO) => TIMEOUT,
        Some(timeout) if TIMEOUTS.contains(&timeout) => timeout,
        other => {
            let given = other.map_or_else(|| "it is negative".to_owned(), |given| format!("{given:?}"));
            violations.push(Violation::new(
                "spec.timeout",
                format!("{given}; 100 ms to 24 h are possible"),
            ));
            TIMEOUT
        }
    };
    let budget = match spec.budget.trim() {
        "" => Asked::RUN,
        text => text.parse().unwrap_or_else(|error: BadBudget| {
            violations.push(Violation::new("spec.budget", error.to_string()));
            Asked::RUN
        }),
    };
    let concurrency = Some(spec.max_concurrency).filter(|cap| *cap > 0);
    let policy = spec.policy.as_ref().and_then(|message| {
        policy(message, &spec.budget, concurrency)
            .map_err(|bad| violations.extend(bad))
            .ok()
    });
    if policy.as_ref().is_some_and(Policy::may_revert)
        && let Err(why) = muster_model::revert::plan(&plan)
    {
        let text = format!("it may take back what was changed, and the plan has no inverse: {why}");
        violations.push(Violation::new("spec.policy", text));
    }
    if spec.policy.is_none() && !spec.break_glass.is_empty() {
        violations.push(Violation::new(
            "spec.break_glass",
            "it is of use with a policy only",
        ));
    }
    let mode = mode(spec).unwrap_or_else(|violation| {
        violations.push(violation);
        Mode::Apply
    });
    let first = muster_model::firmware::written(&plan.steps).into_iter().next();
    let first = first.map(|(_, title)| title);
    let name = Some(spec.name.clone())
        .filter(|name| !name.is_empty())
        .or(first)
        .unwrap_or_default();
    let name = name.chars().take(200).collect::<String>();
    let spread = schedule::spread(spec.spread.as_ref(), "spec.spread", &name).unwrap_or_else(|violation| {
        violations.push(violation);
        None
    });
    if spread.is_some() && spec.policy.is_some() {
        let told = "a rollout goes over its devices in waves; leave it out";
        violations.push(Violation::new("spec.spread", told));
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(Spec {
        name,
        spread,
        plan,
        selector,
        timeout,
        priority,
        concurrency,
        budget: policy
            .as_ref()
            .map_or(budget, |policy| rollout::asked(policy.limits.budget)),
        policy,
        mode,
    })
}

/// Whether the plan is done, and where. That the preview is one is to be looked up.
fn mode(spec: &v1::JobSpec) -> Result<Mode, Violation> {
    match (spec.preview, spec.previewed.is_empty(), spec.unseen) {
        (true, true, false) => Ok(Mode::Preview),
        (false, true, false) => Ok(Mode::Apply),
        (false, false, unseen) => Ok(Mode::AsPreviewed {
            preview: Some(spec.previewed.clone()),
            unseen,
        }),
        (true, false, _) => Err(Violation::new(
            "spec.previewed",
            "a preview looks at every device as it is; leave one of the two out",
        )),
        (_, true, true) => Err(Violation::new(
            "spec.unseen",
            "it says what to do with devices that a preview did not find; give previewed too",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_with_a_spec_is_told() {
        let timeout = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        let spec = v1::JobSpec {
            timeout: Some(timeout),
            budget: "some".into(),
            ..Default::default()
        };
        let violations = check(&spec).err().expect("all wrong");
        let fields = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect::<Vec<_>>();
        assert_eq!(
            fields,
            ["spec.plan.steps", "spec.selector", "spec.timeout", "spec.budget"]
        );
    }

    #[test]
    fn a_job_is_named_after_its_first_command() {
        let command = v1::Command {
            words: vec!["/system/resource/print".into()],
            ..Default::default()
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Command(command)),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan {
                steps: vec![step],
                ..v1::Plan::default()
            }),
            all: true,
            ..Default::default()
        };
        let checked = check(&spec).expect("valid");
        assert_eq!(
            (checked.name.as_str(), checked.timeout),
            ("/system/resource/print", TIMEOUT)
        );
    }
}
