//! Explain.

statements! {
    // Explain. ?1 job, ?2 now, ?3 device or null, ?4 whether devices are held, ?5 limit, ?6 the last open wave.
    EXPLAIN_WAITING = "
        SELECT kind, zone, count(*), min(ready_at), holder, wave, touched FROM (
            SELECT e.zone AS zone, e.ready_at AS ready_at, coalesce(l.uuid, t.uuid) AS holder, e.wave AS wave,
                   e.touched AS touched,
                   CASE WHEN e.open_intent IS NOT NULL THEN 0
                        WHEN e.wave > ?6 THEN 5
                        WHEN EXISTS (
                            SELECT 1 FROM execution_after a
                            JOIN execution c ON c.job_id = a.job_id AND c.device_id = a.child_id AND c.state < 10
                            WHERE a.job_id = ?1 AND a.device_id = e.device_id) THEN 7
                        WHEN coalesce(l.uuid, t.uuid) IS NOT NULL THEN 1
                        WHEN e.ready_at > ?2 AND e.error_class IN (1, 2, 3, 8) THEN 2
                        WHEN e.touched AND e.next_step >= (SELECT length(o.steps) FROM job o WHERE o.id = ?1) THEN 8
                        WHEN e.ready_at > ?2 AND e.error_class IS NULL THEN 6
                        WHEN e.ready_at > ?2 THEN 3
                        ELSE 4 END AS kind
            FROM (SELECT * FROM execution
                  WHERE job_id = ?1 AND state = 1 AND (?3 IS NULL OR device_id = ?3) LIMIT ?5) e
            LEFT JOIN (SELECT x.device_id, x.job_id, o.uuid FROM execution x JOIN job o ON o.id = x.job_id
                       WHERE x.locked = 1) l
                ON ?4 AND l.device_id = e.device_id AND l.job_id <> e.job_id
            -- Of another row that is the same router.
            LEFT JOIN (SELECT a.id AS device_id, o.uuid FROM device a JOIN device b ON b.serial = a.serial AND b.id <> a.id
                       JOIN execution x ON x.device_id = b.id AND x.locked = 1 JOIN job o ON o.id = x.job_id) t
                ON ?4 AND t.device_id = e.device_id)
        GROUP BY kind, zone, holder, wave, touched ORDER BY kind, zone, wave";
    // Those that ask for their first intent, by wave. ?1 job, ?2 device or null.
    EXPLAIN_ASKING = "
        SELECT wave, count(*) FROM execution INDEXED BY execution_lock
        WHERE locked = 1 AND state = 2 AND touched = 0 AND job_id = ?1 AND (?2 IS NULL OR device_id = ?2)
        GROUP BY wave";
    // A touched execution holds its device until it is over, so these are few, however large the job.
    // ?1 job, ?2 wave or null, ?3 limit.
    EXPLAIN_TOUCHED = "
        SELECT device_name FROM execution INDEXED BY execution_lock
        WHERE locked = 1 AND touched = 1 AND job_id = ?1 AND (?2 IS NULL OR wave = ?2)
        ORDER BY device_id LIMIT ?3";
    EXPLAIN_WITH_WORKERS = "
        SELECT s.id, s.worker, count(*), sum(e.open_intent IS NOT NULL AND e.intent_epoch <> e.epoch)
        FROM execution e JOIN session s ON s.id = e.session_id
        WHERE e.state IN (2, 3) AND e.job_id = ?1 AND (?2 IS NULL OR e.device_id = ?2)
        GROUP BY s.id ORDER BY s.id";
    EXPLAIN_WHICH = "
        SELECT session_id, id FROM execution
        WHERE state IN (2, 3) AND job_id = ?1 AND (?2 IS NULL OR device_id = ?2) AND session_id IS NOT NULL LIMIT ?3";
    EXPLAIN_ONE = "
        SELECT e.state, e.attempts, e.error_class, e.error_message, e.error_category, e.device_id, e.wave
        FROM execution e
        WHERE e.job_id = ?1 AND e.device_id = coalesce((SELECT id FROM device WHERE name = ?2),
            (SELECT x.device_id FROM execution x WHERE x.job_id = ?1 AND x.device_name = ?2))";
}
