//! Answers by content: stored once however many devices gave the same, in RouterOS's own wire format.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{SqliteConnection, SqlitePool};

use crate::{StoreError, sql};

const PLAIN: i64 = 0;
const LZ4: i64 = 1;
/// Below this, in bytes, compression saves less than a page holds anyway.
const COMPRESS_FROM: usize = 512;

/// Stores the answers of executions, one for each step sent.
pub(crate) async fn store(tx: &mut SqliteConnection, results: &[(u64, &[Bytes])]) -> Result<(), StoreError> {
    let (mut steps, mut seen) = (Vec::new(), BTreeSet::new());
    for (execution, replies) in results {
        for (step, bytes) in replies.iter().enumerate() {
            let digest: [u8; 32] = Sha256::digest(bytes).into();
            let hex = digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>();
            steps.push(json!([execution, step, hex]));
            if seen.insert(digest) {
                store_one(tx, digest, bytes).await?;
            }
        }
    }
    if !steps.is_empty() {
        sqlx::query(sql::STEP_STORE)
            .bind(Value::Array(steps).to_string())
            .execute(tx)
            .await?;
    }
    Ok(())
}

async fn store_one(tx: &mut SqliteConnection, digest: [u8; 32], bytes: &[u8]) -> Result<(), StoreError> {
    let digest = digest.to_vec();
    if bytes.len() >= COMPRESS_FROM {
        // Looking first saves compressing what a thousand devices answered before.
        let known: i64 = sqlx::query_scalar(sql::BLOB_KNOWN)
            .bind(&digest)
            .fetch_one(&mut *tx)
            .await?;
        if known > 0 {
            return Ok(());
        }
    }
    let packed = (bytes.len() >= COMPRESS_FROM).then(|| lz4_flex::compress_prepend_size(bytes));
    let (encoding, stored) = match packed {
        Some(packed) if packed.len() < bytes.len() => (LZ4, packed),
        _ => (PLAIN, bytes.to_vec()),
    };
    sqlx::query(sql::BLOB_STORE)
        .bind(digest)
        .bind(encoding)
        .bind(stored)
        .execute(tx)
        .await?;
    Ok(())
}

/// Reads one answer.
pub(crate) async fn load(readers: &SqlitePool, digest: &[u8]) -> Result<Bytes, StoreError> {
    let query = sqlx::query_as(sql::BLOB_GET).bind(digest.to_vec());
    let found: Option<(i64, Vec<u8>)> = query.fetch_optional(readers).await?;
    match found {
        Some((PLAIN, bytes)) => Ok(bytes.into()),
        Some((LZ4, packed)) => {
            let bytes = lz4_flex::decompress_size_prepended(&packed);
            bytes
                .map(Bytes::from)
                .map_err(|error| StoreError::Corrupt(format!("a stored answer: {error}")))
        }
        Some((encoding, _)) => Err(StoreError::Corrupt(format!(
            "a stored answer has encoding {encoding}"
        ))),
        None => Err(StoreError::Corrupt("a stored answer is missing".into())),
    }
}
