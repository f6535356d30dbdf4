//! Executions as people look at them, with their answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_engine_core::Resolution;
use muster_model::{DeviceError, ExecutionState};

use crate::transition::{device_error, resolution};
use crate::{Store, StoreError, blob, json_ids, sql};

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
    /// A page of a job's executions in the order they were laid out.
    pub async fn results(&self, page: &ResultPage) -> Result<Vec<ResultRecord>, StoreError> {
        let states = json_ids(
            page.states
                .iter()
                .map(|state| u64::from(state.number().unsigned_abs())),
        );
        let query = sqlx::query_as(sql::RESULT_PAGE)
            .bind(page.job)
            .bind(page.after as i64);
        let rows: Vec<Row> = query
            .bind(i64::from(page.limit))
            .bind(states)
            .fetch_all(self.readers())
            .await?;
        self.with_replies(rows).await
    }

    /// These executions, in this order.
    pub async fn results_of(&self, executions: &[u64]) -> Result<Vec<ResultRecord>, StoreError> {
        let query = sqlx::query_as(sql::RESULT_SOME).bind(json_ids(executions.iter().copied()));
        let rows: Vec<Row> = query.fetch_all(self.readers()).await?;
        self.with_replies(rows).await
    }

    async fn with_replies(&self, rows: Vec<Row>) -> Result<Vec<ResultRecord>, StoreError> {
        let ids = json_ids(rows.iter().map(|row| row.0.unsigned_abs()));
        let steps: Vec<(i64, Vec<u8>)> = sqlx::query_as(sql::RESULT_STEPS)
            .bind(ids)
            .fetch_all(self.readers())
            .await?;
        let mut blobs = BTreeMap::<Vec<u8>, Bytes>::new();
        let mut replies = BTreeMap::<i64, Vec<Bytes>>::new();
        for (execution, digest) in steps {
            let bytes = match blobs.get(&digest) {
                Some(bytes) => bytes.clone(),
                None => {
                    let bytes = blob::load(self.readers(), &digest).await?;
                    blobs.insert(digest, bytes.clone());
                    bytes
                }
            };
            replies.entry(execution).or_default().push(bytes);
        }
        rows.into_iter().map(|row| record(row, &mut replies)).collect()
    }
}

fn record(row: Row, replies: &mut BTreeMap<i64, Vec<Bytes>>) -> Result<ResultRecord, StoreError> {
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
        replies: replies.remove(&id).unwrap_or_default(),
        started_at,
        finished_at,
    })
}
