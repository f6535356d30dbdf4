//! `muster audit report`: a run as a page that needs nothing else, for build servers, and for programs.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use muster_proto::v1;

use super::super::connect::Engine;
use super::super::report::{STYLE, escape};
use super::super::result::timestamp;
use super::show::{audit_json, evidence_text, result_json};
use super::{Pages, percent, show, verdict_name};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{number, out};

/// Failures shown; the rest is counted.
const SHOWN: usize = 500;
/// Runs of a trend.
const RUNS: i32 = 30;
/// Sites shown.
const SITES: usize = 20;
/// The label that tells where a device is.
const SITE: &str = "site";

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Format {
    /// A page that needs nothing else: compliance by check, coverage, trend, worst sites
    #[arg(long)]
    pub html: bool,
    /// A line for the run, then one for each device and check
    #[arg(long)]
    pub jsonl: bool,
    /// For build servers: each device and check is a test
    #[arg(long)]
    pub junit: bool,
}

pub(super) async fn run(engine: &Engine, id: String, format: Format) -> Done {
    let audit = show::get(engine, id.clone()).await?.audit.unwrap_or_default();
    let mut pages = Pages::new(engine, &id, &[], "");
    if format.jsonl {
        out(audit_json(&audit));
        while let Some(results) = pages.next().await? {
            results.iter().for_each(|result| out(result_json(result)));
        }
        return Ok(Exit::Ok);
    }
    if format.junit {
        let mut tests = String::new();
        while let Some(results) = pages.next().await? {
            results.iter().for_each(|result| tests.push_str(&test(result)));
        }
        out(suite(&audit, &tests));
        return Ok(Exit::Ok);
    }
    let sites = sites(engine).await?;
    let mut report = Report::default();
    while let Some(results) = pages.next().await? {
        results.into_iter().for_each(|result| report.add(result, &sites));
    }
    let request = v1::ListAuditsRequest {
        page_size: RUNS,
        name: audit.name.clone(),
        ..Default::default()
    };
    let mut trend = engine.audits().list_audits(request).await?.into_inner().audits;
    trend.retain(|run| run.finished_at.is_some());
    trend.reverse();
    out(page(&audit, &report, &trend));
    Ok(Exit::Ok)
}

