//! Rollouts.

statements! {
    // Rollouts
    ROLLOUT_ADD = "
        INSERT INTO rollout (job_id, policy, seed, break_glass, lasts_ms, back_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    ROLLOUTS = rollout!("WHERE j.state < 20 ORDER BY j.id");
    ROLLOUT_OF = rollout!("WHERE r.job_id = ?1");
    ROLLOUT_BY_UUID = rollout!("WHERE j.uuid = ?1");
    // Those that wait for others of their job do not keep a wave open by themselves, nor do those that are tried again
    // because their device could not be reached. ?1 job, ?2 wave.
    ROLLOUT_BUSY = "
        SELECT count(*) FROM execution e
        WHERE e.job_id = ?1 AND e.wave <= ?2 AND e.state < 10
          AND NOT (e.state IN (1, 2) AND e.touched = 0 AND e.open_intent IS NULL AND e.error_class IS NOT NULL
                   AND e.error_class IN (1, 2, 3, 8))
          AND NOT (e.state = 1 AND e.open_intent IS NULL AND EXISTS (
                  SELECT 1 FROM execution_after a
                  JOIN execution c ON c.job_id = a.job_id AND c.device_id = a.child_id AND c.state < 10
                  WHERE a.job_id = e.job_id AND a.device_id = e.device_id))";
    // ?1 job, ?2 after this device, ?3 limit.
    ROLLOUT_MEMBERS = device!(
        "JOIN execution e ON e.device_id = d.id
         WHERE e.job_id = ?1 AND e.device_id > ?2 ORDER BY e.device_id LIMIT ?3");
    ROLLOUT_ORDER = "
        WITH n AS MATERIALIZED (
            SELECT e.id, ?3 - 86400000 + (a.value ->> 1) AS ready_at FROM json_each(?2) a
            CROSS JOIN execution e ON e.job_id = ?1 AND e.device_id = a.value ->> 0 AND e.state = 1)
        UPDATE execution SET ready_at = n.ready_at FROM n WHERE execution.id = n.id";
    // ?1 job, ?2 devices, ?3 now.
    ROLLOUT_JOIN = "
        INSERT INTO execution (job_id, device_id, device_name, zone, state, ready_at, wave)
        SELECT ?1, d.id, d.name, d.zone, 1, ?3, j.open_wave
        FROM json_each(?2) w JOIN device d ON d.id = w.value JOIN job j ON j.id = ?1
        WHERE NOT EXISTS (SELECT 1 FROM execution x WHERE x.job_id = ?1 AND x.device_id = d.id)";
    WAVE_JOINED = "
        UPDATE wave SET total = total + ?2, ended_at = NULL
        WHERE job_id = ?1 AND number = (SELECT j.open_wave FROM job j WHERE j.id = ?1)";
    ROLLOUT_ASSIGNED = "UPDATE rollout SET assigned = 1, digest = ?2, pace_since = ?3 WHERE job_id = ?1";
    ROLLOUT_RUNS = "UPDATE rollout SET runs = ?2 WHERE job_id = ?1";
    ROLLOUT_WARNED = "UPDATE rollout SET warned_at = ?2 WHERE job_id = ?1";
    ROLLOUT_ACKNOWLEDGE = "UPDATE rollout SET acknowledged = ?2, runs = '[]' WHERE job_id = ?1";
    ROLLOUT_HOLD = "
        UPDATE rollout SET hold_by = ?2, hold_evidence = ?3, hold_until = ?4, hold_person = ?5, pace_since = ?6
        WHERE job_id = ?1";
    JOB_SET_TIMES = "UPDATE job SET state = ?2, admit_until = ?3, pace = ?4, stop_at = ?5, local = ?6 WHERE id = ?1";
    JOB_SET_CAPS = "UPDATE job SET caps = ?2, soaks = ?3, measures = ?4, availability = ?5 WHERE id = ?1";
    WAVE_SET_SOAK = "UPDATE wave SET soak_ms = ?3 WHERE job_id = ?1 AND number = ?2";
    JOB_SET_PACE = "UPDATE job SET pace = ?2, admit_until = ?3, local = ?4 WHERE id = ?1";
    WAVES_END = "
        UPDATE wave SET ended_at = ?2 WHERE job_id = ?1 AND ended_at IS NULL AND opened_at IS NOT NULL";
    WAVE_END = "
        UPDATE wave SET ended_at = ?3
        WHERE job_id = ?1 AND number = ?2 AND ended_at IS NULL AND opened_at IS NOT NULL";
    AFTER_ADD = "
        INSERT INTO execution_after (job_id, device_id, child_id)
        SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING";
    APPROVAL_ADD = "
        INSERT INTO approval (job_id, wave, gate, who, at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO NOTHING";
    APPROVERS = "SELECT who FROM approval WHERE job_id = ?1 AND wave = ?2 AND gate = ?3";
    APPROVALS = "SELECT wave, who, at, reason FROM approval WHERE job_id = ?1 ORDER BY at, who";
    APPROVALS_OF_WAVE = "SELECT gate, who FROM approval WHERE job_id = ?1 AND wave = ?2 ORDER BY at, who";
    // A measurement that is made again stands instead of the one before.
    MEASUREMENTS_STORE = "
        INSERT INTO measurement (execution_id, pre, post)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
        ON CONFLICT (execution_id) DO UPDATE SET pre = coalesce(excluded.pre, pre), post = coalesce(excluded.post, post)";
    MEASUREMENTS = "
        SELECT e.device_name, m.pre, m.post FROM execution e LEFT JOIN measurement m ON m.execution_id = e.id
        WHERE e.job_id = ?1 AND e.wave = ?2 AND e.state IN (10, 11) ORDER BY e.device_name";
    VERDICT_STORE = "
        INSERT INTO gate_verdict (job_id, wave, gate, at, verdict, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (job_id, wave, gate) DO UPDATE SET at = excluded.at, verdict = excluded.verdict,
            reason = excluded.reason";
    VERDICTS_OF_WAVE = "
        SELECT gate, verdict, reason FROM gate_verdict
        WHERE job_id = ?1 AND wave = ?2 AND verdict > 0 ORDER BY gate";
    VERDICTS_OF_JOB = "
        SELECT wave, gate, verdict, reason, at FROM gate_verdict
        WHERE job_id = ?1 AND verdict > 0 ORDER BY wave, gate";
    // A gate that is being asked has no verdict yet, and says whom it asks.
    GATE_ASKS = "SELECT reason FROM gate_verdict WHERE job_id = ?1 AND wave = ?2 AND gate = ?3 AND verdict = 0";
    VERDICTS_FORGET = "DELETE FROM gate_verdict WHERE job_id = ?1";
    // Devices of waves up to one that were changed and are well, and of waves behind it that nothing has touched: name, kind,
    // whether it was changed.
    CONTROL_CANDIDATES = "
        SELECT d.name, coalesce(d.board, 'unknown') || coalesce(' ' || d.architecture, '')
               || coalesce(' ' || (SELECT l.value FROM device_label l WHERE l.device_id = d.id AND l.key = 'site'), ''),
               e.state = 10
        FROM execution e JOIN device d ON d.id = e.device_id
        WHERE e.job_id = ?1 AND ((e.wave <= ?2 AND e.state = 10) OR (e.wave > ?2 AND e.state = 1 AND e.touched = 0))
        ORDER BY e.ready_at, e.id";
    // Availability. Whether something disrupts a device: an open intent for such a step.
    AVAILABILITY_WATCHED = "SELECT EXISTS (SELECT 1 FROM job WHERE availability IS NOT NULL AND state < 20)";
    AVAILABILITY_OF = "
        SELECT id, availability FROM job
        WHERE id IN (SELECT value FROM json_each(?1)) AND availability IS NOT NULL";
    AVAILABILITY_MEMBERS = concat!("
        SELECT l.device_id, d.name, c.at, coalesce(c.up, 0), ", disrupted!("l.device_id"), "
        FROM device_label l JOIN device d ON d.id = l.device_id LEFT JOIN device_contact c ON c.device_id = l.device_id
        WHERE l.key = ?1 AND l.value = ?2 ORDER BY d.name");
    // Executions that would disrupt and have not been let in. ?1 job, ?2 device or null, ?3 labels. The last column is a device
    // of those that wait.
    AVAILABILITY_VALUES = concat!("
        SELECT l.key, l.value, count(*), min(e.device_id) FROM execution e JOIN device_label l ON l.device_id = e.device_id
        WHERE e.job_id = ?1 AND (e.state IN (2, 3) OR (e.state = 1 AND e.attempts > 0))
          AND (?2 IS NULL OR e.device_id = ?2) AND l.key IN (SELECT value FROM json_each(?3))
          AND NOT ", disrupted!("e.device_id"), " GROUP BY l.key, l.value");
    // ?1 job, ?2 contacts since then count, ?3 limit.
    AVAILABILITY_UNASKED = concat!("
        SELECT d.name FROM device d LEFT JOIN device_contact c ON c.device_id = d.id
        WHERE d.id IN (
            SELECT m.device_id FROM job j JOIN execution e ON e.job_id = j.id AND e.state IN (2, 3)
            JOIN device_label l ON l.device_id = e.device_id
            JOIN device_label m ON m.key = l.key AND m.value = l.value
            WHERE j.id = ?1 AND l.key IN (SELECT key FROM json_each(j.availability)))
          AND (c.at IS NULL OR c.at < ?2) AND NOT ", disrupted!("d.id"), " ORDER BY d.id LIMIT ?3");
    CONTACTS_NOTE = "
        INSERT INTO device_contact (device_id, at, up)
        SELECT value ->> 0, ?2, value ->> 1 FROM json_each(?1)
        WHERE EXISTS (SELECT 1 FROM device d WHERE d.id = value ->> 0)
        ON CONFLICT (device_id) DO UPDATE SET at = excluded.at, up = excluded.up";
    FREEZE = "SELECT since, claimed_by, reason FROM freeze";
    FREEZE_ON = "INSERT INTO freeze (id, since, claimed_by, reason) VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING";
    FREEZE_OFF = "DELETE FROM freeze";
    DURATIONS_OF_PLAN = "
        SELECT e.finished_at - e.started_at
               - coalesce((SELECT w.soak_ms FROM wave w WHERE w.job_id = e.job_id AND w.number = e.wave), 0)
        FROM job j JOIN execution e ON e.job_id = j.id
        WHERE j.plan_digest = ?1 AND j.mode <> 1 AND e.state IN (10, 11) AND e.started_at IS NOT NULL
        ORDER BY e.id DESC LIMIT ?2";
    PREVIEW_OF = "SELECT body, at FROM preview WHERE digest = ?1";
    ROLLOUT_APPROVED = "
        SELECT device_name, wave, iif(fingerprint IS NULL, NULL, lower(hex(fingerprint))) FROM execution WHERE job_id = ?1";
    PREVIEW_STORE = "
        INSERT INTO preview (digest, at, body) VALUES (?1, ?2, ?3)
        ON CONFLICT (digest) DO UPDATE SET at = excluded.at, body = excluded.body";
    PREVIEWS_FORGET = "DELETE FROM preview WHERE at < ?1";
    SWEEP_ROLLOUT = "DELETE FROM rollout WHERE job_id = ?1";
    SWEEP_APPROVALS = "DELETE FROM approval WHERE job_id = ?1";
    SWEEP_VERDICTS = "DELETE FROM gate_verdict WHERE job_id = ?1";
    SWEEP_AFTER = "DELETE FROM execution_after WHERE job_id = ?1";
}
