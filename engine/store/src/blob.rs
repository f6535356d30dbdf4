//! Answers by content: stored once however many devices gave the same, in RouterOS's own wire format.

use std::borrow::Cow;
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

/// Answers up to this, in bytes as stored, go into one statement together; larger ones have one each.
const TOGETHER: usize = 4096;

/// Stores the answers of executions, one for each step sent, from the step given.
pub(crate) async fn store(
    tx: &mut SqliteConnection,
    results: &[(u64, u32, &[Bytes])],
) -> Result<(), StoreError> {
    let (mut steps, mut small, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (execution, first, replies) in results {
        for (step, bytes) in (*first..).zip(*replies) {
            let digest: [u8; 32] = Sha256::digest(bytes).into();
            steps.push(json!([execution, step, hex(&digest)]));
            if !seen.insert(digest) || (bytes.len() > TOGETHER && is_known(tx, digest).await?) {
                continue;
            }
            let (encoding, stored) = pack(bytes);
            if stored.len() <= TOGETHER {
                small.push(json!([hex(&digest), encoding, hex(&stored)]));
            } else {
                let query = sqlx::query(sql::BLOB_STORE).bind(digest.to_vec()).bind(encoding);
                query.bind(stored.into_owned()).execute(&mut *tx).await?;
            }
        }
    }
    if !small.is_empty() {
        sqlx::query(sql::BLOB_STORE_SET)
            .bind(Value::Array(small).to_string())
            .execute(&mut *tx)
            .await?;
    }
    if !steps.is_empty() {
        sqlx::query(sql::STEP_STORE)
            .bind(Value::Array(steps).to_string())
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Looking first saves compressing what a thousand devices answered before.
async fn is_known(tx: &mut SqliteConnection, digest: [u8; 32]) -> Result<bool, StoreError> {
    let count: i64 = sqlx::query_scalar(sql::BLOB_KNOWN)
        .bind(digest.to_vec())
        .fetch_one(tx)
        .await?;
    Ok(count > 0)
}

fn pack(bytes: &[u8]) -> (i64, Cow<'_, [u8]>) {
    if bytes.len() >= COMPRESS_FROM {
        let packed = lz4_flex::compress_prepend_size(bytes);
        if packed.len() < bytes.len() {
            return (LZ4, packed.into());
        }
    }
    (PLAIN, bytes.into())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)])
        .collect()
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
