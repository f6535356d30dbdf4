//! Inventory files: CSV with a header, or JSON lines with the same names.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use muster_proto::v1;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::exit::Failure;

/// The columns of a CSV file, in the order the documentation has them.
pub(crate) const COLUMNS: [&str; 11] = [
    "name",
    "address",
    "port",
    "transport",
    "credential",
    "zone",
    "labels",
    "tls",
    "pin",
    "ports",
    "in_flight",
];

/// A file as read: the devices, and the lines that hold none.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub rows: Vec<Row>,
    pub bad: Vec<Bad>,
}

/// A device and where it stands.
#[derive(Debug)]
pub(crate) struct Row {
    pub line: u64,
    pub device: v1::Device,
    /// The column of each field, from 1; none in JSON lines.
    pub columns: BTreeMap<&'static str, u64>,
    /// Whether something in it could not be read; it is checked with the others and never imported.
    pub bad: bool,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub line: u64,
    pub column: Option<u64>,
    pub field: String,
    pub message: String,
}

impl Bad {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "line": self.line, "column": self.column, "field": self.field, "message": self.message })
    }
}

/// For people: a credential that is not there is told once, with its first line and how many more there are. A file
/// that is imported before its credential is made would be told line by line otherwise.
pub(crate) fn told_once(bad: Vec<Bad>) -> Vec<Bad> {
    let mut more = BTreeMap::<String, u64>::new();
    let mut told = Vec::new();
    for bad in bad {
        if bad.field != "credential" {
            told.push(bad);
            continue;
        }
        match more.get_mut(&bad.message) {
            Some(count) => *count += 1,
            None => {
                more.insert(bad.message.clone(), 0);
                told.push(bad);
            }
        }
    }
    for bad in told.iter_mut().filter(|bad| bad.field == "credential") {
        match more.get(&bad.message) {
            Some(1) => bad.message.push_str(" (and 1 more line)"),
            Some(count) if *count > 1 => bad.message.push_str(&format!(" (and {count} more lines)")),
            _ => {}
        }
    }
    told
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Parsed, Failure> {
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ()),
        _ => std::fs::read(path).map(|content| bytes = content),
    };
    read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    // A spreadsheet may put a byte order mark in front.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let parsed = match first {
        None => return Err(Failure::usage(format!("{}: the file is empty", path.display()))),
        Some(b'{') => Ok(json_lines(text)),
        Some(_) => csv(text),
    };
    let mut parsed = parsed?;
    duplicates(&mut parsed);
    Ok(parsed)
}

fn csv(text: &[u8]) -> Result<Parsed, Failure> {
    let mut reader = ::csv::ReaderBuilder::new()
        .flexible(true)
        .trim(::csv::Trim::All)
        .from_reader(text);
    let header = reader
        .byte_headers()
        .map_err(|error| Failure::usage(format!("the header: {error}")))?
        .clone();
    let fields = header_fields(&header)?;
    let mut parsed = Parsed::default();
    let mut lines = Lines { text, at: 0, line: 1 };
    for record in reader.byte_records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.of(error.position());
                parsed.bad.push(Bad {
                    line,
                    column: None,
                    field: String::new(),
                    message: error.to_string(),
                });
                continue;
            }
        };
        let line = lines.of(record.position());
        if record.len() == fields.len() {
            let (row, bad) = csv_row(line, &record, &fields);
            parsed.rows.push(row);
            parsed.bad.extend(bad);
        } else {
            let message = format!("{} fields; the header has {}", record.len(), fields.len());
            parsed.bad.push(Bad {
                line,
                column: None,
                field: String::new(),
                message,
            });
        }
    }
    Ok(parsed)
}

/// Counts lines as an editor does. The reader's own count stands before the line breaks that it has yet to skip: those
/// of blank lines, and the second byte of a CRLF.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line that the record at this position begins on; positions only go forward.
    fn of(&mut self, position: Option<&::csv::Position>) -> u64 {
        let begins = position
            .map_or(0, |position| position.byte() as usize)
            .clamp(self.at, self.text.len());
        let breaks = self.text[begins..]
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let begins = begins + breaks.count();
        self.line += self.text[self.at..begins]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count() as u64;
        self.at = begins;
        self.line
    }
}

/// The field of each column.
fn header_fields(header: &::csv::ByteRecord) -> Result<Vec<&'static str>, Failure> {
    let expected = format!(
        "the header is {} (name and address are needed)",
        COLUMNS.join(",")
    );
    let mut fields = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let Some(field) = COLUMNS.into_iter().find(|column| *column == name) else {
            let message = format!("line 1, column {}: {name:?} is no column of an inventory", at + 1);
            return Err(Failure::usage(message).hint(expected));
        };
        if fields.contains(&field) {
            return Err(Failure::usage(format!(
                "line 1, column {}: {name:?} is there twice",
                at + 1
            )));
        }
        fields.push(field);
    }
    for needed in ["name", "address"] {
        if !fields.contains(&needed) {
            return Err(Failure::usage(format!("line 1: there is no column {needed:?}")).hint(expected));
        }
    }
    Ok(fields)
}

