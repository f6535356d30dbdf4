//! The inventory.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{Device, Labels, Selector, Trust};
use serde_json::json;
use sqlx::{AssertSqlSafe, FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use thiserror::Error;

use crate::{Store, StoreError, Write, rescue, select, sql};

/// A device as stored.
#[derive(Clone, Debug)]
pub struct DeviceRecord {
    /// Its number.
    pub id: u64,
    /// As given.
    pub device: Device,
    /// Imported at, Unix milliseconds.
    pub created_at: i64,
    /// What it last said about itself.
    pub facts: Option<FactsRecord>,
    /// How it was reached.
    pub reach: ReachRecord,
}

/// How a device was reached, and what waits for somebody to accept it. Times are Unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReachRecord {
    /// What `auto` found, and when it was last told so.
    pub worked: Option<(String, i64)>,
    /// Who had the pin accepted, and when; none where it came with an import.
    pub pinned: Option<(String, i64)>,
    /// A certificate and its key, as SHA-256 in hex, that was presented and not taken, and when.
    pub offered: Option<(String, String, i64)>,
    /// A serial number that is not the one it is known by, and when it was given.
    pub offered_serial: Option<(String, i64)>,
}

/// What a device said about itself. Text is as sent, with what is not UTF-8 replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsRecord {
    /// RouterOS version.
    pub version: String,
    /// Board name.
    pub board: String,
    /// Architecture.
    pub architecture: String,
    /// Identity.
    pub identity: String,
    /// Serial number: of a record, the one it is known by; of a report, the one it gave.
    pub serial: String,
    /// When it said so, Unix milliseconds.
    pub observed_at: i64,
}

impl FromRow<'_, SqliteRow> for DeviceRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let text = |column: usize| {
            row.try_get::<Option<String>, _>(column)
                .map(Option::unwrap_or_default)
        };
        let decode = |error: String| sqlx::Error::Decode(error.into());
        let labels: String = row.try_get(7)?;
        let observed_at: Option<i64> = row.try_get(13)?;
        let facts = match observed_at {
            Some(observed_at) => Some(FactsRecord {
                version: text(9)?,
                board: text(10)?,
                architecture: text(11)?,
                identity: text(12)?,
                serial: text(17)?,
                observed_at,
            }),
            None => None,
        };
        Ok(Self {
            id: row.try_get::<i64, _>(0)?.unsigned_abs(),
            device: Device {
                name: row.try_get(1)?,
                address: row.try_get(2)?,
                port: row.try_get(3)?,
                transport: row.try_get::<String, _>(4)?.parse().map_err(decode)?,
                credential: row.try_get(5)?,
                zone: row.try_get(6)?,
                labels: serde_json::from_str(&labels).map_err(|error| decode(error.to_string()))?,
                tls: parsed(row.try_get(14)?)?,
                pin: parsed(row.try_get(15)?)?,
                ports: row.try_get::<String, _>(16)?.parse().map_err(decode)?,
                in_flight: row.try_get(27)?,
            },
            created_at: row.try_get(8)?,
            facts,
            reach: ReachRecord {
                worked: row.try_get::<Option<_>, _>(18)?.zip(row.try_get(19)?),
                pinned: row.try_get::<Option<_>, _>(20)?.zip(row.try_get(21)?),
                offered: offered(row)?,
                offered_serial: row.try_get::<Option<_>, _>(25)?.zip(row.try_get(26)?),
            },
        })
    }
}

/// Text that was checked before it was stored.
fn parsed<T: std::str::FromStr<Err = String>>(text: Option<String>) -> Result<Option<T>, sqlx::Error> {
    let text = text.map(|text| text.parse()).transpose();
    text.map_err(|error: String| sqlx::Error::Decode(error.into()))
}

fn offered(row: &SqliteRow) -> Result<Option<(String, String, i64)>, sqlx::Error> {
    let (certificate, key, at): (Option<String>, Option<String>, Option<i64>) =
        (row.try_get(22)?, row.try_get(23)?, row.try_get(24)?);
    Ok(certificate
        .zip(key)
        .zip(at)
        .map(|((certificate, key), at)| (certificate, key, at)))
}

/// Adds devices, all or none.
#[derive(Debug)]
pub struct ImportDevices {
    /// The devices, each checked by itself.
    pub devices: Vec<Device>,
    /// Overwrite devices of the same name instead of refusing.
    pub update: bool,
    /// Check everything, store nothing.
    pub validate_only: bool,
    /// Who imports, as they say.
    pub claimed_by: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New in the inventory.
    pub created: u64,
    /// Overwritten.
    pub updated: u64,
    /// There already, exactly so.
    pub unchanged: u64,
}

/// What is wrong with one device of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRefused {
    /// Its place in the import, from 0.
    pub index: usize,
    /// The field.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Devices in one statement: bounds the JSON text.
const CHUNK: usize = 5000;

