//! Comma-separated values (RFC 4180), with a header.

use std::io::{self, Write};
use std::ops::Range;

use super::{Attribute, Cell, Column, Places, Sheet, header, text, time};

pub(super) struct Csv<W: Write> {
    places: Places,
    /// Where the value of each attribute is in `bytes`.
    values: Vec<Range<usize>>,
    bytes: Vec<u8>,
    out: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(columns: &[Column], attributes: &[Vec<u8>], out: W) -> io::Result<Self> {
        let mut out = csv::Writer::from_writer(out);
        for column in columns {
            out.write_field(text(column.name.as_bytes()))?;
        }
        for attribute in attributes {
            out.write_field(header(columns, attribute).as_bytes())?;
        }
        out.write_record(None::<&[u8]>)?;
        Ok(Self {
            places: Places::new(attributes),
            values: vec![0..0; attributes.len()],
            bytes: Vec::new(),
            out,
        })
    }
}

impl<W: Write> Sheet for Csv<W> {
    fn row(
        &mut self,
        cells: &[Cell<'_>],
        attributes: &mut dyn Iterator<Item = Attribute<'_>>,
    ) -> io::Result<()> {
        for cell in cells {
            match cell {
                Cell::None => self.out.write_field("")?,
                Cell::Text(value) => self.out.write_field(text(value))?,
                Cell::Number(number) => self.out.write_field(number.to_string())?,
                Cell::Time(at) => self.out.write_field(time(*at))?,
            }
        }
        self.values.fill(0..0);
        self.bytes.clear();
        for (name, value) in attributes {
            if let Some(place) = self.places.find(name) {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(&text(value));
                self.values[place] = start..self.bytes.len();
            }
        }
        for value in &self.values {
            self.out.write_field(&self.bytes[value.clone()])?;
        }
        Ok(self.out.write_record(None::<&[u8]>)?)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}
