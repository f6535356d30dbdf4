//! Results, events, sessions, history.

statements! {
    // Results
    BLOB_SHARE = "
        INSERT INTO blob_share (digest, more)
        SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?1) WHERE true
        ON CONFLICT (digest) DO UPDATE SET more = more + excluded.more
        RETURNING digest, more";
    BLOB_UNSHARED = "DELETE FROM blob_share WHERE digest IN (SELECT unhex(value) FROM json_each(?1)) AND more <= 0";
    BLOB_REMOVE = "DELETE FROM blob WHERE digest IN (SELECT unhex(value) FROM json_each(?1))";
    STEPS_REMOVE = "
        DELETE FROM step_result WHERE (execution_id, step) IN (
            SELECT s.execution_id, s.step FROM json_each(?1) w
            JOIN step_result s ON s.execution_id = w.value ->> 0 AND s.step >= w.value ->> 1)
        RETURNING digest";
    // By device, which is the order in which executions are laid out: by their ids there is no index. After ?2, the last
    // of the page before; one that is gone went with its job.
    RESULT_PAGE = "
        SELECT e.id, e.device_name, e.state, e.attempts, e.error_class, e.error_message, e.error_category,
               e.started_at, e.finished_at, e.resolution, e.resolution_epoch, e.resolution_at
        FROM execution e INDEXED BY execution_device
        WHERE e.job_id = ?1 AND (?4 = '[]' OR e.state IN (SELECT value FROM json_each(?4)))
          AND e.device_id > CASE WHEN ?2 = 0 THEN -1
              ELSE coalesce((SELECT c.device_id FROM execution c WHERE c.id = ?2 AND c.job_id = ?1), 1 << 62) END
        ORDER BY e.device_id LIMIT ?3";
    RESULT_SOME = "
        SELECT e.id, e.device_name, e.state, e.attempts, e.error_class, e.error_message, e.error_category,
               e.started_at, e.finished_at, e.resolution, e.resolution_epoch, e.resolution_at
        FROM json_each(?1) w JOIN execution e ON e.id = w.value ORDER BY w.key";
    RESULT_STEPS = "
        SELECT s.execution_id, s.step, s.digest, coalesce(length(s.bytes), length(b.bytes))
        FROM json_each(?1) w JOIN step_result s ON s.execution_id = w.value LEFT JOIN blob b ON b.digest = s.digest
        UNION ALL
        SELECT e.id, t.step, t.digest, length(b.bytes)
        FROM json_each(?1) w CROSS JOIN execution e ON e.id = w.value CROSS JOIN set_step t ON t.set_id = e.answers
        LEFT JOIN blob b ON b.digest = t.digest
        ORDER BY 1, 2";
    RESULT_INLINE = "
        SELECT s.execution_id, s.step, s.encoding, s.bytes
        FROM json_each(?1) w JOIN step_result s ON s.execution_id = w.value WHERE s.bytes IS NOT NULL";
    BLOB_GET_SET = "
        SELECT b.digest, b.encoding, b.bytes FROM json_each(?1) w JOIN blob b ON b.digest = unhex(w.value)";

    // Sets of answers
    SETS_KNOWN = "SELECT s.digest FROM json_each(?1) w CROSS JOIN answer_set s ON s.digest = unhex(w.value)";
    SETS_USE = "
        INSERT INTO answer_set (digest, uses) SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?1) WHERE true
        ON CONFLICT (digest) DO UPDATE SET uses = uses + excluded.uses
        RETURNING id, digest";
    SET_STEPS_STORE = "
        INSERT INTO set_step (set_id, step, digest)
        SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?1)";
    // ?1 is {execution: set, …}.
    SETS_NAME = "UPDATE execution SET answers = n.value FROM json_each(?1) n WHERE execution.id = n.key";
    // Of sets that executions name for the last time, the numbers; null for the others.
    SETS_RELEASE = "
        UPDATE answer_set SET uses = uses - n.count
        FROM (SELECT e.answers, count(*) AS count FROM json_each(?1) w JOIN execution e ON e.id = w.value
              WHERE e.answers IS NOT NULL GROUP BY e.answers) AS n
        WHERE answer_set.id = n.answers RETURNING iif(uses <= 0, id, NULL)";
    SET_STEPS_REMOVE = "DELETE FROM set_step WHERE set_id IN (SELECT value FROM json_each(?1)) RETURNING digest";
    SETS_REMOVE = "DELETE FROM answer_set WHERE id IN (SELECT value FROM json_each(?1))";

    // Reading through a job. Of executions and steps a whole page comes as one text, and their answers as one value
    // behind each other: the way of a row from the database's thread costs more than finding it.
    SCAN = "
        SELECT json_group_array(json_array(id, device_id, state, answers IS NOT NULL)) FROM (
            SELECT id, device_id, state, answers FROM execution INDEXED BY execution_device
            WHERE job_id = ?1 AND device_id > ?2 AND state >= 10 ORDER BY device_id LIMIT ?3)";
    SCAN_DETAILS = "
        SELECT json_group_array(json_array(id, device_id, state, device_name, attempts, wave, error_class,
                                           error_message, started_at, finished_at, answers IS NOT NULL)) FROM (
            SELECT * FROM execution INDEXED BY execution_device
            WHERE job_id = ?1 AND device_id > ?2 AND state >= 10 ORDER BY device_id LIMIT ?3)";
    // ?1 ids as JSON.
    SCAN_SOME = "
        SELECT json_group_array(json_array(id, device_id, state, device_name, attempts, wave, error_class,
                                           error_message, started_at, finished_at, answers IS NOT NULL)) FROM (
            SELECT e.* FROM json_each(?1) w JOIN execution e ON e.id = w.value WHERE e.state >= 10 ORDER BY e.id)";
    // Of the executions ?1 to ?2, whoever's they are. ?3 limit.
    SCAN_STEPS = "
        SELECT json_group_array(CASE WHEN bytes IS NULL
                   THEN json_array(execution_id, step, hex(digest),
                                   (SELECT length(b.bytes) FROM blob b WHERE b.digest = s.digest))
                   ELSE json_array(execution_id, step, encoding, length(bytes)) END),
               CAST(group_concat(bytes, '') AS BLOB)
        FROM (SELECT execution_id, step, digest, encoding, bytes FROM step_result
              WHERE execution_id BETWEEN ?1 AND ?2 ORDER BY execution_id, step LIMIT ?3) s";
    // The same where some of them name a set.
    SCAN_SETS = "
        SELECT json_group_array(CASE WHEN bytes IS NULL
                   THEN json_array(execution_id, step, hex(digest),
                                   (SELECT length(b.bytes) FROM blob b WHERE b.digest = s.digest))
                   ELSE json_array(execution_id, step, encoding, length(bytes)) END),
               CAST(group_concat(bytes, '') AS BLOB)
        FROM (SELECT execution_id, step, digest, encoding, bytes FROM step_result
              WHERE execution_id BETWEEN ?1 AND ?2
              UNION ALL
              SELECT e.id, t.step, t.digest, NULL, NULL FROM execution e CROSS JOIN set_step t ON t.set_id = e.answers
              WHERE e.id BETWEEN ?1 AND ?2
              ORDER BY 1, 2 LIMIT ?3) s";
    SCAN_DEVICES = "
        SELECT json_group_array(json_array(d.id, d.name, d.address, d.zone, json(d.labels), d.version, d.board,
                                           d.architecture, d.identity, d.serial))
        FROM json_each(?1) w JOIN device d ON d.id = w.value";

    // Events
    EVENT_STORE = "
        INSERT INTO event (job_id, at, kind, ended)
        SELECT value ->> 0, ?2, value ->> 1, value -> 2 FROM json_each(?1)";
    EVENTS_UNDO = "DELETE FROM event WHERE job_id = ?1";
    EVENT_LATEST = "SELECT at FROM event ORDER BY seq DESC LIMIT 1";
    EVENTS_AFTER = "SELECT seq, kind, ended FROM event WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    EVENT_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'";

    // Sessions
    SESSION_OPEN = "
        INSERT INTO session (worker, instance, engine_boot, started_at) VALUES (?1, ?2, ?3, ?4) RETURNING id";
    ZONES_NOTE = "INSERT INTO zone (name) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";
    SESSIONS_OF = "
        SELECT DISTINCT e.session_id FROM execution e JOIN session s ON s.id = e.session_id
        WHERE e.state IN (2, 3) AND s.instance = ?1 AND s.id < ?2";
    SESSIONS_HOLDING = "
        SELECT DISTINCT s.id, s.engine_boot FROM execution e JOIN session s ON s.id = e.session_id
        WHERE e.state IN (2, 3)";

    // History
    HISTORY_LAST = "SELECT hash FROM history ORDER BY id DESC LIMIT 1";
    HISTORY_ADD = "
        INSERT INTO history (at, claimed_by, action, subject, reason, detail, hash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    HISTORY_PAGE = "
        SELECT id, at, claimed_by, action, subject, reason, detail, hash FROM history
        WHERE id > ?1 AND (?2 = '' OR subject = ?2) ORDER BY id LIMIT ?3";
}
