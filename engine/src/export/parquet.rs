//! Apache Parquet. Rows are gathered by column until they are a row group, and are written then: a file takes the memory of
//! one group, however many rows it has.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use super::{Attribute, Cell, Column, Kind, Places, Sheet, header, text};

/// Bytes that are gathered.
const GROUP: usize = 8 << 20;
/// Values that are handed over at once.
const AT_ONCE: usize = 1024;

pub(super) struct Parquet<W: Write + Send> {
    /// Those that every row has, and then those of attributes.
    columns: Vec<Gathered>,
    fixed: usize,
    places: Places,
    rows: usize,
    bytes: usize,
    out: SerializedFileWriter<W>,
}

/// What was gathered of a column: whether a row has something there, for the rows up to the last that has.
enum Gathered {
    Text {
        has: Vec<i16>,
        ends: Vec<usize>,
        bytes: Vec<u8>,
    },
    Number {
        has: Vec<i16>,
        values: Vec<i64>,
    },
}

impl Gathered {
    fn text() -> Self {
        Self::Text {
            has: Vec::new(),
            ends: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Sets what a row has. Returns how many bytes that takes.
    fn set(&mut self, row: usize, cell: Cell<'_>) -> usize {
        match (self, cell) {
            (Self::Text { has, ends, bytes }, Cell::Text(value)) => {
                // Said twice: the last counts.
                if has.len() > row {
                    ends.pop();
                    bytes.truncate(ends.last().copied().unwrap_or_default());
                }
                has.resize(row, 0);
                has.push(1);
                let value = text(value);
                bytes.extend_from_slice(&value);
                ends.push(bytes.len());
                value.len() + size_of::<usize>()
            }
            (Self::Number { has, values }, Cell::Number(number) | Cell::Time(number)) => {
                has.resize(row, 0);
                has.push(1);
                values.push(number);
                size_of::<i64>()
            }
            _ => 0,
        }
    }
}

fn failed(error: parquet::errors::ParquetError) -> io::Error {
    io::Error::other(error)
}

fn field(name: &str, kind: Kind) -> io::Result<TypePtr> {
    let (physical, logical) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::INT64, None),
        Kind::Time => {
            let time = LogicalType::timestamp(true, TimeUnit::MILLIS);
            (Physical::INT64, Some(time))
        }
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    Ok(Arc::new(field.build().map_err(failed)?))
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(columns: &[Column], attributes: &[Vec<u8>], out: W) -> io::Result<Self> {
        let mut fields = Vec::with_capacity(columns.len() + attributes.len());
        for column in columns {
            fields.push(field(&column.name, column.kind)?);
        }
        for attribute in attributes {
            fields.push(field(&header(columns, attribute), Kind::Text)?);
        }
        let schema = Type::group_type_builder("muster").with_fields(fields).build();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("muster version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = Arc::new(schema.map_err(failed)?);
        let gathered = columns.iter().map(|column| match column.kind {
            Kind::Text => Gathered::text(),
            Kind::Number | Kind::Time => Gathered::Number {
                has: Vec::new(),
                values: Vec::new(),
            },
        });
        Ok(Self {
            columns: gathered
                .chain(attributes.iter().map(|_| Gathered::text()))
                .collect(),
            fixed: columns.len(),
            places: Places::new(attributes),
            rows: 0,
            bytes: 0,
            out: SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?,
        })
    }

    fn write_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.out.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            let Some(mut writer) = group.next_column().map_err(failed)? else {
                break;
            };
            match column {
                Gathered::Text { has, ends, bytes } => {
                    has.resize(self.rows, 0);
                    let all = Bytes::from(std::mem::take(bytes));
                    let typed = writer.typed::<ByteArrayType>();
                    let (mut values, mut start, mut ended) = (Vec::with_capacity(AT_ONCE), 0, 0);
                    for levels in has.chunks(AT_ONCE) {
                        values.clear();
                        let count = levels.iter().filter(|level| **level > 0).count();
                        for end in &ends[ended..ended + count] {
                            values.push(ByteArray::from(all.slice(start..*end)));
                            start = *end;
                        }
                        ended += count;
                        typed.write_batch(&values, Some(levels), None).map_err(failed)?;
                    }
                    has.clear();
                    ends.clear();
                }
                Gathered::Number { has, values } => {
                    has.resize(self.rows, 0);
                    let typed = writer.typed::<Int64Type>();
                    typed.write_batch(values, Some(has), None).map_err(failed)?;
                    has.clear();
                    values.clear();
                }
            }
            writer.close().map_err(failed)?;
        }
        group.close().map_err(failed)?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl<W: Write + Send> Sheet for Parquet<W> {
    fn row(
        &mut self,
        cells: &[Cell<'_>],
        attributes: &mut dyn Iterator<Item = Attribute<'_>>,
    ) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += column.set(self.rows, *cell);
        }
        for (name, value) in attributes {
            if let Some(place) = self.places.find(name)
                && let Some(column) = self.columns.get_mut(self.fixed + place)
            {
                self.bytes += column.set(self.rows, Cell::Text(value));
            }
        }
        self.rows += 1;
        self.bytes += size_of::<i16>() * self.columns.len();
        if self.bytes >= GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write_group()?;
        self.out.finish().map_err(failed)?;
        self.out.inner_mut().flush()
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use crate::export::{Format, tests::written};

    #[test]
    fn what_is_written_is_read() {
        let file = bytes::Bytes::from(written(Format::Parquet));
        let reader = SerializedFileReader::new(file).expect("a file");
        let rows = reader.get_row_iter(None).expect("rows");
        let rows = rows
            .map(|row| {
                let row = row.expect("a row");
                row.get_column_iter()
                    .map(|(name, field)| match field {
                        Field::Null => format!("{name}=null"),
                        Field::Str(text) => format!("{name}={text}"),
                        other => format!("{name}={other}"),
                    })
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect::<Vec<_>>();
        assert_eq!(
            rows,
            [
                "device=r1 step=1 at=1970-01-01 00:00:01.500 +00:00 name=hex:636166e9 =device=a,\"b\"\n mtu=1500",
                "device=r2 step=null at=null name=last =device=null mtu=",
                "device=r3 step=null at=null name=null =device=null mtu=null",
            ]
        );
    }
}
