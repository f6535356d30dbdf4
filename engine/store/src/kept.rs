//! Files of devices that the engine keeps: backups and exports.

use std::collections::BTreeMap;

use muster_model::Kept;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::blob::{Digest, fixed};
use crate::{Store, StoreError, Write, json_ids, sql};

/// Backups and exports kept of each device; the oldest go first.
pub const MOST_BACKUPS: i64 = 10;
/// See [`MOST_BACKUPS`].
pub const MOST_EXPORTS: i64 = 50;

/// A file that a device gave.
#[derive(Clone, Debug)]
pub struct KeepFile {
    /// The execution that brought it.
    pub execution: u64,
    /// What it is.
    pub kind: Kept,
    /// RouterOS's version; empty when it is not known.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes, sealed.
    pub sealed: Vec<u8>,
}

/// Keeps files. Keeping one again that the same execution brought changes nothing.
#[derive(Debug)]
pub struct KeepFiles {
    /// The files.
    pub files: Vec<KeepFile>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for KeepFiles {
    /// How many are new.
    type Out = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<u64, StoreError> {
        let mut new = 0;
        for file in &self.files {
            let query = sqlx::query_scalar(sql::KEPT_ADD)
                .bind(file.execution as i64)
                .bind(file.kind.number())
                .bind(self.now)
                .bind(&file.version)
                .bind(file.size as i64)
                .bind(&file.digest[..]);
            let device: Option<i64> = query.fetch_optional(&mut *tx).await?;
            let Some(device) = device else { continue };
            new += 1;
            let query = sqlx::query(sql::KEPT_BYTES_ADD).bind(&file.digest[..]);
            query.bind(&file.sealed).execute(&mut *tx).await?;
            let most = match file.kind {
                Kept::Backup => MOST_BACKUPS,
                Kept::Export => MOST_EXPORTS,
            };
            let query = sqlx::query_scalar(sql::KEPT_OLD)
                .bind(device)
                .bind(file.kind.number());
            let gone: Vec<Vec<u8>> = query.bind(most).fetch_all(&mut *tx).await?;
            for digest in gone {
                sqlx::query(sql::KEPT_BYTES_UNUSED)
                    .bind(digest)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        Ok(new)
    }
}

/// A file that is kept, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its number; higher is newer.
    pub id: u64,
    /// The device's name.
    pub device: String,
    /// What it is.
    pub kind: Kept,
    /// When it came, Unix milliseconds.
    pub at: i64,
    /// The job that brought it.
    pub job: String,
    /// RouterOS's version; empty when it is not known.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

type Row = (i64, String, i32, i64, String, String, i64, Vec<u8>);

fn record((id, device, kind, at, job, version, size, digest): Row) -> Result<KeptRecord, StoreError> {
    Ok(KeptRecord {
        id: id.unsigned_abs(),
        device,
        kind: Kept::from_number(kind)
            .ok_or_else(|| StoreError::Corrupt(format!("kept file {id}: {kind} is no kind")))?,
        at,
        job,
        version,
        size: size.unsigned_abs(),
        digest: fixed(&digest)?,
    })
}

impl Store {
    /// Files kept of a device, the newest first: at most `limit` before the number `before`.
    pub async fn kept_files(
        &self,
        device: &str,
        kind: Option<Kept>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<KeptRecord>, StoreError> {
        let query = sqlx::query_as(sql::KEPT_LIST)
            .bind(device)
            .bind(i64::try_from(before).unwrap_or(i64::MAX))
            .bind(kind.map_or(0, Kept::number))
            .bind(i64::from(limit));
        let rows: Vec<Row> = query.fetch_all(self.readers()).await?;
        rows.into_iter().map(record).collect()
    }

    /// One of them, with its bytes, sealed.
    pub async fn kept_file(&self, id: u64) -> Result<Option<(KeptRecord, Vec<u8>)>, StoreError> {
        let mut tx = self.readers().begin().await?;
        let query = sqlx::query_as(sql::KEPT_GET).bind(i64::try_from(id).unwrap_or(-1));
        let found: Option<Row> = query.fetch_optional(&mut *tx).await?;
        let Some(found) = found.map(record).transpose()? else {
            return Ok(None);
        };
        let query = sqlx::query_scalar(sql::KEPT_BYTES).bind(&found.digest[..]);
        let sealed: Option<Vec<u8>> = query.fetch_optional(&mut *tx).await?;
        let sealed =
            sealed.ok_or_else(|| StoreError::Corrupt("the bytes of a kept file are missing".into()))?;
        Ok(Some((found, sealed)))
    }

    /// The newest backup and the newest export of each of these devices, with the device's number.
    pub async fn newest_kept(
        &self,
        devices: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<(u64, KeptRecord)>, StoreError> {
        let query = sqlx::query(sql::KEPT_LAST).bind(json_ids(devices));
        let rows = query.fetch_all(self.readers()).await?;
        let read = |row: SqliteRow| {
            let device: i64 = row.try_get(0)?;
            let row = (
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
                row.try_get(4)?,
                row.try_get(5)?,
                row.try_get(6)?,
                row.try_get(7)?,
                row.try_get(8)?,
            );
            Ok((device.unsigned_abs(), record(row)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// When the newest backup of each of these devices came, Unix milliseconds; those without one are left out.
    pub async fn newest_backups(
        &self,
        devices: impl IntoIterator<Item = u64>,
    ) -> Result<BTreeMap<u64, i64>, StoreError> {
        let query = sqlx::query_as(sql::KEPT_NEWEST)
            .bind(json_ids(devices))
            .bind(Kept::Backup.number());
        let rows: Vec<(i64, Option<i64>)> = query.fetch_all(self.readers()).await?;
        let newest = rows
            .into_iter()
            .filter_map(|(device, at)| Some((device.unsigned_abs(), at?)));
        Ok(newest.collect())
    }
}
