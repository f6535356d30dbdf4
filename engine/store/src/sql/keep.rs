//! Retention, space, status.

statements! {
    // Retention
    JOB_TO_REMOVE = "SELECT id, state FROM job WHERE uuid = ?1 AND id NOT IN (SELECT job_id FROM job_removed)";
    JOBS_OLD = "
        INSERT INTO job_removed (job_id)
        SELECT id FROM job WHERE finished_at < ?1 AND id NOT IN (SELECT job_id FROM job_removed)
        ORDER BY finished_at LIMIT ?2";
    JOB_REMOVED = "INSERT INTO job_removed (job_id) VALUES (?1)";
    REQUEST_KEEP = "
        INSERT INTO request_kept (request_id, request_hash, uuid, created_at)
        SELECT request_id, request_hash, uuid, created_at FROM job
        WHERE id = ?1 AND request_id IS NOT NULL AND created_at >= ?2
        ON CONFLICT DO NOTHING";
    REQUESTS_FORGET = "
        DELETE FROM request_kept WHERE request_id IN (
            SELECT request_id FROM request_kept WHERE created_at < ?1 LIMIT ?2)";
    // Not while another job is being laid out from what became of it.
    SWEEP_JOB = "
        SELECT r.job_id FROM job_removed r
        WHERE NOT EXISTS (SELECT 1 FROM job d WHERE d.state = 1 AND d.retry_of = r.job_id)
        ORDER BY r.job_id LIMIT 1";
    // Steps of a set that others name, too, are none that would go.
    SWEEP_ROWS = "
        SELECT e.id, coalesce(s.digest, t.digest), coalesce(length(s.bytes), length(b.bytes), 0)
        FROM execution e LEFT JOIN step_result s ON s.execution_id = e.id
        LEFT JOIN answer_set a ON a.id = e.answers AND a.uses = 1 LEFT JOIN set_step t ON t.set_id = a.id
        LEFT JOIN blob b ON b.digest = coalesce(s.digest, t.digest)
        WHERE e.job_id = ?1 ORDER BY e.device_id, s.step, t.step LIMIT ?2";
    // The youngest execution leaves its number behind, in a row of no job: numbers are never given out twice, so
    // that a worker that wakes up late speaks of no other execution than its own.
    SWEEP_YOUNGEST = "
        UPDATE execution SET job_id = 0, device_id = id, device_name = '', zone = '', answers = NULL
        WHERE id = (SELECT max(id) FROM execution) AND id IN (SELECT value FROM json_each(?1))";
    SWEEP_EXECUTIONS = "
        DELETE FROM execution WHERE id IN (SELECT value FROM json_each(?1)) AND job_id <> 0";
    SWEEP_MEASUREMENTS = "DELETE FROM measurement WHERE execution_id IN (SELECT value FROM json_each(?1))";
    SWEEP_NUMBERS = "DELETE FROM execution WHERE job_id = 0 AND id < (SELECT max(id) FROM execution)";
    SWEEP_EVENTS = "
        DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE job_id = ?1 ORDER BY seq LIMIT ?2)";
    SWEEP_COUNTS = "DELETE FROM job_count WHERE job_id = ?1";
    SWEEP_WAVES = "DELETE FROM wave WHERE job_id = ?1";
    SWEEP_BUDGETS = "DELETE FROM budget_count WHERE job_id = ?1";
    SWEEP_REMOVED = "DELETE FROM job_removed WHERE job_id = ?1";
    PLANS_UNUSED = "
        SELECT p.digest FROM plan p
        WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.plan_digest = p.digest) LIMIT ?1";
    PLANS_REMOVE = "
        DELETE FROM plan WHERE digest IN (SELECT unhex(value) FROM json_each(?1))
          AND NOT EXISTS (SELECT 1 FROM job j WHERE j.plan_digest = plan.digest)";

    // Space
    PAGE_SIZE = "PRAGMA page_size";
    PAGE_COUNT = "PRAGMA page_count";
    PAGES_FREE = "PRAGMA freelist_count";
    AUTO_VACUUM = "PRAGMA auto_vacuum";
    AUTO_VACUUM_INCREMENTAL = "PRAGMA auto_vacuum = INCREMENTAL";
    VACUUM = "VACUUM";
    // As many pages as one step of `space` gives back.
    VACUUM_STEP = "PRAGMA incremental_vacuum(64)";
    CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)";
    CHECKPOINT_TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)";

    // Status
    DEVICE_COUNT = "SELECT count(*) FROM device";
    JOB_LIVE_COUNT = "SELECT count(*) FROM job WHERE state < 20";
    WAITING = "
        SELECT e.zone, count(*) FROM job j JOIN execution e ON e.job_id = j.id
        WHERE j.state = 4 AND e.state = 1 GROUP BY e.zone ORDER BY e.zone";
    ZONES = "SELECT name FROM zone ORDER BY name";
}
