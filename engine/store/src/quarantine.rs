//! Devices whose executions keep ending badly (A12).

use muster_engine_core::{Event, Quarantine};
use sqlx::SqliteConnection;

use crate::history::{self, Deed};
use crate::transition::Moves;
use crate::{Store, StoreError, Write, json_ids, loaded, sql};

/// Notes harm, `[[device, execution], …]`, and leaves devices that had too much of it out of what waits for them.
pub(crate) async fn harmed(tx: &mut SqliteConnection, harm: &str, now: i64) -> Result<(), StoreError> {
    sqlx::query(sql::HARM_STORE)
        .bind(harm)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    let harm: Vec<(u64, u64)> =
        serde_json::from_str(harm).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let devices = json_ids(harm.into_iter().map(|(device, _)| device));
    let rule = Quarantine::DEFAULT;
    let query = sqlx::query_scalar(sql::QUARANTINED_AMONG)
        .bind(devices)
        .bind(rule.since(now));
    let quarantined: Vec<i64> = query.bind(rule.after).fetch_all(&mut *tx).await?;
    skip(tx, &quarantined, now).await
}

/// Devices that are quarantined now.
pub(crate) async fn devices(tx: &mut SqliteConnection, now: i64) -> Result<Vec<i64>, StoreError> {
    let rule = Quarantine::DEFAULT;
    let query = sqlx::query_scalar(sql::QUARANTINED)
        .bind(rule.since(now))
        .bind(rule.after);
    Ok(query.fetch_all(tx).await?)
}

/// Leaves devices out of every job with effects that has not touched them.
pub(crate) async fn skip(tx: &mut SqliteConnection, devices: &[i64], now: i64) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    let ids = json_ids(devices.iter().map(|id| id.unsigned_abs()));
    let query = sqlx::query_scalar(sql::LOAD_UNTOUCHED_OF_DEVICES).bind(ids);
    let waiting: String = query.fetch_one(&mut *tx).await?;
    let mut waiting = loaded::loaded(tx, &waiting).await?;
    let mut moves = Moves::default();
    for loaded in &mut waiting {
        let moved = moves.decide(loaded, &Event::Quarantined, now, None);
        moved.map_err(|error| StoreError::Corrupt(error.to_string()))?;
    }
    moves.write(tx, now).await
}

/// Forgets the harm that devices had: they are quarantined no longer.
#[derive(Debug)]
pub struct ReleaseDevices {
    /// Their names.
    pub names: Vec<String>,
    /// For the history.
    pub deed: Deed,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for ReleaseDevices {
    /// How many notes of harm were forgotten.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let names = serde_json::json!(self.names).to_string();
        let done = sqlx::query(sql::HARM_FORGET)
            .bind(names)
            .execute(&mut *tx)
            .await?;
        history::add(tx, &self.deed, self.now).await?;
        Ok(done.rows_affected())
    }
}

impl Store {
    /// Names of devices that are quarantined.
    pub async fn quarantined(&self, now: i64) -> Result<Vec<String>, StoreError> {
        let rule = Quarantine::DEFAULT;
        let query = sqlx::query_scalar(sql::QUARANTINED_NAMES).bind(rule.since(now));
        Ok(query.bind(rule.after).fetch_all(self.readers()).await?)
    }
}
