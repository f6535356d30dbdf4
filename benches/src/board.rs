//! What a row of the scoreboard is, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less is better, as for times.
    Lower,
    /// More is better, as for rates.
    Higher,
}

impl Better {
    fn reaches(self, measured: f64, mark: f64) -> bool {
        match self {
            Self::Lower => measured <= mark,
            Self::Higher => measured >= mark,
        }
    }
}

/// What a row measures and what is asked of it. Changes only together with what the row means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Short and unique, for example `F1`.
    pub id: &'static str,
    /// The work, its size and its conditions.
    pub what: &'static str,
    /// Of all numbers of the row.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Worse than this is a fault.
    pub floor: f64,
    /// What we are after.
    pub goal: f64,
    /// Who else does the same work on the same bytes.
    pub baseline: &'static str,
}

/// What came of measuring.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The row's number and its baseline's, medians both.
    Measured {
        /// Of the product.
        measured: f64,
        /// Of the baseline, in the same run.
        baseline: f64,
    },
    /// The same, with what was measured beside it.
    Noted {
        /// Of the product.
        measured: f64,
        /// Of the baseline, in the same run.
        baseline: f64,
        /// In words: other conditions, what it cost.
        notes: Vec<String>,
    },
    /// Not measured, and why: chiefly a peer that is not built.
    Skipped(String),
}

/// A row with its numbers; serialises as the scoreboard's JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    better: Better,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<f64>,
    floor: f64,
    goal: f64,
    baseline: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_measured: Option<f64>,
    machine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    meets_floor: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meets_goal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Line {
    /// Puts numbers to a row. They are rounded first and judged after, so that a reader comes to the same verdict.
    pub fn new(spec: &Spec, outcome: Outcome, machine: &str) -> Self {
        let (numbers, notes, skipped) = match outcome {
            Outcome::Measured { measured, baseline } => (Some((measured, baseline)), Vec::new(), None),
            Outcome::Noted {
                measured,
                baseline,
                notes,
            } => (Some((measured, baseline)), notes, None),
            Outcome::Skipped(reason) => (None, Vec::new(), Some(reason)),
        };
        let measured = numbers.map(|(measured, _)| round(measured));
        let baseline_measured = numbers.map(|(_, baseline)| round(baseline));
        let reaches = |mark| measured.map(|measured| spec.better.reaches(measured, mark));
        Self {
            id: spec.id,
            what: spec.what,
            unit: spec.unit,
            better: spec.better,
            measured,
            floor: spec.floor,
            goal: spec.goal,
            baseline: spec.baseline,
            baseline_measured,
            machine: machine.to_owned(),
            meets_floor: reaches(spec.floor),
            meets_goal: reaches(spec.goal),
            skipped,
            notes,
        }
    }

    fn verdict(&self) -> String {
        match (&self.skipped, self.meets_floor, self.meets_goal) {
            (Some(reason), ..) => format!("skipped: {reason}"),
            (None, _, Some(true)) => "goal".to_owned(),
            (None, Some(true), _) => "floor".to_owned(),
            _ => "under the floor".to_owned(),
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let sign = match self.better {
            Better::Lower => '≤',
            Better::Higher => '≥',
        };
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        [
            self.id.to_owned(),
            number(self.measured),
            self.unit.to_owned(),
            format!("{sign} {}", self.floor),
            format!("{sign} {}", self.goal),
            number(self.baseline_measured),
            self.verdict(),
            format!("{}; baseline: {}", self.what, self.baseline),
        ]
    }
}

const COLUMNS: [&str; 8] = [
    "row", "measured", "unit", "floor", "goal", "baseline", "meets", "what",
];

/// For people: aligned columns, the machine below.
pub fn table(lines: &[Line]) -> String {
    let rows = std::iter::once(COLUMNS.map(str::to_owned)).chain(lines.iter().map(Line::cells));
    let rows = rows.collect::<Vec<_>>();
    let mut widths = [0; COLUMNS.len()];
    for (width, column) in widths.iter_mut().zip(0..) {
        *width = rows
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0);
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for (line, note) in lines
        .iter()
        .flat_map(|line| line.notes.iter().map(move |note| (line, note)))
    {
        let _ = write!(out, "\n{}: {note}", line.id);
    }
    if let Some(line) = lines.first() {
        let _ = writeln!(out, "\nmachine: {}", line.machine);
    }
    out
}

/// Four significant digits: what lies beyond does not repeat.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let unit = 10_f64.powi(digits.clamp(0, 15));
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec {
        id: "T1",
        what: "a test",
        unit: "things/s",
        better: Better::Higher,
        floor: 10.0,
        goal: 20.0,
        baseline: "another",
    };

    fn line(spec: Spec, measured: f64) -> Line {
        let outcome = Outcome::Measured {
            measured,
            baseline: 5.0,
        };
        Line::new(&spec, outcome, "a machine")
    }

    fn json(line: &Line) -> serde_json::Value {
        serde_json::to_value(line).expect("serialises")
    }

    #[test]
    fn a_row_has_exactly_these_keys() {
        let keys = |line: &Line| {
            let json = json(line);
            let object = json.as_object().expect("an object");
            object.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            keys(&line(SPEC, 15.0)),
            "id what unit better measured floor goal baseline baseline_measured machine meets_floor meets_goal"
        );
        let noted = Outcome::Noted {
            measured: 15.0,
            baseline: 5.0,
            notes: vec!["on the disk it is 7".into()],
        };
        let noted = Line::new(&SPEC, noted, "a machine");
        assert_eq!(keys(&noted), format!("{} notes", keys(&line(SPEC, 15.0))));
        assert!(table(&[noted]).contains("\nT1: on the disk it is 7\n"));
        let skipped = Line::new(&SPEC, Outcome::Skipped("no peer".into()), "a machine");
        assert_eq!(
            keys(&skipped),
            "id what unit better floor goal baseline machine skipped"
        );
    }

    #[test]
    fn the_verdict_knows_which_way_is_better() {
        let verdicts = |better| {
            let (floor, goal) = match better {
                Better::Higher => (10.0, 20.0),
                Better::Lower => (20.0, 10.0),
            };
            let spec = Spec {
                better,
                floor,
                goal,
                ..SPEC
            };
            [5.0, 15.0, 25.0].map(|measured| line(spec, measured).verdict())
        };
        assert_eq!(verdicts(Better::Higher), ["under the floor", "floor", "goal"]);
        assert_eq!(verdicts(Better::Lower), ["goal", "floor", "under the floor"]);
    }

    #[test]
    fn what_is_printed_is_what_is_judged() {
        assert_eq!(json(&line(SPEC, 19.9999))["measured"], 20.0);
        assert_eq!(json(&line(SPEC, 19.9999))["meets_goal"], true);
        assert_eq!(round(123_456.7), 123_457.0);
        assert_eq!(round(0.012_345), 0.012_35);
    }

    #[test]
    fn columns_line_up() {
        let long = Spec { id: "LONGER", ..SPEC };
        let table = table(&[line(SPEC, 15.0), line(long, 5.0)]);
        let starts = table
            .lines()
            .take(3)
            .map(|line| line.find("measured").or(line.find("15")).or(line.find("5")));
        assert_eq!(starts.collect::<Vec<_>>(), [Some(8); 3], "{table}");
    }
}