impl Write for ImportDevices {
    type Out = Result<Imported, Vec<ImportRefused>>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let existing = existing(tx, self.devices.iter().map(|device| device.name.as_str())).await?;
        let refused = self.check(tx, &existing).await?;
        if !refused.is_empty() {
            return Ok(Err(refused));
        }
        let mut done = Imported::default();
        let mut changed = Vec::new();
        for device in &self.devices {
            match existing.get(&device.name) {
                None => done.created += 1,
                Some(same) if *same == keeping_first_use(device, same) => {
                    done.unchanged += 1;
                    continue;
                }
                Some(_) => done.updated += 1,
            }
            changed.push(match existing.get(&device.name) {
                Some(known) => keeping_first_use(device, known),
                None => device.clone(),
            });
        }
        if !self.validate_only {
            for chunk in changed.chunks(CHUNK) {
                sqlx::query(sql::DEVICE_UPSERT)
                    .bind(json!(chunk).to_string())
                    .bind(self.now)
                    .bind(&self.claimed_by)
                    .execute(&mut *tx)
                    .await?;
                refill_labels(tx, chunk.iter().map(|device| device.name.as_str())).await?;
            }
        }
        Ok(Ok(done))
    }
}

/// A device as it will be when it overwrites one that is known: what was pinned at its first use stays pinned.
fn keeping_first_use(device: &Device, known: &Device) -> Device {
    let stays = device.pin.is_none() && [device.tls, known.tls] == [Some(Trust::FirstUse); 2];
    Device {
        pin: if stays { known.pin } else { device.pin },
        ..device.clone()
    }
}

impl ImportDevices {
    async fn check(
        &self,
        tx: &mut SqliteConnection,
        existing: &BTreeMap<String, Device>,
    ) -> Result<Vec<ImportRefused>, StoreError> {
        let credentials: Vec<String> = sqlx::query_scalar(sql::CREDENTIAL_NAMES).fetch_all(tx).await?;
        let (mut seen, mut refused) = (BTreeMap::new(), Vec::new());
        for (index, device) in self.devices.iter().enumerate() {
            let name = device.name.as_str();
            if let Some(first) = seen.get(name) {
                let reason =
                    format!("the name {name:?} is given twice, first by device {first} of the import");
                refused.push(ImportRefused {
                    index,
                    field: "name",
                    reason,
                });
            } else {
                seen.insert(name, index);
                if existing.contains_key(name) && !self.update {
                    let reason =
                        format!("a device {name:?} is in the inventory already; update overwrites it");
                    refused.push(ImportRefused {
                        index,
                        field: "name",
                        reason,
                    });
                }
            }
            if !credentials.contains(&device.credential) {
                let reason = match credentials.as_slice() {
                    [] => format!(
                        "there is no credential {:?}; make it with credential set",
                        device.credential
                    ),
                    known => format!(
                        "there is no credential {:?}; known: {}",
                        device.credential,
                        known.join(", ")
                    ),
                };
                refused.push(ImportRefused {
                    index,
                    field: "credential",
                    reason,
                });
            }
        }
        Ok(refused)
    }
}

async fn existing<'a>(
    tx: &mut SqliteConnection,
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, Device>, StoreError> {
    let names = names.collect::<Vec<_>>();
    let mut all = BTreeMap::new();
    for chunk in names.chunks(CHUNK) {
        let query = sqlx::query_as::<_, DeviceRecord>(sql::DEVICE_EXISTING).bind(json!(chunk).to_string());
        let found = query.fetch_all(&mut *tx).await?;
        all.extend(
            found
                .into_iter()
                .map(|record| (record.device.name.clone(), record.device)),
        );
    }
    Ok(all)
}

async fn refill_labels<'a>(
    tx: &mut SqliteConnection,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), StoreError> {
    let names = json!(names.collect::<Vec<_>>()).to_string();
    sqlx::query(sql::LABELS_CLEAR)
        .bind(&names)
        .execute(&mut *tx)
        .await?;
    sqlx::query(sql::LABELS_FILL).bind(&names).execute(tx).await?;
    Ok(())
}

/// Sets and removes labels on every device a selector means.
#[derive(Debug)]
pub struct LabelDevices {
    /// Which devices.
    pub selector: Selector,
    /// Labels to set, checked.
    pub set: Labels,
    /// Keys to remove.
    pub remove: Vec<String>,
}

/// What labelling did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Devices the selector meant.
    pub selected: u64,
    /// Devices whose labels are different now.
    pub changed: u64,
    /// A device that would have had too many labels; nothing was changed then.
    pub refused: Option<String>,
}

impl Write for LabelDevices {
    type Out = Labelled;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Labelled, StoreError> {
        let selected = selected(&mut *tx, &self.selector, "ORDER BY d.name", None).await?;
        let mut done = Labelled {
            selected: selected.len() as u64,
            ..Labelled::default()
        };
        let mut changed = Vec::new();
        for DeviceRecord { mut device, .. } in selected {
            let before = device.labels.clone();
            for key in &self.remove {
                device.labels.remove(key);
            }
            for (key, value) in self.set.iter() {
                if let Err(error) = device.labels.set(key, value) {
                    done.refused = Some(format!("device {:?}: {error}", device.name));
                    return Ok(done);
                }
            }
            if device.labels != before {
                changed.push(device);
            }
        }
        for chunk in changed.chunks(CHUNK) {
            sqlx::query(sql::LABELS_SET)
                .bind(json!(chunk).to_string())
                .execute(&mut *tx)
                .await?;
            refill_labels(tx, chunk.iter().map(|device| device.name.as_str())).await?;
        }
        done.changed = changed.len() as u64;
        Ok(done)
    }
}

