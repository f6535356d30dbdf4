//! Every statement. One test prepares them all on a migrated database, so a typo cannot wait for its first use.
//! Statements that take a batch read it from JSON by `json_each`.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

/// The columns a [`crate::transition::Loaded`] is read from, in its order.
macro_rules! loaded {
    ($from:literal) => {
        concat!(
            "SELECT e.id, e.job_id, e.state, e.epoch, e.attempts, e.touched, e.open_intent, e.error_class, ",
            "e.error_message, e.error_category, e.device_id, j.expires_at, j.state, e.started_at, e.locked, ",
            "e.next_step, e.intent_epoch, e.intent_at, e.resolution, e.resolution_epoch, e.resolution_at, ",
            "j.steps, j.priority, j.timeout_ms ",
            $from
        )
    };
}

/// The columns of a device record.
macro_rules! device {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.name, d.address, d.port, d.transport, d.credential, d.zone, d.labels, d.created_at, ",
            "d.version, d.board, d.architecture, d.identity, d.facts_at, d.tls, d.pin, d.ports, d.serial, ",
            "d.worked, d.worked_at, d.pinned_by, d.pinned_at, d.offered_certificate, d.offered_key, d.offered_at, ",
            "d.offered_serial, d.offered_serial_at FROM device d ",
            $rest
        )
    };
}

/// The columns of a job record. A job that is being deleted is not there any more.
macro_rules! job {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, j.uuid, j.name, p.body, j.selector, j.timeout_ms, j.effect, j.state, j.total, ",
            "j.created_at, j.expires_at, j.finished_at, j.claimed_by, j.plan_digest, j.priority, j.concurrency, ",
            "j.paused_at, o.uuid ",
            "FROM job j JOIN plan p ON p.digest = j.plan_digest ",
            "AND j.id NOT IN (SELECT job_id FROM job_removed) LEFT JOIN job o ON o.id = j.retry_of ",
            $rest
        )
    };
}

/// For a selection's tail, which is made at run time from a selector: see `select`.
pub(crate) const DEVICES: &str = device!("");

