//! `muster audit findings` and `waive`.

use muster_proto::v1;
use serde_json::{Value, json};

use super::super::connect::{Engine, claimed_by};
use super::super::result::{table, timestamp};
use super::show::{evidence, evidence_text, write_csv};
use super::{Findings, Waive};
use crate::exit::{Done, Exit};
use crate::terminal::{is_closed, number, out, safe};

const COLUMNS: [&str; 12] = [
    "audit",
    "check",
    "device",
    "severity",
    "state",
    "first_seen",
    "last_seen",
    "closed_at",
    "flaps",
    "reason",
    "waived_by",
    "waived_until",
];

pub(super) async fn list(engine: &Engine, args: Findings, json: bool) -> Done {
    let mut rows = table([
        "SEVERITY",
        "CHECK",
        "DEVICE",
        "STATE",
        "SINCE",
        "LAST SEEN",
        "FLAPS",
        "EVIDENCE",
    ]);
    let mut request = v1::ListFindingsRequest {
        name: args.name,
        device: args.device,
        check: args.check,
        states: args.state.iter().map(|state| (*state).into()).collect(),
        ..Default::default()
    };
    if args.file.is_asked() {
        let what = v1::export_audit_request::What::Findings(request);
        return args.file.write(engine, what, json).await;
    }
    if args.csv {
        write_csv(&[COLUMNS.map(str::to_owned).to_vec()])?;
    }
    loop {
        let page = engine.audits().list_findings(request.clone()).await?.into_inner();
        if args.csv {
            write_csv(&page.findings.iter().map(csv_row).collect::<Vec<_>>())?;
        } else if json {
            page.findings.iter().for_each(|finding| out(to_json(finding)));
        } else {
            for finding in &page.findings {
                rows.add_row(row(finding));
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || is_closed() {
            break;
        }
    }
    if !json && !args.csv {
        out(&rows);
    }
    Ok(Exit::Ok)
}

fn state(finding: &v1::Finding) -> String {
    let name = finding.state().as_str_name();
    name.trim_start_matches("FINDING_STATE_").to_ascii_lowercase()
}

fn row(finding: &v1::Finding) -> [String; 8] {
    let state = match (&finding.waiver, finding.state()) {
        (Some(waiver), v1::FindingState::Waived) => format!(
            "waived by {} until {}",
            safe(&waiver.owner),
            timestamp(waiver.expires_at.as_ref()).unwrap_or_default()
        ),
        _ => state(finding),
    };
    [
        finding.severity.clone(),
        safe(&finding.check).into_owned(),
        safe(&finding.device).into_owned(),
        state,
        timestamp(finding.first_seen.as_ref()).unwrap_or_default(),
        timestamp(finding.last_seen.as_ref()).unwrap_or_default(),
        finding.flaps.to_string(),
        safe(&evidence_text(&finding.evidence)).into_owned(),
    ]
}

fn csv_row(finding: &v1::Finding) -> Vec<String> {
    let waiver = finding.waiver.clone().unwrap_or_default();
    vec![
        finding.audit.clone(),
        finding.check.clone(),
        finding.device.clone(),
        finding.severity.clone(),
        state(finding),
        timestamp(finding.first_seen.as_ref()).unwrap_or_default(),
        timestamp(finding.last_seen.as_ref()).unwrap_or_default(),
        timestamp(finding.closed_at.as_ref()).unwrap_or_default(),
        finding.flaps.to_string(),
        finding.reason.clone(),
        waiver.owner,
        timestamp(waiver.expires_at.as_ref()).unwrap_or_default(),
    ]
}

fn to_json(finding: &v1::Finding) -> Value {
    json!({
        "audit": finding.audit,
        "check": finding.check,
        "device": finding.device,
        "severity": finding.severity,
        "state": state(finding),
        "first_seen": timestamp(finding.first_seen.as_ref()),
        "last_seen": timestamp(finding.last_seen.as_ref()),
        "closed_at": timestamp(finding.closed_at.as_ref()),
        "flaps": finding.flaps,
        "reason": finding.reason,
        "evidence": evidence(&finding.evidence),
        "waiver": finding.waiver.as_ref().map(|waiver| json!({
            "device": waiver.device,
            "owner": waiver.owner,
            "reason": waiver.reason,
            "expires_at": timestamp(waiver.expires_at.as_ref()),
            "created_at": timestamp(waiver.created_at.as_ref()),
        })),
    })
}

pub(super) async fn waive(engine: &Engine, args: Waive, json: bool) -> Done {
    let request = v1::WaiveFindingsRequest {
        audit: args.audit,
        check: args.check,
        device: args.device,
        owner: args.owner,
        reason: args.reason,
        expires_at: args.until,
        revoke: args.revoke,
        claimed_by: claimed_by(),
    };
    let about = engine
        .audits()
        .waive_findings(request)
        .await?
        .into_inner()
        .findings;
    match json {
        true => out(json!({ "findings": about })),
        false => out(format_args!("{} open findings", number(about))),
    }
    Ok(Exit::Ok)
}
