//! Answers by content: stored once however many devices gave the same, in RouterOS's own wire format.
//!
//! What is small and, as far as can be seen, one execution's alone stays with its step: storing it under its digest
//! would touch another page of an index for each answer.
//!
//! A blob lives as long as a step names it, of an execution or of a set. How many do is counted where it is more than one (`blob_share`), in the
//! transaction that writes or deletes the steps: after every commit each step has its answer, and each blob a step.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use crate::{StoreError, set, sql};

const PLAIN: i64 = 0;
const LZ4: i64 = 1;
/// Below this, in bytes, compression saves less than a page holds anyway.
const COMPRESS_FROM: usize = 512;

/// Bytes of answers that go into one statement together, or a single answer.
const TOGETHER: usize = 1 << 20;

/// Answers up to this, in bytes as stored, may stay with their step: a row of them fits a page several times.
const INLINE: usize = 1024;
/// One answer in so many is noted even if it may be the only one of its kind.
const NOTED: u64 = 64;

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
    /// Whether these are all its answers, of a plan that devices answer again and again: see [`crate::set`].
    pub(crate) whole: bool,
}

/// Stores the answers of executions; what earlier attempts answered to the same steps and later ones makes room.
pub(crate) async fn store(tx: &mut SqliteConnection, results: &[Answers<'_>]) -> Result<(), StoreError> {
    let (whole, results) = results.iter().partition::<Vec<_>, _>(|result| result.whole);
    set::store(tx, &whole).await?;
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
    let mut uses = BTreeMap::<Digest, Use<'_>>::new();
    for ((execution, step), bytes) in answers {
        let one = uses.entry(Sha256::digest(bytes).into()).or_insert(Use {
            bytes,
            steps: Vec::new(),
        });
        one.steps.push((execution, step));
    }
    if !uses.is_empty() {
        store_answers(tx, uses).await?;
    }
    release(tx, &before).await?;
    Ok(())
}

/// An answer, and which steps of which executions gave it.
struct Use<'a> {
    bytes: &'a Bytes,
    steps: Vec<(u64, u32)>,
}

impl Use<'_> {
    /// Whether it stays with the only step that gave it. One in [`NOTED`] goes where it can be found, so that an answer
    /// that executions give one at a time is stored so many times, and not as often as it is given.
    fn is_alone(&self) -> bool {
        matches!(self.steps[..], [(execution, _)] if execution % NOTED != 0)
    }
}

/// A step as it is stored.
struct Step<'a> {
    execution: u64,
    step: u32,
    /// Empty when the answer is in the row.
    digest: Vec<u8>,
    inline: Option<(i64, Cow<'a, [u8]>)>,
}

