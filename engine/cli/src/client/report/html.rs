//! The report as a page that needs nothing else: no script, no font, no picture from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use muster_proto::v1;

use super::super::device::address;
use super::super::rescue::{file, step};
use super::super::result::{class_name, job_state_name, state_name, timestamp};
use super::summary::{Away, Summary, unix};
use crate::terminal::number;

/// Rows of failures shown; the rest is counted.
const SHOWN: usize = 500;
/// Columns of the timeline.
const COLUMNS: usize = 120;
/// Size of the charts.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 120.0;

pub(crate) const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d9dee3;vertical-align:top}th{font-weight:600}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.good{fill:#2f9e5b}.bad{fill:#d4453a}.none{fill:#e3e7eb}\
.dim{color:#66707a}svg{width:100%;height:auto;background:#f7f8f9}svg text{font:11px system-ui,sans-serif;fill:#66707a}\
code{font-size:.85em;word-break:break-all}";

pub(super) fn page(
    job: &v1::Job,
    summary: &Summary,
    away: &[Away],
    lost: &[v1::Rescue],
    history: &[v1::HistoryEntry],
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (summary.name) " – " (job_state_name(job.state())) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (summary.name) }
                p.dim { "Job " code { (job.id) } ", " (job_state_name(job.state())) }
                (facts(job, summary))
                h2 { "Timeline" }
                (timeline(job, summary))
                h2 { "Waves" }
                (waves(job))
                @if !away.is_empty() {
                    h2 { "Away for restarts" }
                    (sites(away))
                }
                @if !lost.is_empty() {
                    h2 { "To rescue" }
                    (to_rescue(lost))
                }
                h2 { "Not well" }
                (bad(summary))
                h2 { "Who did what" }
                (deeds(history))
            }
        }
    };
    page.into_string()
}

fn facts(job: &v1::Job, summary: &Summary) -> Markup {
    let used = job.budget_use.unwrap_or_default();
    let spec = job.spec.clone().unwrap_or_default();
    let whom = if spec.all {
        "every device".to_owned()
    } else {
        spec.selector
    };
    let budget = job.budget.map_or_else(|| "no limit".into(), number);
    let took = |percent| {
        summary
            .percentile(percent)
            .map_or_else(|| "–".into(), |seconds| format!("{seconds:.1} s"))
    };
    let approvals = job.rollout.iter().flat_map(|rollout| &rollout.approvals);
    let approvers = approvals.map(|approval| approval.who.clone()).collect::<Vec<_>>();
    html! {
        table {
            tr { th { "Devices" } td { (number(job.total)) " (" (whom) ")" } }
            tr { th { "Outcome" } td {
                @for (at, (state, count)) in summary.states.iter().enumerate() {
                    @if at > 0 { ", " }
                    (number(*count)) " " (state)
                }
            } }
            tr { th { "Harm" } td {
                (number(used.harmed)) " harmed, " (number(used.rescued)) " reverted, of a budget of " (budget)
            } }
            @if let Some(halted) = &job.halted {
                tr { th { "Halted" } td { "by rule " (halted.rule) ": " (halted.detail) } }
            }
            tr { th { "A device took" } td { (took(50)) " (half of them), " (took(95)) " (95 of 100)" } }
            tr { th { "Created" } td {
                (timestamp(job.created_at.as_ref()).unwrap_or_default()) " by " (job.claimed_by)
            } }
            tr { th { "Finished" } td { (timestamp(job.finished_at.as_ref()).unwrap_or_else(|| "not yet".into())) } }
            @if !approvers.is_empty() {
                tr { th { "Approved by" } td { (approvers.join(", ")) } }
            }
            tr { th { "Plan" } td { code { (job.plan_digest) } } }
            @if let Some(rollout) = &job.rollout {
                tr { th { "Digest" } td { code { (rollout.digest) } } }
            }
        }
    }
}

