//! What all steps of an audit answered on a device, stored once: an execution names the set, and the set its answers.
//!
//! Devices seldom change from one night to the next. A row for each step of each device would be most of what an audit
//! costs to keep, even with the answers themselves stored once.
//!
//! Only executions that are over have one, whose answers came in one report: nothing is added to it any more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use crate::blob::{self, Answers, Digest, fixed, hex};
use crate::{StoreError, json_ids, sql};

struct Set<'a> {
    steps: Vec<(Digest, &'a Bytes)>,
    executions: Vec<u64>,
}

/// Stores what these executions were answered. None of them has answers yet.
pub(crate) async fn store(tx: &mut SqliteConnection, results: &[&Answers<'_>]) -> Result<(), StoreError> {
    let mut sets = BTreeMap::<Digest, Set<'_>>::new();
    for result in results {
        let steps = result
            .replies
            .iter()
            .map(|reply| (Digest::from(Sha256::digest(reply)), reply));
        let steps = steps.collect::<Vec<_>>();
        let mut all = Sha256::new();
        steps.iter().for_each(|(digest, _)| all.update(digest));
        let set = sets.entry(all.finalize().into()).or_insert(Set {
            steps,
            executions: Vec::new(),
        });
        set.executions.push(result.execution);
    }
    if sets.is_empty() {
        return Ok(());
    }
    let query = sqlx::query_scalar(sql::SETS_KNOWN).bind(blob::digests(sets.keys()));
    let known: Vec<Vec<u8>> = query.fetch_all(&mut *tx).await?;
    let known = known
        .iter()
        .map(|digest| fixed(digest))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let rows = sets
        .iter()
        .map(|(digest, set)| json!([hex(digest), set.executions.len()]));
    let query = sqlx::query_as(sql::SETS_USE).bind(rows.collect::<Value>().to_string());
    let ids: Vec<(i64, Vec<u8>)> = query.fetch_all(&mut *tx).await?;
    let (mut steps, mut uses) = (Vec::new(), BTreeMap::<Digest, (&Bytes, i64)>::new());
    let mut named = serde_json::Map::new();
    for (id, digest) in ids {
        let digest = fixed(&digest)?;
        let Some(set) = sets.get(&digest) else { continue };
        named.extend(
            set.executions
                .iter()
                .map(|execution| (execution.to_string(), json!(id))),
        );
        if known.contains(&digest) {
            continue;
        }
        for (step, (digest, bytes)) in set.steps.iter().enumerate() {
            steps.push(json!([id, step, hex(digest)]));
            uses.entry(*digest).or_insert((bytes, 0)).1 += 1;
        }
    }
    if !steps.is_empty() {
        blob::name(tx, &uses).await?;
        let steps = Value::Array(steps).to_string();
        sqlx::query(sql::SET_STEPS_STORE)
            .bind(steps)
            .execute(&mut *tx)
            .await?;
    }
    let named = Value::Object(named).to_string();
    sqlx::query(sql::SETS_NAME).bind(named).execute(tx).await?;
    Ok(())
}

/// Executions are about to go. Deletes the sets that no other names; returns the answers that those named, and how often,
/// for the caller to release.
pub(crate) async fn forget(
    tx: &mut SqliteConnection,
    executions: &[u64],
) -> Result<BTreeMap<Digest, i64>, StoreError> {
    let query = sqlx::query_scalar(sql::SETS_RELEASE).bind(json_ids(executions.iter().copied()));
    let unused: Vec<Option<i64>> = query.fetch_all(&mut *tx).await?;
    let unused = unused.into_iter().flatten().map(i64::unsigned_abs);
    let mut uses = BTreeMap::new();
    let unused = json_ids(unused);
    if unused == "[]" {
        return Ok(uses);
    }
    let query = sqlx::query_scalar(sql::SET_STEPS_REMOVE).bind(&unused);
    let named: Vec<Vec<u8>> = query.fetch_all(&mut *tx).await?;
    for digest in &named {
        *uses.entry(fixed(digest)?).or_default() += 1;
    }
    sqlx::query(sql::SETS_REMOVE).bind(unused).execute(tx).await?;
    Ok(uses)
}
