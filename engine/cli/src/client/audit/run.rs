//! `muster audit run`.

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use muster_proto::v1;
use serde_json::json;
use tonic::{Code, Status};

use super::super::connect::{Engine, claimed_by};
use super::show::{result_json, result_text, table_of_checks};
use super::{Pages, Run, percent};
use crate::exit::{Done, Exit, Failure};
use crate::progress;
use crate::terminal::{devices, is_closed, number, out, safe};

/// Failures shown; the rest is counted.
const SHOWN: usize = 20;
/// Between tries to reach an engine that is gone.
const RETRY: Duration = Duration::from_millis(500);
/// An engine that is gone for longer is given up; the audit goes on when it is back.
const GIVE_UP: Duration = Duration::from_secs(300);

pub(super) async fn run(engine: &Engine, args: Run, definition: String, json: bool) -> Done {
    let message = |duration: Duration| duration.try_into().ok();
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
    let mut told = json.then(|| Told {
        check,
        seen: HashSet::new(),
    });
    let over = tokio::select! {
        over = follow(engine, &made.job, &mut told) => over?,
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
    if !json {
        tell(engine, &audit, check).await?;
    }
    Ok(exit_of(&audit))
}

/// Verdicts that are told as they come.
struct Told<'a> {
    /// Only of this check, unless it is empty.
    check: &'a str,
    /// Devices and checks that were told: all of them come again after a reconnection.
    seen: HashSet<(String, String)>,
}

impl Told<'_> {
    fn tell(&mut self, results: Vec<v1::AuditResult>) {
        for result in results {
            let meant = self.check.is_empty() || self.check == result.check;
            if meant && self.seen.insert((result.device.clone(), result.check.clone())) {
                out(result_json(&result));
            }
        }
    }
}

/// Shows how far it is until it is over, over as many connections as it takes; nothing when nobody reads any more.
async fn follow(
    engine: &Engine,
    id: &str,
    told: &mut Option<Told<'_>>,
) -> Result<Option<v1::Audit>, Failure> {
    let bar = progress::bar(0);
    let mut gone: Option<Instant> = None;
    loop {
        let ended = watch(engine, id, told, &bar, &mut gone).await;
        match ended {
            Ok(over) => {
                bar.finish_and_clear();
                return Ok(over);
            }
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
                let since = *gone.get_or_insert_with(|| {
                    bar.suspend(|| {
                        anstream::eprintln!("the engine at {} is gone; waiting for it", engine.url());
                    });
                    Instant::now()
                });
                if since.elapsed() > GIVE_UP {
                    bar.finish_and_clear();
                    let text = format!("the engine at {} did not come back", engine.url());
                    let failure = Failure::new(Exit::Usage, "NO_CONNECTION", text);
                    return Err(failure.hint(format!("when it is back: muster audit show {id}")));
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(status) => {
                bar.finish_and_clear();
                return Err(status.into());
            }
        }
    }
}

/// The same over one connection.
async fn watch(
    engine: &Engine,
    id: &str,
    told: &mut Option<Told<'_>>,
    bar: &ProgressBar,
    gone: &mut Option<Instant>,
) -> Result<Option<v1::Audit>, Status> {
    let request = v1::WatchAuditRequest {
        id: id.to_owned(),
        results: told.is_some(),
    };
    let mut news = engine.audits().watch_audit(request).await?.into_inner();
    while let Some(message) = news.message().await? {
        if gone.take().is_some() {
            bar.suspend(|| anstream::eprintln!("the engine is back"));
        }
        if let Some(told) = told {
            bar.suspend(|| told.tell(message.results));
            if is_closed() {
                return Ok(None);
            }
        }
        let Some(audit) = message.audit else { continue };
        bar.set_length(audit.total);
        bar.set_position(audit.judged);
        let tally = audit.tally.unwrap_or_default();
        bar.set_message(format!("{} fail", number(tally.fail)));
        if audit.finished_at.is_some() {
            return Ok(Some(audit));
        }
    }
    Err(Status::unavailable("the watch ended before the audit"))
}

async fn tell(engine: &Engine, audit: &v1::Audit, check: &str) -> Result<(), Failure> {
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