/// How many ended when, well or not; with a line where a wave opened.
fn timeline(job: &v1::Job, summary: &Summary) -> Markup {
    let ends = summary.ends.iter().map(|(at, _)| *at);
    let from = job
        .created_at
        .as_ref()
        .map_or_else(|| ends.clone().fold(f64::MAX, f64::min), unix);
    let to = job
        .finished_at
        .as_ref()
        .map(unix)
        .into_iter()
        .chain(ends)
        .fold(from + 1.0, f64::max);
    let place = |at: f64| ((at - from) / (to - from)).clamp(0.0, 1.0);
    let mut columns = vec![(0_u64, 0_u64); COLUMNS];
    for (at, good) in &summary.ends {
        let column = ((place(*at) * COLUMNS as f64) as usize).min(COLUMNS - 1);
        match good {
            true => columns[column].0 += 1,
            false => columns[column].1 += 1,
        }
    }
    let most = columns
        .iter()
        .map(|(good, bad)| good + bad)
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let width = WIDTH / COLUMNS as f64;
    let opened = job
        .waves
        .iter()
        .filter_map(|wave| Some((wave.number, unix(wave.opened_at.as_ref()?))));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + 18.0)) role="img" {
            title { "Executions that ended, over time: at most " (number(most as u64)) " in one column" }
            @for (at, (good, bad)) in columns.iter().enumerate() {
                (bar(at as f64 * width, width - 1.0, *good as f64 / most, 0.0, "good"))
                (bar(at as f64 * width, width - 1.0, *bad as f64 / most, *good as f64 / most, "bad"))
            }
            @for (wave, at) in opened {
                line x1=(coordinate(place(at) * WIDTH)) x2=(coordinate(place(at) * WIDTH)) y1="0" y2=(coordinate(HEIGHT)) stroke="#66707a" stroke-dasharray="3 3" {}
                text x=(coordinate(place(at) * WIDTH + 3.0)) y="12" { "wave " (wave) }
            }
            text x="0" y=(coordinate(HEIGHT + 14.0)) { (format!("0 s … {:.0} s", to - from)) }
        }
    }
}

/// A bar that begins a share of the height above the ground.
fn bar(x: f64, width: f64, share: f64, above: f64, class: &str) -> Markup {
    html! {
        @if share > 0.0 {
            rect class=(class) x=(coordinate(x)) width=(coordinate(width)) y=(coordinate(HEIGHT * (1.0 - share - above))) height=(coordinate(HEIGHT * share)) {}
        }
    }
}

fn coordinate(value: f64) -> String {
    format!("{value:.1}")
}

fn waves(job: &v1::Job) -> Markup {
    html! {
        table {
            tr { th { "Wave" } th { "Devices" } th { "Over" } th { "Well" } th { "Harmed" } th { "Opened" } th { "Ended" } th {} }
            @for wave in &job.waves {
                @let used = wave.budget_use.unwrap_or_default();
                tr {
                    td.n { (wave.number) }
                    td.n { (number(wave.total)) }
                    td.n { (number(wave.ended)) }
                    td.n { (number(wave.good)) }
                    td.n { (number(used.harmed + used.rescued)) }
                    td { (timestamp(wave.opened_at.as_ref()).unwrap_or_default()) }
                    td { (timestamp(wave.ended_at.as_ref()).unwrap_or_default()) }
                    td style="width:30%" { (share_of(wave)) }
                }
            }
        }
    }
}

/// Well, not well, and not over, as shares of a wave.
fn share_of(wave: &v1::Wave) -> Markup {
    let total = wave.total.max(1) as f64;
    let good = wave.good as f64 / total * 200.0;
    let bad = wave.ended.saturating_sub(wave.good) as f64 / total * 200.0;
    html! {
        svg viewBox="0 0 200 12" role="img" {
            rect.none x="0" y="0" width="200" height="12" {}
            rect.good x="0" y="0" width=(coordinate(good)) height="12" {}
            rect.bad x=(coordinate(good)) y="0" width=(coordinate(bad)) height="12" {}
        }
    }
}

/// Minutes that devices of each site were away.
fn sites(away: &[Away]) -> Markup {
    let minutes = |seconds: u64| format!("{:.1}", seconds as f64 / 60.0);
    html! {
        table {
            tr { th { "Site" } th { "Devices" } th { "Minutes, all together" } th { "The longest, minutes" } }
            @for away in away.iter().take(SHOWN) {
                tr {
                    td { @if away.site.is_empty() { span.dim { "none" } } @else { (away.site) } }
                    td.n { (number(away.devices)) }
                    td.n { (minutes(away.seconds)) }
                    td.n { (minutes(away.longest)) }
                }
            }
        }
        @if away.len() > SHOWN {
            p.dim { "and " (number((away.len() - SHOWN) as u64)) " more" }
        }
    }
}

