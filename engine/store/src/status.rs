//! What an operator asks of the engine as a whole.

use crate::{Store, StoreError, sql};

/// Numbers for a status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Devices in the inventory.
    pub devices: u64,
    /// Jobs that are not over.
    pub running_jobs: u64,
    /// Executions that wait, by zone.
    pub waiting: Vec<(String, u64)>,
}

impl Store {
    /// The numbers now.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let devices: i64 = sqlx::query_scalar(sql::DEVICE_COUNT)
            .fetch_one(self.readers())
            .await?;
        let jobs: i64 = sqlx::query_scalar(sql::JOB_LIVE_COUNT)
            .fetch_one(self.readers())
            .await?;
        let waiting: Vec<(String, i64)> = sqlx::query_as(sql::WAITING).fetch_all(self.readers()).await?;
        let waiting = waiting
            .into_iter()
            .map(|(zone, count)| (zone, count.unsigned_abs()))
            .collect();
        Ok(Status {
            devices: devices.unsigned_abs(),
            running_jobs: jobs.unsigned_abs(),
            waiting,
        })
    }
}