fn csv_row(line: u64, record: &::csv::ByteRecord, fields: &[&'static str]) -> (Row, Vec<Bad>) {
    let mut bad = Vec::new();
    let mut device = v1::Device::default();
    let mut columns = BTreeMap::new();
    for (at, (field, value)) in fields.iter().zip(record).enumerate() {
        let column = at as u64 + 1;
        columns.insert(*field, column);
        let result = match std::str::from_utf8(value) {
            Ok(value) => set(&mut device, field, value),
            Err(_) => Err(format!("{:?} is not UTF-8", String::from_utf8_lossy(value))),
        };
        if let Err(message) = result {
            bad.push(Bad {
                line,
                column: Some(column),
                field: (*field).to_owned(),
                message,
            });
        }
    }
    (
        Row {
            line,
            device,
            columns,
            bad: !bad.is_empty(),
        },
        bad,
    )
}

/// Names that stand in the file twice: the line of the first is what helps.
fn duplicates(parsed: &mut Parsed) {
    let mut first = BTreeMap::new();
    for row in parsed.rows.iter_mut().filter(|row| !row.device.name.is_empty()) {
        match first.get(&row.device.name) {
            None => {
                first.insert(row.device.name.clone(), row.line);
            }
            Some(line) => {
                let message = format!("the name {:?} is on line {line} already", row.device.name);
                let column = row.columns.get("name").copied();
                parsed.bad.push(Bad {
                    line: row.line,
                    column,
                    field: "name".into(),
                    message,
                });
                row.bad = true;
            }
        }
    }
}

fn set(device: &mut v1::Device, field: &str, value: &str) -> Result<(), String> {
    let value_of = || value.to_owned();
    match field {
        "name" => device.name = value_of(),
        "address" => device.address = value_of(),
        "transport" => device.transport = value_of(),
        "credential" => device.credential = value_of(),
        "zone" => device.zone = value_of(),
        "tls" => device.tls = value_of(),
        "pin" => device.pin = value_of(),
        "ports" => device.ports = value_of(),
        "port" if value.is_empty() => device.port = 0,
        "port" => match value.parse::<u16>() {
            Ok(port) if port > 0 => device.port = port.into(),
            _ => return Err(format!("{value:?} is no port; 1 to 65535 are")),
        },
        "in_flight" if value.is_empty() => device.in_flight = 0,
        "in_flight" => match value.parse::<u32>() {
            Ok(depth) if depth > 0 => device.in_flight = depth,
            _ => {
                return Err(format!(
                    "{value:?} is no number of commands at once; 1 to 1000 are"
                ));
            }
        },
        _ => {
            for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                let (key, text) = part
                    .split_once('=')
                    .ok_or_else(|| format!("{part:?} is no label; write key=value"))?;
                if device
                    .labels
                    .insert(key.trim().to_owned(), text.trim().to_owned())
                    .is_some()
                {
                    return Err(format!("label {:?} is given twice", key.trim()));
                }
            }
        }
    }
    Ok(())
}

/// One device of a JSON lines file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    address: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    transport: Option<String>,
    #[serde(default)]
    credential: Option<String>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    tls: Option<String>,
    #[serde(default)]
    pin: Option<String>,
    #[serde(default)]
    ports: Option<String>,
    #[serde(default)]
    in_flight: Option<u32>,
    #[serde(default)]
    labels: LabelsLine,
}

/// Labels as an object, or as a CSV file has them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelsLine {
    Object(BTreeMap<String, String>),
    Text(String),
}

