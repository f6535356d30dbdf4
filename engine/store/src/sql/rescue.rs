//! Devices that are lost.

statements! {
    // ?1 executions, ?2 now.
    RESCUE_ADD = "
        INSERT INTO rescue (device_id, execution_id, job, at, step, under_way, body, guard, error_class, error_message,
                            error_category)
        SELECT l.device_id, l.id, l.uuid, ?2, l.step, l.under_way,
               coalesce(l.body -> ('$.steps[' || l.step || ']'), 'null'),
               coalesce((SELECT s.guard FROM pre_state s WHERE s.execution_id = l.id AND s.step = l.step), 0),
               l.error_class, l.error_message, l.error_category
        FROM (SELECT e.device_id, e.id, j.uuid, p.body, e.open_intent IS NOT NULL AS under_way,
                     coalesce(e.open_intent, max(min(e.next_step, length(j.steps)) - 1, 0)) AS step,
                     e.error_class, e.error_message, e.error_category
              FROM json_each(?1) w JOIN execution e ON e.id = w.value JOIN job j ON j.id = e.job_id
              JOIN plan p ON p.digest = j.plan_digest JOIN device d ON d.id = e.device_id) AS l
        WHERE true
        ON CONFLICT (device_id) DO UPDATE SET execution_id = excluded.execution_id, job = excluded.job,
            at = excluded.at, step = excluded.step, under_way = excluded.under_way, body = excluded.body,
            guard = excluded.guard, error_class = excluded.error_class, error_message = excluded.error_message,
            error_category = excluded.error_category";
    // Devices that were seen: ?1 by their numbers, ?2 by executions on them.
    RESCUE_SEEN = "
        DELETE FROM rescue
        WHERE device_id IN (SELECT value FROM json_each(?1))
           OR device_id IN (SELECT e.device_id FROM json_each(?2) w JOIN execution e ON e.id = w.value)
        RETURNING device_id, (SELECT d.name FROM device d WHERE d.id = rescue.device_id), job";
    RESCUE_KNOWN = "
        SELECT d.name FROM json_each(?1) w JOIN device d ON d.name = w.value JOIN rescue r ON r.device_id = d.id";
    RESCUE_CLEAR = "
        DELETE FROM rescue
        WHERE device_id IN (SELECT d.id FROM json_each(?1) w JOIN device d ON d.name = w.value)";
    // Of a job, ?1, or of all; by name, from the one after ?2.
    RESCUE_LIST = "
        SELECT r.device_id, d.name, r.execution_id, r.job, r.at, r.step, r.under_way, r.body, r.guard, r.error_class,
               r.error_message, r.error_category
        FROM rescue r JOIN device d ON d.id = r.device_id
        WHERE (?1 = '' OR r.job = ?1) AND d.name > ?2 ORDER BY d.name LIMIT ?3";
}
