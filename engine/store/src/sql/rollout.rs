//! Rollouts.

statements! {
    // Rollouts
    ROLLOUT_ADD = "INSERT INTO rollout (job_id, policy, seed, break_glass) VALUES (?1, ?2, ?3, ?4)";
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
        UPDATE execution SET ready_at = ?3 - 86400000 + (a.value ->> 1) FROM json_each(?2) a
        WHERE execution.job_id = ?1 AND execution.device_id = a.value ->> 0 AND execution.state = 1";
    ROLLOUT_ASSIGNED = "UPDATE rollout SET assigned = 1, digest = ?2, pace_since = ?3 WHERE job_id = ?1";
    ROLLOUT_RUNS = "UPDATE rollout SET runs = ?2 WHERE job_id = ?1";
    ROLLOUT_WARNED = "UPDATE rollout SET warned_at = ?2 WHERE job_id = ?1";
    ROLLOUT_ACKNOWLEDGE = "UPDATE rollout SET acknowledged = ?2, runs = '[]' WHERE job_id = ?1";
    ROLLOUT_HOLD = "
        UPDATE rollout SET hold_by = ?2, hold_evidence = ?3, hold_until = ?4, hold_person = ?5, pace_since = ?6
        WHERE job_id = ?1";
    JOB_SET_TIMES = "UPDATE job SET state = ?2, admit_until = ?3, pace = ?4, stop_at = ?5 WHERE id = ?1";
    JOB_SET_CAPS = "UPDATE job SET caps = ?2, soaks = ?3, measures = ?4 WHERE id = ?1";
    WAVE_SET_SOAK = "UPDATE wave SET soak_ms = ?3 WHERE job_id = ?1 AND number = ?2";
    JOB_SET_PACE = "UPDATE job SET pace = ?2, admit_until = ?3 WHERE id = ?1";
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
    VERDICTS_OF_WAVE = "SELECT gate, verdict, reason FROM gate_verdict WHERE job_id = ?1 AND wave = ?2 ORDER BY gate";
    VERDICTS_OF_JOB = "
        SELECT wave, gate, verdict, reason, at FROM gate_verdict WHERE job_id = ?1 ORDER BY wave, gate";
    VERDICTS_FORGET = "DELETE FROM gate_verdict WHERE job_id = ?1";
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