/// Where devices are.
async fn sites(engine: &Engine) -> Result<BTreeMap<String, String>, Failure> {
    let (mut all, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let request = v1::ListDevicesRequest {
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let page = engine.devices().list_devices(request).await?.into_inner();
        for device in page.devices {
            if let Some(site) = device.labels.get(SITE) {
                all.insert(device.name, site.clone());
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// What the page needs of the verdicts.
#[derive(Default)]
struct Report {
    bad: Vec<v1::AuditResult>,
    more: u64,
    /// Pass, fail and not judged, by site.
    sites: BTreeMap<String, [u64; 3]>,
}

impl Report {
    fn add(&mut self, result: v1::AuditResult, sites: &BTreeMap<String, String>) {
        let site = sites
            .get(&result.device)
            .cloned()
            .unwrap_or_else(|| "no site".into());
        let counts = self.sites.entry(site).or_default();
        match result.verdict() {
            v1::Verdict::Pass => counts[0] += 1,
            v1::Verdict::Fail => counts[1] += 1,
            v1::Verdict::NotApplicable => return,
            _ => counts[2] += 1,
        }
        if matches!(result.verdict(), v1::Verdict::Fail | v1::Verdict::Error) {
            match self.bad.len() < SHOWN {
                true => self.bad.push(result),
                false => self.more += 1,
            }
        }
    }
}

fn page(audit: &v1::Audit, report: &Report, trend: &[v1::Audit]) -> String {
    let tally = audit.tally.unwrap_or_default();
    let whom = match audit.selector.as_str() {
        "" => "every device",
        selector => selector,
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (audit.name) " – " (percent(tally.compliance)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (audit.name) }
                p.dim { "Audit " code { (audit.id) } }
                table {
                    tr { th { "Compliance" } td { (percent(tally.compliance)) " of what was judged" } }
                    tr { th { "Coverage" } td {
                        (percent(tally.coverage))
                        @if let Some(floor) = audit.min_coverage { ", of " (percent(Some(floor))) " that are wanted" }
                    } }
                    tr { th { "Devices" } td {
                        (number(audit.total)) " (" (whom) "), " (number(audit.answered)) " answered"
                        @if audit.reused > 0 { ", " (number(audit.reused)) " were not asked again" }
                    } }
                    tr { th { "Made" } td { (timestamp(audit.created_at.as_ref()).unwrap_or_default()) " by " (audit.claimed_by) } }
                    tr { th { "Over" } td { (timestamp(audit.finished_at.as_ref()).unwrap_or_else(|| "not yet".into())) } }
                }
                h2 { "Compliance by check" }
                (checks(audit))
                h2 { "Trend" }
                (chart(trend))
                h2 { "Worst sites" }
                (worst(report))
                h2 { "What fails" }
                (bad(report))
            }
        }
    };
    page.into_string()
}

/// A bar of pass, fail and not judged.
fn bar(pass: u64, fail: u64, other: u64) -> Markup {
    let all = (pass + fail + other).max(1) as f64;
    let (good, bad) = (pass as f64 / all * 200.0, fail as f64 / all * 200.0);
    html! {
        svg viewBox="0 0 200 12" role="img" {
            title { (pass) " pass, " (fail) " fail, " (other) " not judged" }
            rect.none x="0" y="0" width="200" height="12" {}
            rect.good x="0" y="0" width=(format!("{good:.1}")) height="12" {}
            rect.bad x=(format!("{good:.1}")) y="0" width=(format!("{bad:.1}")) height="12" {}
        }
    }
}

fn checks(audit: &v1::Audit) -> Markup {
    html! {
        table {
            tr { th { "Check" } th { "Severity" } th { "Fail" } th { "Compliance" } th { "Coverage" } th {} }
            @for check in &audit.checks {
                @let tally = check.tally.unwrap_or_default();
                tr {
                    td { (check.check) @if !check.reason.is_empty() { br; span.dim { (check.reason) } } }
                    td { (check.severity) }
                    td.n { (number(tally.fail)) }
                    td.n { (percent(tally.compliance)) }
                    td.n { (percent(tally.coverage)) }
                    td style="width:25%" { (bar(tally.pass, tally.fail, tally.error + tally.unreached)) }
                }
            }
        }
    }
}

/// Compliance and coverage of the last runs.
fn chart(trend: &[v1::Audit]) -> Markup {
    const WIDTH: f64 = 960.0;
    const HEIGHT: f64 = 120.0;
    let line = |of: fn(&v1::Tally) -> Option<f64>| {
        let points = trend.iter().enumerate().filter_map(|(at, run)| {
            let share = of(&run.tally.unwrap_or_default())?;
            let x = at as f64 / (trend.len().max(2) - 1) as f64 * WIDTH;
            Some(format!("{x:.1},{:.1}", HEIGHT * (1.0 - share)))
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let when = |run: Option<&v1::Audit>| {
        run.and_then(|run| timestamp(run.created_at.as_ref()))
            .unwrap_or_default()
    };
    html! {
        @if trend.len() < 2 { p { "One run is no trend." } } @else {
            svg viewBox=(format!("0 -4 {WIDTH} {}", HEIGHT + 22.0)) role="img" {
                title { "Compliance (line) and coverage (dashes) of the last " (trend.len()) " runs, 0 to 100 %" }
                polyline fill="none" stroke="#2f9e5b" stroke-width="2" points=(line(|tally| tally.compliance)) {}
                polyline fill="none" stroke="#66707a" stroke-dasharray="4 3" points=(line(|tally| tally.coverage)) {}
                text x="0" y=(HEIGHT + 14.0) { (when(trend.first())) }
                text x=(WIDTH) y=(HEIGHT + 14.0) text-anchor="end" { (when(trend.last())) }
            }
            p.dim { "The line is compliance, the dashes are coverage." }
        }
    }
}

fn worst(report: &Report) -> Markup {
    let mut sites = report.sites.iter().collect::<Vec<_>>();
    let share = |[pass, fail, _]: &[u64; 3]| *fail as f64 / (pass + fail).max(1) as f64;
    sites.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
    html! {
        table {
            tr { th { "Site" } th { "Fail" } th { "Pass" } th { "Not judged" } th {} }
            @for (site, counts) in sites.iter().take(SITES) {
                @let [pass, fail, other] = **counts;
                tr {
                    td { (site) }
                    td.n { (number(fail)) }
                    td.n { (number(pass)) }
                    td.n { (number(other)) }
                    td style="width:25%" { (bar(pass, fail, other)) }
                }
            }
        }
        @if sites.len() > SITES { p.dim { "and " (number((sites.len() - SITES) as u64)) " more" } }
    }
}

fn bad(report: &Report) -> Markup {
    html! {
        @if report.bad.is_empty() { p { "Nothing." } } @else {
            table {
                tr { th { "Device" } th { "Check" } th { "Severity" } th { "Verdict" } th { "Evidence" } }
                @for result in &report.bad {
                    tr {
                        td { (result.device) }
                        td { (result.check) }
                        td { (result.severity) }
                        td { (verdict_name(result.verdict())) }
                        td { (result.reason) " " span.dim { (evidence_text(&result.evidence)) } }
                    }
                }
            }
            @if report.more > 0 { p.dim { "and " (number(report.more)) " more" } }
        }
    }
}

fn test(result: &v1::AuditResult) -> String {
    let head = format!(
        "  <testcase classname=\"{}\" name=\"{}\"",
        escape(&result.device),
        escape(&result.check)
    );
    let said = [result.reason.clone(), evidence_text(&result.evidence)];
    let said = said
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    let said = escape(&said);
    match result.verdict() {
        v1::Verdict::Pass => format!("{head}/>\n"),
        v1::Verdict::Fail => {
            format!(
                "{head}><failure type=\"{}\" message=\"{said}\"/></testcase>\n",
                escape(&result.severity)
            )
        }
        v1::Verdict::Error => format!("{head}><error message=\"{said}\"/></testcase>\n"),
        verdict => format!(
            "{head}><skipped message=\"{}: {said}\"/></testcase>\n",
            verdict_name(verdict)
        ),
    }
}

fn suite(audit: &v1::Audit, tests: &str) -> String {
    let tally = audit.tally.unwrap_or_default();
    let all = tally.pass + tally.fail + tally.error + tally.unreached + tally.not_applicable;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{all}\" failures=\"{}\" errors=\"{}\" \
         skipped=\"{}\">\n{tests}</testsuite>",
        escape(&audit.name),
        tally.fail,
        tally.error,
        tally.unreached + tally.not_applicable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(device: &str, verdict: v1::Verdict) -> v1::AuditResult {
        v1::AuditResult {
            device: device.into(),
            check: "a <check>".into(),
            verdict: verdict.into(),
            evidence: vec!["{\"comment\":\"<script>\"}".into()],
            ..Default::default()
        }
    }

    #[test]
    fn nothing_that_a_device_or_a_person_says_becomes_markup() {
        let tally = v1::Tally {
            pass: 1,
            fail: 1,
            compliance: Some(0.5),
            coverage: Some(1.0),
            ..Default::default()
        };
        let audit = v1::Audit {
            name: "<b>".into(),
            tally: Some(tally),
            checks: vec![v1::CheckTally {
                check: "<i>".into(),
                tally: Some(tally),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut report = Report::default();
        let sites = BTreeMap::from([("r1".to_owned(), "<u>".to_owned())]);
        report.add(result("r1", v1::Verdict::Fail), &sites);
        report.add(result("r2", v1::Verdict::Pass), &sites);
        let page = page(&audit, &report, &[audit.clone(), audit.clone()]);
        for never in ["<b>", "<i>", "<u>", "<script", "http:", "https:"] {
            assert!(!page.contains(never), "{never}");
        }
        assert!(
            page.contains("polyline") && page.contains("&lt;u&gt;") && page.contains("no site"),
            "{page}"
        );
    }

    #[test]
    fn each_device_and_check_is_a_test() {
        assert!(test(&result("r1", v1::Verdict::Pass)).ends_with("name=\"a &lt;check&gt;\"/>\n"));
        assert!(test(&result("r1", v1::Verdict::Fail)).contains("<failure"));
        assert!(test(&result("r1", v1::Verdict::Unreached)).contains("<skipped message=\"unreached: "));
    }
}
