//! Runs as people and programs read them.

use comfy_table::Table;
use muster_proto::v1;
use serde_json::{Value, json};

use super::super::connect::Engine;
use super::super::result::{table, timestamp};
use super::{Pages, percent, run, verdict_name};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{BAD, DIM, GOOD, RESET, is_closed, lines, number, out, safe};

pub(super) async fn list(engine: &Engine, limit: usize, name: String, json: bool) -> Done {
    let mut rows = table([
        "ID",
        "AUDIT",
        "CREATED",
        "DEVICES",
        "FAIL",
        "COMPLIANCE",
        "COVERAGE",
        "STATE",
    ]);
    let (mut left, mut page_token) = (limit, String::new());
    while left > 0 {
        let request = v1::ListAuditsRequest {
            page_size: left.min(500) as i32,
            page_token,
            name: name.clone(),
        };
        let page = engine.audits().list_audits(request).await?.into_inner();
        for audit in page.audits.iter().take(left) {
            if json {
                out(audit_json(audit));
                continue;
            }
            let tally = audit.tally.unwrap_or_default();
            rows.add_row([
                audit.id.clone(),
                safe(&audit.name).into_owned(),
                timestamp(audit.created_at.as_ref()).unwrap_or_default(),
                number(audit.total),
                number(tally.fail),
                percent(tally.compliance),
                percent(tally.coverage),
                state(audit),
            ]);
        }
        left = left.saturating_sub(page.audits.len());
        page_token = page.next_page_token;
        if page_token.is_empty() || is_closed() {
            break;
        }
    }
    if !json {
        out(&rows);
    }
    Ok(Exit::Ok)
}

fn state(audit: &v1::Audit) -> String {
    match audit.finished_at {
        Some(_) => "over".into(),
        None => format!("{} of {}", number(audit.judged), number(audit.total)),
    }
}

pub(super) async fn get(engine: &Engine, id: String) -> Result<v1::GetAuditResponse, Failure> {
    let request = v1::GetAuditRequest { id };
    Ok(engine.audits().get_audit(request).await?.into_inner())
}

pub(super) async fn show(engine: &Engine, id: String, json: bool) -> Done {
    let audit = get(engine, id).await?.audit.unwrap_or_default();
    if json {
        out(audit_json(&audit));
        return Ok(Exit::Ok);
    }
    let whom = match audit.selector.as_str() {
        "" => "every device".into(),
        selector => safe(selector),
    };
    out(format_args!("audit     {}", audit.id));
    out(format_args!("name      {}", safe(&audit.name)));
    out(format_args!(
        "devices   {} ({whom}), {} not asked again",
        number(audit.total),
        number(audit.reused)
    ));
    out(format_args!(
        "created   {} by {}",
        timestamp(audit.created_at.as_ref()).unwrap_or_default(),
        safe(&audit.claimed_by)
    ));
    out(format_args!(
        "finished  {}",
        timestamp(audit.finished_at.as_ref()).unwrap_or_else(|| state(&audit))
    ));
    out(table_of_checks(&audit));
    run::summary(&audit);
    Ok(match audit.finished_at {
        Some(_) => run::exit_of(&audit),
        None => Exit::StillRuns,
    })
}

pub(super) fn table_of_checks(audit: &v1::Audit) -> Table {
    let mut rows = table([
        "CHECK",
        "SEVERITY",
        "PASS",
        "FAIL",
        "ERROR",
        "UNREACHED",
        "N/A",
        "COMPLIANCE",
        "COVERAGE",
    ]);
    for check in &audit.checks {
        let tally = check.tally.unwrap_or_default();
        rows.add_row([
            safe(&check.check).into_owned(),
            check.severity.clone(),
            number(tally.pass),
            number(tally.fail),
            number(tally.error),
            number(tally.unreached),
            number(tally.not_applicable),
            percent(tally.compliance),
            percent(tally.coverage),
        ]);
    }
    rows
}

pub(super) async fn results(
    engine: &Engine,
    id: String,
    verdicts: &[v1::Verdict],
    check: String,
    csv: bool,
    json: bool,
) -> Done {
    let audit = get(engine, id.clone()).await?.audit.unwrap_or_default();
    let mut pages = Pages::new(engine, &id, verdicts, &check);
    if csv {
        let header = [
            "device",
            "check",
            "severity",
            "verdict",
            "observed_at",
            "reason",
            "evidence",
        ];
        write_csv(&[header.map(str::to_owned).to_vec()])?;
    }
    while let Some(results) = pages.next().await? {
        match (json, csv) {
            (true, _) => results.iter().for_each(|result| out(result_json(result))),
            (false, true) => write_csv(&results.iter().map(csv_row).collect::<Vec<_>>())?,
            (false, false) => results.iter().for_each(|result| out(result_text(result))),
        }
    }
    Ok(match audit.finished_at {
        Some(_) => Exit::Ok,
        None => Exit::StillRuns,
    })
}

pub(super) fn write_csv(rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(Failure::usage)?;
    }
    writer.flush()?;
    lines(writer.get_ref());
    Ok(())
}

fn csv_row(result: &v1::AuditResult) -> Vec<String> {
    vec![
        result.device.clone(),
        result.check.clone(),
        result.severity.clone(),
        verdict_name(result.verdict()).to_owned(),
        timestamp(result.observed_at.as_ref()).unwrap_or_default(),
        result.reason.clone(),
        format!("[{}]", result.evidence.join(",")),
    ]
}

