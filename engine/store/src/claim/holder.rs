//! Who has the connections of devices.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use crate::{Store, StoreError, Write, json_ids, sql};

/// A worker, and those beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The worker. It is noted as who has the connections of what is claimed.
    pub worker: i64,
    /// Workers that are to get the devices whose connections they have themselves, each with the zone for which that is so,
    /// or for all zones.
    pub beside: Vec<(i64, Option<String>)>,
}

/// Notes who keeps the connections of devices.
#[derive(Clone, Debug)]
pub struct NoteHolders {
    /// The worker.
    pub worker: i64,
    /// The devices.
    pub devices: Vec<u64>,
}

impl Write for NoteHolders {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let devices = json_ids(self.devices.iter().copied());
        let query = sqlx::query(sql::HOLDERS_NOTE).bind(self.worker).bind(devices);
        query.execute(tx).await?;
        Ok(())
    }
}

/// Gives a worker that is new a share of the devices of others, so that it has something to do from the beginning.
#[derive(Clone, Debug)]
pub struct ShareDevices {
    /// The new worker, and those that it shares with.
    pub holder: Holder,
    /// How many share, with the new one.
    pub among: u32,
}

impl Write for ShareDevices {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let Holder { worker, beside } = &self.holder;
        let known: bool = sqlx::query_scalar(sql::HOLDERS_KNOWN)
            .bind(worker)
            .fetch_one(&mut *tx)
            .await?;
        if !known {
            let query = sqlx::query(sql::HOLDERS_SHARE).bind(worker);
            let query = query
                .bind(self.among.max(1))
                .bind(serde_json::json!(beside).to_string());
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Workers that have the connections of these devices, by device.
    pub async fn holders(&self, devices: &[u64]) -> Result<BTreeMap<u64, i64>, StoreError> {
        let query = sqlx::query_as(sql::HOLDERS_OF).bind(json_ids(devices.iter().copied()));
        let rows: Vec<(i64, i64)> = query.fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(device, worker)| (device.unsigned_abs(), worker))
            .collect())
    }
}
