//! Jobs, their waves and budgets.

statements! {
    // Jobs
    JOB_BY_REQUEST = "
        SELECT uuid, request_hash FROM job WHERE request_id = ?1
        UNION ALL SELECT uuid, request_hash FROM request_kept WHERE request_id = ?1 LIMIT 1";
    PLAN_STORE = "INSERT INTO plan (digest, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    JOB_CREATE = "
        INSERT INTO job (uuid, request_id, request_hash, name, plan_digest, selector, timeout_ms, effect, state,
                         total, created_at, expires_at, claimed_by, steps, priority, concurrency, retry_of,
                         retry_states, budget_asked, start_state, stretch_ms, mode, previewed, spread_ms, spread_seed, linger_ms,
                         retry_wave)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                (SELECT id FROM job WHERE uuid = ?22), ?23, ?24, ?25, ?26)";
    JOB_UNDO = "DELETE FROM job WHERE id = ?1";
    JOB_GROW = "UPDATE job SET total = total + ?2 WHERE id = ?1";
    JOB_DRAFT = "
        SELECT id, uuid, selector, created_at, retry_of, retry_states, previewed, spread_ms, spread_seed, retry_wave
        FROM job
        WHERE uuid = ?1 AND state = 1";
    JOB_PREVIEWED = "SELECT previewed FROM job WHERE id = ?1";
    JOB_LAID_OUT = "SELECT total, effect, budget_asked, start_state FROM job WHERE id = ?1";
    JOB_BUDGET = "SELECT budget FROM job WHERE id = ?1";
    JOB_CONCURRENCY = "SELECT concurrency FROM job WHERE id = ?1";
    JOB_EFFECT = "SELECT effect FROM job WHERE id = ?1";
    JOB_SET_BUDGET = "UPDATE job SET budget = ?2 WHERE id = ?1";
    JOB_SET_CONCURRENCY = "UPDATE job SET concurrency = ?2 WHERE id = ?1";
    // `paused_at` stays: a job that was paused when it was halted has stood still since then.
    JOB_HALT = "
        UPDATE job SET state = ?2, halted_rule = ?3, halted_at = ?4, halted_detail = ?5 WHERE id = ?1";
    // ?1 [[job, units that came free], …], ?2 now: those whose budget was used up until then.
    JOB_STRETCH = "
        UPDATE job SET expires_at = max(expires_at, ?2 + stretch_ms)
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS free FROM json_each(?1)) AS n
        WHERE job.id = n.id AND stretch_ms IS NOT NULL
          AND (SELECT sum(b.in_flight + b.harmed + b.rescued) FROM budget_count b WHERE b.job_id = job.id) + n.free
              >= budget";
    JOB_OPEN_WAVE = "
        UPDATE job SET open_wave = ?2 WHERE id = ?1 AND open_wave < ?2
          AND EXISTS (SELECT 1 FROM wave w WHERE w.job_id = ?1 AND w.number = ?2)";
    JOB_DRAFTS = "SELECT uuid FROM job WHERE state = 1 ORDER BY id";
    JOB_PAUSE = "UPDATE job SET state = 7, paused_at = ?2 WHERE id = ?1";
    JOB_RESUME = "
        UPDATE job SET state = 4, expires_at = expires_at + (?2 - coalesce(paused_at, halted_at, ?2)),
            paused_at = NULL, halted_rule = NULL, halted_at = NULL, halted_detail = NULL
        WHERE id = ?1";
    LAID_OUT_TO = "SELECT coalesce(max(device_id), 0) FROM execution WHERE job_id = ?1";
    JOB_GET = job!("WHERE j.uuid = ?1");
    JOB_PAGE = job!("WHERE j.id < ?1 ORDER BY j.id DESC LIMIT ?2");
    // Jobs with open waves that have something ready: a row for each of those waves. Outside its windows a job has something
    // where its plan stages, and has nothing before that but what reads and what asks for an intent only where it is needed.
    JOB_LIVE = "
        SELECT j.id, j.effect, j.priority, min(coalesce(j.concurrency, j.pace), coalesce(j.pace, j.concurrency)),
               j.budget, substr(j.steps, 1, 1),
               (SELECT coalesce(sum(c.count), 0) FROM job_count c WHERE c.job_id = j.id AND c.state IN (2, 3)),
               (SELECT coalesce(sum(c.count), 0) FROM job_count c WHERE c.job_id = j.id AND c.state = 2), w.number,
               j.caps, EXISTS (SELECT 1 FROM execution_after a WHERE a.job_id = j.id), j.state = 6,
               j.local
        FROM job j JOIN wave w ON w.job_id = j.id AND w.number <= j.open_wave
        WHERE j.state IN (4, 6) AND j.state < 20 AND j.expires_at > ?1
          AND CASE j.state WHEN 4 THEN j.admit_until IS NULL OR j.admit_until > ?1
                           ELSE j.admit_until >= 0 AND substr(ltrim(j.steps, 'rRYZ'), 1, 1) IN ('s', 'S', 'x', 'X') END
          AND (j.effect <= 2 OR NOT EXISTS (SELECT 1 FROM freeze)
               OR EXISTS (SELECT 1 FROM rollout r WHERE r.job_id = j.id AND r.break_glass IS NOT NULL))
          AND EXISTS (SELECT 1 FROM execution e
                      WHERE e.job_id = w.job_id AND e.wave = w.number AND e.state = 1 AND e.open_intent IS NULL
                        AND e.ready_at <= ?1
                        AND (j.state = 4 OR (e.touched = 0 AND (e.epoch = 0 OR e.error_class IS NOT NULL))))
        ORDER BY j.priority, j.id, w.number";
    JOB_CAPS = "SELECT caps FROM job WHERE id = ?1";
    JOBS_SOAKING = "SELECT id FROM job WHERE soaks = 1 AND state < 20";
    JOB_STATE = "SELECT state, uuid FROM job WHERE id = ?1";
    JOB_STATE_BY_UUID = "SELECT id, state FROM job WHERE uuid = ?1";
    JOB_SETTLE = "UPDATE job SET state = ?2, finished_at = ?3, paused_at = NULL WHERE id = ?1";
    // Those with executions under way. ?1 now, ?2 how long before it an end is near, at least. States 2 and 3 are what the index has.
    JOBS_HOLD_TIME = "
        UPDATE job SET expires_at = ?1 + stretch_ms / 2
        WHERE state = 4 AND state < 20 AND stretch_ms IS NOT NULL AND expires_at < ?1 + max(stretch_ms / 8, ?2)
          AND expires_at < ?1 + stretch_ms / 2
          AND EXISTS (SELECT 1 FROM execution e INDEXED BY execution_leased
                      WHERE e.state IN (2, 3) AND e.state = 3 AND e.job_id = job.id AND e.silent_since IS NULL
                        AND (e.open_intent IS NULL OR e.intent_epoch = e.epoch))";
    JOB_DUE = "
        SELECT id FROM job
        WHERE state IN (2, 3, 4, 5, 6, 9) AND state < 20 AND expires_at <= ?1 ORDER BY id";
    COUNTS = "SELECT state, count FROM job_count WHERE job_id = ?1";
    COUNTS_OF = "SELECT job_id, state, count FROM job_count WHERE job_id IN (SELECT value FROM json_each(?1))";
    COUNTS_MOVE = "
        INSERT INTO job_count (job_id, state, count)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
        ON CONFLICT (job_id, state) DO UPDATE SET count = count + excluded.count";

    // Waves and budgets
    WAVE_ADD = "INSERT INTO wave (job_id, number, total, budget) VALUES (?1, ?2, 0, ?3)";
    WAVE_GROW = "UPDATE wave SET total = total + ?2 WHERE job_id = ?1 AND number = 0";
    WAVE_OPEN = "
        UPDATE wave SET opened_at = ?3 WHERE job_id = ?1 AND number <= ?2 AND opened_at IS NULL";
    WAVE_SET_BUDGET = "UPDATE wave SET budget = ?3 WHERE job_id = ?1 AND number = ?2";
    WAVES_OF = "
        SELECT w.job_id, w.number, w.total, w.budget, w.opened_at, w.ended_at,
               coalesce(b.in_flight, 0), coalesce(b.harmed, 0), coalesce(b.rescued, 0), coalesce(b.refused, 0),
               coalesce(b.benign, 0), coalesce(b.unreached, 0), coalesce(b.good, 0), coalesce(b.touched, 0),
               coalesce(b.ended, 0)
        FROM json_each(?1) j JOIN wave w ON w.job_id = j.value
        LEFT JOIN budget_count b ON b.job_id = w.job_id AND b.wave = w.number
        ORDER BY w.job_id, w.number";
    // What an assignment moves from wave to wave. ?1 job, ?2 [[device, wave], …].
    WAVES_SHIFT = "
        UPDATE wave SET total = total + n.by
        FROM (SELECT number, sum(by) AS by FROM (
                  SELECT a.value ->> 1 AS number, 1 AS by FROM json_each(?2) a
                  CROSS JOIN execution e ON e.job_id = ?1 AND e.device_id = a.value ->> 0 AND e.state = 1
                  UNION ALL
                  SELECT e.wave, -1 FROM json_each(?2) a
                  CROSS JOIN execution e ON e.job_id = ?1 AND e.device_id = a.value ->> 0 AND e.state = 1)
              GROUP BY number) AS n
        WHERE wave.job_id = ?1 AND wave.number = n.number";
    // From the list to the executions: the other way around each execution goes through the whole list.
    WAVES_ASSIGN = "
        WITH n AS MATERIALIZED (
            SELECT e.id, a.value ->> 1 AS wave FROM json_each(?2) a
            CROSS JOIN execution e ON e.job_id = ?1 AND e.device_id = a.value ->> 0 AND e.state = 1)
        UPDATE execution SET wave = n.wave FROM n WHERE execution.id = n.id";
    BUDGET_MOVE = "
        INSERT INTO budget_count (job_id, wave, in_flight, harmed, rescued, refused, benign, unreached, good, touched,
                                  ended)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
               value ->> 7, value ->> 8, value ->> 9, value ->> 10
        FROM json_each(?1) WHERE true
        ON CONFLICT (job_id, wave) DO UPDATE SET in_flight = in_flight + excluded.in_flight,
            harmed = harmed + excluded.harmed, rescued = rescued + excluded.rescued,
            refused = refused + excluded.refused, benign = benign + excluded.benign,
            unreached = unreached + excluded.unreached, good = good + excluded.good,
            touched = touched + excluded.touched, ended = ended + excluded.ended";
    PLAN_OF = "SELECT p.body FROM plan p WHERE p.digest = ?1";
}
