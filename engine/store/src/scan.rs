//! Reading through all results of a job, in batches of bounded size: for counting and for writing them out.
//!
//! Nothing is decoded here and no answer is unpacked that nobody asks for: an answer that many devices gave is named by
//! its digest, and whoever knows what is in it does not read it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use muster_model::{ErrorClass, ExecutionState};
use serde::Deserialize;

use crate::blob::{self, Digest};
use crate::{Store, StoreError, json_ids, sql};

/// Executions read at once.
const EXECUTIONS: usize = 2048;
/// Steps read at once; more where one execution has more. Answers in their rows have up to 1 KiB each.
const STEPS: usize = 4096;
/// Named answers, packed, in one batch: with the one that grows over it a batch ends.
const BATCH_BYTES: usize = 2 << 20;

/// What is read of executions beside their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// Nothing: what is counted is in the answers.
    None,
    /// The device's name, errors, times.
    All,
}

/// A place in a job's executions that are over, in the order of their devices.
#[derive(Debug)]
pub struct Scan {
    store: Store,
    from: From,
    details: Details,
}

#[derive(Debug)]
enum From {
    Job { job: i64, after: i64 },
    Some(Vec<u64>),
}

/// An execution that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The execution.
    pub execution: u64,
    /// Its device's number.
    pub device: u64,
    /// How it ended.
    pub state: ExecutionState,
    /// What else there is, if it was asked for.
    pub details: Option<ScannedDetails>,
    /// Where its answers are in [`Batch::answers`], in the order of steps.
    pub answers: Range<usize>,
    names_a_set: bool,
}

/// What is told of an execution beside its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedDetails {
    /// The device's name.
    pub device: String,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Its wave, from 0.
    pub wave: u32,
    /// Why it is not well.
    pub error: Option<(ErrorClass, String)>,
    /// When the last attempt began, Unix milliseconds.
    pub started_at: Option<i64>,
    /// Unix milliseconds.
    pub finished_at: Option<i64>,
}

/// Where the answer to a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedAnswer {
    /// The step, from 0.
    pub step: u32,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Here { encoding: i64, at: Range<usize> },
    Named(Digest),
}

impl ScannedAnswer {
    /// Its digest, where several devices may have given it.
    pub fn digest(&self) -> Option<&[u8; 32]> {
        match &self.place {
            Place::Named(digest) => Some(digest),
            Place::Here { .. } => None,
        }
    }
}

/// Executions with their answers, packed as they are stored.
#[derive(Debug, Default)]
pub struct Batch {
    /// The executions.
    pub executions: Vec<Scanned>,
    /// Their answers.
    pub answers: Vec<ScannedAnswer>,
    here: Vec<u8>,
    named: HashMap<Digest, (i64, Vec<u8>)>,
}

impl Batch {
    /// Appends the reply sentences of an answer, in wire format without tags.
    pub fn unpack(&self, answer: &ScannedAnswer, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let missing = || StoreError::Corrupt("a stored answer is missing".into());
        let (encoding, packed) = match &answer.place {
            Place::Here { encoding, at } => (*encoding, self.here.get(at.clone()).ok_or_else(missing)?),
            Place::Named(digest) => {
                let (encoding, bytes) = self.named.get(digest).ok_or_else(missing)?;
                (*encoding, bytes.as_slice())
            }
        };
        blob::unpack_into(encoding, packed, out)
    }
}

/// A device as the inventory has it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannedDevice {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its zone.
    pub zone: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// RouterOS version, once known.
    pub version: Option<String>,
    /// Once known.
    pub board: Option<String>,
    /// Once known.
    pub architecture: Option<String>,
    /// Once known.
    pub identity: Option<String>,
    /// Once known.
    pub serial: Option<String>,
}

