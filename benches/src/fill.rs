//! Databases of any size without the hours it would take to live through them: rows by `INSERT … SELECT` into what the
//! store has made, and recounts of what an engine left.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use muster_store::Store;
use rusqlite::{Connection, OptionalExtension as _, params};

/// The credential of all devices.
pub const CREDENTIAL: &str = "fleet";

/// The database of a data directory.
pub fn path(data: &Path) -> PathBuf {
    data.join("muster.db")
}

/// Makes a database with so many devices, whose facts are known as of now.
pub async fn devices(data: &Path, count: u64) -> anyhow::Result<()> {
    // The store makes the tables, in its own way.
    Store::open(&path(data)).await?.close().await;
    let database = Connection::open(path(data))?;
    // Nobody waits for these to be durable.
    database.pragma_update(None, "synchronous", "off")?;
    database.execute(
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO device (id, name, address, port, transport, credential, zone, labels, created_at,
                             version, board, architecture, identity, facts_at)
         SELECT i, printf('sim-%07d', i), printf('10.%d.%d.%d', i >> 16, i >> 8 & 255, i & 255), 8728, 'api', ?2,
                'default', '{}', 0, '7.16.2 (stable)', 'RB5009UG+S+', 'arm64', printf('sim-%07d', i),
                unixepoch() * 1000
         FROM n",
        params![count as i64, CREDENTIAL],
    )?;
    database.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Jobs that are over, so many executions in all, each of all devices that there are. One in ten had an answer of its
/// own, stored as the store does; the others answered as their device always does.
pub fn finished(data: &Path, executions: u64) -> anyhow::Result<u64> {
    let mut database = Connection::open(path(data))?;
    database.pragma_update(None, "synchronous", "off")?;
    database.pragma_update(None, "cache_size", -262_144)?;
    let tx = database.transaction()?;
    let devices: i64 = tx.query_row("SELECT count(*) FROM device", [], |row| row.get(0))?;
    let jobs = (executions as i64).div_euclid(devices);
    ensure!(jobs > 0, "there are more devices than executions");
    tx.execute_batch("INSERT INTO plan (digest, body) VALUES (zeroblob(32), '{\"steps\":[]}')")?;
    tx.execute(
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO job (id, uuid, request_hash, name, plan_digest, selector, timeout_ms, effect, state, total,
                          created_at, expires_at, finished_at, claimed_by, steps)
         SELECT i, printf('finished-%d', i), zeroblob(32), 'finished', zeroblob(32), '', 30000, 1, 20, ?2,
                unixepoch() * 1000, unixepoch() * 1000 + 30000, unixepoch() * 1000 + 1000, '', 'r'
         FROM n",
        params![jobs, devices],
    )?;
    // State 10 is succeeded; 20 of a job is completed.
    tx.execute_batch(
        "INSERT INTO execution (job_id, device_id, device_name, zone, state, epoch, attempts, ready_at, next_step,
                                started_at, finished_at)
             SELECT j.id, d.id, d.name, d.zone, 10, 1, 1, j.created_at, 1, j.created_at, j.finished_at
             FROM job j CROSS JOIN device d ORDER BY j.id, d.id;
         INSERT INTO job_count (job_id, state, count) SELECT id, 10, total FROM job;
         INSERT INTO event (job_id, at, kind) SELECT id, finished_at, 'state' FROM job;
         CREATE TEMP TABLE answer (execution INTEGER PRIMARY KEY, digest BLOB);
         CREATE TEMP TABLE common (device INTEGER PRIMARY KEY, digest BLOB);
         INSERT INTO common SELECT id, randomblob(32) FROM device;
         INSERT INTO answer
             SELECT e.id, CASE WHEN e.id % 640 = 0 THEN randomblob(32) WHEN e.id % 10 = 0 THEN x'' ELSE c.digest END
             FROM execution e JOIN common c ON c.device = e.device_id;
         INSERT INTO step_result (execution_id, step, digest, encoding, bytes)
             SELECT execution, 0, digest, iif(digest = x'', 0, NULL), iif(digest = x'', randomblob(200), NULL)
             FROM answer ORDER BY execution;
         INSERT INTO blob (digest, encoding, bytes)
             SELECT digest, 0, randomblob(200) FROM answer WHERE digest <> x'' GROUP BY digest ORDER BY min(execution);
         INSERT INTO blob_share (digest, more)
             SELECT digest, count(*) - 1 FROM answer WHERE digest <> x'' GROUP BY digest HAVING count(*) > 1;",
    )?;
    tx.commit()?;
    database.close().map_err(|(_, error)| error)?;
    Ok((jobs * devices).unsigned_abs())
}

/// Fails unless the last job of a database is over, with so many executions that succeeded at the first try, each with
/// one answer, counted by counters and told by events exactly once.
pub fn recount(data: &Path, executions: u64) -> anyhow::Result<()> {
    let database = Connection::open(path(data))?;
    let one = |statement: &str, job: i64| -> anyhow::Result<i64> {
        let found = database.query_row(statement, [job], |row| row.get::<_, Option<i64>>(0));
        Ok(found.optional()?.flatten().unwrap_or_default())
    };
    let job = one("SELECT max(id) FROM job WHERE id >= ?1", 0)?;
    let expected = executions as i64;
    for (what, statement) in [
        (
            "executions of the job",
            "SELECT total FROM job WHERE id = ?1 AND state = 20",
        ),
        (
            "succeeded executions",
            "SELECT count(*) FROM execution WHERE job_id = ?1 AND state = 10 AND epoch = 1 AND attempts = 1
               AND session_id IS NULL AND locked = 0 AND finished_at IS NOT NULL",
        ),
        (
            "executions on the counter of those that succeeded",
            "SELECT count FROM job_count WHERE job_id = ?1 AND state = 10",
        ),
        (
            "executions on all counters",
            "SELECT sum(count) FROM job_count WHERE job_id = ?1",
        ),
        (
            "answers",
            "SELECT count(*) FROM execution e JOIN step_result s ON s.execution_id = e.id AND s.step = 0
             LEFT JOIN blob b ON b.digest = s.digest
             WHERE e.job_id = ?1 AND (s.digest = x'') = (s.bytes IS NOT NULL)
               AND (s.digest <> x'') = (b.bytes IS NOT NULL)",
        ),
        (
            "executions told by events",
            "SELECT count(DISTINCT v.value) FROM event, json_each(ended) v WHERE job_id = ?1",
        ),
        (
            "executions in events",
            "SELECT sum(json_array_length(ended)) FROM event WHERE job_id = ?1",
        ),
    ] {
        let found = one(statement, job).with_context(|| what.to_owned())?;
        ensure!(found == expected, "{found} {what}, not {expected}");
    }
    Ok(())
}

/// Fails unless the last job of a database runs, with so many executions that wait and nothing else.
pub fn recount_waiting(data: &Path, executions: u64) -> anyhow::Result<()> {
    let database = Connection::open(path(data))?;
    let counts = database.query_row(
        "SELECT j.total, (SELECT count(*) FROM execution e WHERE e.job_id = j.id AND e.state = 1),
                (SELECT sum(count) FROM job_count c WHERE c.job_id = j.id AND c.state = 1)
         FROM job j WHERE j.state = 4 ORDER BY j.id DESC LIMIT 1",
        [],
        |row| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]),
    )?;
    ensure!(
        counts == [executions as i64; 3],
        "{counts:?} executions by the job, its rows and its counter, not {executions}"
    );
    Ok(())
}
