//! The rows of a job's results as a file. What is read is unpacked and written a little at a time: the memory that it takes
//! does not grow with the job.

use std::cell::Cell as Shared_;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use muster_proto::v1;
use muster_store::{Batch, Details, JobRecord, Scanned, ScannedDevice, StoreError};
use routeros_wire::decode::decode_each;
use routeros_wire::{Expression, Sentence};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::{Cell, Chunks, Column, Format, Kind, Pieces, Sheet};
use crate::aggregate::fold::{LIMITS, is_row, step_names};
use crate::aggregate::{devices, filter, names};
use crate::names::{Name, Of, View};
use crate::{Shared, error};

/// Attributes that one table can have. RouterOS has a few thousand in all.
const COLUMNS: usize = 4096;
/// Answers that are unpacked at once, in bytes.
const TOGETHER: usize = 1 << 20;

/// What every row has, as in `muster job results --csv`.
const FIXED: [(&str, Kind); 9] = [
    ("device", Kind::Text),
    ("execution", Kind::Number),
    ("state", Kind::Text),
    ("attempts", Kind::Number),
    ("error_class", Kind::Text),
    ("error_message", Kind::Text),
    ("started_at", Kind::Time),
    ("finished_at", Kind::Time),
    ("step", Kind::Number),
];

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    format: Format,
    /// None for all attributes.
    chosen: Option<Vec<(String, Name)>>,
    filter: Option<Expression>,
    filter_names: Vec<(Vec<u8>, Name)>,
}

