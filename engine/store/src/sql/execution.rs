//! Executions, claims and limits.

statements! {
    // Executions
    LOAD = concat!(
        "SELECT ", loaded_columns!(), " FROM json_each(?1) w CROSS JOIN execution e ON e.id = w.value");
    LOAD_JOB = loaded!("execution x WHERE x.job_id = ?1 ORDER BY x.id");
    EXECUTIONS_HELD = "SELECT session_id, ready_at FROM execution WHERE job_id = ?1 ORDER BY id";
    LOAD_SESSION = loaded!("execution x WHERE x.state IN (2, 3) AND x.session_id = ?1 LIMIT ?2");
    LOAD_PENDING = loaded!("execution x WHERE x.state = 1 AND x.open_intent IS NULL AND x.job_id = ?1 LIMIT ?2");
    LOAD_RESOLVING = loaded!(
        "execution x JOIN job j ON j.id = x.job_id
         WHERE x.state = 1 AND x.open_intent IS NOT NULL AND x.intent_at + max(j.timeout_ms, j.linger_ms) <= ?1 LIMIT ?2");
    LOAD_UNTOUCHED_OF_DEVICES = loaded!(
        "json_each(?1) w JOIN job j JOIN execution x ON x.job_id = j.id AND x.device_id = w.value
         WHERE j.state < 20 AND j.effect > 2 AND x.state = 1 AND x.touched = 0");
    // What jobs say of their executions, where something is decided.
    JOBS_DECIDING = "
        SELECT json_group_array(json_array(
            j.id, j.state, j.expires_at, j.budget, j.admit_until, j.stop_at,
            -- Whether nothing new may be touched while everything is frozen.
            EXISTS (SELECT 1 FROM freeze)
                AND NOT EXISTS (SELECT 1 FROM rollout r WHERE r.job_id = j.id AND r.break_glass IS NOT NULL),
            CASE WHEN j.soaks
                THEN (SELECT json_group_object(w.number, w.soak_ms) FROM wave w WHERE w.job_id = j.id)
                ELSE json_object() END,
            j.steps, j.priority, j.timeout_ms, j.linger_ms, EXISTS (SELECT 1 FROM audit_run a WHERE a.uuid = j.uuid),
            json(j.local)))
        FROM json_each(?1) w JOIN job j ON j.id = w.value";
    MOVE = "
        UPDATE execution SET state = n.state, attempts = n.attempts, touched = n.touched, locked = n.locked,
            next_step = n.next_step, open_intent = n.open_intent, intent_epoch = n.intent_epoch,
            touched_from = n.touched_from, silent_since = n.silent_since,
            intent_at = n.intent_at, ready_at = coalesce(n.ready_at, execution.ready_at),
            session_id = CASE WHEN n.state IN (2, 3) THEN session_id END,
            error_class = n.error_class, error_message = n.error_message, error_category = n.error_category,
            started_at = n.started_at, finished_at = n.finished_at,
            memo = CASE WHEN n.state < 10 THEN memo END
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS state, value ->> 2 AS attempts, value ->> 3 AS touched,
                     value ->> 4 AS locked, value ->> 5 AS open_intent, value ->> 6 AS ready_at,
                     value ->> 7 AS error_class, value ->> 8 AS error_message, value ->> 9 AS error_category,
                     value ->> 10 AS started_at, value ->> 11 AS finished_at, value ->> 12 AS next_step,
                     value ->> 13 AS intent_epoch, value ->> 14 AS intent_at, value ->> 15 AS touched_from,
                     value ->> 16 AS silent_since
              FROM json_each(?1)) AS n
        WHERE execution.id = n.id";
    FINGERPRINTS = "
        UPDATE execution SET fingerprint = unhex(n.fingerprint)
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS fingerprint FROM json_each(?1)) AS n, job j
        WHERE execution.id = n.id AND j.id = execution.job_id AND j.mode = 1";
    FINGERPRINTS_OF = "
        SELECT device_name, fingerprint FROM execution
        WHERE job_id = ?1 AND fingerprint IS NOT NULL ORDER BY device_name";
    GROUPED = "
        SELECT e.id, e.device_name, e.state, e.error_class, e.error_message, e.error_category,
               (SELECT json_group_array(json_array(hex(digest), encoding, hex(bytes))) FROM (
                    SELECT s.digest, s.encoding, s.bytes FROM step_result s WHERE s.execution_id = e.id
                    UNION ALL SELECT t.digest, NULL, NULL FROM set_step t WHERE t.set_id = e.answers))
        FROM execution e WHERE e.job_id = ?1 AND e.state >= 10";
    // Executions that become alike in everything but when they began: ?1 is {id: started_at, …}. Unpacking a row of
    // fifteen values costs four times as much as changing the execution.
    MOVE_ALIKE = "
        UPDATE execution SET state = ?2, attempts = ?3, touched = ?4, locked = ?5, next_step = ?6, open_intent = ?7,
            intent_epoch = ?8, intent_at = ?9, ready_at = coalesce(?10, ready_at),
            session_id = CASE WHEN ?2 IN (2, 3) THEN session_id END,
            error_class = ?11, error_message = ?12, error_category = ?13, started_at = n.value, finished_at = ?14,
            touched_from = ?15, silent_since = ?16, memo = CASE WHEN ?2 < 10 THEN memo END
        FROM json_each(?1) AS n WHERE execution.id = n.key";
    MEMOS = "
        UPDATE execution SET memo = unhex(n.memo)
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS memo FROM json_each(?1)) AS n WHERE execution.id = n.id";
    RESOLVE = "
        UPDATE execution SET resolution = value ->> 1, resolution_epoch = value ->> 2, resolution_at = value ->> 3
        FROM json_each(?1) WHERE execution.id = value ->> 0";
    // And whether any device is lost.
    ANY_OFFLINE = "
        SELECT EXISTS (SELECT 1 FROM execution WHERE state = 1 AND error_class IS NOT NULL),
               EXISTS (SELECT 1 FROM rescue)";
    WAKE = "
        UPDATE execution SET ready_at = ?2
        WHERE state = 1 AND error_class IS NOT NULL AND error_class IN (1, 2, 3, 8) AND ready_at > ?2
          AND device_id IN (SELECT e.device_id FROM json_each(?1) w JOIN execution e ON e.id = w.value)";
    ADOPT = "
        UPDATE execution SET session_id = ?1 FROM json_each(?2) h
        WHERE execution.id = h.value ->> 0 AND epoch = h.value ->> 1 AND execution.state IN (2, 3)
          AND session_id IN (SELECT id FROM session WHERE instance = ?3 AND id < ?1)
        RETURNING execution.id, epoch";
    NEXT_READY = "
        SELECT min(ready_at) FROM (
            SELECT (SELECT min(e.ready_at) FROM execution e
                    WHERE e.job_id = w.job_id AND e.wave = w.number AND e.state = 1 AND e.open_intent IS NULL
                      AND e.ready_at > ?1) AS ready_at
            FROM job j JOIN wave w ON w.job_id = j.id AND w.number <= j.open_wave
            WHERE j.state = 4 AND j.state < 20
            UNION ALL
            SELECT min(ready_at) FROM execution WHERE state = 1 AND open_intent IS NOT NULL AND ready_at > ?1)";
    LEASED_OF_JOB = "
        SELECT id, epoch, session_id FROM execution
        WHERE job_id = ?1 AND state IN (2, 3) AND session_id IS NOT NULL AND (touched = 0 OR NOT ?2)";

    // Claims: what is ready, by the zones a worker may take, and taking it. ?1 now, ?2 limit, ?3 zones as JSON.
    READY_NAMED = ready_of_job!("e.zone IN (SELECT value FROM json_each(?3))");
    READY_REST = ready_of_job!("e.zone NOT IN (SELECT name FROM zone) AND ?3 = '[]'");
    TOUCHED_NAMED = ready_touched!("e.zone IN (SELECT value FROM json_each(?3))");
    TOUCHED_REST = ready_touched!("e.zone NOT IN (SELECT name FROM zone) AND ?3 = '[]'");
    SOAKED_NAMED = ready_soaked!("e.zone IN (SELECT value FROM json_each(?3))");
    SOAKED_REST = ready_soaked!("e.zone NOT IN (SELECT name FROM zone) AND ?3 = '[]'");
    RESOLVING_NAMED = ready_resolving!("e.zone IN (SELECT value FROM json_each(?3))");
    RESOLVING_REST = ready_resolving!("e.zone NOT IN (SELECT name FROM zone) AND ?3 = '[]'");
    // ?3 whether devices are held from now on; null leaves it.
    CLAIM = "
        UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = ?1,
            locked = coalesce(?3, locked)
        WHERE id IN (SELECT value FROM json_each(?2))";

    // Who has the connection: the session's worker from now on. ?1 worker, ?2 devices.
    HOLDERS_NOTE = "
        INSERT INTO device_holder (device_id, worker) SELECT value, ?1 FROM json_each(?2) WHERE true
        ON CONFLICT (device_id) DO UPDATE SET worker = excluded.worker WHERE worker <> excluded.worker";
    // A share of what others have, for a worker that is new beside them. ?1 worker, ?2 among how many, ?3 the others, each
    // with a zone or null for all.
    HOLDERS_SHARE = "
        UPDATE device_holder SET worker = ?1
        WHERE device_id % ?2 = 0 AND EXISTS (
            SELECT 1 FROM device d JOIN json_each(?3) b
            WHERE d.id = device_holder.device_id AND b.value ->> 0 = device_holder.worker
              AND coalesce(b.value ->> 1, d.zone) = d.zone)";
    HOLDERS_OF = "
        SELECT device_id, worker FROM device_holder WHERE device_id IN (SELECT value FROM json_each(?1))";
    HOLDERS_KNOWN = "SELECT EXISTS (SELECT 1 FROM device_holder WHERE worker = ?1)";
    // Limits
    LIMITS = "SELECT name, scope, value FROM limit_rule ORDER BY name, scope";
    LIMIT_SET = "
        INSERT INTO limit_rule (name, scope, value) VALUES (?1, ?2, ?3)
        ON CONFLICT (name, scope) DO UPDATE SET value = excluded.value";
    LIMIT_RESET = "DELETE FROM limit_rule WHERE name = ?1 AND scope = ?2";
    VALUES_USED = "
        SELECT l.key, l.value, count(*) FROM execution e JOIN device_label l ON l.device_id = e.device_id
        WHERE e.state IN (2, 3) AND l.key IN (SELECT value FROM json_each(?1)) GROUP BY l.key, l.value";
    VALUES_USED_BY_JOB = "
        SELECT l.key, l.value, count(*) FROM execution e JOIN device_label l ON l.device_id = e.device_id
        WHERE e.state IN (2, 3) AND e.job_id = ?1 AND l.key IN (SELECT value FROM json_each(?2)) GROUP BY l.key, l.value";
    VALUES_OF = "
        SELECT l.device_id, l.key, l.value FROM json_each(?1) w JOIN device_label l ON l.device_id = w.value
        WHERE l.key IN (SELECT value FROM json_each(?2))";
    VALUES_WAITING = "
        SELECT l.key, l.value, count(*) FROM execution e JOIN device_label l ON l.device_id = e.device_id
        WHERE e.job_id = ?1 AND e.state = 1 AND (?2 IS NULL OR e.device_id = ?2)
          AND l.key IN (SELECT value FROM json_each(?3)) GROUP BY l.key, l.value";
    JOBS_ASSIGNED = "
        SELECT id, plan_digest, timeout_ms, expires_at, effect, mode, measures FROM job
        WHERE id IN (SELECT value FROM json_each(?1))";
}
