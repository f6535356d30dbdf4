//! `muster audit run`.

use std::io::IsTerminal as _;

use muster_proto::v1;
use serde_json::json;

use super::super::connect::{Engine, claimed_by};
use super::show::{result_json, result_text, table_of_checks};
use super::{Pages, Run, percent};
use crate::exit::{Done, Exit, Failure};
use crate::progress;
use crate::terminal::{devices, number, out, safe};

/// Failures shown; the rest is counted.
const SHOWN: usize = 20;

pub(super) async fn run(engine: &Engine, args: Run, definition: String, json: bool) -> Done {
    let message = |duration: std::time::Duration| duration.try_into().ok();
    let request = v1::CreateAuditRequest {
        spread: None,
        definition,
        selector: args.select.unwrap_or_default(),
        all: args.all,
        request_id: uuid::Uuid::now_v7().to_string(),
        timeout: args.timeout.and_then(message),
        max_age: match args.live {
            true => Some(prost_types::Duration::default()),
            false => args.max_age.and_then(message),
        },
        wait: args.eventually.and_then(message),
        min_coverage: args.min_coverage,
        claimed_by: claimed_by(),
    };
    let detach = args.detach;
    start(engine, request, detach, "", json).await
}

/// Starts a run and follows it to its end. Of one check, if it is named, and of all others nothing is told.
pub(super) async fn start(
    engine: &Engine,
    request: v1::CreateAuditRequest,
    detach: bool,
    check: &str,
    json: bool,
) -> Done {
    let made = engine.audits().create_audit(request).await?.into_inner();
    if detach {
        match json {
            true => out(json!({ "audit": made.job })),
            false => out(made.job),
        }
        return Ok(Exit::StillRuns);
    }
    let over = tokio::select! {
        over = follow(engine, &made.job) => over?,
        _ = tokio::signal::ctrl_c() => None,
    };
    let Some(mut audit) = over else {
        anstream::eprintln!(
            "detached; the audit goes on: muster audit show {0}, or end it: muster job abort {0}",
            made.job
        );
        return Ok(Exit::StillRuns);
    };
    if !check.is_empty() {
        audit.checks.retain(|known| known.check == check);
        audit.tally = audit.checks.first().and_then(|check| check.tally);
    }
    tell(engine, &audit, check, json).await?;
    Ok(exit_of(&audit))
}

/// Shows how far it is until it is over.
async fn follow(engine: &Engine, id: &str) -> Result<Option<v1::Audit>, Failure> {
    let request = v1::WatchAuditRequest { id: id.to_owned() };
    let mut news = engine.audits().watch_audit(request).await?.into_inner();
    let bar = progress::bar(0);
    let mut last = None;
    while let Some(message) = news.message().await? {
        let Some(audit) = message.audit else { continue };
        bar.set_length(audit.total);
        bar.set_position(audit.judged);
        let tally = audit.tally.unwrap_or_default();
        bar.set_message(format!("{} fail", number(tally.fail)));
        last = Some(audit).filter(|audit| audit.finished_at.is_some());
    }
    bar.finish_and_clear();
    if last.is_none() {
        return Err(Failure::new(
            Exit::StillRuns,
            "ENGINE_STOPPED",
            format!("the engine has stopped; the audit goes on when it is back: muster audit show {id}"),
        ));
    }
    Ok(last)
}

async fn tell(engine: &Engine, audit: &v1::Audit, check: &str, json: bool) -> Result<(), Failure> {
    if json {
        let mut pages = Pages::new(engine, &audit.id, &[], check);
        while let Some(results) = pages.next().await? {
            results.iter().for_each(|result| out(result_json(result)));
        }
        return Ok(());
    }
    let bad = [v1::Verdict::Fail, v1::Verdict::Error];
    let mut pages = Pages::new(engine, &audit.id, &bad, check);
    let mut shown = 0;
    while let Some(results) = pages.next().await? {
        for result in results.iter().take(SHOWN - shown) {
            out(result_text(result));
            shown += 1;
        }
        if shown == SHOWN {
            break;
        }
    }
    let tally = audit.tally.unwrap_or_default();
    let more = (tally.fail + tally.error).saturating_sub(shown as u64);
    if more > 0 {
        out(format_args!(
            "… and {} more: muster audit results {} --verdict fail,error",
            number(more),
            audit.id
        ));
    }
    out(table_of_checks(audit));
    summary(audit);
    Ok(())
}

/// Compliance means nothing without coverage: the two are told together.
pub(super) fn summary(audit: &v1::Audit) {
    let tally = audit.tally.unwrap_or_default();
    let floor = match audit.min_coverage {
        Some(floor) if below(audit) => format!(", below the {} that are wanted", percent(Some(floor))),
        _ => String::new(),
    };
    let reused = match audit.reused {
        0 => String::new(),
        reused => format!(", {} of them not asked again", number(reused)),
    };
    let line = format!(
        "{}: compliance {}, coverage {}{floor} of {}{reused} (audit {})",
        safe(&audit.name),
        percent(tally.compliance),
        percent(tally.coverage),
        devices(audit.total),
        audit.id
    );
    match std::io::stdout().is_terminal() {
        true => out(line),
        false => anstream::eprintln!("{line}"),
    }
}

fn below(audit: &v1::Audit) -> bool {
    let coverage = audit.tally.and_then(|tally| tally.coverage).unwrap_or_default();
    audit.min_coverage.is_some_and(|floor| coverage < floor)
}

pub(super) fn exit_of(audit: &v1::Audit) -> Exit {
    let tally = audit.tally.unwrap_or_default();
    let nothing = tally.coverage.unwrap_or_default() == 0.0;
    match (tally.fail > 0, below(audit) || nothing) {
        (true, _) => Exit::Failures,
        (false, true) => Exit::Coverage,
        (false, false) => Exit::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_goes_before_what_was_not_judged() {
        let audit = |fail, coverage, floor| v1::Audit {
            tally: Some(v1::Tally {
                fail,
                coverage: Some(coverage),
                ..Default::default()
            }),
            min_coverage: floor,
            ..Default::default()
        };
        assert_eq!(exit_of(&audit(1, 0.5, Some(0.9))), Exit::Failures);
        assert_eq!(exit_of(&audit(0, 0.5, Some(0.9))), Exit::Coverage);
        assert_eq!(exit_of(&audit(0, 0.9, Some(0.9))), Exit::Ok);
        assert_eq!(exit_of(&audit(0, 0.5, None)), Exit::Ok);
        assert_eq!(exit_of(&audit(0, 0.0, None)), Exit::Coverage);
        assert_eq!(percent(Some(0.9999)), "99.9 %");
    }
}