impl Export {
    pub(crate) fn parse(request: &v1::ExportJobRequest) -> Result<Self, Status> {
        let format = Format::parse(request.format)?;
        let mut violations = Vec::new();
        let chosen = names("columns", &request.columns, &mut violations);
        let (filter, filter_names) = filter(&request.r#where, &mut violations);
        if !violations.is_empty() {
            return Err(error::invalid(violations));
        }
        let chosen = request.columns.iter().cloned().zip(chosen).collect::<Vec<_>>();
        Ok(Self {
            format,
            chosen: Some(chosen).filter(|chosen| !chosen.is_empty()),
            filter,
            filter_names,
        })
    }

    fn needs_device(&self) -> bool {
        let chosen = self.chosen.iter().flatten().map(|(_, name)| name);
        let mut all = chosen.chain(self.filter_names.iter().map(|(_, name)| name));
        all.any(Name::needs_device)
    }

    fn columns(&self) -> Vec<Column> {
        let fixed = FIXED.map(|(name, kind)| Column {
            name: name.into(),
            kind,
        });
        let chosen = self.chosen.iter().flatten().map(|(name, _)| Column {
            name: match FIXED.iter().any(|(fixed, _)| fixed == name) {
                true => format!("={name}"),
                false => name.clone(),
            },
            kind: Kind::Text,
        });
        fixed.into_iter().chain(chosen).collect()
    }
}

/// The file, piece by piece.
pub(crate) fn stream(
    shared: Arc<Shared>,
    job: JobRecord,
    export: Export,
) -> impl Stream<Item = Result<v1::ExportJobResponse, Status>> + Send {
    super::stream(
        shared.stop.clone(),
        |data, rows| v1::ExportJobResponse { data, rows },
        move |chunks| async move { write(&shared, &job, export, chunks).await },
    )
}

/// Writes all rows; returns how many.
async fn write(shared: &Shared, job: &JobRecord, export: Export, chunks: Pieces) -> Result<u64, Status> {
    let mut learnt = Learnt::default();
    // What ends between the first reading and the second has columns that nobody knows.
    let mut seen = (!job.state.is_terminal()).then(HashSet::new);
    if export.chosen.is_none() && export.format.has_columns() {
        learnt = learn(shared, job, seen.as_mut()).await?;
    } else {
        seen = None;
    }
    let wanted = export.needs_device();
    let (batches, mut waiting) = mpsc::channel::<(Batch, HashMap<u64, ScannedDevice>)>(1);
    let writer = tokio::task::spawn_blocking(move || -> Result<u64, Failed> {
        let columns = export.columns();
        let mut table = Table {
            sheet: export
                .format
                .sheet(&columns, &learnt.names, Chunks::new(chunks))?,
            export,
            seen,
            rows: 0,
        };
        while let Some((batch, devices)) = waiting.blocking_recv() {
            table.add(&batch, &devices)?;
        }
        table.sheet.finish()?;
        Ok(table.rows)
    });
    let mut scan = shared.store.scan(job.id, Details::All);
    while let Some(batch) = scan.next(|_| false).await.map_err(error::store)? {
        let devices = devices(shared, &batch, wanted).await.map_err(error::store)?;
        if batches.send((batch, devices)).await.is_err() {
            break;
        }
    }
    drop(batches);
    match writer.await.map_err(error::internal)? {
        Ok(rows) => Ok(rows),
        Err(Failed::Store(failed)) => Err(error::store(failed)),
        // Nobody reads any more.
        Err(Failed::Io(failed)) if failed.kind() == io::ErrorKind::BrokenPipe => Err(Status::cancelled("")),
        Err(Failed::Io(failed)) => Err(error::internal(failed)),
    }
}

enum Failed {
    Store(StoreError),
    Io(io::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Attributes in the order in which they are met.
#[derive(Debug, Default)]
struct Learnt {
    names: Vec<Vec<u8>>,
    known: HashSet<Vec<u8>>,
    last: Vec<Vec<u8>>,
}

impl Learnt {
    fn row(&mut self, sentence: &Sentence<'_>) {
        // Most rows have what the row before has.
        let mut last = self.last.iter();
        if sentence
            .attributes()
            .all(|(name, _)| last.next().is_some_and(|known| known == name))
        {
            return;
        }
        self.last = sentence.attributes().map(|(name, _)| name.to_vec()).collect();
        for name in &self.last {
            if !self.known.contains(name) {
                self.known.insert(name.clone());
                self.names.push(name.clone());
            }
        }
    }
}

async fn learn(
    shared: &Shared,
    job: &JobRecord,
    mut seen: Option<&mut HashSet<u64>>,
) -> Result<Learnt, Status> {
    let mut learnt = Learnt::default();
    let mut digests = HashSet::new();
    let mut scan = shared.store.scan(job.id, Details::None);
    while let Some(batch) = scan
        .next(|digest| digests.contains(digest))
        .await
        .map_err(error::store)?
    {
        if let Some(seen) = &mut seen {
            seen.extend(batch.executions.iter().map(|execution| execution.execution));
        }
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            for execution in &batch.executions {
                for answer in &batch.answers[execution.answers.clone()] {
                    if let Some(digest) = answer.digest()
                        && !digests.insert(*digest)
                    {
                        continue;
                    }
                    bytes.clear();
                    batch.unpack(answer, &mut bytes)?;
                    decode_each(&[bytes.as_slice()], LIMITS, |_, sentence| {
                        if is_row(&sentence) {
                            learnt.row(&sentence);
                        }
                    });
                }
            }
            Ok::<_, StoreError>((learnt, digests))
        });
        (learnt, digests) = reading.await.map_err(error::internal)?.map_err(error::store)?;
        if learnt.names.len() > COLUMNS {
            let told = format!(
                "the rows have over {COLUMNS} different attributes, which is more than a table can have; choose columns, or \
                 take JSONL, which has none"
            );
            return Err(error::invalid_field("columns", told));
        }
    }
    Ok(learnt)
}

struct Table<'w> {
    sheet: Box<dyn Sheet + 'w>,
    export: Export,
    seen: Option<HashSet<u64>>,
    rows: u64,
}

