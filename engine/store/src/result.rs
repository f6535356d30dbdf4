//! Executions as people look at them, with their answers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use muster_engine_core::{Execution, Resolution};
use muster_model::{DeviceError, ExecutionState};
use sqlx::SqliteConnection;

use crate::blob::{Digest, Packed, fixed, unpack};
use crate::loaded::{self, Loaded};
use crate::transition::{device_error, resolution};
use crate::{Store, StoreError, json_ids, sql};

/// Replies of one page of results, in bytes: with the record that grows over it, a page ends. So neither a page nor
/// making it takes more memory than this and the largest answer, however many results are asked for.
pub const PAGE_BYTES: usize = 1 << 20;

/// How one execution went.
#[derive(Clone, Debug)]
pub struct ResultRecord {
    /// The execution.
    pub execution: u64,
    /// The device's name.
    pub device: String,
    /// Where it is in its life.
    pub state: ExecutionState,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Why it is not well.
    pub error: Option<DeviceError>,
    /// What was found out after it had ended without an answer.
    pub resolution: Option<Resolution>,
    /// For each step sent, the reply sentences in wire format without tags.
    pub replies: Vec<Bytes>,
    /// When the last attempt began, Unix milliseconds.
    pub started_at: Option<i64>,
    /// Unix milliseconds.
    pub finished_at: Option<i64>,
}

impl ResultRecord {
    /// Bytes of all replies, for whoever bounds a page.
    pub fn reply_bytes(&self) -> usize {
        self.replies.iter().map(Bytes::len).sum()
    }
}

/// An execution as it is stored, without its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionRecord {
    /// What decisions are made from.
    pub execution: Execution,
    /// Its device's number.
    pub device: u64,
    /// Its wave, from 0.
    pub wave: u32,
    /// Whether it holds its device against other jobs with effects.
    pub locked: bool,
    /// The session that holds it.
    pub session: Option<u64>,
    /// When it may be handed out, while it waits, Unix milliseconds.
    pub ready_at: Option<i64>,
}

/// Results after one execution.
#[derive(Clone, Debug)]
pub struct ResultPage {
    /// The job's row.
    pub job: i64,
    /// The last execution of the page before; 0 for the first page.
    pub after: u64,
    /// At most so many.
    pub limit: u32,
    /// Only in these states; empty for all.
    pub states: Vec<ExecutionState>,
}

type Row = (
    i64,
    String,
    i32,
    u32,
    Option<i32>,
    Option<String>,
    Option<u8>,
    Option<i64>,
    Option<i64>,
    Option<bool>,
    Option<i64>,
    Option<i64>,
);

impl Store {
    /// Every execution of a job, by its row, in the order they were laid out: for looking into a store.
    pub async fn executions(&self, job: i64) -> Result<Vec<ExecutionRecord>, StoreError> {
        let mut tx = self.readers().begin().await?;
        let query = sqlx::query_scalar(sql::LOAD_JOB).bind(job);
        let loaded: String = query.fetch_one(&mut *tx).await?;
        let loaded = loaded::loaded(&mut tx, &loaded).await?;
        let query = sqlx::query_as(sql::EXECUTIONS_HELD).bind(job);
        let rest: Vec<(Option<i64>, i64)> = query.fetch_all(&mut *tx).await?;
        let record = |(loaded, (session, ready_at)): (Loaded, (Option<i64>, i64))| ExecutionRecord {
            ready_at: Some(ready_at).filter(|_| loaded.execution.state == ExecutionState::Pending),
            execution: loaded.execution,
            device: loaded.device.unsigned_abs(),
            wave: loaded.wave,
            locked: loaded.locked,
            session: session.map(i64::unsigned_abs),
        };
        Ok(loaded.into_iter().zip(rest).map(record).collect())
    }

    /// A page of a job's executions in the order they were laid out. It has fewer than the limit at the end, or when
    /// it grows over [`PAGE_BYTES`].
    pub async fn results(&self, page: &ResultPage) -> Result<Vec<ResultRecord>, StoreError> {
        let states = json_ids(
            page.states
                .iter()
                .map(|state| u64::from(state.number().unsigned_abs())),
        );
        let mut tx = self.readers().begin().await?;
        let query = sqlx::query_as(sql::RESULT_PAGE)
            .bind(page.job)
            .bind(page.after as i64);
        let rows: Vec<Row> = query
            .bind(i64::from(page.limit))
            .bind(states)
            .fetch_all(&mut *tx)
            .await?;
        with_replies(&mut tx, rows).await
    }

