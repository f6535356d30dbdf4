//! Verdicts of a run, and findings, as files. The columns are always the same.

use std::io;
use std::sync::Arc;

use muster_proto::v1;
use muster_store::{AuditRecord, FindingPage, ListedFinding, StoreError};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::{Cell, Chunks, Column, Format, Kind, Pieces};
use crate::{Shared, audit, error};

/// Devices, or findings, read at once.
const PAGE: u32 = 500;

/// What verdicts have.
const VERDICTS: &[(&str, Kind)] = &[
    ("device", Kind::Text),
    ("check", Kind::Text),
    ("severity", Kind::Text),
    ("verdict", Kind::Text),
    ("observed_at", Kind::Time),
    ("reason", Kind::Text),
    ("evidence", Kind::Text),
];

/// What findings have.
const FINDINGS: &[(&str, Kind)] = &[
    ("audit", Kind::Text),
    ("check", Kind::Text),
    ("device", Kind::Text),
    ("severity", Kind::Text),
    ("state", Kind::Text),
    ("first_seen", Kind::Time),
    ("last_seen", Kind::Time),
    ("closed_at", Kind::Time),
    ("flaps", Kind::Number),
    ("reason", Kind::Text),
    ("evidence", Kind::Text),
    ("waived_by", Kind::Text),
    ("waived_until", Kind::Time),
    ("waived_for", Kind::Text),
];

/// What is written.
#[derive(Debug)]
pub(crate) enum What {
    /// Verdicts of a run: only these, unless there are none, and only of this check, unless it is empty.
    Verdicts(Box<AuditRecord>, Vec<muster_audit::Verdict>, String),
    /// Findings, from the first page on.
    Findings(FindingPage),
}

impl What {
    fn columns(&self) -> Vec<Column> {
        let columns = match self {
            Self::Verdicts(..) => VERDICTS,
            Self::Findings(_) => FINDINGS,
        };
        let column = |(name, kind): &(&str, Kind)| Column {
            name: (*name).to_owned(),
            kind: *kind,
        };
        columns.iter().map(column).collect()
    }
}

/// What a row has.
#[derive(Debug)]
enum Value {
    None,
    Text(String),
    Number(i64),
    Time(i64),
}

impl Value {
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::None => Cell::None,
            Self::Text(text) => Cell::Text(text.as_bytes()),
            Self::Number(number) => Cell::Number(*number),
            Self::Time(time) => Cell::Time(*time),
        }
    }
}

type Rows = Vec<Vec<Value>>;

/// The file, piece by piece.
pub(crate) fn stream(
    shared: Arc<Shared>,
    what: What,
    format: Format,
) -> impl Stream<Item = Result<v1::ExportAuditResponse, Status>> + Send {
    super::stream(
        shared.stop.clone(),
        |data, rows| v1::ExportAuditResponse { data, rows },
        move |chunks| async move { write(&shared, what, format, chunks).await },
    )
}

/// Writes all rows; returns how many.
async fn write(shared: &Shared, what: What, format: Format, chunks: Pieces) -> Result<u64, Status> {
    let columns = what.columns();
    let (pages, mut waiting) = mpsc::channel::<Rows>(1);
    let writer = tokio::task::spawn_blocking(move || -> io::Result<u64> {
        let mut sheet = format.sheet(&columns, &[], Chunks::new(chunks))?;
        let mut rows = 0;
        while let Some(page) = waiting.blocking_recv() {
            for row in &page {
                let cells = row.iter().map(Value::cell).collect::<Vec<_>>();
                sheet.row(&cells, &mut std::iter::empty())?;
                rows += 1;
            }
        }
        sheet.finish()?;
        Ok(rows)
    });
    let read = match what {
        What::Verdicts(record, verdicts, check) => {
            read_verdicts(shared, &record, &verdicts, &check, &pages).await
        }
        What::Findings(page) => read_findings(shared, page, &pages).await,
    };
    drop(pages);
    let written = writer.await.map_err(error::internal)?;
    read.map_err(error::store)?;
    match written {
        Ok(rows) => Ok(rows),
        // Nobody reads any more.
        Err(failed) if failed.kind() == io::ErrorKind::BrokenPipe => Err(Status::cancelled("")),
        Err(failed) => Err(error::internal(failed)),
    }
}

async fn read_verdicts(
    shared: &Shared,
    record: &AuditRecord,
    verdicts: &[muster_audit::Verdict],
    check: &str,
    pages: &mpsc::Sender<Rows>,
) -> Result<(), StoreError> {
    let checks = audit::tallies(shared, record).await?;
    let mut after = 0;
    loop {
        let results = shared.store.audit_results(record.id, after, PAGE).await?;
        let Some(last) = results.last() else {
            return Ok(());
        };
        after = last.device;
        let mut rows = Rows::new();
        for result in &results {
            for (known, said) in checks.iter().zip(audit::judgements(&result.body)?) {
                let meant = check.is_empty() || check == known.check;
                if !meant || !(verdicts.is_empty() || verdicts.contains(&said.verdict)) {
                    continue;
                }
                rows.push(vec![
                    Value::Text(result.name.clone()),
                    Value::Text(known.check.clone()),
                    Value::Text(known.severity.clone()),
                    Value::Text(said.verdict.to_string()),
                    Value::Time(result.observed_at),
                    Value::Text(said.reason),
                    Value::Text(serde_json::Value::from(said.evidence).to_string()),
                ]);
            }
        }
        if pages.send(rows).await.is_err() {
            return Ok(());
        }
    }
}

async fn read_findings(
    shared: &Shared,
    mut page: FindingPage,
    pages: &mpsc::Sender<Rows>,
) -> Result<(), StoreError> {
    page.limit = PAGE;
    loop {
        let found = shared.store.findings(&page).await?;
        let Some(last) = found.last() else { return Ok(()) };
        page.after = (
            last.audit.clone(),
            last.finding.check.clone(),
            last.finding.device,
        );
        if pages
            .send(found.into_iter().map(finding).collect())
            .await
            .is_err()
        {
            return Ok(());
        }
    }
}

fn finding(found: ListedFinding) -> Vec<Value> {
    let ListedFinding {
        audit,
        finding,
        waiver,
    } = found;
    let state = v1::FindingState::try_from(finding.state).unwrap_or_default();
    let state = state.as_str_name().trim_start_matches("FINDING_STATE_");
    let time = |at: Option<i64>| at.map_or(Value::None, Value::Time);
    let (owner, until, why) = match waiver {
        Some(waiver) => (
            Value::Text(waiver.owner),
            Value::Time(waiver.expires_at),
            Value::Text(waiver.reason),
        ),
        None => (Value::None, Value::None, Value::None),
    };
    vec![
        Value::Text(audit),
        Value::Text(finding.check),
        Value::Text(finding.name),
        Value::Text(finding.severity),
        Value::Text(state.to_ascii_lowercase()),
        Value::Time(finding.first_seen),
        Value::Time(finding.last_seen),
        time(finding.closed_at),
        Value::Number(finding.flaps.into()),
        Value::Text(finding.reason),
        Value::Text(finding.evidence),
        owner,
        until,
        why,
    ]
}
