//! Answers by content: stored once however many devices gave the same, in RouterOS's own wire format.
//!
//! A blob lives as long as a step names it. How many do is counted where it is more than one (`blob_share`), in the
//! transaction that writes or deletes the steps: after every commit each step has its blob, and each blob a step.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use crate::{StoreError, sql};

const PLAIN: i64 = 0;
const LZ4: i64 = 1;
/// Below this, in bytes, compression saves less than a page holds anyway.
const COMPRESS_FROM: usize = 512;

/// Bytes of answers that go into one statement together, or a single answer.
const TOGETHER: usize = 1 << 20;

/// SHA-256 of an answer.
pub(crate) type Digest = [u8; 32];

/// What an execution was answered.
pub(crate) struct Answers<'a> {
    pub(crate) execution: u64,
    /// The step of the first of `replies`.
    pub(crate) first: u32,
    /// One for each step sent.
    pub(crate) replies: &'a [Bytes],
    /// Whether an earlier attempt may have been answered something.
    pub(crate) again: bool,
}

/// Stores the answers of executions; what earlier attempts answered to the same steps and later ones makes room.
pub(crate) async fn store(tx: &mut SqliteConnection, results: &[Answers<'_>]) -> Result<(), StoreError> {
    let again = results.iter().filter(|result| result.again);
    let before = forget_steps(tx, again.map(|result| (result.execution, result.first))).await?;
    let mut answers = BTreeMap::new();
    for &Answers {
        execution,
        first,
        replies,
        ..
    } in results
    {
        // Of an execution that is told of twice, the later report counts.
        let told = (execution, first)..=(execution, u32::MAX);
        answers.extract_if(told, |_, _| true).for_each(drop);
        answers.extend((first..).map(|step| (execution, step)).zip(replies));
    }
    let mut steps = Vec::new();
    let mut uses = BTreeMap::<Digest, (i64, &Bytes)>::new();
    for ((execution, step), bytes) in answers {
        let digest: Digest = Sha256::digest(bytes).into();
        steps.push((execution, step, digest));
        uses.entry(digest).or_insert((0, bytes)).0 += 1;
    }
    if !steps.is_empty() {
        store_blobs(tx, uses).await?;
        store_steps(tx, &steps).await?;
    }
    release(tx, &before).await?;
    Ok(())
}

async fn store_steps(tx: &mut SqliteConnection, steps: &[(u64, u32, Digest)]) -> Result<(), StoreError> {
    let mut left = steps;
    while !left.is_empty() {
        let (statement, room) = sql::STEP_STORE.of(left.len());
        let (now, later) = left.split_at(room.min(left.len()));
        let mut query = sqlx::query(statement);
        for (execution, step, digest) in now {
            query = query.bind(*execution as i64).bind(*step).bind(digest.to_vec());
        }
        for _ in now.len()..room {
            query = query.bind(None::<i64>).bind(None::<i64>).bind(None::<i64>);
        }
        query.execute(&mut *tx).await?;
        left = later;
    }
    Ok(())
}

/// Answers as they are stored: digest, encoding, bytes.
async fn insert_blobs(
    tx: &mut SqliteConnection,
    blobs: &mut Vec<(Digest, i64, Cow<'_, [u8]>)>,
) -> Result<(), StoreError> {
    while !blobs.is_empty() {
        let (statement, room) = sql::BLOB_STORE.of(blobs.len());
        let mut query = sqlx::query(statement);
        let now = blobs.drain(..room.min(blobs.len()));
        let padding = room - now.len();
        for (digest, encoding, bytes) in now {
            query = query
                .bind(digest.to_vec())
                .bind(encoding)
                .bind(bytes.into_owned());
        }
        for _ in 0..padding {
            query = query.bind(None::<i64>).bind(None::<i64>).bind(None::<i64>);
        }
        query.execute(&mut *tx).await?;
    }
    Ok(())
}

/// Deletes the steps of executions, each from the step given on. Returns the answers that they named, and how often,
/// for the caller to release.
pub(crate) async fn forget_steps(
    tx: &mut SqliteConnection,
    from: impl Iterator<Item = (u64, u32)>,
) -> Result<BTreeMap<Digest, i64>, StoreError> {
    let from = from
        .map(|(execution, first)| json!([execution, first]))
        .collect::<Vec<_>>();
    if from.is_empty() {
        return Ok(BTreeMap::new());
    }
    let from = Value::Array(from);
    let query = sqlx::query_scalar(sql::STEPS_REMOVE).bind(from.to_string());
    let named: Vec<Vec<u8>> = query.fetch_all(tx).await?;
    let mut uses = BTreeMap::new();
    for digest in named {
        *uses.entry(fixed(&digest)?).or_default() += 1;
    }
    Ok(uses)
}

async fn store_blobs(
    tx: &mut SqliteConnection,
    uses: BTreeMap<Digest, (i64, &Bytes)>,
) -> Result<(), StoreError> {
    // Looking first saves compressing what a thousand devices answered before.
    let query = sqlx::query_scalar(sql::BLOB_KNOWN).bind(digests(uses.keys()));
    let found: Vec<Vec<u8>> = query.fetch_all(&mut *tx).await?;
    let known = found
        .iter()
        .map(|digest| fixed(digest))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let (mut new, mut shared) = (Vec::new(), Vec::new());
    let mut waiting = 0;
    for (digest, (count, bytes)) in uses {
        let is_known = known.contains(&digest);
        let more = count - i64::from(!is_known);
        if more > 0 {
            shared.push(json!([hex(&digest), more]));
        }
        if is_known {
            continue;
        }
        let (encoding, stored) = pack(bytes);
        waiting += stored.len();
        new.push((digest, encoding, stored));
        if waiting > TOGETHER {
            waiting = 0;
            insert_blobs(tx, &mut new).await?;
        }
    }
    insert_blobs(tx, &mut new).await?;
    if !shared.is_empty() {
        sqlx::query(sql::BLOB_SHARE)
            .bind(Value::Array(shared).to_string())
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Steps named these answers so often, and do no longer. Deletes the answers that no step names any more; returns
/// how many.
pub(crate) async fn release(
    tx: &mut SqliteConnection,
    uses: &BTreeMap<Digest, i64>,
) -> Result<u64, StoreError> {
    if uses.is_empty() {
        return Ok(0);
    }
    let fewer = uses.iter().map(|(digest, count)| json!([hex(digest), -count]));
    let query = sqlx::query_as(sql::BLOB_SHARE).bind(fewer.collect::<Value>().to_string());
    let left: Vec<(Vec<u8>, i64)> = query.fetch_all(&mut *tx).await?;
    let (mut unshared, mut gone) = (Vec::new(), Vec::new());
    for (digest, more) in left {
        let digest = fixed(&digest)?;
        if more <= 0 {
            unshared.push(digest);
        }
        if more < 0 {
            gone.push(digest);
        }
    }
    if !unshared.is_empty() {
        let query = sqlx::query(sql::BLOB_UNSHARED).bind(digests(&unshared));
        query.execute(&mut *tx).await?;
    }
    if gone.is_empty() {
        return Ok(0);
    }
    let query = sqlx::query(sql::BLOB_REMOVE).bind(digests(&gone));
    Ok(query.execute(tx).await?.rows_affected())
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)])
        .collect()
}

/// Digests as a JSON array of hex, the form `json_each` takes.
pub(crate) fn digests<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> String {
    let all = digests.into_iter().map(|digest| json!(hex(digest)));
    all.collect::<Value>().to_string()
}

/// A digest as the database gives it.
pub(crate) fn fixed(digest: &[u8]) -> Result<Digest, StoreError> {
    let length = digest.len();
    digest
        .try_into()
        .map_err(|_| StoreError::Corrupt(format!("a digest of {length} bytes")))
}

/// Answers as they are stored, unpacked one by one as they are asked for.
#[derive(Default)]
pub(crate) struct Packed {
    packed: BTreeMap<Digest, (i64, Vec<u8>)>,
    unpacked: BTreeMap<Digest, Bytes>,
}

impl Packed {
    /// Reads these answers.
    pub(crate) async fn load(
        connection: &mut SqliteConnection,
        wanted: &BTreeSet<Digest>,
    ) -> Result<Self, StoreError> {
        let query = sqlx::query_as(sql::BLOB_GET_SET).bind(digests(wanted));
        let rows: Vec<(Vec<u8>, i64, Vec<u8>)> = query.fetch_all(connection).await?;
        let mut loaded = Self::default();
        for (digest, encoding, bytes) in rows {
            loaded.packed.insert(fixed(&digest)?, (encoding, bytes));
        }
        Ok(loaded)
    }

    /// One answer.
    pub(crate) fn get(&mut self, digest: &Digest) -> Result<Bytes, StoreError> {
        if let Some(bytes) = self.unpacked.get(digest) {
            return Ok(bytes.clone());
        }
        let bytes = match self.packed.remove(digest) {
            Some((PLAIN, bytes)) => Bytes::from(bytes),
            Some((LZ4, packed)) => lz4_flex::decompress_size_prepended(&packed)
                .map(Bytes::from)
                .map_err(|error| StoreError::Corrupt(format!("a stored answer: {error}")))?,
            Some((encoding, _)) => {
                let told = format!("a stored answer has encoding {encoding}");
                return Err(StoreError::Corrupt(told));
            }
            None => return Err(StoreError::Corrupt("a stored answer is missing".into())),
        };
        self.unpacked.insert(*digest, bytes.clone());
        Ok(bytes)
    }
}
