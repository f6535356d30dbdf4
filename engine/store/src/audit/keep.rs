//! Deleting runs that were over long ago, and findings that were closed long ago. As with jobs, in small batches.
//!
//! Two runs stay whatever their age: the baseline of a name, because later ones are compared with it, and the youngest of all,
//! so that its number is not given to another: findings tell by the number which runs they know.

use serde_json::json;
use sqlx::SqliteConnection;

use crate::sql::audit as sql;
use crate::{Store, StoreError, Write};

/// Rows that one batch deletes.
const ROWS: i64 = 1000;
/// Runs that one batch takes from sight.
const RUNS: i64 = 100;

/// Deletes runs that ended long ago, the oldest first. Nobody sees them any more; [`SweepAudits`] does the rest.
#[derive(Debug)]
pub struct DeleteOldAudits {
    /// Those that ended before this, Unix milliseconds.
    pub before: i64,
}

impl Write for DeleteOldAudits {
    /// How many; fewer than there are, if there are many.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::AUDITS_OLD).bind(self.before).bind(RUNS);
        let gone = query.execute(&mut *tx).await?.rows_affected();
        if gone > 0 {
            sqlx::query(sql::AUDITS_REMOVE).execute(&mut *tx).await?;
            sqlx::query(sql::AUDIT_FILES_FORGET).execute(tx).await?;
        }
        Ok(gone)
    }
}

/// Deletes a batch of what runs that are gone said of devices.
#[derive(Clone, Copy, Debug)]
pub struct SweepAudits;

impl Write for SweepAudits {
    /// Rows deleted; none when nothing was left.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let run = sqlx::query_scalar(sql::AUDIT_GONE).fetch_optional(&mut *tx);
        let Some(run) = run.await? else { return Ok(0) };
        let run: i64 = run;
        let query = sqlx::query(sql::AUDIT_RESULTS_SWEEP).bind(run).bind(ROWS);
        let swept = query.execute(&mut *tx).await?.rows_affected();
        if swept > 0 {
            return Ok(swept);
        }
        let query = sqlx::query(sql::AUDIT_SWEPT).bind(run);
        Ok(query.execute(tx).await?.rows_affected())
    }
}

/// Outcomes that no result names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedOutcomes {
    ids: Vec<i64>,
    /// Runs before this one were over when it was looked: nothing is added to them any more.
    since: i64,
}

/// Deletes outcomes, as [`Store::unused_outcomes`] found them.
#[derive(Debug)]
pub struct ForgetOutcomes(pub UnusedOutcomes);

impl Write for ForgetOutcomes {
    /// How many; a run may have taken one up in the meantime.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::OUTCOMES_FORGET).bind(json!(self.0.ids).to_string());
        Ok(query.bind(self.0.since).execute(tx).await?.rows_affected())
    }
}

/// Deletes findings that were closed long ago. Those that are pending or open stay, however old.
#[derive(Debug)]
pub struct ForgetFindings {
    /// Those that were closed before this, Unix milliseconds.
    pub before: i64,
}

impl Write for ForgetFindings {
    /// How many; fewer than there are, if there are many.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::FINDINGS_FORGET).bind(self.before).bind(ROWS);
        Ok(query.execute(tx).await?.rows_affected())
    }
}

impl Store {
    /// Some outcomes that no result names; `None` when there are none.
    pub async fn unused_outcomes(&self) -> Result<Option<UnusedOutcomes>, StoreError> {
        let mut tx = self.readers().begin().await?;
        let since = sqlx::query_scalar(sql::AUDITS_OVER_BEFORE)
            .fetch_one(&mut *tx)
            .await?;
        let query = sqlx::query_scalar(sql::OUTCOMES_UNUSED).bind(ROWS);
        let ids: Vec<i64> = query.fetch_all(&mut *tx).await?;
        Ok((!ids.is_empty()).then_some(UnusedOutcomes { ids, since }))
    }
}