    /// The first of these executions, in this order: all of them, or as many as grow over [`PAGE_BYTES`]. Those that
    /// were deleted are left out.
    pub async fn results_of(&self, executions: &[u64]) -> Result<Vec<ResultRecord>, StoreError> {
        let mut tx = self.readers().begin().await?;
        let query = sqlx::query_as(sql::RESULT_SOME).bind(json_ids(executions.iter().copied()));
        let rows: Vec<Row> = query.fetch_all(&mut *tx).await?;
        with_replies(&mut tx, rows).await
    }
}

/// The rows with their replies, up to the one that grows over a page.
async fn with_replies(
    tx: &mut SqliteConnection,
    mut rows: Vec<Row>,
) -> Result<Vec<ResultRecord>, StoreError> {
    let ids = json_ids(rows.iter().map(|row| row.0.unsigned_abs()));
    let named: Vec<(i64, i64, Vec<u8>, Option<i64>)> = sqlx::query_as(sql::RESULT_STEPS)
        .bind(ids)
        .fetch_all(&mut *tx)
        .await?;
    let mut steps = BTreeMap::<i64, Vec<(i64, Option<Digest>, usize)>>::new();
    for (execution, step, digest, length) in named {
        let missing = || StoreError::Corrupt("a stored answer is missing".into());
        let length = usize::try_from(length.ok_or_else(missing)?).unwrap_or_default();
        // Without a digest, the answer stands with its step.
        let digest = match digest.is_empty() {
            true => None,
            false => Some(fixed(&digest)?),
        };
        steps.entry(execution).or_default().push((step, digest, length));
    }
    // What is read is bounded as it is stored; what is made of it, as it is unpacked.
    let (mut wanted, mut stored) = (BTreeSet::new(), 0);
    let fits = rows.iter().take_while(|row| {
        let fits = stored <= PAGE_BYTES;
        for (_, digest, length) in steps.get(&row.0).into_iter().flatten().filter(|_| fits) {
            stored += match digest {
                Some(digest) if !wanted.insert(*digest) => 0,
                _ => *length,
            };
        }
        fits
    });
    let fits = fits.count();
    rows.truncate(fits);
    let mut blobs = Packed::load(tx, &wanted).await?;
    let mut inline = inline(tx, rows.iter().map(|row| row.0.unsigned_abs())).await?;
    let (mut records, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    for row in rows {
        let steps = steps.remove(&row.0).unwrap_or_default();
        let execution = row.0;
        let replies = steps.iter().map(|(step, digest, _)| match digest {
            Some(digest) => blobs.get(digest),
            None => inline
                .remove(&(execution, *step))
                .ok_or_else(|| StoreError::Corrupt("a stored answer is missing".into())),
        });
        let record = record(row, replies.collect::<Result<_, _>>()?)?;
        bytes += record.reply_bytes();
        records.push(record);
        if bytes > PAGE_BYTES {
            break;
        }
    }
    Ok(records)
}

/// Answers that stand with their steps, by execution and step.
async fn inline(
    tx: &mut SqliteConnection,
    executions: impl Iterator<Item = u64>,
) -> Result<BTreeMap<(i64, i64), Bytes>, StoreError> {
    let query = sqlx::query_as(sql::RESULT_INLINE).bind(json_ids(executions));
    let rows: Vec<(i64, i64, i64, Vec<u8>)> = query.fetch_all(tx).await?;
    let unpack = |(execution, step, encoding, bytes): (i64, i64, i64, Vec<u8>)| {
        Ok(((execution, step), unpack(encoding, bytes)?))
    };
    rows.into_iter().map(unpack).collect()
}

fn record(row: Row, replies: Vec<Bytes>) -> Result<ResultRecord, StoreError> {
    let (id, device, state, attempts, class, message, category, started_at, finished_at, done, epoch, at) =
        row;
    let unknown = || StoreError::Corrupt(format!("execution {id} is in state {state}"));
    Ok(ResultRecord {
        execution: id.unsigned_abs(),
        device,
        state: ExecutionState::from_number(state).ok_or_else(unknown)?,
        attempts,
        error: device_error(class, message, category),
        resolution: resolution(done, epoch, at),
        replies,
        started_at,
        finished_at,
    })
}
