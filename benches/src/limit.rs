//! The limit: the rows that a job leaves, made by SQLite with nothing around it, in one transaction.
//!
//! Same schema, same file settings, same indexes, same three moves of every execution (laid out, leased, done), same
//! counters, events and answers. What is missing is what the store is for: a commit for each batch, decisions by the
//! core, threads, and batches that travel as text.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rusqlite::{Connection, Transaction, params};
use sha2::{Digest as _, Sha256};

use crate::fill;
use crate::queue::Answers;

/// Opens a database as the store does.
fn open(data: &Path) -> anyhow::Result<Connection> {
    let database = Connection::open(fill::path(data))?;
    for (name, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "full"),
        ("cache_size", "-65536"),
        ("temp_store", "memory"),
        ("journal_size_limit", "67108864"),
    ] {
        database
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|error| match error {
                // Some tell their new value, and some tell nothing.
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(error),
            })?;
    }
    Ok(database)
}

/// A job on all devices, from nothing to its end, in batches of so many. Returns how long it took.
pub fn job(data: &Path, batch: usize, answers: Answers) -> anyhow::Result<Duration> {
    let mut database = open(data)?;
    let began = Instant::now();
    let tx = database.transaction()?;
    let (job, total) = lay_out(&tx)?;
    let mut left = total;
    while left > 0 {
        let ids = claim(&tx, job, batch)?;
        ensure!(!ids.is_empty(), "{left} executions are not there");
        complete(&tx, job, &ids, answers)?;
        left -= ids.len() as u64;
    }
    tx.execute("UPDATE job SET state = 20, finished_at = 0 WHERE id = ?1", [job])?;
    tx.execute(
        "INSERT INTO event (job_id, at, kind) VALUES (?1, 0, 'state')",
        [job],
    )?;
    tx.commit()?;
    let took = began.elapsed();
    database.close().map_err(|(_, error)| error)?;
    Ok(took)
}

/// A job on all devices, up to where it could be handed out. Returns how long that took.
pub fn create(data: &Path) -> anyhow::Result<Duration> {
    let mut database = open(data)?;
    let began = Instant::now();
    let tx = database.transaction()?;
    lay_out(&tx)?;
    tx.commit()?;
    let took = began.elapsed();
    database.close().map_err(|(_, error)| error)?;
    Ok(took)
}

/// What a commit of one row takes, so many of them.
pub fn commits(data: &Path, count: usize) -> anyhow::Result<Vec<Duration>> {
    let database = open(data)?;
    let mut insert = database.prepare("INSERT INTO event (job_id, at, kind) VALUES (0, 0, 'commit')")?;
    let commit = |_| {
        let began = Instant::now();
        insert.execute([])?;
        Ok(began.elapsed())
    };
    (0..count).map(commit).collect()
}

fn lay_out(tx: &Transaction<'_>) -> anyhow::Result<(i64, u64)> {
    tx.execute(
        "INSERT INTO plan (digest, body) VALUES (zeroblob(31), '{}') ON CONFLICT DO NOTHING",
        [],
    )?;
    tx.execute(
        "INSERT INTO job (uuid, request_hash, name, plan_digest, selector, timeout_ms, effect, state, total,
                          created_at, expires_at, claimed_by, steps)
         VALUES (hex(randomblob(16)), zeroblob(32), 'bare', zeroblob(31), '', 30000, 1, 4,
                 (SELECT count(*) FROM device), 0, 1 << 50, '', 'r')",
        [],
    )?;
    let job = tx.last_insert_rowid();
    let total = tx.execute(
        "INSERT INTO execution (job_id, device_id, device_name, zone, state, ready_at)
         SELECT ?1, d.id, d.name, d.zone, 1, 0 FROM device d ORDER BY d.id",
        [job],
    )?;
    tx.execute(
        "INSERT INTO job_count (job_id, state, count) VALUES (?1, 1, ?2)",
        params![job, total as i64],
    )?;
    tx.execute(
        "INSERT INTO wave (job_id, number, total) VALUES (?1, 0, ?2)",
        params![job, total as i64],
    )?;
    tx.execute(
        "INSERT INTO event (job_id, at, kind) VALUES (?1, 0, 'created'), (?1, 0, 'state')",
        [job],
    )?;
    Ok((job, total as u64))
}

