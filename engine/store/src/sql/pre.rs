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
    SWEEP_PRE = "DELETE FROM pre_state WHERE execution_id IN (SELECT value FROM json_each(?1))";
}
