//! What devices measured before their change and after (E1).

use std::collections::BTreeMap;

use muster_engine_core::rollout::snapshot::{Numbers, Sample};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, Write, sql};

/// What one device measured in an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The execution.
    pub execution: u64,
    /// Before the first step, if that was measured.
    pub before: Option<Numbers>,
    /// After the last one, if that was measured.
    pub after: Option<Numbers>,
}

/// Keeps measurements. What is measured again stands instead of what was before.
#[derive(Debug)]
pub struct StoreMeasurements(pub Vec<Measurement>);

impl Write for StoreMeasurements {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let row = |measured: &Measurement| json!([measured.execution, measured.before, measured.after]);
        let rows = self.0.iter().map(row).collect::<Value>().to_string();
        sqlx::query(sql::MEASUREMENTS_STORE)
            .bind(rows)
            .execute(tx)
            .await?;
        Ok(())
    }
}

impl Store {
    /// What the devices of a wave measured that ended well, by name.
    pub async fn measurements(&self, job: i64, wave: u32) -> Result<Vec<Sample>, StoreError> {
        let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(sql::MEASUREMENTS)
            .bind(job)
            .bind(wave)
            .fetch_all(self.readers())
            .await?;
        let numbers = |text: Option<String>| -> Numbers {
            // Written by us: it is always such an object.
            text.and_then(|text| serde_json::from_str::<BTreeMap<_, _>>(&text).ok())
                .unwrap_or_default()
        };
        let sample = |(device, before, after)| Sample {
            device,
            before: numbers(before),
            after: numbers(after),
        };
        Ok(rows.into_iter().map(sample).collect())
    }
}
