//! `muster job export`: the rows of a job's results as a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use muster_proto::v1;
use serde_json::json;
use tempfile::NamedTempFile;
use tonic::Status;

use super::aggregate::usage;
use super::connect::Engine;
use crate::exit::{Done, Exit, Failure};
use crate::serve::Stop;
use crate::terminal::{is_closed, is_read_by_a_person, lines, number, out};

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The job's id
    pub id: String,
    /// [default: as the file is called]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write to this file, which is there only when it is whole [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A column for each of these: attributes (version), labels.KEY, facts.NAME, device.NAME [default: every attribute]
    #[arg(long, value_name = "NAME[,…]", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Only rows for which this holds: 'type=ether and not (disabled=yes or mtu<1500)'
    #[arg(
        long = "where",
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true
    )]
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
    /// Apache Parquet, for DuckDB, pandas and their like
    Parquet,
}

impl Format {
    /// What a file of this name is.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

impl From<Format> for v1::ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl,
            Format::Csv => Self::Csv,
            Format::Parquet => Self::Parquet,
        }
    }
}

/// The format that is asked for, or that the file's name says.
pub(super) fn format_of(asked: Option<Format>, output: Option<&Path>) -> Result<Format, Failure> {
    let Some(format) = asked.or_else(|| output.and_then(Format::of)) else {
        return Err(Failure::usage(
            "--format: write jsonl, csv or parquet, or a file with such an end: -o rows.parquet",
        ));
    };
    if format == Format::Parquet && output.is_none() && is_read_by_a_person() {
        return Err(Failure::usage(
            "Parquet is nothing to look at; write it to a file: -o rows.parquet",
        ));
    }
    Ok(format)
}

pub(super) async fn run(engine: &Engine, asked: Export, json: bool) -> Done {
    let format = format_of(asked.format, asked.output.as_deref())?;
    let request = v1::ExportJobRequest {
        id: asked.id,
        format: v1::ExportFormat::from(format).into(),
        columns: asked.columns,
        r#where: asked.filter,
    };
    let stream = engine.jobs().export_job(request).await;
    let mut stream = stream.map_err(|status| usage(status.into()))?.into_inner();
    let next = async move || {
        let message = stream.message().await?;
        Ok(message.map(|message| (message.data, message.rows)))
    };
    save(next, asked.output.as_deref(), json).await
}

/// Writes a file that comes in pieces, each with the rows so far.
pub(super) async fn save(
    mut next: impl AsyncFnMut() -> Result<Option<(Vec<u8>, u64)>, Status>,
    output: Option<&Path>,
    json: bool,
) -> Done {
    let mut stop = Stop::new()?;
    let mut file = output.map(begin).transpose()?;
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let message = tokio::select! {
            message = next() => message.map_err(|status| usage(status.into()))?,
            () = stop.wait() => {
                return Err(Failure::new(Exit::Usage, "STOPPED", "stopped before the end; no file was written"));
            }
        };
        let Some((data, so_far)) = message else { break };
        rows = rows.max(so_far);
        bytes += data.len() as u64;
        match (&mut file, output) {
            (Some(file), Some(path)) => file.write_all(&data).map_err(|error| at(path, &error))?,
            _ => lines(&shown(data)),
        }
        if is_closed() {
            return Ok(Exit::Ok);
        }
    }
    if let (Some(file), Some(path)) = (file, output) {
        end(file, path)?;
        match json {
            true => out(json!({ "file": path, "rows": rows, "bytes": bytes })),
            false => anstream::eprintln!(
                "{} rows, {} bytes in {}",
                number(rows),
                number(bytes),
                path.display()
            ),
        }
    }
    Ok(Exit::Ok)
}

/// What a device says does not drive a terminal; a file gets it as it is.
fn shown(mut data: Vec<u8>) -> Vec<u8> {
    if is_read_by_a_person() {
        let mut before = 0;
        for byte in &mut data {
            let control = (*byte < b' ' && !b"\n\r\t".contains(byte)) || *byte == 0x7F;
            // The second byte of a control character beyond ASCII.
            let beyond = before == 0xC2 && (0x80..0xA0).contains(byte);
            before = *byte;
            if control || beyond {
                *byte = b'?';
            }
        }
    }
    data
}

/// A file beside the one that is wanted.
fn begin(path: &Path) -> Result<NamedTempFile, Failure> {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".muster-export-");
    // As a file that is simply made would be, and not for the owner alone.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
        .tempfile_in(directory.unwrap_or(Path::new(".")))
        .map_err(|error| at(path, &error))
}

fn end(mut file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    file.flush().map_err(|error| at(path, &error))?;
    file.persist(path).map_err(|error| at(path, &error.error))?;
    Ok(())
}

fn at(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_is_called() {
        assert_eq!(Format::of(Path::new("a.b/rows.parquet")), Some(Format::Parquet));
        assert_eq!(Format::of(Path::new("rows.csv")), Some(Format::Csv));
        assert_eq!(Format::of(Path::new("rows.txt")), None);
        assert_eq!(Format::of(Path::new("rows")), None);
    }
}