impl Scan {
    /// The next executions; `None` after the last. Answers whose digest is `known` are not read.
    pub async fn next(&mut self, known: impl Fn(&[u8; 32]) -> bool) -> Result<Option<Batch>, StoreError> {
        let mut batch = Batch::default();
        while batch.executions.is_empty() {
            let text = self.executions().await?;
            batch.executions = self.read_executions(&text)?;
            match &mut self.from {
                From::Some(left) if batch.executions.is_empty() && left.len() > EXECUTIONS => {
                    left.drain(..EXECUTIONS);
                }
                _ => break,
            }
        }
        let ids = |executions: &[Scanned]| {
            executions
                .iter()
                .map(|one| one.execution)
                .collect::<BTreeSet<_>>()
        };
        let (found, wanted) = (batch.executions.len(), ids(&batch.executions));
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Ok(None);
        };
        self.read_steps(&mut batch, &wanted, *first, *last, &known)
            .await?;
        match &mut self.from {
            From::Job { after, .. } => {
                if let Some(last) = batch.executions.last() {
                    *after = last.device as i64;
                }
            }
            From::Some(left) if batch.executions.len() == found => {
                left.drain(..left.len().min(EXECUTIONS));
            }
            From::Some(left) => {
                let done = ids(&batch.executions);
                left.retain(|id| !done.contains(id));
            }
        }
        Ok(Some(batch))
    }

    async fn executions(&self) -> Result<String, StoreError> {
        let query = match &self.from {
            From::Job { job, after } => {
                let statement = match self.details {
                    Details::None => sql::SCAN,
                    Details::All => sql::SCAN_DETAILS,
                };
                sqlx::query_scalar(statement)
                    .bind(*job)
                    .bind(*after)
                    .bind(EXECUTIONS as i64)
            }
            From::Some(left) => {
                let some = left.iter().take(EXECUTIONS).copied();
                sqlx::query_scalar(sql::SCAN_SOME).bind(json_ids(some))
            }
        };
        Ok(query.fetch_one(self.store.readers()).await?)
    }

    fn read_executions(&self, text: &str) -> Result<Vec<Scanned>, StoreError> {
        type Row = (u64, u64, i32, u8);
        type Full = (
            u64,
            u64,
            i32,
            String,
            u32,
            u32,
            Option<i32>,
            Option<String>,
            Option<i64>,
            Option<i64>,
            u8,
        );
        let scanned = |execution, device, state, set, details| {
            let unknown = || StoreError::Corrupt(format!("execution {execution} is in state {state}"));
            Ok(Scanned {
                execution,
                device,
                state: ExecutionState::from_number(state).ok_or_else(unknown)?,
                details,
                answers: 0..0,
                names_a_set: set != 0,
            })
        };
        if self.details == Details::None && matches!(self.from, From::Job { .. }) {
            let rows: Vec<Row> = read(text)?;
            return rows
                .into_iter()
                .map(|(execution, device, state, set)| scanned(execution, device, state, set, None))
                .collect();
        }
        let rows: Vec<Full> = read(text)?;
        let full = |row: Full| {
            let (
                execution,
                device,
                state,
                name,
                attempts,
                wave,
                class,
                message,
                started_at,
                finished_at,
                set,
            ) = row;
            let class = class.and_then(ErrorClass::from_number);
            let details = ScannedDetails {
                device: name,
                attempts,
                wave,
                error: class.map(|class| (class, message.unwrap_or_default())),
                started_at,
                finished_at,
            };
            scanned(execution, device, state, set, Some(details))
        };
        rows.into_iter().map(full).collect()
    }

    /// Finds the answers of a batch and reads them, and cuts it where they grow too large.
    async fn read_steps(
        &self,
        batch: &mut Batch,
        wanted: &BTreeSet<u64>,
        first: u64,
        last: u64,
        known: &impl Fn(&[u8; 32]) -> bool,
    ) -> Result<(), StoreError> {
        let mut limit = STEPS;
        let statement = match batch.executions.iter().any(|one| one.names_a_set) {
            true => sql::SCAN_SETS,
            false => sql::SCAN_STEPS,
        };
        let (steps, here) = loop {
            let query = sqlx::query_as(statement).bind(first as i64).bind(last as i64);
            let (text, here): (String, Option<Vec<u8>>) =
                query.bind(limit as i64).fetch_one(self.store.readers()).await?;
            let mut steps: Vec<Step> = read(&text)?;
            if steps.len() == limit {
                // The last one may have more.
                let cut = steps.last().map(|step| step.0).unwrap_or_default();
                if cut == first {
                    limit *= 2;
                    continue;
                }
                steps.retain(|step| step.0 != cut);
                batch.executions.retain(|one| one.execution < cut);
            }
            break (steps, here.unwrap_or_default());
        };
        let mut by_execution = HashMap::<u64, Range<usize>>::with_capacity(steps.len());
        let mut at = 0;
        let mut lengths = Vec::with_capacity(steps.len());
        for Step(execution, step, what, length) in steps {
            let place = match what {
                What::Encoding(encoding) => {
                    let start = at;
                    at += length.unwrap_or_default();
                    Place::Here {
                        encoding,
                        at: start..at,
                    }
                }
                What::Digest(hex) => Place::Named(digest(&hex)?),
            };
            // Of another job that was laid out at the same time.
            if !wanted.contains(&execution) {
                continue;
            }
            let index = batch.answers.len();
            by_execution.entry(execution).or_insert(index..index).end = index + 1;
            lengths.push(length.unwrap_or_default());
            batch.answers.push(ScannedAnswer { step, place });
        }
        batch.here = here;
        let (mut load, mut bytes) = (BTreeSet::new(), 0);
        let mut kept = 0;
        for execution in &mut batch.executions {
            if bytes > BATCH_BYTES {
                break;
            }
            kept += 1;
            execution.answers = by_execution.remove(&execution.execution).unwrap_or_default();
            for index in execution.answers.clone() {
                if let Some(digest) = batch.answers[index].digest()
                    && !known(digest)
                    && load.insert(*digest)
                {
                    bytes += lengths[index];
                }
            }
        }
        batch.executions.truncate(kept);
        if !load.is_empty() {
            let query = sqlx::query_as(sql::BLOB_GET_SET).bind(blob::digests(&load));
            let rows: Vec<(Vec<u8>, i64, Vec<u8>)> = query.fetch_all(self.store.readers()).await?;
            for (digest, encoding, bytes) in rows {
                batch.named.insert(blob::fixed(&digest)?, (encoding, bytes));
            }
        }
        Ok(())
    }
}

