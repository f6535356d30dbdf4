//! What was there before steps changed it.

statements! {
    // ?1 execution, ?2 step, ?3 pre, ?4 facts, ?5 guard, ?6 how long it may take to act.
    PRE_STORE = "
        INSERT INTO pre_state (execution_id, step, pre, facts, guard, guard_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (execution_id, step) DO UPDATE SET pre = excluded.pre, facts = excluded.facts,
            guard = excluded.guard, guard_ms = excluded.guard_ms";
    PRE_OF = "
        SELECT execution_id, step, pre, facts, guard FROM pre_state
        WHERE execution_id IN (SELECT value FROM json_each(?1)) ORDER BY execution_id, step";
    // Of executions that take back what others did: by theirs, what was recorded of those.
    PRE_BEFORE = "
        SELECT c.id, p.step, p.pre, p.facts, p.guard
        FROM json_each(?1) w JOIN execution c ON c.id = w.value JOIN job j ON j.id = c.job_id
        JOIN execution o ON o.job_id = j.retry_of AND o.device_id = c.device_id
        JOIN pre_state p ON p.execution_id = o.id ORDER BY c.id, p.step";
    JOB_IS_REVERT = "
        SELECT EXISTS (SELECT 1 FROM job j JOIN plan p ON p.digest = j.plan_digest
                       WHERE j.id = ?1 AND j.retry_of IS NOT NULL AND instr(p.body, '{\"revert\":{') > 0)";
    // The newest last.
    REVERTS_OF = "
        SELECT j.uuid, j.state FROM job j JOIN plan p ON p.digest = j.plan_digest
        WHERE j.retry_of = ?1 AND instr(p.body, '{\"revert\":{') > 0
          AND j.id NOT IN (SELECT job_id FROM job_removed) ORDER BY j.id";
    REVERT_WANTED = "UPDATE job SET revert_by = ?2 WHERE uuid = ?1";
    IS_REVERT_WANTED = "SELECT revert_by IS NOT NULL FROM job WHERE id = ?1";
    REVERTING = "SELECT id, uuid, revert_by FROM job WHERE state = 10 AND state < 20";
    SWEEP_PRE = "DELETE FROM pre_state WHERE execution_id IN (SELECT value FROM json_each(?1))";
}