/// Items as JSON; what is none is told as a text.
pub(super) fn evidence(items: &[String]) -> Vec<Value> {
    items
        .iter()
        .map(|item| serde_json::from_str(item).unwrap_or_else(|_| json!(item)))
        .collect()
}

/// `{…} {…}` as `a=b c=d; …`.
pub(super) fn evidence_text(items: &[String]) -> String {
    let item = |item: &Value| match item {
        Value::Object(values) => {
            let text = |value: &Value| match value.get("hex").and_then(Value::as_str) {
                Some(hex) => format!("hex:{hex}"),
                None => value.as_str().unwrap_or_default().to_owned(),
            };
            let value = |(name, value): (&String, &Value)| format!("{name}={}", text(value));
            values.iter().map(value).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    evidence(items).iter().map(item).collect::<Vec<_>>().join("; ")
}

pub(super) fn result_json(result: &v1::AuditResult) -> Value {
    json!({
        "device": result.device,
        "check": result.check,
        "severity": result.severity,
        "verdict": verdict_name(result.verdict()),
        "reason": result.reason,
        "observed_at": timestamp(result.observed_at.as_ref()),
        "evidence": evidence(&result.evidence),
    })
}

pub(super) fn result_text(result: &v1::AuditResult) -> String {
    let verdict = result.verdict();
    let style = match verdict {
        v1::Verdict::Pass => GOOD,
        v1::Verdict::Fail | v1::Verdict::Error => BAD,
        _ => DIM,
    };
    let parts = [result.reason.clone(), evidence_text(&result.evidence)];
    let parts = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>();
    format!(
        "{:<24} {style}{:<9}{RESET} {:<8} {}  {DIM}{}{RESET}",
        safe(&result.device),
        verdict_name(verdict),
        result.severity,
        safe(&result.check),
        safe(&parts.join(": "))
    )
}

fn tally_json(tally: &v1::Tally) -> Value {
    json!({
        "pass": tally.pass, "fail": tally.fail, "error": tally.error, "unreached": tally.unreached,
        "not_applicable": tally.not_applicable, "compliance": tally.compliance, "coverage": tally.coverage,
    })
}

pub(super) fn audit_json(audit: &v1::Audit) -> Value {
    let check = |check: &v1::CheckTally| {
        json!({
            "check": check.check, "severity": check.severity, "reason": check.reason, "has_remedy": check.has_remedy,
            "tally": tally_json(&check.tally.unwrap_or_default()),
        })
    };
    json!({
        "id": audit.id,
        "name": audit.name,
        "selector": audit.selector,
        "created_at": timestamp(audit.created_at.as_ref()),
        "finished_at": timestamp(audit.finished_at.as_ref()),
        "claimed_by": audit.claimed_by,
        "total": audit.total,
        "judged": audit.judged,
        "answered": audit.answered,
        "reused": audit.reused,
        "min_coverage": audit.min_coverage,
        "digest": audit.digest,
        "tally": tally_json(&audit.tally.unwrap_or_default()),
        "checks": audit.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

pub(super) async fn diff(engine: &Engine, before: String, after: String, json: bool) -> Done {
    let request = v1::DiffAuditsRequest { before, after };
    let mut differences = engine
        .audits()
        .diff_audits(request)
        .await?
        .into_inner()
        .differences;
    differences.sort_by(|a, b| (a.kind, &a.check, &a.device).cmp(&(b.kind, &b.check, &b.device)));
    for difference in &differences {
        let kind = difference
            .kind()
            .as_str_name()
            .trim_start_matches("AUDIT_DIFFERENCE_KIND_");
        let kind = kind.to_ascii_lowercase().replace('_', " ");
        if json {
            out(json!({
                "kind": kind.replace(' ', "_"),
                "device": difference.device,
                "check": difference.check,
                "before": named(difference.before()),
                "after": named(difference.after()),
                "reason": difference.reason,
            }));
            continue;
        }
        let verdicts = match (named(difference.before()), named(difference.after())) {
            (Some(before), Some(after)) => format!("{before} → {after}"),
            _ => String::new(),
        };
        out(format_args!(
            "{kind:<14} {:<24} {}  {DIM}{verdicts} {}{RESET}",
            safe(&difference.device),
            safe(&difference.check),
            safe(&difference.reason)
        ));
    }
    let count =
        |kind: v1::AuditDifferenceKind| differences.iter().filter(|one| one.kind() == kind).count() as u64;
    anstream::eprintln!(
        "{} newly failing, {} fixed, {} appeared, {} vanished, {} changed",
        number(count(v1::AuditDifferenceKind::NewlyFailing)),
        number(count(v1::AuditDifferenceKind::Fixed)),
        number(count(v1::AuditDifferenceKind::Appeared)),
        number(count(v1::AuditDifferenceKind::Vanished)),
        number(count(v1::AuditDifferenceKind::Changed)),
    );
    Ok(Exit::Ok)
}

fn named(verdict: v1::Verdict) -> Option<&'static str> {
    (verdict != v1::Verdict::Unspecified).then(|| verdict_name(verdict))
}
