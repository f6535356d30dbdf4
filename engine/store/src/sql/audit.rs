//! Statements of audits.

statements! {
    AUDIT_BY_REQUEST = "SELECT uuid, request_hash FROM audit_run WHERE request_id = ?1";
    AUDIT_FILE_STORE = "INSERT INTO audit_file (digest, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    AUDIT_FILE = "SELECT body FROM audit_file WHERE digest = ?1";
    AUDIT_CREATE = "
        INSERT INTO audit_run (uuid, request_id, request_hash, name, file, selector, claimed_by, created_at, reused,
                               min_coverage)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9)";
    AUDIT_UNDO = "DELETE FROM audit_run WHERE id = ?1";
    AUDIT_REUSED = "UPDATE audit_run SET reused = ?2 WHERE id = ?1";
    AUDIT_HAS_JOB = "UPDATE audit_run SET job_id = (SELECT id FROM job WHERE uuid = audit_run.uuid) WHERE id = ?1";
    // The run whose devices a job asks: those that have a result already are left out.
    AUDIT_OF_JOB = "SELECT a.id FROM job j JOIN audit_run a ON a.uuid = j.uuid WHERE j.id = ?1";
    AUDIT_GET = "
        SELECT a.id, a.uuid, a.name, a.file, a.selector, a.claimed_by, a.created_at, a.finished_at, a.seen, a.reused,
               a.min_coverage, a.job_id, CASE WHEN j.id IS NULL THEN (SELECT count(*) FROM audit_result r WHERE r.run_id = a.id)
                    ELSE j.total + a.reused END, j.state, a.tallies
        FROM audit_run a LEFT JOIN job j ON j.id = a.job_id
        WHERE a.uuid = ?1";
    AUDITS_OPEN = "
        SELECT a.id, a.uuid, a.name, a.file, a.selector, a.claimed_by, a.created_at, a.finished_at, a.seen, a.reused,
               a.min_coverage, a.job_id, CASE WHEN j.id IS NULL THEN (SELECT count(*) FROM audit_result r WHERE r.run_id = a.id)
                    ELSE j.total + a.reused END, j.state, a.tallies
        FROM audit_run a LEFT JOIN job j ON j.id = a.job_id
        WHERE a.finished_at IS NULL ORDER BY a.id";
    AUDITS = "
        SELECT a.id, a.uuid, a.name, a.file, a.selector, a.claimed_by, a.created_at, a.finished_at, a.seen, a.reused,
               a.min_coverage, a.job_id,
               CASE WHEN j.id IS NULL THEN (SELECT count(*) FROM audit_result r WHERE r.run_id = a.id)
                    ELSE j.total + a.reused END, j.state, a.tallies
        FROM audit_run a LEFT JOIN job j ON j.id = a.job_id
        WHERE a.id < ?1 AND (?3 = '' OR a.name = ?3) ORDER BY a.id DESC LIMIT ?2";
    AUDIT_JUDGED = "SELECT count(*), coalesce(sum(answered), 0) FROM audit_result WHERE run_id = ?1";
    // Who was asked, with what is known of them. A device that was removed may have left its number to another.
    AUDIT_DEVICES = "
        SELECT e.id, e.device_id, d.address, d.zone, d.labels
        FROM json_each(?1) w JOIN execution e ON e.id = w.value
        LEFT JOIN device d ON d.id = e.device_id AND d.name = e.device_name
        ORDER BY w.key";
    AUDIT_OUTCOMES_STORE = "
        INSERT INTO audit_outcome (digest, body) SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?1) WHERE true
        ON CONFLICT DO NOTHING";
    // ?2: device, name, digest of the outcome, time, whether it answered.
    AUDIT_RESULTS_STORE = "
        INSERT INTO audit_result (run_id, device_id, device, outcome_id, observed_at, answered)
        SELECT ?1, w.value ->> 0, w.value ->> 1, o.id, w.value ->> 3, w.value ->> 4
        FROM json_each(?2) w JOIN audit_outcome o ON o.digest = unhex(w.value ->> 2) WHERE true
        ON CONFLICT DO UPDATE SET outcome_id = excluded.outcome_id, observed_at = excluded.observed_at,
                                  answered = excluded.answered";
    AUDIT_SEEN = "UPDATE audit_run SET seen = ?2 WHERE id = ?1 AND seen < ?2";
    AUDIT_FINISH = "UPDATE audit_run SET finished_at = ?2, tallies = ?3 WHERE id = ?1 AND finished_at IS NULL";
    AUDIT_ACCEPT = "
        UPDATE audit_run SET accepted_at = ?2, accepted_by = ?3 WHERE uuid = ?1 AND finished_at IS NOT NULL";
    AUDIT_ACCEPTED = "
        SELECT id, file FROM audit_run WHERE name = ?1 AND accepted_at IS NOT NULL ORDER BY accepted_at DESC, id DESC LIMIT 1";
    AUDIT_OUTCOME_COUNTS = "
        SELECT o.body, count(*) FROM audit_result r JOIN audit_outcome o ON o.id = r.outcome_id
        WHERE r.run_id = ?1 GROUP BY r.outcome_id";
    AUDIT_RESULTS = "
        SELECT r.device_id, r.device, r.observed_at, r.answered, o.body
        FROM audit_result r JOIN audit_outcome o ON o.id = r.outcome_id
        WHERE r.run_id = ?1 AND r.device_id > ?2 ORDER BY r.device_id LIMIT ?3";
    // Of some devices, in their order.
    AUDIT_RESULTS_OF = "
        SELECT r.device_id, r.device, r.observed_at, r.answered, o.body
        FROM json_each(?2) w JOIN audit_result r ON r.run_id = ?1 AND r.device_id = w.value
        JOIN audit_outcome o ON o.id = r.outcome_id
        ORDER BY w.key";

    // Findings
    FINDINGS_OF = "
        SELECT check_name, device_id, device, severity, state, first_seen, last_seen, closed_at, flaps, runs, reason,
               evidence, run_id
        FROM finding WHERE audit = ?1 AND device_id IN (SELECT value FROM json_each(?2))";
    FINDINGS_STORE = "
        INSERT INTO finding (audit, check_name, device_id, device, severity, state, first_seen, last_seen, closed_at,
                             flaps, runs, reason, evidence, run_id)
        SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
               value ->> 8, value ->> 9, value ->> 10, value -> 11, value ->> 12
        FROM json_each(?2) WHERE true
        ON CONFLICT DO UPDATE SET device = excluded.device, severity = excluded.severity, state = excluded.state,
            first_seen = excluded.first_seen, last_seen = excluded.last_seen, closed_at = excluded.closed_at,
            flaps = excluded.flaps, runs = excluded.runs, reason = excluded.reason, evidence = excluded.evidence, run_id = excluded.run_id";
    // ?1 audit or empty, ?2 device or empty, ?3 check or empty, ?4 states as JSON, ?5 to ?7 the last of the page before,
    // ?8 limit, ?9 now. A waiver of a device goes before one of all devices.
    FINDINGS = "
        SELECT * FROM (
            SELECT f.audit AS audit, f.check_name AS check_name, f.device_id AS device_id, f.device AS device, f.severity,
                   CASE WHEN f.state = 2 AND coalesce(w.expires_at, v.expires_at) IS NOT NULL THEN 3 ELSE f.state END
                       AS state,
                   f.first_seen, f.last_seen, f.closed_at, f.flaps, f.reason, f.evidence,
                   iif(w.owner IS NULL, '', f.device), coalesce(w.owner, v.owner), coalesce(w.reason, v.reason),
                   coalesce(w.expires_at, v.expires_at), coalesce(w.created_at, v.created_at)
            FROM finding f
            LEFT JOIN waiver w ON w.audit = f.audit AND w.check_name = f.check_name AND w.device = f.device
                              AND w.expires_at > ?9
            LEFT JOIN waiver v ON v.audit = f.audit AND v.check_name = f.check_name AND v.device = ''
                              AND v.expires_at > ?9
            WHERE (?1 = '' OR f.audit = ?1) AND (?2 = '' OR f.device = ?2) AND (?3 = '' OR f.check_name = ?3)
              AND (f.audit, f.check_name, f.device_id) > (?5, ?6, ?7))
        WHERE state IN (SELECT value FROM json_each(?4))
        ORDER BY audit, check_name, device_id LIMIT ?8";
    WAIVER_SET = "
        INSERT INTO waiver (audit, check_name, device, owner, reason, created_at, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT DO UPDATE SET owner = excluded.owner, reason = excluded.reason, created_at = excluded.created_at,
                                  expires_at = excluded.expires_at";
    WAIVER_REVOKE = "DELETE FROM waiver WHERE audit = ?1 AND check_name = ?2 AND device = ?3";
    WAIVER_ABOUT = "
        SELECT count(*) FROM finding
        WHERE audit = ?1 AND check_name = ?2 AND (?3 = '' OR device = ?3) AND state = 2";

    // Retention. The baseline of a name stays, and the youngest run of all.
    AUDITS_OLD = "
        INSERT INTO audit_gone (run_id)
        SELECT a.id FROM audit_run a
        WHERE a.finished_at < ?1 AND a.id < (SELECT max(id) FROM audit_run)
          AND a.id IS NOT (SELECT b.id FROM audit_run b WHERE b.name = a.name AND b.accepted_at IS NOT NULL
                           ORDER BY b.accepted_at DESC, b.id DESC LIMIT 1)
        ORDER BY a.id LIMIT ?2";
    AUDITS_REMOVE = "DELETE FROM audit_run WHERE id IN (SELECT run_id FROM audit_gone)";
    AUDIT_FILES_FORGET = "
        DELETE FROM audit_file WHERE NOT EXISTS (SELECT 1 FROM audit_run a WHERE a.file = audit_file.digest)";
    AUDIT_GONE = "SELECT run_id FROM audit_gone ORDER BY run_id LIMIT 1";
    AUDIT_RESULTS_SWEEP = "
        DELETE FROM audit_result WHERE run_id = ?1 AND device_id IN (
            SELECT device_id FROM audit_result WHERE run_id = ?1 ORDER BY device_id LIMIT ?2)";
    AUDIT_SWEPT = "DELETE FROM audit_gone WHERE run_id = ?1";
    // The first run to which results may still be added.
    AUDITS_OVER_BEFORE = "
        SELECT coalesce((SELECT min(id) FROM audit_run WHERE finished_at IS NULL),
                        (SELECT max(id) + 1 FROM audit_run), 0)";
    OUTCOMES_UNUSED = "
        SELECT id FROM audit_outcome WHERE id NOT IN (SELECT outcome_id FROM audit_result) ORDER BY id LIMIT ?1";
    OUTCOMES_FORGET = "
        DELETE FROM audit_outcome WHERE id IN (SELECT value FROM json_each(?1))
          AND id NOT IN (SELECT outcome_id FROM audit_result WHERE run_id >= ?2)";
    FINDINGS_FORGET = "
        DELETE FROM finding WHERE (audit, check_name, device_id) IN (
            SELECT audit, check_name, device_id FROM finding
            WHERE state = 4 AND closed_at < ?1 ORDER BY closed_at LIMIT ?2)";
}
