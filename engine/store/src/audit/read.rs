//! Reading runs.

use muster_model::{JobState, Labels};
use sqlx::{FromRow, Row as _, sqlite::SqliteRow};

use crate::sql::audit as sql;
use crate::{Store, StoreError, json_ids};

/// A run. Times are Unix milliseconds.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Its number.
    pub id: i64,
    /// Its id.
    pub uuid: String,
    /// The audit's name.
    pub name: String,
    /// SHA-256 of its file.
    pub file: Vec<u8>,
    /// Empty for every device.
    pub selector: String,
    /// Who, as stated.
    pub claimed_by: String,
    /// When it was made.
    pub created_at: i64,
    /// When everything was judged.
    pub finished_at: Option<i64>,
    /// Events of its job up to this one are judged.
    pub seen: u64,
    /// Devices that were not asked.
    pub reused: u64,
    /// The share of devices that is to be judged.
    pub min_coverage: Option<f64>,
    /// Its job's number; none without one.
    pub job: Option<i64>,
    /// Devices meant.
    pub total: u64,
    /// The state of its job; none without one, or when it was deleted.
    pub state: Option<JobState>,
    /// Verdicts by check, JSON; none while it is under way.
    pub tallies: Option<String>,
}

impl FromRow<'_, SqliteRow> for AuditRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let count = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        Ok(Self {
            id: row.try_get(0)?,
            uuid: row.try_get(1)?,
            name: row.try_get(2)?,
            file: row.try_get(3)?,
            selector: row.try_get(4)?,
            claimed_by: row.try_get(5)?,
            created_at: row.try_get(6)?,
            finished_at: row.try_get(7)?,
            seen: count(8)?,
            reused: count(9)?,
            min_coverage: row.try_get(10)?,
            job: row.try_get(11)?,
            total: count(12)?,
            state: row.try_get::<Option<i32>, _>(13)?.and_then(JobState::from_number),
            tallies: row.try_get(14)?,
        })
    }
}

/// What of a device that was asked is not in its answers.
#[derive(Clone, Debug)]
pub struct AskedRecord {
    /// The execution.
    pub execution: u64,
    /// Its number.
    pub device: u64,
    /// Empty when the device was removed meanwhile.
    pub address: String,
    /// See `address`.
    pub zone: String,
    /// See `address`.
    pub labels: Labels,
}

/// What a run says of a device.
#[derive(Clone, Debug)]
pub struct AuditResultRecord {
    /// The device's number.
    pub device: u64,
    /// Its name.
    pub name: String,
    /// When it answered, or was given up, Unix milliseconds.
    pub observed_at: i64,
    /// Whether it answered.
    pub answered: bool,
    /// A list of judgements, JSON.
    pub body: String,
}

impl FromRow<'_, SqliteRow> for AuditResultRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            device: row.try_get::<i64, _>(0)?.unsigned_abs(),
            name: row.try_get(1)?,
            observed_at: row.try_get(2)?,
            answered: row.try_get(3)?,
            body: row.try_get(4)?,
        })
    }
}

impl Store {
    /// A run by its id.
    pub async fn audit(&self, uuid: &str) -> Result<Option<AuditRecord>, StoreError> {
        Ok(sqlx::query_as(sql::AUDIT_GET)
            .bind(uuid)
            .fetch_optional(self.readers())
            .await?)
    }

    /// Runs that are under way.
    pub async fn audits_open(&self) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(sqlx::query_as(sql::AUDITS_OPEN).fetch_all(self.readers()).await?)
    }

    /// Runs before a number, the newest first; of one name unless that is empty.
    pub async fn audits(&self, before: i64, limit: u32, name: &str) -> Result<Vec<AuditRecord>, StoreError> {
        let query = sqlx::query_as(sql::AUDITS)
            .bind(before)
            .bind(i64::from(limit))
            .bind(name);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The number and the file of the run of this name that was accepted as the baseline.
    pub async fn audit_accepted(&self, name: &str) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        let query = sqlx::query_as(sql::AUDIT_ACCEPTED).bind(name);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// An audit's file.
    pub async fn audit_file(&self, digest: &[u8]) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar(sql::AUDIT_FILE).bind(digest.to_vec());
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Devices of a run that are judged, and those that answered.
    pub async fn audit_judged(&self, run: i64) -> Result<(u64, u64), StoreError> {
        let query = sqlx::query_as(sql::AUDIT_JUDGED).bind(run);
        let (judged, answered): (i64, i64) = query.fetch_one(self.readers()).await?;
        Ok((judged.unsigned_abs(), answered.unsigned_abs()))
    }

    /// How often each outcome was given: a list of judgements as JSON, and devices.
    pub async fn audit_outcomes(&self, run: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let query = sqlx::query_as(sql::AUDIT_OUTCOME_COUNTS).bind(run);
        let rows: Vec<(String, i64)> = query.fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(body, count)| (body, count.unsigned_abs()))
            .collect())
    }

    /// Results of a run after a device's number.
    pub async fn audit_results(
        &self,
        run: i64,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AuditResultRecord>, StoreError> {
        let query = sqlx::query_as(sql::AUDIT_RESULTS)
            .bind(run)
            .bind(after as i64)
            .bind(i64::from(limit));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Results of a run about these devices, in their order. Devices that are not judged yet are left out.
    pub async fn audit_results_of(
        &self,
        run: i64,
        devices: impl Iterator<Item = u64>,
    ) -> Result<Vec<AuditResultRecord>, StoreError> {
        let query = sqlx::query_as(sql::AUDIT_RESULTS_OF)
            .bind(run)
            .bind(json_ids(devices));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// What is known of the devices of these executions, in their order. Executions that are gone are left out.
    pub async fn audit_asked(&self, executions: &[u64]) -> Result<Vec<AskedRecord>, StoreError> {
        let query = sqlx::query_as(sql::AUDIT_DEVICES).bind(json_ids(executions.iter().copied()));
        type Row = (i64, i64, Option<String>, Option<String>, Option<String>);
        let rows: Vec<Row> = query.fetch_all(self.readers()).await?;
        let record = |(execution, device, address, zone, labels): Row| {
            let labels = labels.map_or(Ok(Labels::default()), |text| serde_json::from_str(&text));
            Ok(AskedRecord {
                execution: execution.unsigned_abs(),
                device: device.unsigned_abs(),
                address: address.unwrap_or_default(),
                zone: zone.unwrap_or_default(),
                labels: labels.map_err(|error| StoreError::Corrupt(error.to_string()))?,
            })
        };
        rows.into_iter().map(record).collect()
    }
}