impl Table<'_> {
    fn add(&mut self, batch: &Batch, devices: &HashMap<u64, ScannedDevice>) -> Result<(), Failed> {
        let steps = step_names(batch);
        let executions = batch.executions.iter();
        let is_seen = |execution: &&Scanned| {
            let seen = self.seen.as_ref();
            seen.is_none_or(|seen| seen.contains(&execution.execution))
        };
        let executions = executions.filter(is_seen).collect::<Vec<_>>();
        let ofs = executions
            .iter()
            .map(|execution| Of::new(execution, devices.get(&execution.device)))
            .collect::<Vec<_>>();
        let of = |at: usize| (executions[at], &ofs[at]);
        let (mut waiting, mut bytes) = (Vec::new(), Vec::new());
        // Up to which execution all is written, and whether that one had a row.
        let mut at = Progress::default();
        for (place, execution) in executions.iter().enumerate() {
            for answer in &batch.answers[execution.answers.clone()] {
                let start = bytes.len();
                batch.unpack(answer, &mut bytes)?;
                waiting.push((place, answer.step, start..bytes.len()));
                if bytes.len() > TOGETHER {
                    self.write(&mut waiting, &mut bytes, &of, &steps, &mut at)?;
                }
            }
        }
        self.write(&mut waiting, &mut bytes, &of, &steps, &mut at)?;
        self.pass(&mut at, executions.len(), &of)
    }

    /// Writes a row for each execution before `to` that had none.
    fn pass<'a>(
        &mut self,
        at: &mut Progress,
        to: usize,
        of: &impl Fn(usize) -> (&'a Scanned, &'a Of<'a>),
    ) -> Result<(), Failed> {
        while at.place < to {
            if !at.had_rows {
                let (execution, of) = of(at.place);
                self.row(
                    execution,
                    View {
                        of,
                        step: None,
                        sentence: None,
                    },
                    None,
                )?;
            }
            at.place += 1;
            at.had_rows = false;
        }
        Ok(())
    }

    fn write<'a>(
        &mut self,
        waiting: &mut Vec<(usize, u32, Range<usize>)>,
        bytes: &mut Vec<u8>,
        of: &impl Fn(usize) -> (&'a Scanned, &'a Of<'a>),
        steps: &[String],
        at: &mut Progress,
    ) -> Result<(), Failed> {
        let slices = waiting
            .iter()
            .map(|(.., range)| &bytes[range.clone()])
            .collect::<Vec<_>>();
        let mut failed = None;
        let errors = decode_each(&slices, LIMITS, |index, sentence| {
            if failed.is_some() || !is_row(&sentence) {
                return;
            }
            let (place, step, _) = &waiting[index];
            let (execution, of_place) = of(*place);
            let row = View {
                of: of_place,
                step: steps.get(*step as usize).map(String::as_str),
                sentence: Some(sentence),
            };
            let done = self
                .pass(at, *place, of)
                .and_then(|()| self.row(execution, row, Some(*step)));
            at.had_rows = true;
            failed = done.err();
        });
        for (_, error) in errors {
            tracing::error!(%error, "a stored answer does not decode");
        }
        waiting.clear();
        bytes.clear();
        failed.map_or(Ok(()), Err)
    }

    fn row(&mut self, execution: &Scanned, row: View<'_>, step: Option<u32>) -> Result<(), Failed> {
        let hint = Shared_::new(0);
        if let Some(filter) = &self.export.filter {
            let names = &self.export.filter_names;
            let get = |name: &[u8]| {
                let (_, known) = names.iter().find(|(written, _)| written == name)?;
                known.get(&row, &hint)
            };
            if !filter.matches(&get) {
                return Ok(());
            }
        }
        self.rows += 1;
        let details = execution.details.as_ref();
        let error = details.and_then(|details| details.error.as_ref());
        let time = |at: Option<i64>| at.map_or(Cell::None, Cell::Time);
        let mut cells = vec![
            Cell::Text(details.map_or("", |details| &details.device).as_bytes()),
            Cell::Number(execution.execution as i64),
            Cell::Text(execution.state.as_str().as_bytes()),
            Cell::Number(details.map_or(0, |details| details.attempts.into())),
            error.map_or(Cell::None, |(class, _)| Cell::Text(class.as_str().as_bytes())),
            error.map_or(Cell::None, |(_, message)| Cell::Text(message.as_bytes())),
            time(details.and_then(|details| details.started_at)),
            time(details.and_then(|details| details.finished_at)),
            step.map_or(Cell::None, |step| Cell::Number(i64::from(step) + 1)),
        ];
        match (&self.export.chosen, row.sentence) {
            (Some(chosen), _) => {
                let cell = |(_, name): &(String, Name)| name.get(&row, &hint).map_or(Cell::None, Cell::Text);
                cells.extend(chosen.iter().map(cell));
                self.sheet.row(&cells, &mut std::iter::empty())?;
            }
            (None, Some(sentence)) => self.sheet.row(&cells, &mut sentence.attributes())?,
            (None, None) => self.sheet.row(&cells, &mut std::iter::empty())?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Progress {
    place: usize,
    had_rows: bool,
}