async fn store_steps(tx: &mut SqliteConnection, mut steps: Vec<Step<'_>>) -> Result<(), StoreError> {
    // In the order of the table.
    steps.sort_unstable_by_key(|step| (step.execution, step.step));
    while !steps.is_empty() {
        let (statement, room) = sql::STEP_STORE.of(steps.len());
        let mut query = sqlx::query(statement);
        let now = steps.drain(..room.min(steps.len()));
        let padding = room - now.len();
        for step in now {
            let (encoding, bytes) = step.inline.unzip();
            query = query
                .bind(step.execution as i64)
                .bind(step.step)
                .bind(step.digest)
                .bind(encoding)
                .bind(bytes.map(Cow::into_owned));
        }
        for _ in 0..5 * padding {
            query = query.bind(None::<i64>);
        }
        query.execute(&mut *tx).await?;
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
        for _ in 0..3 * padding {
            query = query.bind(None::<i64>);
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
    // The others had their answers with them.
    for digest in named.iter().filter(|digest| !digest.is_empty()) {
        *uses.entry(fixed(digest)?).or_default() += 1;
    }
    Ok(uses)
}

/// Which of these are stored. Looking first saves compressing what a thousand devices answered before.
async fn known<'a>(
    tx: &mut SqliteConnection,
    of: impl IntoIterator<Item = &'a Digest>,
) -> Result<BTreeSet<Digest>, StoreError> {
    let (of, mut known) = (of.into_iter().collect::<Vec<_>>(), BTreeSet::new());
    let mut left = &of[..];
    while !left.is_empty() {
        let (statement, room) = sql::BLOB_KNOWN.of(left.len());
        let (now, rest) = left.split_at(room.min(left.len()));
        let mut query = sqlx::query_scalar(statement);
        for digest in now {
            query = query.bind(digest.to_vec());
        }
        for _ in now.len()..room {
            query = query.bind(None::<Vec<u8>>);
        }
        let found: Vec<Vec<u8>> = query.fetch_all(&mut *tx).await?;
        for digest in &found {
            known.insert(fixed(digest)?);
        }
        left = rest;
    }
    Ok(known)
}

/// Stores answers that are named so many times more.
pub(crate) async fn name(
    tx: &mut SqliteConnection,
    uses: &BTreeMap<Digest, (&Bytes, i64)>,
) -> Result<(), StoreError> {
    let known = known(tx, uses.keys()).await?;
    let (mut new, mut shared, mut waiting) = (Vec::new(), Vec::new(), 0);
    for (digest, &(bytes, count)) in uses {
        let is_known = known.contains(digest);
        if !is_known {
            let (encoding, stored) = pack(bytes);
            waiting += stored.len();
            new.push((*digest, encoding, stored));
        }
        let more = count - i64::from(!is_known);
        if more > 0 {
            shared.push(json!([hex(digest), more]));
        }
        if waiting > TOGETHER {
            waiting = 0;
            insert_blobs(tx, &mut new).await?;
        }
    }
    insert_blobs(tx, &mut new).await?;
    share(tx, shared).await
}

/// `[[digest in hex, times], …]`.
async fn share(tx: &mut SqliteConnection, shared: Vec<Value>) -> Result<(), StoreError> {
    if !shared.is_empty() {
        sqlx::query(sql::BLOB_SHARE)
            .bind(Value::Array(shared).to_string())
            .execute(tx)
            .await?;
    }
    Ok(())
}

async fn store_answers(tx: &mut SqliteConnection, uses: BTreeMap<Digest, Use<'_>>) -> Result<(), StoreError> {
    let known = known(tx, uses.keys()).await?;
    let (mut steps, mut new, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting = 0;
    for (digest, one) in uses {
        let is_known = known.contains(&digest);
        let named = |inline| {
            let digest = if Option::is_some(&inline) {
                Vec::new()
            } else {
                digest.to_vec()
            };
            one.steps.iter().map(move |&(execution, step)| Step {
                execution,
                step,
                digest: digest.clone(),
                inline: inline.clone(),
            })
        };
        let packed = if is_known { None } else { Some(pack(one.bytes)) };
        if let Some((encoding, stored)) = packed {
            waiting += stored.len();
            if one.is_alone() && stored.len() <= INLINE {
                steps.extend(named(Some((encoding, stored))));
                continue;
            }
            new.push((digest, encoding, stored));
        }
        steps.extend(named(None));
        let more = one.steps.len() as i64 - i64::from(!is_known);
        if more > 0 {
            shared.push(json!([hex(&digest), more]));
        }
        if waiting > TOGETHER {
            waiting = 0;
            insert_blobs(tx, &mut new).await?;
        }
    }
    insert_blobs(tx, &mut new).await?;
    store_steps(tx, steps).await?;
    share(tx, shared).await
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
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
        hex.push(char::from(DIGITS[usize::from(byte & 0xF)]));
    }
    hex
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
        let packed = self.packed.remove(digest);
        let missing = || StoreError::Corrupt("a stored answer is missing".into());
        let (encoding, bytes) = packed.ok_or_else(missing)?;
        let bytes = unpack(encoding, bytes)?;
        self.unpacked.insert(*digest, bytes.clone());
        Ok(bytes)
    }
}

/// Appends an answer from what is stored of it.
pub(crate) fn unpack_into(encoding: i64, packed: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
    let bad = |told: String| StoreError::Corrupt(format!("a stored answer: {told}"));
    match encoding {
        PLAIN => out.extend_from_slice(packed),
        LZ4 => {
            let (size, packed) =
                lz4_flex::block::uncompressed_size(packed).map_err(|error| bad(error.to_string()))?;
            let start = out.len();
            out.resize(start + size, 0);
            let unpacked = lz4_flex::block::decompress_into(packed, &mut out[start..]);
            let length = unpacked.map_err(|error| bad(error.to_string()))?;
            out.truncate(start + length);
        }
        encoding => return Err(bad(format!("it has encoding {encoding}"))),
    }
    Ok(())
}

/// An answer from what is stored of it.
pub(crate) fn unpack(encoding: i64, bytes: Vec<u8>) -> Result<Bytes, StoreError> {
    match encoding {
        PLAIN => Ok(Bytes::from(bytes)),
        LZ4 => lz4_flex::decompress_size_prepended(&bytes)
            .map(Bytes::from)
            .map_err(|error| StoreError::Corrupt(format!("a stored answer: {error}"))),
        encoding => {
            let told = format!("a stored answer has encoding {encoding}");
            Err(StoreError::Corrupt(told))
        }
    }
}
