//! Windows in the zone of each device (G1): a label says which, and each zone opens and shuts by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::SqliteConnection;

use crate::loaded::Loaded;
use crate::{Store, StoreError, json_ids, sql};

/// How zones stand, by the engine's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// The label that names a device's zone.
    pub label: String,
    /// Until when something may start, Unix milliseconds; none for as long as it likes. A zone that is not here is shut.
    pub admit: BTreeMap<String, Option<i64>>,
    /// From when what is in flight stops before its next step, Unix milliseconds.
    #[serde(default)]
    pub stop: BTreeMap<String, i64>,
}

impl Local {
    /// With every zone shut.
    pub fn shut(label: &str, zones: impl IntoIterator<Item = String>) -> Self {
        Self {
            label: label.to_owned(),
            admit: zones.into_iter().map(|zone| (zone, Some(0))).collect(),
            stop: BTreeMap::new(),
        }
    }

    /// Whether nothing may start now in a zone.
    pub fn is_shut(&self, zone: Option<&str>, now: i64) -> bool {
        match zone.and_then(|zone| self.admit.get(zone)) {
            Some(until) => until.is_some_and(|until| until <= now),
            None => true,
        }
    }

    /// Whether what is in flight in a zone stops.
    pub fn stops(&self, zone: Option<&str>, now: i64) -> bool {
        zone.and_then(|zone| self.stop.get(zone))
            .is_some_and(|at| *at <= now)
    }

    /// Label values whose devices are not handed out.
    pub(crate) fn closed(&self, now: i64) -> impl Iterator<Item = (String, String)> {
        let closed = self
            .admit
            .keys()
            .filter(move |zone| self.is_shut(Some(zone), now));
        closed.map(|zone| (self.label.clone(), zone.clone()))
    }
}

pub(crate) fn parse(text: &str) -> Result<Local, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Tells executions that are to be decided how their devices' zones stand.
pub(crate) async fn tell<'l>(
    tx: &mut SqliteConnection,
    loaded: impl Iterator<Item = &'l mut Loaded>,
    now: i64,
) -> Result<(), StoreError> {
    let mut loaded = loaded
        .filter_map(|row| Some((row.local()?, row)))
        .collect::<Vec<_>>();
    if loaded.is_empty() {
        return Ok(());
    }
    let labels = loaded.iter().map(|(local, _)| local.label.as_str());
    let labels = labels.collect::<std::collections::BTreeSet<_>>();
    let rows: Vec<(i64, String, String)> = sqlx::query_as(sql::VALUES_OF)
        .bind(json_ids(loaded.iter().map(|(_, row)| row.device.unsigned_abs())))
        .bind(json!(labels).to_string())
        .fetch_all(tx)
        .await?;
    let zones = rows
        .into_iter()
        .map(|(device, label, zone)| ((device, label), zone))
        .collect::<BTreeMap<_, _>>();
    for (local, row) in &mut loaded {
        let zone = zones.get(&(row.device, local.label.clone())).map(String::as_str);
        row.zone_is_shut = local.is_shut(zone, now);
        row.zone_stops = local.stops(zone, now);
    }
    Ok(())
}

impl Store {
    /// The value of a label of a device, by its number.
    pub async fn label_of(&self, device: i64, label: &str) -> Result<Option<String>, StoreError> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(sql::VALUES_OF)
            .bind(json_ids([device.unsigned_abs()]))
            .bind(json!([label]).to_string())
            .fetch_all(self.readers())
            .await?;
        Ok(rows.into_iter().next().map(|(.., value)| value))
    }
}
