//! An object a line.

use std::io::{self, Write};

use super::{Attribute, Cell, Column, Sheet, header, hex, time};

pub(super) struct Jsonl<W> {
    /// Names with their quotes and the colon.
    columns: Vec<(Vec<u8>, Column)>,
    line: Vec<u8>,
    /// The attributes of a row, whose last of a name counts.
    names: Vec<Vec<u8>>,
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub(super) fn new(columns: &[Column], out: W) -> Self {
        let column = |column: &Column| {
            let mut key = Vec::new();
            string(&mut key, &column.name);
            key.push(b':');
            (key, column.clone())
        };
        Self {
            columns: columns.iter().map(column).collect(),
            line: Vec::new(),
            names: Vec::new(),
            out,
        }
    }
}

fn string(line: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail, and neither does a text.
    let _ = serde_json::to_writer(line, text);
}

fn value(line: &mut Vec<u8>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) => string(line, text),
        Err(_) => {
            line.extend_from_slice(b"{\"hex\":\"");
            line.extend_from_slice(&hex(value).as_bytes()[super::HEX.len()..]);
            line.extend_from_slice(b"\"}");
        }
    }
}

impl<W: Write> Sheet for Jsonl<W> {
    fn row(
        &mut self,
        cells: &[Cell<'_>],
        attributes: &mut dyn Iterator<Item = Attribute<'_>>,
    ) -> io::Result<()> {
        self.line.clear();
        self.line.push(b'{');
        for (at, ((key, _), cell)) in self.columns.iter().zip(cells).enumerate() {
            if at > 0 {
                self.line.push(b',');
            }
            self.line.extend_from_slice(key);
            match cell {
                Cell::None => self.line.extend_from_slice(b"null"),
                Cell::Text(text) => value(&mut self.line, text),
                Cell::Number(number) => write!(self.line, "{number}")?,
                Cell::Time(at) => string(&mut self.line, &time(*at)),
            }
        }
        let attributes = attributes.collect::<Vec<_>>();
        self.names.clear();
        for (at, (name, text)) in attributes.iter().enumerate() {
            // No device says a name twice in a row; one that did would make an object that is none.
            if attributes[at + 1..].iter().any(|(later, _)| later == name) {
                continue;
            }
            self.line.push(b',');
            let known = std::str::from_utf8(name)
                .ok()
                .filter(|name| self.columns.iter().all(|(_, column)| column.name != *name));
            match known {
                Some(name) => string(&mut self.line, name),
                None => {
                    let columns = self
                        .columns
                        .iter()
                        .map(|(_, column)| column.clone())
                        .collect::<Vec<_>>();
                    string(&mut self.line, &header(&columns, name));
                }
            }
            self.line.push(b':');
            value(&mut self.line, text);
        }
        self.line.extend_from_slice(b"}\n");
        self.out.write_all(&self.line)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}
