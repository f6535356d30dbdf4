//! `muster check`: whether a file is right, without an engine.

use std::io::Read as _;
use std::path::Path;

use muster_model::file::{self, Beside, Rollout};
use muster_model::{Effect, FileError, FileErrors, Plan};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::exit::{Done, Exit, Failure};
use crate::terminal::{out, safe};

/// Checks a file and says what it means, or everything that is wrong with it.
pub(crate) fn run(path: &Path, json: bool) -> Done {
    let text = read(path)?;
    if muster_audit::file::is_audit(&text) {
        return match muster_audit::file::audit(&text) {
            Ok(audit) => {
                match json {
                    true => out(json!({
                        "file": path.display().to_string(), "ok": true, "errors": [], "audit": describe_audit(&audit),
                    })),
                    false => out(format_args!("{}: {}", path.display(), audit_summary(&audit))),
                }
                Ok(Exit::Ok)
            }
            Err(errors) => Ok(wrong(path, &errors, json)),
        };
    }
    if file::is_plan(&text) {
        return match file::read(&text, file::step::plan) {
            Ok(plan) => {
                match json {
                    true => out(json!({
                        "file": path.display().to_string(), "ok": true, "errors": [],
                        "plan": { "steps": plan.steps.len(), "effect": effect(plan.effect()), "plan_digest": plan.digest().to_string() },
                    })),
                    false => out(format_args!(
                        "{}: valid: a plan of {}, for muster run --plan",
                        path.display(),
                        steps(&plan)
                    )),
                }
                Ok(Exit::Ok)
            }
            Err(errors) => Ok(wrong(path, &errors, json)),
        };
    }
    match rollout(path, &text) {
        Ok(rollout) => {
            match json {
                true => out(
                    json!({ "file": path.display().to_string(), "ok": true, "errors": [], "rollout": describe(&rollout) }),
                ),
                false => out(format_args!("{}: {}", path.display(), summary(&rollout))),
            }
            Ok(Exit::Ok)
        }
        Err(errors) => Ok(wrong(path, &errors, json)),
    }
}

/// Tells everything that is wrong with a file.
fn wrong(path: &Path, errors: &FileErrors, json: bool) -> Exit {
    if json {
        let all = errors.0.iter().map(error_json).collect::<Vec<_>>();
        out(json!({ "file": path.display().to_string(), "ok": false, "errors": all }));
    } else {
        errors
            .0
            .iter()
            .for_each(|error| out(format_args!("{}:{}", path.display(), safe(&error.to_string()))));
    }
    Exit::Usage
}

fn audit_summary(audit: &muster_audit::Audit) -> String {
    let prints = muster_audit::Reads::of(audit).prints();
    let remedies = audit.checks.iter().filter(|check| check.remedy.is_some()).count();
    let whom = match &audit.selector {
        None => "devices that audit run names".to_owned(),
        Some(selector) if selector.requirements().is_empty() => "every device".to_owned(),
        Some(selector) => safe(&selector.to_string()).into_owned(),
    };
    format!(
        "valid: {} checks on {whom}, {prints} prints on each; {remedies} with a remedy",
        audit.checks.len()
    )
}

fn describe_audit(audit: &muster_audit::Audit) -> Value {
    let check = |check: &muster_audit::Check| {
        json!({
            "name": check.name, "severity": check.severity.as_str(), "reason": check.reason, "read": check.read.menu,
            "expect": check.expect.text(), "has_remedy": check.remedy.is_some(),
        })
    };
    let reads = muster_audit::Reads::of(audit).plan;
    json!({
        "name": audit.name,
        "select": audit.selector.as_ref().map(ToString::to_string),
        "timeout_seconds": audit.timeout.as_secs_f64(),
        "min_coverage": audit.min_coverage,
        "max_cpu": f64::from(audit.max_cpu) / 100.0,
        "max_age_seconds": audit.max_age.map(|age| age.as_secs_f64()),
        "checks": audit.checks.iter().map(check).collect::<Vec<_>>(),
        "reads": reads.steps.iter().map(muster_model::Step::title).collect::<Vec<_>>(),
    })
}

