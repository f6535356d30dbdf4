//! Results as CSV (RFC 4180): a line for each row of each device. What every line has comes first, then a column for each
//! attribute that any row has, in the order they are met.
//!
//! The results are read twice, for the columns and for the lines: so no more than a page of them is in memory, however
//! many there are.

use std::borrow::Cow;
use std::collections::HashMap;

use muster_proto::v1;

use super::job::Pages;
use super::result::{class_name, hex, name, state_name, timestamp};
use crate::exit::Failure;
use crate::terminal::{is_closed, is_read_by_a_person, lines, safe};

/// What every line has. An attribute of the same name gets a `=` in front, as the protocol writes it.
const FIXED: [&str; 9] = [
    "device",
    "execution",
    "state",
    "attempts",
    "error_class",
    "error_message",
    "started_at",
    "finished_at",
    "step",
];

/// Attributes that one table can have. RouterOS has a few thousand in all.
const COLUMNS: usize = 4096;

pub(super) async fn print(pages: Pages<'_>) -> Result<(), Failure> {
    let (mut columns, mut reading) = (Columns::default(), pages.clone());
    while let Some(results) = reading.next().await? {
        results.iter().for_each(|result| columns.learn(result));
        if columns.names.len() > COLUMNS {
            let told = format!("the results have over {COLUMNS} different attributes");
            return Err(Failure::usage(told).hint("--json has no columns"));
        }
    }
    let header = FIXED.iter().map(|name| Cow::Borrowed(*name));
    lines(&table(|writer| record(writer, header.chain(columns.header())))?);
    let (mut pages, mut missed) = (pages, 0);
    while let Some(results) = pages.next().await? {
        let text = table(|writer| {
            for result in &results {
                for line in columns.lines(result, &mut missed) {
                    record(writer, line.into_iter())?;
                }
            }
            Ok(())
        });
        lines(&text?);
        if is_closed() {
            break;
        }
    }
    if missed > 0 {
        anstream::eprintln!(
            "{missed} values of attributes that were not there yet when the columns were made are left out: the job \
             still ran; once it is over, ask again"
        );
    }
    Ok(())
}

type Writer = csv::Writer<Vec<u8>>;

fn table(fill: impl FnOnce(&mut Writer) -> csv::Result<()>) -> Result<Vec<u8>, Failure> {
    let failed = |error: String| Failure::usage(format!("CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    fill(&mut writer).map_err(|error| failed(error.to_string()))?;
    writer.into_inner().map_err(|error| failed(error.to_string()))
}

fn record<'a>(writer: &mut Writer, fields: impl Iterator<Item = Cow<'a, str>>) -> csv::Result<()> {
    let by_a_person = is_read_by_a_person();
    for field in fields {
        // What a device says does not drive a terminal; a file gets it as it is.
        match by_a_person {
            true => writer.write_field(safe(&field).as_bytes())?,
            false => writer.write_field(field.as_bytes())?,
        }
    }
    writer.write_record(None::<&[u8]>)
}

#[derive(Default)]
struct Columns {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Columns {
    fn learn(&mut self, result: &v1::ExecutionResult) {
        for attribute in rows(result).flat_map(|(_, row)| &row.attributes) {
            let name = name(attribute);
            if !self.places.contains_key(&name) {
                self.places.insert(name.clone(), self.names.len());
                self.names.push(name);
            }
        }
    }

    fn header(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.names
            .iter()
            .map(|name| match FIXED.contains(&name.as_str()) {
                true => Cow::Owned(format!("={name}")),
                false => Cow::Borrowed(name.as_str()),
            })
    }

    /// One line for each row, and one without attributes for a device that gave none. Counts values without a column.
    fn lines<'a>(&self, result: &'a v1::ExecutionResult, missed: &mut u64) -> Vec<Vec<Cow<'a, str>>> {
        let mut lines = Vec::new();
        for (step, row) in rows(result) {
            let mut line = fixed(result, Some(step));
            line.resize(FIXED.len() + self.names.len(), Cow::Borrowed(""));
            for attribute in &row.attributes {
                match self.places.get(&name(attribute)) {
                    Some(place) => line[FIXED.len() + place] = value(attribute),
                    None => *missed += 1,
                }
            }
            lines.push(line);
        }
        if lines.is_empty() {
            let mut line = fixed(result, None);
            line.resize(FIXED.len() + self.names.len(), Cow::Borrowed(""));
            lines.push(line);
        }
        lines
    }
}