statements! {
    BEGIN = "BEGIN IMMEDIATE";
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";
    HAS_MIGRATIONS = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    SCHEMA_VERSION = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";

    // Credentials
    CREDENTIAL_SET = "
        INSERT INTO credential (name, username, sealed, version, updated_at) VALUES (?1, ?2, ?3, 1, ?4)
        ON CONFLICT (name) DO UPDATE SET username = excluded.username, sealed = excluded.sealed,
            version = version + 1, updated_at = excluded.updated_at";
    CREDENTIAL_USERS = "SELECT count(*) FROM device WHERE credential = ?1";
    CREDENTIAL_REMOVE = "DELETE FROM credential WHERE name = ?1";
    CREDENTIAL_LIST = "
        SELECT c.name, c.username, c.sealed, c.version, c.updated_at,
               (SELECT count(*) FROM device d WHERE d.credential = c.name)
        FROM credential c ORDER BY c.name";
    CREDENTIAL_GET = "
        SELECT c.name, c.username, c.sealed, c.version, c.updated_at, 0 FROM credential c WHERE c.name = ?1";
    CREDENTIAL_NAMES = "SELECT name FROM credential";

    // Devices
    DEVICE_EXISTING = device!("WHERE d.name IN (SELECT value FROM json_each(?1))");
    DEVICE_GET = device!("WHERE d.name = ?1");
    DEVICE_UPSERT = "
        INSERT INTO device (name, address, port, transport, credential, zone, labels, created_at, tls, pin, ports,
                            asked_by)
        SELECT value ->> 'name', value ->> 'address', value ->> 'port', value ->> 'transport',
               value ->> 'credential', value ->> 'zone', value -> 'labels', ?2, value ->> 'tls', value ->> 'pin',
               value ->> 'ports', ?3
        FROM json_each(?1) WHERE true
        ON CONFLICT (name) DO UPDATE SET address = excluded.address, port = excluded.port,
            transport = excluded.transport, credential = excluded.credential, zone = excluded.zone,
            labels = excluded.labels, tls = excluded.tls, pin = excluded.pin, ports = excluded.ports,
            asked_by = excluded.asked_by, worked = NULL, worked_at = NULL,
            pinned_by = CASE WHEN pin IS excluded.pin THEN pinned_by END,
            pinned_at = CASE WHEN pin IS excluded.pin THEN pinned_at END";
    LABELS_CLEAR = "
        DELETE FROM device_label WHERE device_id IN (
            SELECT id FROM device WHERE name IN (SELECT value FROM json_each(?1)))";
    LABELS_FILL = "
        INSERT INTO device_label (device_id, key, value)
        SELECT d.id, l.key, l.value FROM device d, json_each(d.labels) l
        WHERE d.name IN (SELECT value FROM json_each(?1))";
    LABELS_SET = "
        UPDATE device SET labels = n.labels
        FROM (SELECT value ->> 'name' AS name, value -> 'labels' AS labels FROM json_each(?1)) AS n
        WHERE device.name = n.name";
    DEVICE_BUSY = "
        SELECT e.device_name, j.uuid FROM execution e JOIN job j ON j.id = e.job_id
        JOIN device d ON d.id = e.device_id
        WHERE j.state < 20 AND e.state < 10 AND d.name IN (SELECT value FROM json_each(?1)) LIMIT 1";
    DEVICE_REMOVE = "DELETE FROM device WHERE name IN (SELECT value FROM json_each(?1))";
    DEVICE_FACTS = "
        UPDATE device SET version = n.version, board = n.board, architecture = n.architecture,
            identity = n.identity, facts_at = ?2,
            serial = coalesce(device.serial, nullif(n.serial, '')),
            offered_serial = CASE WHEN n.serial = '' THEN offered_serial
                                  WHEN n.serial <> device.serial THEN n.serial END,
            offered_serial_at = CASE WHEN n.serial = '' THEN offered_serial_at
                                     WHEN n.serial <> device.serial THEN ?2 END
        FROM (SELECT value ->> 'id' AS id, value ->> 'version' AS version, value ->> 'board' AS board,
                     value ->> 'architecture' AS architecture, value ->> 'identity' AS identity,
                     value ->> 'serial' AS serial
              FROM json_each(?1)) AS n
        WHERE device.id = n.id";
    DEVICE_AT_FIRST_USE = "
        SELECT d.id, d.name, d.asked_by, value ->> 'certificate' FROM json_each(?1) JOIN device d ON d.id = value ->> 'id'
        WHERE value ->> 'reached' AND value ->> 'certificate' <> '' AND d.tls = 'first-use' AND d.pin IS NULL";
    DEVICE_PIN = "
        UPDATE device SET pin = ?2, pinned_by = ?3, pinned_at = ?4, offered_certificate = NULL, offered_key = NULL,
            offered_at = NULL, tls = CASE WHEN tls IN ('system', 'roots', 'insecure') THEN 'pin' ELSE tls END
        WHERE id = ?1";
    DEVICE_SERIAL = "
        UPDATE device SET serial = ?2, offered_serial = NULL, offered_serial_at = NULL WHERE id = ?1";
    DEVICE_CONTACTS = "
        UPDATE device SET
            worked = CASE WHEN n.worked <> '' THEN n.worked WHEN n.reached OR n.certificate <> '' THEN device.worked END,
            worked_at = CASE WHEN n.worked <> '' THEN ?2 WHEN n.reached OR n.certificate <> '' THEN worked_at END,
            offered_certificate = CASE WHEN n.certificate = '' THEN offered_certificate
                                       WHEN NOT n.reached THEN n.certificate END,
            offered_key = CASE WHEN n.certificate = '' THEN offered_key WHEN NOT n.reached THEN n.key END,
            offered_at = CASE WHEN n.certificate = '' THEN offered_at WHEN NOT n.reached THEN ?2 END
        FROM (SELECT value ->> 'id' AS id, value ->> 'worked' AS worked, value ->> 'certificate' AS certificate,
                     value ->> 'key' AS key, value ->> 'reached' AS reached FROM json_each(?1)) AS n
        WHERE device.id = n.id";

    // Jobs
    JOB_BY_REQUEST = "
        SELECT uuid, request_hash FROM job WHERE request_id = ?1
        UNION ALL SELECT uuid, request_hash FROM request_kept WHERE request_id = ?1 LIMIT 1";
    PLAN_STORE = "INSERT INTO plan (digest, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    JOB_CREATE = "
        INSERT INTO job (uuid, request_id, request_hash, name, plan_digest, selector, timeout_ms, effect, state,
                         total, created_at, expires_at, claimed_by, steps, priority, concurrency, retry_of,
                         retry_states)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
    JOB_UNDO = "DELETE FROM job WHERE id = ?1";
    JOB_GROW = "UPDATE job SET total = total + ?2 WHERE id = ?1";
    JOB_DRAFT = "
        SELECT id, uuid, selector, effect, created_at, retry_of, retry_states FROM job
        WHERE uuid = ?1 AND state = 1";
    JOB_DRAFTS = "SELECT uuid FROM job WHERE state = 1 ORDER BY id";
    JOB_PAUSE = "UPDATE job SET state = 7, paused_at = ?2 WHERE id = ?1";
    JOB_RESUME = "
        UPDATE job SET state = 4, expires_at = expires_at + (?2 - paused_at), paused_at = NULL WHERE id = ?1";
    LAID_OUT_TO = "SELECT coalesce(max(device_id), 0) FROM execution WHERE job_id = ?1";
    JOB_GET = job!("WHERE j.uuid = ?1");
    JOB_PAGE = job!("WHERE j.id < ?1 ORDER BY j.id DESC LIMIT ?2");
    JOB_LIVE = "
        SELECT j.id, j.effect, j.priority, j.concurrency,
               CASE WHEN j.concurrency IS NULL THEN 0 ELSE
                   (SELECT coalesce(sum(c.count), 0) FROM job_count c WHERE c.job_id = j.id AND c.state IN (2, 3))
               END AS in_flight
        FROM job j WHERE j.state = 4 AND j.expires_at > ?1 ORDER BY j.priority, j.id";
    JOB_STATE = "SELECT state, uuid FROM job WHERE id = ?1";
    JOB_STATE_BY_UUID = "SELECT id, state FROM job WHERE uuid = ?1";
    JOB_SETTLE = "UPDATE job SET state = ?2, finished_at = ?3, paused_at = NULL WHERE id = ?1";
    JOB_DUE = "SELECT id FROM job WHERE state IN (4, 9) AND expires_at <= ?1 ORDER BY id";
    COUNTS = "SELECT state, count FROM job_count WHERE job_id = ?1";
    COUNTS_OF = "SELECT job_id, state, count FROM job_count WHERE job_id IN (SELECT value FROM json_each(?1))";
    COUNTS_MOVE = "
        INSERT INTO job_count (job_id, state, count)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
        ON CONFLICT (job_id, state) DO UPDATE SET count = count + excluded.count";
    PLAN_OF = "SELECT p.body FROM plan p WHERE p.digest = ?1";

    // Executions
    LOAD = loaded!("FROM json_each(?1) w JOIN execution e ON e.id = w.value JOIN job j ON j.id = e.job_id");
    LOAD_SESSION = loaded!(
        "FROM execution e JOIN job j ON j.id = e.job_id WHERE e.state IN (2, 3) AND e.session_id = ?1 LIMIT ?2");
    LOAD_PENDING = loaded!(
        "FROM execution e JOIN job j ON j.id = e.job_id
         WHERE e.state = 1 AND e.open_intent IS NULL AND e.job_id = ?1 LIMIT ?2");
    LOAD_RESOLVING = loaded!(
        "FROM execution e JOIN job j ON j.id = e.job_id
         WHERE e.state = 1 AND e.open_intent IS NOT NULL AND e.intent_at + j.timeout_ms <= ?1 LIMIT ?2");
    LOAD_UNTOUCHED_OF_DEVICES = loaded!(
        "FROM json_each(?1) w JOIN job j JOIN execution e ON e.job_id = j.id AND e.device_id = w.value
         WHERE j.state < 20 AND j.effect > 2 AND e.state = 1 AND e.touched = 0");
    MOVE = "
        UPDATE execution SET state = n.state, attempts = n.attempts, touched = n.touched, locked = n.locked,
            next_step = n.next_step, open_intent = n.open_intent, intent_epoch = n.intent_epoch,
            intent_at = n.intent_at, ready_at = coalesce(n.ready_at, execution.ready_at),
            session_id = CASE WHEN n.state IN (2, 3) THEN session_id END,
            error_class = n.error_class, error_message = n.error_message, error_category = n.error_category,
            started_at = n.started_at, finished_at = n.finished_at
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS state, value ->> 2 AS attempts, value ->> 3 AS touched,
                     value ->> 4 AS locked, value ->> 5 AS open_intent, value ->> 6 AS ready_at,
                     value ->> 7 AS error_class, value ->> 8 AS error_message, value ->> 9 AS error_category,
                     value ->> 10 AS started_at, value ->> 11 AS finished_at, value ->> 12 AS next_step,
                     value ->> 13 AS intent_epoch, value ->> 14 AS intent_at
              FROM json_each(?1)) AS n
        WHERE execution.id = n.id";
    RESOLVE = "
        UPDATE execution SET resolution = value ->> 1, resolution_epoch = value ->> 2, resolution_at = value ->> 3
        FROM json_each(?1) WHERE execution.id = value ->> 0";
    ANY_OFFLINE = "SELECT EXISTS (SELECT 1 FROM execution WHERE state = 1 AND error_class IS NOT NULL)";
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
            SELECT min(e.ready_at) AS ready_at FROM job j JOIN execution e ON e.job_id = j.id
            WHERE j.state = 4 AND e.state = 1 AND e.open_intent IS NULL AND e.ready_at > ?1
            UNION ALL
            SELECT min(ready_at) FROM execution WHERE state = 1 AND open_intent IS NOT NULL AND ready_at > ?1)";
    LEASED_OF_JOB = "
        SELECT id, epoch, session_id FROM execution
        WHERE job_id = ?1 AND state IN (2, 3) AND session_id IS NOT NULL";
    ASSIGNED = "
        SELECT e.id, e.epoch, e.device_id, d.address, d.port, d.transport, d.credential, d.facts_at,
               j.plan_digest, j.timeout_ms, j.expires_at, d.name, e.next_step, e.open_intent,
               d.tls, d.pin, d.ports, d.worked, d.worked_at, d.serial, d.offered_serial, j.effect
        FROM json_each(?1) w JOIN execution e ON e.id = w.value
        JOIN device d ON d.id = e.device_id JOIN job j ON j.id = e.job_id";

    // Claims: the same statement for jobs that only look and jobs that hold their devices, by the zones they may
    // take. ?1 session, ?2 job, ?3 now, ?4 limit, ?5 zones as JSON, ?6 whether devices are held.
    CLAIM_NAMED = "
        UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = ?1, locked = ?6
        WHERE id IN (
            SELECT e.id FROM execution e
            WHERE e.job_id = ?2 AND e.state = 1 AND e.open_intent IS NULL AND e.ready_at <= ?3
              AND e.zone IN (SELECT value FROM json_each(?5))
              AND (?6 = 0 OR NOT EXISTS (
                  SELECT 1 FROM execution l WHERE l.device_id = e.device_id AND l.locked = 1 AND l.id <> e.id))
            ORDER BY e.ready_at LIMIT ?4)
        RETURNING id";
    CLAIM_REST = "
        UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = ?1, locked = ?6
        WHERE id IN (
            SELECT e.id FROM execution e
            WHERE e.job_id = ?2 AND e.state = 1 AND e.open_intent IS NULL AND e.ready_at <= ?3
              AND e.zone NOT IN (SELECT name FROM zone) AND ?5 = '[]'
              AND (?6 = 0 OR NOT EXISTS (
                  SELECT 1 FROM execution l WHERE l.device_id = e.device_id AND l.locked = 1 AND l.id <> e.id))
            ORDER BY e.ready_at LIMIT ?4)
        RETURNING id";
    // Open questions first, of any job. They hold their device already. ?1 session, ?2 now, ?3 limit, ?4 zones.
    CLAIM_RESOLVING_NAMED = "
        UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = ?1
        WHERE id IN (
            SELECT e.id FROM execution e
            WHERE e.state = 1 AND e.open_intent IS NOT NULL AND e.ready_at <= ?2
              AND e.zone IN (SELECT value FROM json_each(?4))
            ORDER BY e.ready_at LIMIT ?3)
        RETURNING id, job_id";
    CLAIM_RESOLVING_REST = "
        UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = ?1
        WHERE id IN (
            SELECT e.id FROM execution e
            WHERE e.state = 1 AND e.open_intent IS NOT NULL AND e.ready_at <= ?2
              AND e.zone NOT IN (SELECT name FROM zone) AND ?4 = '[]'
            ORDER BY e.ready_at LIMIT ?3)
        RETURNING id, job_id";

    // Quarantine
    HARM_STORE = "
        INSERT INTO harm (device_id, at, execution_id) SELECT value ->> 0, ?2, value ->> 1 FROM json_each(?1)
        WHERE (value ->> 0) IN (SELECT id FROM device) ON CONFLICT DO NOTHING";
    QUARANTINED_AMONG = "
        SELECT h.device_id FROM json_each(?1) w JOIN harm h ON h.device_id = w.value AND h.at > ?2
        GROUP BY h.device_id HAVING count(DISTINCT h.execution_id) >= ?3";
    QUARANTINED = "
        SELECT h.device_id FROM harm h WHERE h.at > ?1
        GROUP BY h.device_id HAVING count(DISTINCT h.execution_id) >= ?2";
    QUARANTINED_NAMES = "
        SELECT d.name FROM harm h JOIN device d ON d.id = h.device_id WHERE h.at > ?1
        GROUP BY h.device_id HAVING count(DISTINCT h.execution_id) >= ?2 ORDER BY d.name";
    HARM_FORGET = "
        DELETE FROM harm WHERE device_id IN (
            SELECT id FROM device WHERE name IN (SELECT value FROM json_each(?1)))";

    // History
    HISTORY_LAST = "SELECT hash FROM history ORDER BY id DESC LIMIT 1";
    HISTORY_ADD = "
        INSERT INTO history (at, claimed_by, action, subject, reason, detail, hash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    HISTORY_PAGE = "
        SELECT id, at, claimed_by, action, subject, reason, detail, hash FROM history
        WHERE id > ?1 AND (?2 = '' OR subject = ?2) ORDER BY id LIMIT ?3";

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

    // Results
    BLOB_KNOWN = "SELECT b.digest FROM json_each(?1) w JOIN blob b ON b.digest = unhex(w.value)";
    BLOB_STORE = "INSERT INTO blob (digest, encoding, bytes) VALUES (?1, ?2, ?3)";
    BLOB_STORE_SET = "
        INSERT INTO blob (digest, encoding, bytes)
        SELECT unhex(value ->> 0), value ->> 1, unhex(value ->> 2) FROM json_each(?1)";
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
    STEP_STORE = "
        INSERT INTO step_result (execution_id, step, digest)
        SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?1)";
    RESULT_PAGE = "
        SELECT e.id, e.device_name, e.state, e.attempts, e.error_class, e.error_message, e.error_category,
               e.started_at, e.finished_at, e.resolution, e.resolution_epoch, e.resolution_at
        FROM execution e
        WHERE e.job_id = ?1 AND e.id > ?2 AND (?4 = '[]' OR e.state IN (SELECT value FROM json_each(?4)))
        ORDER BY e.id LIMIT ?3";
    RESULT_SOME = "
        SELECT e.id, e.device_name, e.state, e.attempts, e.error_class, e.error_message, e.error_category,
               e.started_at, e.finished_at, e.resolution, e.resolution_epoch, e.resolution_at
        FROM json_each(?1) w JOIN execution e ON e.id = w.value ORDER BY w.key";
    RESULT_STEPS = "
        SELECT s.execution_id, s.digest, length(b.bytes)
        FROM json_each(?1) w JOIN step_result s ON s.execution_id = w.value LEFT JOIN blob b ON b.digest = s.digest
        ORDER BY s.execution_id, s.step";
    BLOB_GET_SET = "
        SELECT b.digest, b.encoding, b.bytes FROM json_each(?1) w JOIN blob b ON b.digest = unhex(w.value)";

    // Events
    EVENT_STORE = "
        INSERT INTO event (job_id, at, kind, ended)
        SELECT value ->> 0, ?2, value ->> 1, value -> 2 FROM json_each(?1)";
    EVENT_LATEST = "SELECT at FROM event ORDER BY seq DESC LIMIT 1";
    EVENTS_AFTER = "SELECT seq, kind, ended FROM event WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    EVENT_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'";

    // Explain. ?1 job, ?2 now, ?3 device or null, ?4 whether devices are held, ?5 limit.
    EXPLAIN_WAITING = "
        SELECT kind, zone, count(*), min(ready_at), holder FROM (
            SELECT e.zone AS zone, e.ready_at AS ready_at, l.uuid AS holder,
                   CASE WHEN e.open_intent IS NOT NULL THEN 0
                        WHEN l.uuid IS NOT NULL THEN 1
                        WHEN e.ready_at > ?2 AND e.error_class IN (1, 2, 3, 8) THEN 2
                        WHEN e.ready_at > ?2 THEN 3
                        ELSE 4 END AS kind
            FROM (SELECT * FROM execution
                  WHERE job_id = ?1 AND state = 1 AND (?3 IS NULL OR device_id = ?3) LIMIT ?5) e
            LEFT JOIN (SELECT x.device_id, x.job_id, o.uuid FROM execution x JOIN job o ON o.id = x.job_id
                       WHERE x.locked = 1) l
                ON ?4 AND l.device_id = e.device_id AND l.job_id <> e.job_id)
        GROUP BY kind, zone, holder ORDER BY kind, zone";
    EXPLAIN_WITH_WORKERS = "
        SELECT s.id, s.worker, count(*), sum(e.open_intent IS NOT NULL AND e.intent_epoch <> e.epoch)
        FROM execution e JOIN session s ON s.id = e.session_id
        WHERE e.state IN (2, 3) AND e.job_id = ?1 AND (?2 IS NULL OR e.device_id = ?2)
        GROUP BY s.id ORDER BY s.id";
    EXPLAIN_ONE = "
        SELECT e.state, e.attempts, e.error_class, e.error_message, e.error_category, e.device_id
        FROM execution e
        WHERE e.job_id = ?1 AND e.device_id = coalesce((SELECT id FROM device WHERE name = ?2),
            (SELECT x.device_id FROM execution x WHERE x.job_id = ?1 AND x.device_name = ?2))";

    // Retention
    JOB_TO_REMOVE = "SELECT id, state FROM job WHERE uuid = ?1 AND id NOT IN (SELECT job_id FROM job_removed)";
    JOBS_OLD = "
        INSERT INTO job_removed (job_id)
        SELECT id FROM job WHERE finished_at < ?1 AND id NOT IN (SELECT job_id FROM job_removed)
        ORDER BY finished_at LIMIT ?2";
    JOB_REMOVED = "INSERT INTO job_removed (job_id) VALUES (?1)";
    REQUEST_KEEP = "
        INSERT INTO request_kept (request_id, request_hash, uuid, created_at)
        SELECT request_id, request_hash, uuid, created_at FROM job
        WHERE id = ?1 AND request_id IS NOT NULL AND created_at >= ?2
        ON CONFLICT DO NOTHING";
    REQUESTS_FORGET = "
        DELETE FROM request_kept WHERE request_id IN (
            SELECT request_id FROM request_kept WHERE created_at < ?1 LIMIT ?2)";
    // Not while another job is being laid out from what became of it.
    SWEEP_JOB = "
        SELECT r.job_id FROM job_removed r
        WHERE NOT EXISTS (SELECT 1 FROM job d WHERE d.state = 1 AND d.retry_of = r.job_id)
        ORDER BY r.job_id LIMIT 1";
    SWEEP_ROWS = "
        SELECT e.id, s.digest, coalesce(length(b.bytes), 0)
        FROM execution e LEFT JOIN step_result s ON s.execution_id = e.id LEFT JOIN blob b ON b.digest = s.digest
        WHERE e.job_id = ?1 ORDER BY e.device_id, s.step LIMIT ?2";
    // The youngest execution leaves its number behind, in a row of no job: numbers are never given out twice, so
    // that a worker that wakes up late speaks of no other execution than its own.
    SWEEP_YOUNGEST = "
        UPDATE execution SET job_id = 0, device_id = id, device_name = '', zone = ''
        WHERE id = (SELECT max(id) FROM execution) AND id IN (SELECT value FROM json_each(?1))";
    SWEEP_EXECUTIONS = "
        DELETE FROM execution WHERE id IN (SELECT value FROM json_each(?1)) AND job_id <> 0";
    SWEEP_NUMBERS = "DELETE FROM execution WHERE job_id = 0 AND id < (SELECT max(id) FROM execution)";
    SWEEP_EVENTS = "
        DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE job_id = ?1 ORDER BY seq LIMIT ?2)";
    SWEEP_COUNTS = "DELETE FROM job_count WHERE job_id = ?1";
    SWEEP_REMOVED = "DELETE FROM job_removed WHERE job_id = ?1";
    PLANS_UNUSED = "
        SELECT p.digest FROM plan p
        WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.plan_digest = p.digest) LIMIT ?1";
    PLANS_REMOVE = "
        DELETE FROM plan WHERE digest IN (SELECT unhex(value) FROM json_each(?1))
          AND NOT EXISTS (SELECT 1 FROM job j WHERE j.plan_digest = plan.digest)";

    // Space
    PAGE_SIZE = "PRAGMA page_size";
    PAGE_COUNT = "PRAGMA page_count";
    PAGES_FREE = "PRAGMA freelist_count";
    AUTO_VACUUM = "PRAGMA auto_vacuum";
    AUTO_VACUUM_INCREMENTAL = "PRAGMA auto_vacuum = INCREMENTAL";
    VACUUM = "VACUUM";
    // As many pages as one step of `space` gives back.
    VACUUM_STEP = "PRAGMA incremental_vacuum(64)";
    CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)";
    CHECKPOINT_TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)";

    // Status
    DEVICE_COUNT = "SELECT count(*) FROM device";
    JOB_LIVE_COUNT = "SELECT count(*) FROM job WHERE state < 20";
    WAITING = "
        SELECT e.zone, count(*) FROM job j JOIN execution e ON e.job_id = j.id
        WHERE j.state = 4 AND e.state = 1 GROUP BY e.zone ORDER BY e.zone";
    ZONES = "SELECT name FROM zone ORDER BY name";
}
