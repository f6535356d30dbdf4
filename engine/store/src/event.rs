//! What happened to jobs, in the order it was committed.

use crate::{Store, StoreError, sql};

/// One commit's news of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Its place among all events.
    pub seq: u64,
    /// `created`, `state` or `ended`.
    pub kind: String,
    /// Executions that became final.
    pub ended: Vec<u64>,
}

impl Store {
    /// When the last event was noted, Unix milliseconds; 0 when there is none.
    pub async fn newest_time(&self) -> Result<i64, StoreError> {
        let newest = sqlx::query_scalar(sql::EVENT_LATEST)
            .fetch_optional(self.readers())
            .await?;
        Ok(newest.unwrap_or_default())
    }

    /// Up to `limit` events of a job after `seq`.
    pub async fn events(&self, job: i64, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let query = sqlx::query_as(sql::EVENTS_AFTER)
            .bind(job)
            .bind(after as i64)
            .bind(i64::from(limit));
        let rows: Vec<(i64, String, String)> = query.fetch_all(self.readers()).await?;
        let event = |(seq, kind, ended): (i64, String, String)| {
            let ended =
                serde_json::from_str(&ended).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            Ok(EventRecord {
                seq: seq.unsigned_abs(),
                kind,
                ended,
            })
        };
        rows.into_iter().map(event).collect()
    }

    /// The last place that was given to any event, kept or deleted; 0 before the first.
    pub async fn last_event(&self) -> Result<u64, StoreError> {
        let last: i64 = sqlx::query_scalar(sql::EVENT_LAST)
            .fetch_one(self.readers())
            .await?;
        Ok(last.unsigned_abs())
    }
}
