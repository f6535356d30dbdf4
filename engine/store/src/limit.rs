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
    /// Whether the limit is the job's own, and counts its executions alone.
    pub own: bool,
}

const EXECUTIONS: &str = "label.executions";

impl Store {
    /// The limits that are set.
    pub async fn limits(&self) -> Result<Limits, StoreError> {
        read(sqlx::query_as(sql::LIMITS).fetch_all(self.readers()).await?)
    }

    /// Label values that keep executions of a job from being handed out: all of them, or the one on a device. Those of the
    /// job's own caps follow those of all jobs together.
    pub async fn full_values(&self, job: i64, device: Option<i64>) -> Result<Vec<FullValue>, StoreError> {
        let mut readers = self.readers().acquire().await?;
        let fleet = Caps::load(&mut readers).await?;
        let own: Option<String> = sqlx::query_scalar(sql::JOB_CAPS)
            .bind(job)
            .fetch_one(&mut *readers)
            .await?;
        let own = match own {
            Some(own) => Caps::of_job(&mut readers, job, &own).await?,
            None => Caps::default(),
        };
        let mut full = Vec::new();
        for caps in [fleet, own].iter().filter(|caps| !caps.is_empty()) {
            let waiting: Vec<(String, String, i64)> = sqlx::query_as(sql::VALUES_WAITING)
                .bind(job)
                .bind(device)
                .bind(&caps.keys)
                .fetch_all(&mut *readers)
                .await?;
            let one = |(key, value, waiting): (String, String, i64)| {
                let most = caps.most.of(&key, &value)?;
                let has = caps.used.get(&(key.clone(), value.clone())).copied().unwrap_or(0);
                (has >= most).then_some(FullValue {
                    key,
                    value,
                    most,
                    has,
                    waiting: waiting.unsigned_abs(),
                    own: matches!(caps.most, Most::Job(_)),
                })
            };
            full.extend(waiting.into_iter().filter_map(one));
        }
        Ok(full)
    }
}

fn keys(limits: &Limits) -> String {
    let mut keys = limits.keys(EXECUTIONS).collect::<Vec<_>>();
    keys.sort_unstable();
    keys.dedup();
    serde_json::json!(keys).to_string()
}

/// What label values may still take, in one claim: by limits of all jobs together, or by those of one.
#[derive(Debug, Default)]
pub(crate) struct Caps {
    most: Most,
    /// Labels that have limits, as JSON; `[]` when none has.
    keys: String,
    used: BTreeMap<(String, String), u64>,
}

#[derive(Debug)]
enum Most {
    Fleet(Limits),
    /// By label, for each of its values.
    Job(BTreeMap<String, u64>),
}

impl Default for Most {
    fn default() -> Self {
        Self::Job(BTreeMap::new())
    }
}

impl Most {
    fn of(&self, key: &str, value: &str) -> Option<u64> {
        match self {
            Self::Fleet(limits) => limits.of_value(EXECUTIONS, key, value),
            Self::Job(most) => most.get(key).copied(),
        }
    }
}

fn counted(rows: Vec<(String, String, i64)>) -> BTreeMap<(String, String), u64> {
    let row = |(key, value, count): (String, String, i64)| ((key, value), count.unsigned_abs());
    rows.into_iter().map(row).collect()
}

impl Caps {
    pub(crate) async fn load(tx: &mut SqliteConnection) -> Result<Self, StoreError> {
        let limits = read(sqlx::query_as(sql::LIMITS).fetch_all(&mut *tx).await?)?;
        let keys = keys(&limits);
        let mut used = BTreeMap::new();
        if keys != "[]" {
            used = counted(sqlx::query_as(sql::VALUES_USED).bind(&keys).fetch_all(tx).await?);
        }
        Ok(Self {
            most: Most::Fleet(limits),
            keys,
            used,
        })
    }

    /// Of one job, as it is kept with it.
    pub(crate) async fn of_job(tx: &mut SqliteConnection, job: i64, caps: &str) -> Result<Self, StoreError> {
        let most: BTreeMap<String, u64> =
            serde_json::from_str(caps).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let keys = serde_json::json!(most.keys().collect::<Vec<_>>()).to_string();
        let query = sqlx::query_as(sql::VALUES_USED_BY_JOB).bind(job).bind(&keys);
        let used = counted(query.fetch_all(tx).await?);
        Ok(Self {
            most: Most::Job(most),
            keys,
            used,
        })
    }

    /// Whether there is no limit to keep.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.keys.as_str(), "" | "[]")
    }

    /// Label values that take nothing more.
    pub(crate) fn full(&self) -> impl Iterator<Item = &(String, String)> {
        let full = self
            .used
            .iter()
            .filter(|((key, value), used)| self.most.of(key, value).is_some_and(|most| **used >= most));
        full.map(|(value, _)| value)
    }

    /// Of these devices, the label values that have limits.
    async fn values(
        &self,
        tx: &mut SqliteConnection,
        devices: &[u64],
    ) -> Result<BTreeMap<u64, Vec<(String, String)>>, StoreError> {
        let mut values = BTreeMap::<u64, Vec<(String, String)>>::new();
        if self.is_empty() || devices.is_empty() {
            return Ok(values);
        }
        let rows: Vec<(i64, String, String)> = sqlx::query_as(sql::VALUES_OF)
            .bind(json_ids(devices.iter().copied()))
            .bind(&self.keys)
            .fetch_all(tx)
            .await?;
        for (device, key, value) in rows {
            values
                .entry(device.unsigned_abs())
                .or_default()
                .push((key, value));
        }
        Ok(values)
    }

    fn is_full(&self, value: &(String, String)) -> bool {
        let most = self.most.of(&value.0, &value.1);
        most.is_some_and(|most| self.used.get(value).copied().unwrap_or(0) >= most)
    }

    fn take(&mut self, values: &[(String, String)]) {
        for value in values {
            *self.used.entry(value.clone()).or_default() += 1;
        }
    }
}

/// Which of these devices' label values have room for one more execution in both limits. Those are counted.
pub(crate) async fn fit(
    tx: &mut SqliteConnection,
    fleet: &mut Caps,
    job: &mut Caps,
    devices: &[u64],
) -> Result<Vec<bool>, StoreError> {
    let of_fleet = fleet.values(tx, devices).await?;
    let of_job = job.values(tx, devices).await?;
    let of = |values: &BTreeMap<u64, Vec<(String, String)>>, device: &u64| {
        values.get(device).cloned().unwrap_or_default()
    };
    let fits = |device: &u64| {
        let (in_fleet, in_job) = (of(&of_fleet, device), of(&of_job, device));
        let full = in_fleet.iter().any(|value| fleet.is_full(value))
            || in_job.iter().any(|value| job.is_full(value));
        if !full {
            fleet.take(&in_fleet);
            job.take(&in_job);
        }
        !full
    };
    Ok(devices.iter().map(fits).collect())
}
