//! Limits that can be changed while everything runs, and those of them that claims keep: how many executions may be
//! with workers on devices of one label value (D1).

use std::collections::BTreeMap;

use muster_model::limit::{Limit, Limits};
use sqlx::SqliteConnection;

use crate::history::{self, Deed};
use crate::{Store, StoreError, Write, json_ids, sql};

/// Sets limits, or puts them back to what holds without them.
#[derive(Debug)]
pub struct SetLimits {
    /// Each with its new value; without one it is put back.
    pub changes: Vec<(Limit, Option<u64>)>,
    /// For the history.
    pub deed: Deed,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for SetLimits {
    /// All that are set now.
    type Out = Limits;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Limits, StoreError> {
        for (limit, value) in &self.changes {
            let statement = if value.is_some() {
                sql::LIMIT_SET
            } else {
                sql::LIMIT_RESET
            };
            let query = sqlx::query(statement)
                .bind(limit.kind.name)
                .bind(limit.scope.to_string());
            let query = match value {
                Some(value) => query.bind(*value as i64),
                None => query,
            };
            query.execute(&mut *tx).await?;
        }
        history::add(tx, &self.deed, self.now).await?;
        read(sqlx::query_as(sql::LIMITS).fetch_all(tx).await?)
    }
}

fn read(rows: Vec<(String, String, i64)>) -> Result<Limits, StoreError> {
    let limit = |(kind, scope, value): (String, String, i64)| {
        let limit = Limit::new(&kind, &scope).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok((limit, value.unsigned_abs()))
    };
    let limits = rows
        .into_iter()
        .map(limit)
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Limits::new(limits))
}

/// A label value that has as many executions with workers as its limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullValue {
    /// The label.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Its limit.
    pub most: u64,
    /// Executions with workers.
    pub has: u64,
    /// Executions of the job that wait for it.
    pub waiting: u64,
}

const EXECUTIONS: &str = "label.executions";

impl Store {
    /// The limits that are set.
    pub async fn limits(&self) -> Result<Limits, StoreError> {
        read(sqlx::query_as(sql::LIMITS).fetch_all(self.readers()).await?)
    }

    /// Label values that keep executions of a job from being handed out: all of them, or the one on a device.
    pub async fn full_values(&self, job: i64, device: Option<i64>) -> Result<Vec<FullValue>, StoreError> {
        let limits = self.limits().await?;
        let keys = keys(&limits);
        if keys == "[]" {
            return Ok(Vec::new());
        }
        let used: Vec<(String, String, i64)> = sqlx::query_as(sql::VALUES_USED)
            .bind(&keys)
            .fetch_all(self.readers())
            .await?;
        let waiting: Vec<(String, String, i64)> = sqlx::query_as(sql::VALUES_WAITING)
            .bind(job)
            .bind(device)
            .bind(&keys)
            .fetch_all(self.readers())
            .await?;
        let used = used
            .into_iter()
            .map(|(key, value, count)| ((key, value), count.unsigned_abs()))
            .collect::<BTreeMap<_, _>>();
        let full = |(key, value, waiting): (String, String, i64)| {
            let most = limits.of_value(EXECUTIONS, &key, &value)?;
            let has = used.get(&(key.clone(), value.clone())).copied().unwrap_or(0);
            (has >= most).then_some(FullValue {
                key,
                value,
                most,
                has,
                waiting: waiting.unsigned_abs(),
            })
        };
        Ok(waiting.into_iter().filter_map(full).collect())
    }
}

fn keys(limits: &Limits) -> String {
    let mut keys = limits.keys(EXECUTIONS).collect::<Vec<_>>();
    keys.sort_unstable();
    keys.dedup();
    serde_json::json!(keys).to_string()
}

/// What label values may still take, in one claim.
#[derive(Debug, Default)]
pub(crate) struct Caps {
    limits: Limits,
    /// Labels that have limits, as JSON; `[]` when none has.
    keys: String,
    used: BTreeMap<(String, String), u64>,
}

impl Caps {
    pub(crate) async fn load(tx: &mut SqliteConnection) -> Result<Self, StoreError> {
        let limits = read(sqlx::query_as(sql::LIMITS).fetch_all(&mut *tx).await?)?;
        let keys = keys(&limits);
        let mut used = BTreeMap::new();
        if keys != "[]" {
            let rows: Vec<(String, String, i64)> =
                sqlx::query_as(sql::VALUES_USED).bind(&keys).fetch_all(tx).await?;
            for (key, value, count) in rows {
                used.insert((key, value), count.unsigned_abs());
            }
        }
        Ok(Self { limits, keys, used })
    }

    /// Whether there is no limit to keep.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys == "[]"
    }

    /// Label values that take nothing more, as JSON.
    pub(crate) fn full(&self) -> String {
        let full = self.used.iter().filter(|((key, value), used)| {
            let most = self.limits.of_value(EXECUTIONS, key, value);
            most.is_some_and(|most| **used >= most)
        });
        let full = full.map(|(value, _)| value).collect::<Vec<_>>();
        serde_json::json!(full).to_string()
    }

    /// Which of these devices' label values have room for one more execution. Those are counted.
    pub(crate) async fn fit(
        &mut self,
        tx: &mut SqliteConnection,
        devices: &[u64],
    ) -> Result<Vec<bool>, StoreError> {
        if self.is_empty() || devices.is_empty() {
            return Ok(vec![true; devices.len()]);
        }
        let rows: Vec<(i64, String, String)> = sqlx::query_as(sql::VALUES_OF)
            .bind(json_ids(devices.iter().copied()))
            .bind(&self.keys)
            .fetch_all(tx)
            .await?;
        let mut values = BTreeMap::<u64, Vec<(String, String)>>::new();
        for (device, key, value) in rows {
            values
                .entry(device.unsigned_abs())
                .or_default()
                .push((key, value));
        }
        let fits = |device: &u64| {
            let own = values.get(device).map(Vec::as_slice).unwrap_or_default();
            let fits = !own.iter().any(|value| self.is_full(value));
            if fits {
                for value in own {
                    *self.used.entry(value.clone()).or_default() += 1;
                }
            }
            fits
        };
        Ok(devices.iter().map(fits).collect())
    }

    fn is_full(&self, value: &(String, String)) -> bool {
        let most = self.limits.of_value(EXECUTIONS, &value.0, &value.1);
        most.is_some_and(|most| self.used.get(value).copied().unwrap_or(0) >= most)
    }
}
