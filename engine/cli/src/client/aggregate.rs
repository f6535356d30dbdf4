//! `muster job aggregate`: counts and statistics over the rows of a job's results.

use std::io::Write as _;

use muster_proto::v1;
use muster_proto::v1::aggregate_value::Kind;
use serde_json::{Map, Value, json};

use super::connect::Engine;
use super::result::{hex, table};
use crate::exit::{Done, Exit, Failure};
use crate::serve::Stop;
use crate::terminal::{DIM, RESET, devices, is_closed, is_read_by_a_person, number, out, safe, short};

#[derive(Debug, clap::Args)]
pub(crate) struct Aggregate {
    /// The job's id
    pub id: String,
    /// Rows that say the same in these are one group: attributes (version), outcome, labels.KEY, facts.NAME, device.NAME
    #[arg(long, value_name = "NAME[,…]", value_delimiter = ',')]
    pub group_by: Vec<String>,
    /// Count rows and devices, which is done in any case
    #[arg(long)]
    pub count: bool,
    /// Smallest, largest, sum, mean and percentiles of these: numbers, durations, sizes and rates as devices write them
    #[arg(long, value_name = "NAME[,…]", value_delimiter = ',')]
    pub stats: Vec<String>,
    /// How many different values of these there are
    #[arg(long, value_name = "NAME[,…]", value_delimiter = ',')]
    pub distinct: Vec<String>,
    /// Only the largest so many groups
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub top: Option<u32>,
    /// Only rows for which this holds: 'type=ether and not (disabled=yes or mtu<1500)'
    #[arg(
        long = "where",
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true
    )]
    pub filter: String,
    /// Go on while the job runs, and tell it anew when there is news
    #[arg(long)]
    pub follow: bool,
}

/// Groups asked for without `--top`.
const ALL: u32 = 100_000;
/// Groups shown to a person without `--top`.
const SHOWN: usize = 50;