/// `[execution, step, encoding, length]` of an answer in its row, `[execution, step, digest, packed length]` of another.
#[derive(Deserialize)]
struct Step(u64, u32, What, Option<usize>);

#[derive(Deserialize)]
#[serde(untagged)]
enum What {
    Encoding(i64),
    Digest(String),
}

fn digest(hex: &str) -> Result<Digest, StoreError> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = hex
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect::<Option<Vec<_>>>();
    blob::fixed(&bytes.unwrap_or_default())
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

impl Store {
    /// All executions of a job that are over.
    pub fn scan(&self, job: i64, details: Details) -> Scan {
        Scan {
            store: self.clone(),
            from: From::Job { job, after: 0 },
            details,
        }
    }

    /// Those of these executions that are over, with all details.
    pub fn scan_some(&self, executions: Vec<u64>) -> Scan {
        Scan {
            store: self.clone(),
            from: From::Some(executions),
            details: Details::All,
        }
    }

    /// Devices by number, as the inventory has them now. Those that were removed are left out.
    pub async fn scanned_devices(
        &self,
        devices: impl IntoIterator<Item = u64>,
    ) -> Result<HashMap<u64, ScannedDevice>, StoreError> {
        type Row = (
            u64,
            String,
            String,
            String,
            BTreeMap<String, String>,
            Option<String>,
            Option<String>,
            Option<String>,
            Option<String>,
            Option<String>,
        );
        let query = sqlx::query_scalar(sql::SCAN_DEVICES).bind(json_ids(devices));
        let text: String = query.fetch_one(self.readers()).await?;
        let rows: Vec<Row> = read(&text)?;
        let device =
            |(id, name, address, zone, labels, version, board, architecture, identity, serial): Row| {
                let device = ScannedDevice {
                    name,
                    address,
                    zone,
                    labels,
                    version,
                    board,
                    architecture,
                    identity,
                    serial,
                };
                (id, device)
            };
        Ok(rows.into_iter().map(device).collect())
    }
}
