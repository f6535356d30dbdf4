//! Devices that a job has lost, until they are seen again or somebody takes them off (J4).

use muster_model::{DeviceError, Guard, Step};
use serde_json::json;
use sqlx::SqliteConnection;

use crate::history::{self, Deed};
use crate::transition::device_error;
use crate::{Store, StoreError, Write, json_ids, sql};

/// A device that is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct RescueRecord {
    /// The device's number.
    pub device_id: u64,
    /// Its name.
    pub device: String,
    /// The execution that lost it.
    pub execution: u64,
    /// That one's job, which may be deleted by now.
    pub job: String,
    /// Since when, Unix milliseconds.
    pub at: i64,
    /// The step that was under way, or else the last that was done, from 0.
    pub step: u32,
    /// Whether it was under way.
    pub under_way: bool,
    /// That step, as in the plan; none in one of another version.
    pub body: Option<Step>,
    /// What was armed on the device for it.
    pub guard: Option<Guard>,
    /// What took the device away.
    pub error: Option<DeviceError>,
}

type Row = (
    i64,
    String,
    i64,
    String,
    i64,
    u32,
    bool,
    String,
    i32,
    Option<i32>,
    Option<String>,
    Option<u8>,
);

impl From<Row> for RescueRecord {
    fn from(row: Row) -> Self {
        let (device_id, device, execution, job, at, step, under_way, body, guard, class, message, category) =
            row;
        Self {
            device_id: device_id.unsigned_abs(),
            device,
            execution: execution.unsigned_abs(),
            job,
            at,
            step,
            under_way,
            body: serde_json::from_str(&body).unwrap_or_default(),
            guard: Guard::from_number(guard),
            error: device_error(class, message, category),
        }
    }
}

/// Puts the devices of executions that are lost on the list.
pub(crate) async fn lost(tx: &mut SqliteConnection, executions: &[u64], now: i64) -> Result<(), StoreError> {
    let ids = json_ids(executions.iter().copied());
    sqlx::query(sql::RESCUE_ADD)
        .bind(ids)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes devices that were seen off the list, by their numbers and by executions on them. The history tells.
pub(crate) async fn seen(
    tx: &mut SqliteConnection,
    devices: impl IntoIterator<Item = u64>,
    executions: impl IntoIterator<Item = u64>,
    now: i64,
) -> Result<(), StoreError> {
    let mut back: Vec<(i64, String, String)> = sqlx::query_as(sql::RESCUE_SEEN)
        .bind(json_ids(devices))
        .bind(json_ids(executions))
        .fetch_all(&mut *tx)
        .await?;
    back.sort();
    for (_, device, job) in back {
        history::add(tx, &seen_again(device, &job), now).await?;
    }
    Ok(())
}

/// What the history has of a device that this job had lost.
pub(crate) fn seen_again(device: String, job: &str) -> Deed {
    Deed {
        action: "device.seen-again",
        subject: device,
        detail: format!("it was lost by job {job}"),
        ..Deed::default()
    }
}

/// Takes devices off the list: somebody has looked after them. All or none.
#[derive(Debug)]
pub struct ClearRescue {
    /// Their names.
    pub names: Vec<String>,
    /// Who did, and why.
    pub deed: Deed,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for ClearRescue {
    /// Names that are not on the list; nothing was done then.
    type Out = Result<(), Vec<String>>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let names = json!(self.names).to_string();
        let query = sqlx::query_scalar(sql::RESCUE_KNOWN).bind(&names);
        let known: Vec<String> = query.fetch_all(&mut *tx).await?;
        let missing = self.names.iter().filter(|name| !known.contains(name));
        let missing = missing.cloned().collect::<Vec<_>>();
        if !missing.is_empty() {
            return Ok(Err(missing));
        }
        let query = sqlx::query(sql::RESCUE_CLEAR).bind(names);
        query.execute(&mut *tx).await?;
        history::add(tx, &self.deed, self.now).await?;
        Ok(Ok(()))
    }
}

impl Store {
    /// Devices that are lost, by name, from the one after `after`; of one job when it is not empty.
    pub async fn rescue(&self, job: &str, after: &str, limit: u32) -> Result<Vec<RescueRecord>, StoreError> {
        let query = sqlx::query_as::<_, Row>(sql::RESCUE_LIST).bind(job).bind(after);
        let rows = query.bind(i64::from(limit)).fetch_all(self.readers()).await?;
        Ok(rows.into_iter().map(RescueRecord::from).collect())
    }
}