pub(super) async fn run(engine: &Engine, asked: Aggregate, json: bool) -> Done {
    let request = v1::AggregateJobRequest {
        id: asked.id.clone(),
        group_by: asked.group_by.clone(),
        stats: asked.stats.clone(),
        distinct: asked.distinct.clone(),
        r#where: asked.filter.clone(),
        max_groups: asked.top.unwrap_or(ALL),
        follow: asked.follow,
    };
    let mut stop = Stop::new()?;
    let mut stream = engine
        .jobs()
        .aggregate_job(request)
        .await
        .map_err(|status| usage(status.into()))?
        .into_inner();
    let mut screen = Screen::default();
    loop {
        let message = tokio::select! {
            message = stream.message() => message.map_err(|status| usage(status.into()))?,
            () = stop.wait() => return Ok(Exit::StillRuns),
        };
        let Some(answer) = message else { break };
        match json {
            true => tell_json(&asked, &answer),
            false => screen.show(&to_text(&asked, &answer), asked.follow),
        }
        if is_closed() {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// The words of the API's fields, as the command line has them.
pub(super) fn usage(failure: Failure) -> Failure {
    let field = failure.error["field"].as_str().unwrap_or_default();
    let flag = match field.split('[').next() {
        Some("group_by") => "--group-by",
        Some("stats") => "--stats",
        Some("distinct") => "--distinct",
        Some("columns") => "--columns",
        Some("where") => "--where",
        _ => return failure,
    };
    let told = format!("{flag}: {}", failure.message());
    failure.with("message", told)
}

/// What was shown before is overwritten, where somebody looks on.
#[derive(Default)]
struct Screen {
    lines: usize,
}

impl Screen {
    fn show(&mut self, text: &str, follow: bool) {
        if follow && is_read_by_a_person() {
            let mut stdout = anstream::stdout();
            // Up by so many lines, and clear what is below.
            if self.lines > 0 {
                let _ = write!(stdout, "\u{1b}[{}A\u{1b}[J", self.lines);
            }
            self.lines = text.lines().count();
        }
        out(text);
    }
}

/// An object for each group; followed, one for all of them each time.
fn tell_json(asked: &Aggregate, answer: &v1::AggregateJobResponse) {
    let groups = answer.groups.iter().map(|group| group_json(asked, group));
    if !asked.follow {
        groups.for_each(out);
        if answer.more_groups > 0 {
            out(json!({ "more_groups": answer.more_groups, "more_rows": answer.more_rows }));
        }
        return;
    }
    out(json!({
        "executions": answer.executions,
        "total": answer.total,
        "rows": answer.rows,
        "groups": groups.collect::<Value>(),
        "more_groups": answer.more_groups,
        "more_rows": answer.more_rows,
    }));
}

fn group_json(asked: &Aggregate, group: &v1::AggregateGroup) -> Value {
    let key = asked.group_by.iter().zip(&group.key);
    let mut object = json!({
        "key": key.map(|(name, value)| (name.clone(), value_json(value))).collect::<Map<_, _>>(),
        "rows": group.rows,
        "devices": group.devices,
    });
    if !asked.stats.is_empty() {
        object["stats"] = group.stats.iter().map(stats_json).collect();
    }
    if !asked.distinct.is_empty() {
        let distinct = asked.distinct.iter().zip(&group.distinct);
        object["distinct"] = Value::Object(
            distinct
                .map(|(name, count)| (name.clone(), json!(count)))
                .collect(),
        );
    }
    object
}

fn value_json(value: &v1::AggregateValue) -> Value {
    match &value.kind {
        None => Value::Null,
        Some(Kind::Text(text)) => json!(text),
        Some(Kind::Raw(raw)) => json!({ "hex": hex(raw) }),
    }
}

fn stats_json(stats: &v1::AggregateStats) -> Value {
    let known = |number: f64| (stats.count > 0).then_some(number);
    json!({
        "name": stats.name,
        "unit": stats.unit,
        "count": stats.count,
        "not_numbers": stats.not_numbers,
        "min": known(stats.min),
        "p50": known(stats.p50),
        "p90": known(stats.p90),
        "p99": known(stats.p99),
        "max": known(stats.max),
        "sum": known(stats.sum),
        "mean": known(stats.mean),
        "histogram": stats.histogram,
    })
}

fn to_text(asked: &Aggregate, answer: &v1::AggregateJobResponse) -> String {
    let shown = match asked.top {
        None if is_read_by_a_person() => SHOWN,
        _ => usize::MAX,
    };
    let mut text = String::new();
    let most = answer.groups.first().map_or(0, |group| group.rows);
    let mut groups = table::<0>([]);
    let header = asked.group_by.iter().map(|name| name.to_uppercase());
    let distinct = asked
        .distinct
        .iter()
        .map(|name| format!("DIFFERENT {}", name.to_uppercase()));
    groups.set_header(
        header
            .chain(["ROWS".into(), "DEVICES".into()])
            .chain(distinct)
            .chain(["".into()]),
    );
    for group in answer.groups.iter().take(shown) {
        let line = group
            .key
            .iter()
            .map(value_text)
            .chain([number(group.rows), number(group.devices)])
            .chain(group.distinct.iter().map(|count| number(*count)))
            .chain([bar(group.rows, most)]);
        groups.add_row(line.collect::<Vec<_>>());
    }
    text.push_str(&groups.to_string());
    if !asked.stats.is_empty() {
        text.push_str("\n\n");
        text.push_str(&stats_text(asked, answer, shown));
    }
    let hidden = answer.groups.iter().skip(shown);
    let more_groups = answer.more_groups + hidden.clone().count() as u64;
    let more_rows = answer.more_rows + hidden.map(|group| group.rows).sum::<u64>();
    if more_groups > 0 {
        text.push_str(&format!(
            "\n{DIM}and {} more groups with {} rows{RESET}",
            number(more_groups),
            number(more_rows)
        ));
    }
    text.push_str(&format!(
        "\n{DIM}{} rows of {}{RESET}",
        number(answer.rows),
        match answer.executions == answer.total {
            true => devices(answer.total),
            false => format!(
                "{} that are done, of {}",
                number(answer.executions),
                devices(answer.total)
            ),
        }
    ));
    text
}

fn stats_text(asked: &Aggregate, answer: &v1::AggregateJobResponse, shown: usize) -> String {
    let mut all = table::<0>([]);
    let header = asked.group_by.iter().map(|name| name.to_uppercase());
    let columns = [
        "OF",
        "COUNT",
        "MIN",
        "P50",
        "P90",
        "P99",
        "MAX",
        "MEAN",
        "SUM",
        "FROM MIN TO MAX",
    ];
    all.set_header(header.chain(columns.map(str::to_owned)));
    for group in answer.groups.iter().take(shown) {
        for stats in group
            .stats
            .iter()
            .filter(|stats| stats.count + stats.not_numbers > 0)
        {
            let key = group.key.iter().map(value_text);
            let told = |number: f64| match stats.count {
                0 => "-".to_owned(),
                _ => quantity(number, &stats.unit),
            };
            let count = match stats.not_numbers {
                0 => number(stats.count),
                not => format!("{} ({} no numbers)", number(stats.count), number(not)),
            };
            let cells = [
                safe(&stats.name).into_owned(),
                count,
                told(stats.min),
                told(stats.p50),
                told(stats.p90),
                told(stats.p99),
                told(stats.max),
                told(stats.mean),
                told(stats.sum),
                spark(&stats.histogram),
            ];
            all.add_row(key.chain(cells).collect::<Vec<_>>());
        }
    }
    all.to_string()
}

/// Characters of a value in a table.
const VALUE: usize = 60;

fn value_text(value: &v1::AggregateValue) -> String {
    match &value.kind {
        None => "-".into(),
        Some(Kind::Text(text)) if text.is_empty() => "\"\"".into(),
        Some(Kind::Text(text)) => short(&safe(text), VALUE).into_owned(),
        Some(Kind::Raw(raw)) => format!("hex:{}", short(&hex(raw), VALUE)),
    }
}

/// Characters of the longest bar.
const BAR: u64 = 30;

/// As long as its share of the largest, in eighths of a character.
fn bar(rows: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (u128::from(rows) * u128::from(BAR) * 8).div_ceil(u128::from(most.max(1)));
    let (whole, rest) = (eighths / 8, (eighths % 8) as usize);
    "█".repeat(whole as usize) + EIGHTHS[rest]
}

/// A histogram in a line.
fn spark(parts: &[u64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = parts.iter().copied().max().unwrap_or_default().max(1);
    let level = |count: &u64| match count {
        0 => ' ',
        count => LEVELS[((u128::from(*count) * 8).div_ceil(u128::from(most)) as usize).clamp(1, 8) - 1],
    };
    parts.iter().map(level).collect()
}

/// A number in its unit, as one reads it.
fn quantity(number: f64, unit: &str) -> String {
    let scaled = |steps: &[(&str, f64)]| {
        let found = steps.iter().rev().find(|(_, size)| number.abs() >= *size);
        let (name, size) = found.or(steps.first()).copied().unwrap_or((unit, 1.0));
        format!("{}{name}", plain(number / size))
    };
    match unit {
        "B" => scaled(&[
            ("B", 1.0),
            ("KiB", 1024.0),
            ("MiB", 1048576.0),
            ("GiB", 1073741824.0),
            ("TiB", 1099511627776.0),
        ]),
        "bit/s" => scaled(&[("bps", 1.0), ("kbps", 1e3), ("Mbps", 1e6), ("Gbps", 1e9)]),
        "s" => time(number),
        unit => format!("{}{unit}", plain(number)),
    }
}

fn plain(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number:.0}");
    }
    format!("{number:.2}")
}

/// The two largest units of a time.
fn time(seconds: f64) -> String {
    const UNITS: [(&str, f64); 5] = [
        ("w", 604_800.0),
        ("d", 86_400.0),
        ("h", 3600.0),
        ("m", 60.0),
        ("s", 1.0),
    ];
    let Some(first) = UNITS.iter().position(|(_, size)| seconds.abs() >= *size) else {
        return format!("{}ms", plain(seconds * 1e3));
    };
    let (mut text, mut left) = (String::new(), seconds);
    for (name, size) in UNITS.iter().skip(first).take(2) {
        let whole = (left / size).trunc();
        left -= whole * size;
        if whole > 0.0 {
            text.push_str(&format!("{whole:.0}{name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        for (number, unit, told) in [
            (7.0, "", "7"),
            (7.256, "%", "7.26%"),
            (1536.0, "B", "1.50KiB"),
            (0.0, "B", "0B"),
            (2.5e9, "bit/s", "2.50Gbps"),
            (691_260.0, "s", "1w1d"),
            (90.0, "s", "1m30s"),
            (0.25, "s", "250ms"),
            (0.0, "s", "0ms"),
        ] {
            assert_eq!(quantity(number, unit), told);
        }
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(10, 10), "█".repeat(30));
        assert_eq!(bar(1, 1000), "▏", "what is there is seen");
        assert_eq!(spark(&[0, 1, 8]), " ▁█");
    }
}
