//! Schedules.

statements! {
    SCHEDULE_ADD = "
        INSERT INTO schedule (name, body, after, created_at, claimed_by) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO NOTHING";
    // Whether the run before is not over: ones that are being started, and jobs that are not.
    SCHEDULES = "
        SELECT s.id, s.name, s.body, s.after, s.waiting, s.paused_at, s.created_at, s.claimed_by,
               (SELECT coalesce(j.uuid, '') FROM schedule_run r LEFT JOIN job j ON j.uuid = r.job
                WHERE r.schedule_id = s.id AND (r.outcome = 1 OR (r.outcome = 2 AND j.state < 20))
                ORDER BY r.id DESC LIMIT 1)
        FROM schedule s WHERE s.name > ?1 ORDER BY s.name LIMIT ?2";
    SCHEDULE_BY_NAME = "
        SELECT s.id, s.name, s.body, s.after, s.waiting, s.paused_at, s.created_at, s.claimed_by,
               (SELECT coalesce(j.uuid, '') FROM schedule_run r LEFT JOIN job j ON j.uuid = r.job
                WHERE r.schedule_id = s.id AND (r.outcome = 1 OR (r.outcome = 2 AND j.state < 20))
                ORDER BY r.id DESC LIMIT 1)
        FROM schedule s WHERE s.name = ?1";
    SCHEDULE_REMOVE = "DELETE FROM schedule WHERE name = ?1 RETURNING id";
    SCHEDULE_FORGET = "DELETE FROM schedule_run WHERE schedule_id = ?1";
    SCHEDULE_PAUSE = "UPDATE schedule SET paused_at = ?2 WHERE name = ?1";
    SCHEDULE_MOVE = "UPDATE schedule SET after = ?3, waiting = ?4 WHERE id = ?1 AND after = ?2";
    SCHEDULE_RUN_ADD = "
        INSERT INTO schedule_run (schedule_id, occurrence, last, count, at, outcome, reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    SCHEDULE_RUN_BY_HAND = "
        INSERT INTO schedule_run (schedule_id, occurrence, last, count, at, outcome, job, reason)
        VALUES (?1, ?2, ?2, 1, ?2, 2, ?3, ?4) ON CONFLICT DO NOTHING";
    SCHEDULE_RUN_NOTE = "UPDATE schedule_run SET outcome = ?2, job = ?3, reason = ?4 WHERE id = ?1 AND outcome = 1";
    // What is older than the last so many goes.
    SCHEDULE_RUNS_KEEP = "
        DELETE FROM schedule_run WHERE schedule_id = ?1 AND outcome > 1 AND id <= (
            SELECT id FROM schedule_run WHERE schedule_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    SCHEDULE_RUNS = "
        SELECT id, occurrence, last, count, at, outcome, job, reason FROM schedule_run
        WHERE schedule_id = ?1 ORDER BY id DESC LIMIT ?2";
    SCHEDULE_STARTING = "
        SELECT r.id, r.occurrence, s.id, s.name, s.body, s.claimed_by, r.at FROM schedule_run r
        JOIN schedule s ON s.id = r.schedule_id WHERE r.outcome = 1 ORDER BY r.id";
}
