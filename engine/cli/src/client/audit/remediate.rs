//! `muster audit remediate`: the failing set, a plan, a job, and a look at what became of it (L9).

use std::collections::BTreeSet;
use std::time::Duration;

use muster_model::policy::Amount;
use muster_model::{Policy, selector};
use muster_proto::v1;

use super::super::connect::{Engine, claimed_by};
use super::super::rollout::preview;
use super::super::run::{ask, create_as, watch};
use super::run::start;
use super::{Pages, Remediate, show};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{devices, number};

pub(super) async fn run(engine: &Engine, args: Remediate, json: bool) -> Done {
    let found = show::get(engine, args.id.clone()).await?;
    let audit = found.audit.unwrap_or_default();
    let file = muster_audit::file::audit(&found.definition)
        .map_err(|errors| Failure::new(Exit::Usage, "INVALID_FILE", errors))?;
    let Some(check) = file.checks.iter().find(|check| check.name == args.check) else {
        let names = file
            .checks
            .iter()
            .map(|check| check.name.as_str())
            .collect::<Vec<_>>();
        return Err(Failure::usage(format!(
            "{:?} is no check of this audit; there are {}",
            args.check,
            names.join(", ")
        )));
    };
    let Some(remedy) = &check.remedy else {
        let text = format!("the file says nothing that mends {:?}", args.check);
        return Err(
            Failure::usage(text).hint("give the check a remedy, as in remedy = { ensure = \"/menu\", … }")
        );
    };
    let waived = match args.waived {
        true => BTreeSet::new(),
        false => waived(engine, &audit.name, &args.check).await?,
    };
    let failing = failing(engine, &audit.id, &args.check).await?;
    let left_out = failing.iter().filter(|device| waived.contains(*device)).count();
    let wanted = failing
        .into_iter()
        .filter(|device| !waived.contains(device))
        .collect::<Vec<_>>();
    if left_out > 0 {
        anstream::eprintln!(
            "{} left out: somebody answers for them (--waived takes them too)",
            devices(left_out as u64)
        );
    }
    if wanted.is_empty() {
        anstream::eprintln!("no device fails {:?}", args.check);
        return Ok(Exit::Ok);
    }
    let (selector, taken) = select(&wanted);
    if taken < wanted.len() {
        anstream::eprintln!(
            "the first {} of {}: more names than fit into a selector; audit and remediate again for the others",
            number(taken as u64),
            devices(wanted.len() as u64)
        );
    }
    let spec = spec(&args, remedy, selector.clone(), file.timeout);
    if !args.start {
        let bake = args
            .bake
            .map(|bake| format!(" --bake {}s", bake.as_secs()))
            .unwrap_or_default();
        let how = format!(
            "audit remediate {} --check {:?}{bake} --start",
            args.id, args.check
        );
        return preview::run(engine, &how, spec, args.approve_digest.is_empty(), json).await;
    }
    if !args.yes && args.approve_digest.is_empty() {
        let request = v1::PreviewJobRequest {
            spec: Some(spec.clone()),
        };
        let answer = engine.jobs().preview_job(request).await?.into_inner();
        let what = format!("{}: {}", spec.name, preview::in_a_line(&answer));
        ask(&what, answer.total as usize, &answer.sample, false)?;
    }
    let job = create_as(engine, spec, &args.approve_digest).await?;
    anstream::eprintln!("job {}: {}", job.id, devices(job.total));
    let done = watch(engine, &job.id, false).await?;
    if matches!(done, Exit::StillRuns | Exit::Halted) {
        return Ok(done);
    }
    anstream::eprintln!("auditing {} again", devices(taken as u64));
    let again = v1::CreateAuditRequest {
        definition: found.definition,
        selector,
        request_id: uuid::Uuid::now_v7().to_string(),
        max_age: Some(prost_types::Duration::default()),
        min_coverage: audit.min_coverage,
        claimed_by: claimed_by(),
        ..Default::default()
    };
    start(engine, again, false, &args.check, json).await
}

/// Devices that failed, in the order of the inventory.
async fn failing(engine: &Engine, id: &str, check: &str) -> Result<Vec<String>, Failure> {
    let mut pages = Pages::new(engine, id, &[v1::Verdict::Fail], check);
    let mut all = Vec::new();
    while let Some(results) = pages.next().await? {
        all.extend(results.into_iter().map(|result| result.device));
    }
    Ok(all)
}

async fn waived(engine: &Engine, audit: &str, check: &str) -> Result<BTreeSet<String>, Failure> {
    let mut request = v1::ListFindingsRequest {
        name: audit.to_owned(),
        check: check.to_owned(),
        states: vec![v1::FindingState::Waived.into()],
        page_size: 5000,
        ..Default::default()
    };
    let mut all = BTreeSet::new();
    loop {
        let page = engine.audits().list_findings(request.clone()).await?.into_inner();
        all.extend(page.findings.into_iter().map(|finding| finding.device));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// A selector of these devices, and how many of them it holds.
fn select(names: &[String]) -> (String, usize) {
    let (mut text, mut taken) = (String::from("name in ("), 0);
    for name in names {
        if text.len() + name.len() + 2 > selector::MAX_BYTES {
            break;
        }
        if taken > 0 {
            text.push(',');
        }
        text.push_str(name);
        taken += 1;
    }
    text.push(')');
    (text, taken)
}

fn spec(args: &Remediate, remedy: &muster_model::Plan, selector: String, timeout: Duration) -> v1::JobSpec {
    let mut policy = Policy::default();
    if let (Some(bake), Some(canary)) = (args.bake, policy.waves.first_mut()) {
        canary.bake = bake;
    }
    v1::JobSpec {
        name: format!("remedy of {}", args.check),
        plan: Some(remedy.into()),
        selector,
        timeout: timeout.try_into().ok(),
        priority: v1::JobPriority::Rollout.into(),
        budget: match policy.limits.budget {
            Amount::All => "all".into(),
            budget => budget.to_string(),
        },
        policy: Some((&policy).into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_a_selector_up_to_its_bound() {
        let names = (0..3).map(|at| format!("r{at}")).collect::<Vec<_>>();
        assert_eq!(select(&names), ("name in (r0,r1,r2)".into(), 3));
        let names = (0..40_000).map(|at| format!("router-{at}")).collect::<Vec<_>>();
        let (text, taken) = select(&names);
        assert!(text.len() <= selector::MAX_BYTES && taken > 10_000 && taken < names.len());
        assert!(text.parse::<muster_model::Selector>().is_ok());
    }
}
