//! What operators did (H4): append-only, and chained by hashes, so that a row that was changed or taken out shows.

use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, sql};

/// Who did what, as a caller tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    /// The operating-system user the client stated. Claimed, not proven.
    pub claimed_by: String,
    /// For example `job.pause`.
    pub action: &'static str,
    /// For example a job's id.
    pub subject: String,
    /// Why, in their words.
    pub reason: String,
    /// What else should be known.
    pub detail: String,
}

/// A row of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRecord {
    /// Its place.
    pub id: i64,
    /// Unix milliseconds.
    pub at: i64,
    /// As in [`Deed`].
    pub claimed_by: String,
    /// As in [`Deed`].
    pub action: String,
    /// As in [`Deed`].
    pub subject: String,
    /// As in [`Deed`].
    pub reason: String,
    /// As in [`Deed`].
    pub detail: String,
    /// SHA-256 of the row before's hash and this row's fields.
    pub hash: Vec<u8>,
}

pub(crate) async fn add(tx: &mut SqliteConnection, deed: &Deed, now: i64) -> Result<(), StoreError> {
    let before: Option<Vec<u8>> = sqlx::query_scalar(sql::HISTORY_LAST)
        .fetch_optional(&mut *tx)
        .await?;
    let Deed {
        claimed_by,
        action,
        subject,
        reason,
        detail,
    } = deed;
    let hash = chained(
        &before.unwrap_or_default(),
        now,
        [claimed_by, action, subject, reason, detail],
    );
    sqlx::query(sql::HISTORY_ADD)
        .bind(now)
        .bind(claimed_by)
        .bind(*action)
        .bind(subject)
        .bind(reason)
        .bind(detail)
        .bind(hash)
        .execute(tx)
        .await?;
    Ok(())
}

/// The hash of a row, given that of the row before. Each field is preceded by its length, so that no two rows share
/// their bytes.
pub fn chained(before: &[u8], at: i64, fields: [&str; 5]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(at.to_be_bytes());
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().to_vec()
}

impl Store {
    /// Up to `limit` rows after the row `after`, of one subject or, when it is empty, of all.
    pub async fn history(
        &self,
        subject: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        type Row = (i64, i64, String, String, String, String, String, Vec<u8>);
        let query = sqlx::query_as(sql::HISTORY_PAGE).bind(after).bind(subject);
        let rows: Vec<Row> = query.bind(limit).fetch_all(self.readers()).await?;
        let record = |(id, at, claimed_by, action, subject, reason, detail, hash): Row| HistoryRecord {
            id,
            at,
            claimed_by,
            action,
            subject,
            reason,
            detail,
            hash,
        };
        Ok(rows.into_iter().map(record).collect())
    }
}