/// Removes devices, all or none.
#[derive(Debug)]
pub struct RemoveDevices {
    /// Their names.
    pub names: Vec<String>,
}

/// Devices that cannot be removed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RemoveDevicesRefused {
    /// Not in the inventory.
    #[error("not in the inventory: {}", .0.join(", "))]
    NotFound(Vec<String>),
    /// A job that is not over has an execution on it.
    #[error("job {job} still has work on device {device:?}; wait for it or abort it")]
    Busy {
        /// The device.
        device: String,
        /// The job.
        job: String,
    },
}

impl Write for RemoveDevices {
    type Out = Result<u64, RemoveDevicesRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let wanted = self.names.iter().map(String::as_str).collect::<BTreeSet<_>>();
        let existing = existing(tx, wanted.iter().copied()).await?;
        let missing = wanted.iter().filter(|name| !existing.contains_key(**name));
        let missing = missing.map(ToString::to_string).collect::<Vec<_>>();
        if !missing.is_empty() {
            return Ok(Err(RemoveDevicesRefused::NotFound(missing)));
        }
        let names = json!(wanted).to_string();
        let busy: Option<(String, String)> = sqlx::query_as(sql::DEVICE_BUSY)
            .bind(&names)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some((device, job)) = busy {
            return Ok(Err(RemoveDevicesRefused::Busy { device, job }));
        }
        sqlx::query(sql::HOLDERS_FORGET)
            .bind(&names)
            .execute(&mut *tx)
            .await?;
        Ok(Ok(sqlx::query(sql::DEVICE_REMOVE)
            .bind(&names)
            .execute(tx)
            .await?
            .rows_affected()))
    }
}

/// Keeps what devices said about themselves.
#[derive(Debug)]
pub struct StoreFacts {
    /// Device number and facts; their `observed_at` is not used.
    pub facts: Vec<(u64, FactsRecord)>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for StoreFacts {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let row = |(id, facts): &(u64, FactsRecord)| {
            json!({
                "id": id, "version": facts.version, "board": facts.board,
                "architecture": facts.architecture, "identity": facts.identity, "serial": facts.serial,
            })
        };
        let rows = self.facts.iter().map(row).collect::<Vec<_>>();
        sqlx::query(sql::DEVICE_FACTS)
            .bind(json!(rows).to_string())
            .bind(self.now)
            .execute(&mut *tx)
            .await?;
        let devices = self.facts.iter().map(|(id, _)| *id);
        rescue::seen(tx, devices, [], self.now).await
    }
}

async fn selected<'e>(
    executor: impl sqlx::SqliteExecutor<'e>,
    selector: &Selector,
    tail: &'static str,
    after: Option<(&str, i64)>,
) -> Result<Vec<DeviceRecord>, StoreError> {
    let filter = select::filter(selector);
    let page = if after.is_some() { "AND d.name > ? " } else { "" };
    let text = format!("{}WHERE {} {page}{tail}", sql::DEVICES, filter.sql);
    let mut query = sqlx::query_as::<_, DeviceRecord>(AssertSqlSafe(text));
    for value in filter.values {
        query = query.bind(value);
    }
    if let Some((name, limit)) = after {
        query = query.bind(name.to_owned()).bind(limit);
    }
    Ok(query.fetch_all(executor).await?)
}

impl Store {
    /// Devices by their numbers, in any order.
    pub async fn devices_by_number(&self, numbers: &[u64]) -> Result<Vec<DeviceRecord>, StoreError> {
        let query = sqlx::query_as(sql::DEVICES_BY_NUMBER).bind(crate::json_ids(numbers.iter().copied()));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Devices the selector means, by name, from the one after `after`.
    pub async fn devices(
        &self,
        selector: &Selector,
        after: &str,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, StoreError> {
        selected(
            self.readers(),
            selector,
            "ORDER BY d.name LIMIT ?",
            Some((after, i64::from(limit))),
        )
        .await
    }

    /// How many devices the selector means.
    pub async fn count_devices(&self, selector: &Selector) -> Result<u64, StoreError> {
        let filter = select::filter(selector);
        let text = format!("SELECT count(*) FROM device d WHERE {}", filter.sql);
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(text));
        for value in filter.values {
            query = query.bind(value);
        }
        Ok(query.fetch_one(self.readers()).await?.unsigned_abs())
    }

    /// One device by name.
    pub async fn device(&self, name: &str) -> Result<Option<DeviceRecord>, StoreError> {
        Ok(sqlx::query_as(sql::DEVICE_GET)
            .bind(name)
            .fetch_optional(self.readers())
            .await?)
    }
}