impl Default for LabelsLine {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

fn json_lines(text: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    for (at, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = at as u64 + 1;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match json_row(bytes) {
            Ok(device) => parsed.rows.push(Row {
                line,
                device,
                columns: BTreeMap::new(),
                bad: false,
            }),
            Err((column, message)) => {
                parsed.bad.push(Bad {
                    line,
                    column,
                    field: "json".into(),
                    message,
                });
            }
        }
    }
    parsed
}

fn json_row(bytes: &[u8]) -> Result<v1::Device, (Option<u64>, String)> {
    let line: Line = serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        // The position is told beside the message already, and its line is always 1.
        let message = text.split(" at line ").next().unwrap_or_default().to_owned();
        (Some(error.column() as u64).filter(|column| *column > 0), message)
    })?;
    let mut device = v1::Device {
        name: line.name,
        address: line.address,
        port: line.port.unwrap_or_default().into(),
        transport: line.transport.unwrap_or_default(),
        credential: line.credential.unwrap_or_default(),
        zone: line.zone.unwrap_or_default(),
        tls: line.tls.unwrap_or_default(),
        pin: line.pin.unwrap_or_default(),
        ports: line.ports.unwrap_or_default(),
        in_flight: line.in_flight.unwrap_or_default(),
        ..Default::default()
    };
    match line.labels {
        LabelsLine::Object(labels) => device.labels = labels.into_iter().collect(),
        LabelsLine::Text(text) => set(&mut device, "labels", &text).map_err(|message| (None, message))?,
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Parsed, Failure> {
        if text.starts_with('{') {
            Ok(json_lines(text.as_bytes()))
        } else {
            csv(text.as_bytes())
        }
    }

    #[test]
    fn a_csv_as_documented() {
        let parsed = read_text(
            "name,address,port,transport,credential,zone,labels\n\
             r1,10.0.0.1,8728,api,ops,eu,site=ams;role=core\n\
             r2,10.0.0.2,,,,,\n",
        );
        let parsed = parsed.expect("readable");
        assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
        let device = &parsed.rows[0].device;
        assert_eq!(
            (device.name.as_str(), device.port, device.labels["role"].as_str()),
            ("r1", 8728, "core")
        );
        assert_eq!((parsed.rows[1].line, parsed.rows[1].device.port), (3, 0));
    }

    #[test]
    fn every_bad_line_is_told_with_line_and_column() {
        let parsed = read_text(
            "name,address,port,labels\nr1,10.0.0.1,abc,site\nr2,10.0.0.2\nr3,10.0.0.3,1,\nr4,x,0,a=1;a=2\n",
        );
        let parsed = parsed.expect("readable");
        let told = parsed
            .bad
            .iter()
            .map(|bad| (bad.line, bad.column, bad.field.as_str()))
            .collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                (2, Some(3), "port"),
                (2, Some(4), "labels"),
                (3, None, ""),
                (5, Some(3), "port"),
                (5, Some(4), "labels")
            ]
        );
        let good = parsed
            .rows
            .iter()
            .filter(|row| !row.bad)
            .map(|row| row.line)
            .collect::<Vec<_>>();
        assert_eq!(good, [4]);
    }

    #[test]
    fn a_credential_that_is_not_there_is_told_once() {
        let bad = |line, field: &str, message: &str| Bad {
            line,
            column: Some(4),
            field: field.into(),
            message: message.into(),
        };
        let all = vec![
            bad(2, "credential", "no \"ops\""),
            bad(3, "credential", "no \"ops\""),
            bad(3, "port", "no port"),
            bad(4, "credential", "no \"lab\""),
            bad(5, "credential", "no \"ops\""),
            bad(6, "port", "no port"),
        ];
        let told = told_once(all).into_iter().map(|bad| (bad.line, bad.message));
        let expected = [
            (2, "no \"ops\" (and 2 more lines)"),
            (3, "no port"),
            (4, "no \"lab\""),
            (6, "no port"),
        ];
        assert_eq!(
            told.collect::<Vec<_>>(),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn a_name_that_is_there_twice_is_told_with_its_first_line() {
        let mut parsed =
            read_text("name,address\nr1,10.0.0.1\nr2,10.0.0.2\nr1,10.0.0.3\n").expect("readable");
        duplicates(&mut parsed);
        assert_eq!((parsed.bad[0].line, parsed.bad[0].column), (4, Some(1)));
        assert_eq!(parsed.bad[0].message, "the name \"r1\" is on line 2 already");
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        for text in [
            "name,address,port\r\na,x,1\r\nb,y,xx\r\n",
            "name,address,port\n\nb,y,xx\n",
            "\nname,address,port\nb,y,xx",
        ] {
            assert_eq!(read_text(text).expect("readable").bad[0].line, 3, "{text:?}");
        }
    }

    #[test]
    fn a_header_that_is_wrong_says_what_would_be_right() {
        assert!(
            read_text("name,adress\n")
                .expect_err("typo")
                .message()
                .contains("\"adress\" is no column")
        );
        assert!(
            read_text("name,port\n")
                .expect_err("missing")
                .message()
                .contains("no column \"address\"")
        );
    }

    #[test]
    fn json_lines_take_labels_as_an_object_or_as_text() {
        let parsed = read_text(
            "{\"name\":\"r1\",\"address\":\"10.0.0.1\",\"labels\":{\"site\":\"ams\"}}\n\n\
             {\"name\":\"r2\",\"address\":\"10.0.0.2\",\"port\":8729,\"labels\":\"site=fra\"}\n\
             {\"name\":\"r3\"}\n{\"name\":\"r4\",\"address\":\"x\",\"prot\":1}\n",
        );
        let parsed = parsed.expect("readable");
        assert_eq!(parsed.rows.len(), 2);
        assert_eq!(parsed.rows[1].device.labels["site"], "fra");
        let lines = parsed.bad.iter().map(|bad| bad.line).collect::<Vec<_>>();
        assert_eq!(lines, [4, 5]);
        assert!(
            parsed.bad[1].message.contains("unknown field `prot`"),
            "{}",
            parsed.bad[1].message
        );
    }
}