/// The rows of each step, from 1, and its `!done` where that says something.
fn rows(result: &v1::ExecutionResult) -> impl Iterator<Item = (usize, &v1::Row)> {
    result.steps.iter().enumerate().flat_map(|(at, step)| {
        let done = step.done.iter().filter(|done| !done.attributes.is_empty());
        step.rows.iter().chain(done).map(move |row| (at + 1, row))
    })
}

fn fixed(result: &v1::ExecutionResult, step: Option<usize>) -> Vec<Cow<'_, str>> {
    let error = result.error.as_ref();
    vec![
        Cow::Borrowed(&result.device),
        Cow::Borrowed(&result.execution),
        state_name(result.state()).into(),
        result.attempts.to_string().into(),
        error.map(class_name).unwrap_or_default().into(),
        error.map_or("", |error| &error.message).into(),
        timestamp(result.started_at.as_ref()).unwrap_or_default().into(),
        timestamp(result.finished_at.as_ref()).unwrap_or_default().into(),
        step.map(|step| step.to_string()).unwrap_or_default().into(),
    ]
}

/// As it is; `hex:` and the bytes in hex where it is not UTF-8.
fn value(attribute: &v1::Attribute) -> Cow<'_, str> {
    match attribute.raw_value.as_slice() {
        [] => Cow::Borrowed(&attribute.value),
        raw => Cow::Owned(format!("hex:{}", hex(raw))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(attributes: &[(&str, &str)]) -> v1::Row {
        let attribute = |(name, value): &(&str, &str)| v1::Attribute {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            ..Default::default()
        };
        v1::Row {
            attributes: attributes.iter().map(attribute).collect(),
            dead: false,
        }
    }

    fn result(device: &str, rows: Vec<v1::Row>, done: Option<v1::Row>) -> v1::ExecutionResult {
        v1::ExecutionResult {
            device: device.into(),
            execution: "1".into(),
            state: v1::ExecutionState::Succeeded.into(),
            steps: vec![v1::StepResult {
                rows,
                done,
                traps: Vec::new(),
            }],
            ..Default::default()
        }
    }

    fn read_back(results: &[v1::ExecutionResult], columns: &Columns) -> Vec<Vec<String>> {
        let mut missed = 0;
        let text = table(|writer| {
            record(
                writer,
                FIXED
                    .iter()
                    .map(|name| Cow::Borrowed(*name))
                    .chain(columns.header()),
            )?;
            for line in results
                .iter()
                .flat_map(|result| columns.lines(result, &mut missed))
            {
                record(writer, line.into_iter())?;
            }
            Ok(())
        });
        let text = text.expect("written");
        assert_eq!(missed, 0);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_slice());
        let records = reader
            .records()
            .map(|record| record.expect("as wide as the header"));
        records
            .map(|record| record.iter().map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn whatever_a_device_says_is_read_back() {
        let nasty = "a,\"b\"\r\nc; d\u{1b}[2J\n";
        let mut raw = row(&[("comment", "")]);
        raw.attributes[0].raw_value = b"caf\xE9".to_vec();
        let results = [
            result("r1", vec![row(&[("comment", nasty), ("state", "up")]), raw], None),
            result("r2", vec![], Some(row(&[("ret", "*1")]))),
            result("r3", vec![], Some(row(&[]))),
        ];
        let mut columns = Columns::default();
        results.iter().for_each(|result| columns.learn(result));
        let read = read_back(&results, &columns);
        let last = |at: usize| {
            read[at]
                .iter()
                .skip(FIXED.len() - 1)
                .map(String::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(last(0), ["step", "comment", "=state", "ret"]);
        assert_eq!(last(1), ["1", nasty, "up", ""]);
        assert_eq!(last(2), ["1", "hex:636166e9", "", ""]);
        assert_eq!(last(3), ["1", "", "", "*1"]);
        assert_eq!(last(4), ["", "", "", ""], "every device has a line");
    }

    #[test]
    fn a_column_that_comes_too_late_is_counted() {
        let (columns, mut missed) = (Columns::default(), 0);
        columns.lines(
            &result("r1", vec![row(&[("a", "1"), ("b", "2")])], None),
            &mut missed,
        );
        assert_eq!(missed, 2);
    }
}