fn claim(tx: &Transaction<'_>, job: i64, batch: usize) -> anyhow::Result<Vec<i64>> {
    let mut claim = tx.prepare_cached(
        "UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = 1
         WHERE id IN (SELECT id FROM execution
                      WHERE job_id = ?1 AND wave = 0 AND state = 1 AND open_intent IS NULL AND ready_at <= 0
                      ORDER BY ready_at LIMIT ?2)
         RETURNING id",
    )?;
    let ids = claim.query_map(params![job, batch as i64], |row| row.get(0))?;
    let ids = ids.collect::<Result<Vec<i64>, _>>()?;
    count(tx, job, 1, -(ids.len() as i64))?;
    count(tx, job, 2, ids.len() as i64)?;
    Ok(ids)
}

fn complete(tx: &Transaction<'_>, job: i64, ids: &[i64], answers: Answers) -> anyhow::Result<()> {
    let mut end = tx.prepare_cached(
        "UPDATE execution SET state = 10, session_id = NULL, next_step = 1, started_at = ?2, finished_at = ?3
         WHERE id = ?1 AND epoch = 1",
    )?;
    let mut store = tx.prepare_cached(
        "INSERT INTO blob (digest, encoding, bytes) VALUES (?1, 0, ?2) ON CONFLICT DO NOTHING",
    )?;
    let mut share = tx.prepare_cached(
        "INSERT INTO blob_share (digest, more) VALUES (?1, 1) ON CONFLICT (digest) DO UPDATE SET more = more + 1",
    )?;
    let mut step =
        tx.prepare_cached("INSERT INTO step_result (execution_id, step, digest) VALUES (?1, 0, ?2)")?;
    let mut inline = tx.prepare_cached(
        "INSERT INTO step_result (execution_id, step, digest, encoding, bytes) VALUES (?1, 0, x'', 0, ?2)",
    )?;
    for id in ids {
        end.execute(params![id, id % 16, 100])?;
        let answer = answers.of(id.unsigned_abs())?;
        let digest: [u8; 32] = Sha256::digest(&answer).into();
        // Where the store puts it as well.
        if answers == Answers::Own && id % 64 != 0 {
            inline.execute(params![id, answer])?;
            continue;
        }
        if store.execute(params![digest, answer])? == 0 {
            share.execute([digest])?;
        }
        step.execute(params![id, digest])?;
    }
    count(tx, job, 2, -(ids.len() as i64))?;
    count(tx, job, 10, ids.len() as i64)?;
    let mut tally = tx.prepare_cached(
        "INSERT INTO budget_count (job_id, wave, in_flight, harmed, rescued, refused, benign, unreached, good, touched,
                                   ended)
         VALUES (?1, 0, 0, 0, 0, 0, 0, 0, ?2, 0, ?2)
         ON CONFLICT (job_id, wave) DO UPDATE SET good = good + excluded.good, ended = ended + excluded.ended",
    )?;
    tally.execute(params![job, ids.len() as i64])?;
    let mut event =
        tx.prepare_cached("INSERT INTO event (job_id, at, kind, ended) VALUES (?1, 0, 'ended', ?2)")?;
    event.execute(params![job, serde_json::to_string(ids)?])?;
    Ok(())
}

fn count(tx: &Transaction<'_>, job: i64, state: i64, by: i64) -> anyhow::Result<()> {
    let mut count = tx.prepare_cached(
        "INSERT INTO job_count (job_id, state, count) VALUES (?1, ?2, ?3)
         ON CONFLICT (job_id, state) DO UPDATE SET count = count + excluded.count",
    )?;
    count.execute(params![job, state, by])?;
    Ok(())
}