/// A rollout's file, with those that it names: they are looked for beside it.
pub(crate) fn rollout(path: &Path, text: &str) -> Result<Rollout, FileErrors> {
    let beside = |what, name: &str| {
        if what == Beside::Audit && name == BASELINE {
            return Ok(muster_audit::BASELINE.to_owned());
        }
        let path = path.parent().unwrap_or(Path::new("")).join(name);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot be read: {}: {error}", path.display()))?;
        match what {
            Beside::Audit => match muster_audit::file::audit(&text) {
                Ok(_) => Ok(text),
                Err(errors) => {
                    let told = errors.0.iter().map(|error| format!("{}:{error}", path.display()));
                    Err(format!(
                        "is no right audit: {}",
                        told.collect::<Vec<_>>().join("; ")
                    ))
                }
            },
            Beside::Certificates => {
                let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
                match read {
                    Ok(certificates) if certificates.is_empty() => {
                        Err("has no certificate; write the name of a PEM file".into())
                    }
                    Ok(_) => Ok(text),
                    Err(error) => Err(format!("is no PEM file: {error}")),
                }
            }
        }
    };
    file::rollout_beside(text, &beside)
}

/// The name under which the hardening baseline is run without a file.
const BASELINE: &str = "baseline";

/// The text of a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let told = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes).map_err(told)?,
        false => std::fs::File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(told)?,
    };
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: it is not UTF-8", path.display())))
}

/// A file that cannot be used, for commands that need one that can.
pub(crate) fn failure(path: &Path, errors: &FileErrors) -> Failure {
    let what = match errors.0.len() {
        1 => "a mistake".to_owned(),
        many => format!("{many} mistakes"),
    };
    let details = errors.0.iter().map(error_json).collect::<Vec<_>>();
    Failure::new(
        Exit::Usage,
        "INVALID_FILE",
        format!("{} has {what}", path.display()),
    )
    .with("details", Value::Array(details))
}

fn error_json(error: &FileError) -> Value {
    let FileError {
        line,
        column,
        field,
        value,
        message,
    } = error;
    json!({ "line": line, "column": column, "field": field, "value": value, "message": message })
}

fn describe(rollout: &Rollout) -> Value {
    let Rollout {
        name,
        selector,
        plan,
        timeout,
        priority,
        policy,
    } = rollout;
    let waves = policy.waves.iter().map(|wave| {
        json!({
            "name": wave.name,
            "size": wave.size.to_string(),
            "budget": wave.budget.to_string(),
            "bake_seconds": wave.bake.as_secs_f64(),
            "soak_seconds": wave.soak.as_secs_f64(),
            "gates": wave.gates.iter().map(|gate| json!({ "name": gate.id, "kind": gate.kind.as_str(), "shadow": gate.shadow })).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": name,
        "select": selector.to_string(),
        "all": selector.to_string().is_empty(),
        "steps": plan.steps.len(),
        "effect": effect(plan.effect()),
        "plan_digest": plan.digest().to_string(),
        "timeout_seconds": timeout.as_secs_f64(),
        "priority": priority.as_str(),
        "budget": policy.limits.budget.to_string(),
        "concurrency": policy.limits.concurrency,
        "waves": waves.collect::<Vec<_>>(),
        "rules": policy.rules.iter().map(|rule| json!({ "name": rule.id, "text": rule.describe() })).collect::<Vec<_>>(),
        "expires_seconds": policy.expires.as_secs_f64(),
        "approvals_needed": policy.approval.needed,
    })
}

fn summary(rollout: &Rollout) -> String {
    let policy = &rollout.policy;
    let whom = match rollout.selector.to_string() {
        all if all.is_empty() => "every device".to_owned(),
        selector => safe(&selector).into_owned(),
    };
    let waves = policy
        .waves
        .iter()
        .map(|wave| wave.size.to_string())
        .collect::<Vec<_>>();
    let rules = policy
        .rules
        .iter()
        .map(muster_model::policy::Rule::describe)
        .collect::<Vec<_>>();
    format!(
        "valid: {} on {whom}, waves {}; at most {} harmed, {}",
        steps(&rollout.plan),
        waves.join(" → "),
        policy.limits.budget,
        rules.join(", "),
    )
}

fn steps(plan: &Plan) -> String {
    let written = muster_model::firmware::written(&plan.steps).len();
    let parts = match plan.steps.len() {
        parts if parts == written => String::new(),
        parts => format!(" (done in {parts})"),
    };
    match written {
        1 => format!("1 step{parts}"),
        many => format!("{many} steps{parts}"),
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Stage => "stage",
        Effect::Change => "change",
        Effect::Disrupt => "disrupt",
    }
}