fn bad(summary: &Summary) -> Markup {
    html! {
        @if summary.bad.is_empty() { p { "None." } } @else {
            table {
                tr { th { "Device" } th { "State" } th { "Why" } th { "Ended" } }
                @for result in summary.bad.iter().take(SHOWN) {
                    tr {
                        td { (result.device) }
                        td { (state_name(result.state())) }
                        td { @if let Some(error) = &result.error { (class_name(error)) ": " (error.message) } }
                        td { (timestamp(result.finished_at.as_ref()).unwrap_or_default()) }
                    }
                }
            }
            @if summary.bad.len() > SHOWN {
                p.dim { "and " (number((summary.bad.len() - SHOWN) as u64)) " more" }
            }
        }
    }
}

/// Devices that it lost and that nobody has heard of since, for whoever goes there.
fn to_rescue(lost: &[v1::Rescue]) -> Markup {
    let site = |device: &v1::Device| device.labels.get("site").cloned().unwrap_or_default();
    html! {
        table {
            tr { th { "Device" } th { "Site" } th { "Lost" } th { "By" } th { "Backup" } th { "On site" } }
            @for lost in lost.iter().take(SHOWN) {
                @let device = lost.device.clone().unwrap_or_default();
                tr {
                    td { (device.name) br; span.dim { (address(&device)) } }
                    td { (site(&device)) }
                    td { (timestamp(lost.since.as_ref()).unwrap_or_default()) }
                    td { (step(lost)) @if let Some(error) = &lost.error { br; span.dim { (error.message) } } }
                    td { (file(lost.backup.as_ref())) }
                    td { ol { @for line in &lost.on_site { li { (line) } } } }
                }
            }
        }
        @if lost.len() > SHOWN {
            p.dim { "and " (number((lost.len() - SHOWN) as u64)) " more" }
        }
    }
}

fn deeds(history: &[v1::HistoryEntry]) -> Markup {
    html! {
        @if history.is_empty() { p { "Nobody did anything to it but make it." } } @else {
            table {
                tr { th { "When" } th { "Who" } th { "What" } th { "Why" } }
                @for entry in history {
                    tr {
                        td { (timestamp(entry.at.as_ref()).unwrap_or_default()) }
                        td { (entry.claimed_by) }
                        td { (entry.action) " " span.dim { (entry.detail) } }
                        td { (entry.reason) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Summary, result};
    use super::*;
    use v1::ExecutionState::{Failed, Succeeded};

    #[test]
    fn nothing_that_a_device_or_a_person_says_becomes_markup() {
        let job = v1::Job {
            id: "j".into(),
            created_at: Some(muster_proto::time(0)),
            claimed_by: "<b>eve</b>".into(),
            waves: vec![v1::Wave {
                number: 1,
                total: 2,
                ended: 2,
                good: 1,
                opened_at: Some(muster_proto::time(0)),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut summary = Summary::new(&job);
        summary.name = "<script>alert(1)</script>".into();
        summary.add(&result("r1", Succeeded, 0, 1000));
        summary.add(&result("r2<img>", Failed, 0, 2000));
        let history = [v1::HistoryEntry {
            reason: "\"><script>".into(),
            ..Default::default()
        }];
        let away = [Away {
            site: "<img>".into(),
            devices: 1,
            seconds: 90,
            longest: 90,
        }];
        let lost = [v1::Rescue {
            device: Some(v1::Device {
                name: "r3".into(),
                labels: [("site".to_owned(), "<img src=x>".to_owned())].into(),
                ..Default::default()
            }),
            title: "<script>".into(),
            on_site: vec!["look at <b>it</b>".into()],
            ..Default::default()
        }];
        let page = page(&job, &summary, &away, &lost, &history);
        assert!(page.contains("&lt;img&gt;") && page.contains(">1.5<"));
        for never in ["<script", "<img", "<b>", "no <such>"] {
            assert!(!page.contains(never), "{never}");
        }
        assert!(page.contains("r2&lt;img&gt;") && page.contains("no &lt;such&gt; &amp;"));
        assert!(page.contains("class=\"bad\"") && page.contains("wave 1"));
        assert!(page.contains("To rescue") && page.contains("look at &lt;b&gt;"));
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "it needs nothing from elsewhere"
        );
    }
}
