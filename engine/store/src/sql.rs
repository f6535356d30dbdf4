//! Every statement. One test prepares them all on a migrated database, so a typo cannot wait for its first use.
//! Statements that take a batch read it from JSON by `json_each`.

use std::sync::LazyLock;

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

/// The columns a [`crate::transition::Loaded`] is read from, in its order.
macro_rules! loaded_columns {
    () => {
        concat!(
            "e.id, e.job_id, e.state, e.epoch, e.attempts, e.touched, e.open_intent, e.error_class, ",
            "e.error_message, e.error_category, e.device_id, j.expires_at, j.state, e.started_at, e.locked, ",
            "e.next_step, e.intent_epoch, e.intent_at, e.resolution, e.resolution_epoch, e.resolution_at, ",
            "j.steps, j.priority, ",
            // Over REST a router goes on, for up to a minute, with a command that nobody waits for any more.
            "CASE WHEN e.open_intent IS NULL THEN j.timeout_ms ELSE max(j.timeout_ms, coalesce((SELECT 60000 FROM device q ",
            "WHERE q.id = e.device_id AND q.transport IN ('http', 'https', 'auto')), 0)) END, e.wave, j.budget, ",
            // Whether nothing new may be touched: outside its window, or while everything is frozen.
            "j.admit_until, j.stop_at, EXISTS (SELECT 1 FROM freeze) AND NOT EXISTS (SELECT 1 FROM rollout r ",
            "WHERE r.job_id = e.job_id AND r.break_glass IS NOT NULL) "
        )
    };
}

macro_rules! loaded {
    ($from:literal) => {
        concat!("SELECT ", loaded_columns!(), $from)
    };
}

/// What a claim may take, with the fields of a `claim::Ready` in their order, in one text: the way of a row from the database's thread costs
/// more than all of its columns.
macro_rules! ready {
    ($where:literal, $zones:literal) => {
        concat!(
            "SELECT json_group_array(json_array(id, job_id, epoch, device_id, next_step, open_intent, name, address, port,
                                                transport, tls, pin, ports, worked, worked_at, serial, offered_serial,
                                                credential, facts_at, json(iif(touched, 'true', 'false')),
                                                nullif(hex(fingerprint), ''), zone, labels))
             FROM (SELECT e.id, e.job_id, e.epoch, e.device_id, e.next_step, e.open_intent, d.name, d.address, d.port,
                          d.transport, d.tls, d.pin, d.ports, d.worked, d.worked_at, d.serial, d.offered_serial,
                          d.credential, d.facts_at, e.touched, e.fingerprint, d.zone, d.labels
                   FROM execution e CROSS JOIN device d ON d.id = e.device_id
                   WHERE ",
            $where,
            " AND e.ready_at <= ?1 AND ",
            $zones,
            " ORDER BY e.ready_at LIMIT ?2)"
        )
    };
}
/// Of a wave of a job. ?4 job, ?5 wave, ?6 whether devices are held, ?7 full label values as JSON.
macro_rules! ready_of_job {
    ($zones:literal) => {
        ready!(
            "e.job_id = ?4 AND e.wave = ?5 AND e.state = 1 AND e.open_intent IS NULL
             AND (?6 = 0 OR NOT EXISTS (
                 SELECT 1 FROM execution l WHERE l.device_id = e.device_id AND l.locked = 1 AND l.id <> e.id))
             AND (?6 = 0 OR d.serial IS NULL OR NOT EXISTS (
                 SELECT 1 FROM device o JOIN execution l ON l.device_id = o.id AND l.locked = 1
                 WHERE o.serial = d.serial AND o.id <> d.id))
             AND (?7 = '[]' OR NOT EXISTS (
                 SELECT 1 FROM json_each(?7) f JOIN device_label dl
                 WHERE dl.device_id = e.device_id AND dl.key = f.value ->> 0 AND dl.value = f.value ->> 1))
             AND NOT EXISTS (
                 SELECT 1 FROM execution_after a
                 JOIN execution c ON c.job_id = a.job_id AND c.device_id = a.child_id AND c.state < 10
                 WHERE a.job_id = e.job_id AND a.device_id = e.device_id)",
            $zones
        )
    };
}
/// Those of a job that hold a unit of its budget, whatever is left of it: units come free by their ends. ?4 job.
macro_rules! ready_touched {
    ($zones:literal) => {
        ready!(
            "e.job_id = ?4 AND e.state = 1 AND e.touched = 1 AND e.open_intent IS NULL",
            $zones
        )
    };
}
/// Open questions, of any job. They hold their device already.
macro_rules! ready_resolving {
    ($zones:literal) => {
        ready!("e.state = 1 AND e.open_intent IS NOT NULL", $zones)
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
            "j.paused_at, o.uuid, j.budget, j.budget_asked, j.open_wave, j.halted_rule, j.halted_at, j.halted_detail, ",
            "j.mode, (SELECT v.uuid FROM job v WHERE v.id = j.previewed) ",
            "FROM job j JOIN plan p ON p.digest = j.plan_digest ",
            "AND j.id NOT IN (SELECT job_id FROM job_removed) LEFT JOIN job o ON o.id = j.retry_of ",
            $rest
        )
    };
}

/// The columns a [`crate::RolloutRecord`] is read from, in its order.
macro_rules! rollout {
    ($rest:literal) => {
        concat!(
            "SELECT r.job_id, j.uuid, j.state, j.claimed_by, r.policy, r.seed, r.assigned, r.digest, j.open_wave, ",
            "j.steps, j.timeout_ms, j.plan_digest, j.budget, j.concurrency, j.pace, r.pace_since, r.warned_at, ",
            "r.acknowledged, r.runs, r.hold_by, r.hold_evidence, r.hold_until, r.hold_person, j.admit_until, ",
            "r.break_glass FROM rollout r JOIN job j ON j.id = r.job_id ",
            $rest
        )
    };
}

/// Statements that insert rows whose values are given one by one, for values that JSON would have to spell out. A row
/// without a first value is none, so that a statement of a fixed length, which stays prepared, takes any number of rows.
pub(crate) struct Insert {
    few: LazyLock<String>,
    many: LazyLock<String>,
}

pub(crate) static BLOB_STORE: Insert = Insert {
    few: LazyLock::new(|| insert("blob (digest, encoding, bytes)", Insert::FEW)),
    many: LazyLock::new(|| insert("blob (digest, encoding, bytes)", Insert::MANY)),
};
pub(crate) static STEP_STORE: Insert = Insert {
    few: LazyLock::new(|| {
        insert(
            "step_result (execution_id, step, digest, encoding, bytes)",
            Insert::FEW,
        )
    }),
    many: LazyLock::new(|| {
        insert(
            "step_result (execution_id, step, digest, encoding, bytes)",
            Insert::MANY,
        )
    }),
};

impl Insert {
    const FEW: usize = 8;
    const MANY: usize = 256;

    /// The statement for so many rows, and how many it takes.
    pub(crate) fn of(&'static self, rows: usize) -> (&'static str, usize) {
        match rows > 4 * Self::FEW {
            true => (&self.many, Self::MANY),
            false => (&self.few, Self::FEW),
        }
    }
}

fn insert(into: &str, rows: usize) -> String {
    let columns = into.matches(',').count() + 1;
    let row = format!("({})", vec!["?"; columns].join(", "));
    let values = vec![row; rows].join(", ");
    format!("INSERT INTO {into} SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL")
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
    DEVICES_BY_NUMBER = device!("WHERE d.id IN (SELECT value FROM json_each(?1))");
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
                         retry_states, budget_asked, start_state, stretch_ms, mode, previewed)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                (SELECT id FROM job WHERE uuid = ?22))";
    JOB_UNDO = "DELETE FROM job WHERE id = ?1";
    JOB_GROW = "UPDATE job SET total = total + ?2 WHERE id = ?1";
    JOB_DRAFT = "
        SELECT id, uuid, selector, created_at, retry_of, retry_states, previewed FROM job
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
    // Jobs with open waves that have something ready: a row for each of those waves.
    JOB_LIVE = "
        SELECT j.id, j.effect, j.priority, min(coalesce(j.concurrency, j.pace), coalesce(j.pace, j.concurrency)),
               j.budget, substr(j.steps, 1, 1),
               (SELECT coalesce(sum(c.count), 0) FROM job_count c WHERE c.job_id = j.id AND c.state IN (2, 3)),
               (SELECT coalesce(sum(c.count), 0) FROM job_count c WHERE c.job_id = j.id AND c.state = 2), w.number
        FROM job j JOIN wave w ON w.job_id = j.id AND w.number <= j.open_wave
        WHERE j.state = 4 AND j.state < 20 AND j.expires_at > ?1
          AND (j.admit_until IS NULL OR j.admit_until > ?1)
          AND (j.effect <= 2 OR NOT EXISTS (SELECT 1 FROM freeze)
               OR EXISTS (SELECT 1 FROM rollout r WHERE r.job_id = j.id AND r.break_glass IS NOT NULL))
          AND EXISTS (SELECT 1 FROM execution e
                      WHERE e.job_id = w.job_id AND e.wave = w.number AND e.state = 1 AND e.open_intent IS NULL
                        AND e.ready_at <= ?1)
        ORDER BY j.priority, j.id, w.number";
    JOB_STATE = "SELECT state, uuid FROM job WHERE id = ?1";
    JOB_STATE_BY_UUID = "SELECT id, state FROM job WHERE uuid = ?1";
    JOB_SETTLE = "UPDATE job SET state = ?2, finished_at = ?3, paused_at = NULL WHERE id = ?1";
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
                  JOIN execution e ON e.job_id = ?1 AND e.device_id = a.value ->> 0 AND e.state = 1
                  UNION ALL
                  SELECT e.wave, -1 FROM json_each(?2) a
                  JOIN execution e ON e.job_id = ?1 AND e.device_id = a.value ->> 0 AND e.state = 1)
              GROUP BY number) AS n
        WHERE wave.job_id = ?1 AND wave.number = n.number";
    WAVES_ASSIGN = "
        UPDATE execution SET wave = a.value ->> 1 FROM json_each(?2) a
        WHERE execution.job_id = ?1 AND execution.device_id = a.value ->> 0 AND execution.state = 1";
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

    // Executions
    LOAD = concat!(
        "SELECT json_group_array(json_array(", loaded_columns!(), "))
         FROM json_each(?1) w CROSS JOIN execution e ON e.id = w.value JOIN job j ON j.id = e.job_id");
    LOAD_JOB = loaded!("FROM execution e JOIN job j ON j.id = e.job_id WHERE e.job_id = ?1 ORDER BY e.id");
    EXECUTIONS_HELD = "SELECT session_id, ready_at FROM execution WHERE job_id = ?1 ORDER BY id";
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
    FINGERPRINTS = "
        UPDATE execution SET fingerprint = unhex(n.fingerprint)
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS fingerprint FROM json_each(?1)) AS n, job j
        WHERE execution.id = n.id AND j.id = execution.job_id AND j.mode = 1";
    FINGERPRINTS_OF = "
        SELECT device_name, fingerprint FROM execution
        WHERE job_id = ?1 AND fingerprint IS NOT NULL ORDER BY device_name";
    GROUPED = "
        SELECT e.id, e.device_name, e.state, e.error_class, e.error_message, e.error_category,
               (SELECT group_concat(hex(s.digest), '') FROM step_result s WHERE s.execution_id = e.id)
        FROM execution e WHERE e.job_id = ?1 AND e.state >= 10";
    // Executions that become alike in everything but when they began: ?1 is {id: started_at, …}. Unpacking a row of
    // fifteen values costs four times as much as changing the execution.
    MOVE_ALIKE = "
        UPDATE execution SET state = ?2, attempts = ?3, touched = ?4, locked = ?5, next_step = ?6, open_intent = ?7,
            intent_epoch = ?8, intent_at = ?9, ready_at = coalesce(?10, ready_at),
            session_id = CASE WHEN ?2 IN (2, 3) THEN session_id END,
            error_class = ?11, error_message = ?12, error_category = ?13, started_at = n.value, finished_at = ?14
        FROM json_each(?1) AS n WHERE execution.id = n.key";
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
    RESOLVING_NAMED = ready_resolving!("e.zone IN (SELECT value FROM json_each(?3))");
    RESOLVING_REST = ready_resolving!("e.zone NOT IN (SELECT name FROM zone) AND ?3 = '[]'");
    // ?3 whether devices are held from now on; null leaves it.
    CLAIM = "
        UPDATE execution SET state = 2, epoch = epoch + 1, attempts = attempts + 1, session_id = ?1,
            locked = coalesce(?3, locked)
        WHERE id IN (SELECT value FROM json_each(?2))";
    // Limits
    LIMITS = "SELECT name, scope, value FROM limit_rule ORDER BY name, scope";
    LIMIT_SET = "
        INSERT INTO limit_rule (name, scope, value) VALUES (?1, ?2, ?3)
        ON CONFLICT (name, scope) DO UPDATE SET value = excluded.value";
    LIMIT_RESET = "DELETE FROM limit_rule WHERE name = ?1 AND scope = ?2";
    VALUES_USED = "
        SELECT l.key, l.value, count(*) FROM execution e JOIN device_label l ON l.device_id = e.device_id
        WHERE e.state IN (2, 3) AND l.key IN (SELECT value FROM json_each(?1)) GROUP BY l.key, l.value";
    VALUES_OF = "
        SELECT l.device_id, l.key, l.value FROM json_each(?1) w JOIN device_label l ON l.device_id = w.value
        WHERE l.key IN (SELECT value FROM json_each(?2))";
    VALUES_WAITING = "
        SELECT l.key, l.value, count(*) FROM execution e JOIN device_label l ON l.device_id = e.device_id
        WHERE e.job_id = ?1 AND e.state = 1 AND (?2 IS NULL OR e.device_id = ?2)
          AND l.key IN (SELECT value FROM json_each(?3)) GROUP BY l.key, l.value";
    JOBS_ASSIGNED = "
        SELECT id, plan_digest, timeout_ms, expires_at, effect, mode FROM job
        WHERE id IN (SELECT value FROM json_each(?1))";

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
    VERDICT_STORE = "
        INSERT INTO gate_verdict (job_id, wave, gate, at, verdict, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (job_id, wave, gate) DO UPDATE SET at = excluded.at, verdict = excluded.verdict,
            reason = excluded.reason";
    VERDICTS_OF_WAVE = "SELECT gate, verdict, reason FROM gate_verdict WHERE job_id = ?1 AND wave = ?2 ORDER BY gate";
    VERDICTS_FORGET = "DELETE FROM gate_verdict WHERE job_id = ?1";
    FREEZE = "SELECT since, claimed_by, reason FROM freeze";
    FREEZE_ON = "INSERT INTO freeze (id, since, claimed_by, reason) VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING";
    FREEZE_OFF = "DELETE FROM freeze";
    DURATIONS_OF_PLAN = "
        SELECT e.finished_at - e.started_at FROM job j JOIN execution e ON e.job_id = j.id
        WHERE j.plan_digest = ?1 AND e.state IN (10, 11) AND e.started_at IS NOT NULL ORDER BY e.id DESC LIMIT ?2";
    PREVIEW_OF = "SELECT body FROM preview WHERE digest = ?1";
    PREVIEW_STORE = "
        INSERT INTO preview (digest, at, body) VALUES (?1, ?2, ?3)
        ON CONFLICT (digest) DO UPDATE SET at = excluded.at";
    PREVIEWS_FORGET = "DELETE FROM preview WHERE at < ?1";
    SWEEP_ROLLOUT = "DELETE FROM rollout WHERE job_id = ?1";
    SWEEP_APPROVALS = "DELETE FROM approval WHERE job_id = ?1";
    SWEEP_VERDICTS = "DELETE FROM gate_verdict WHERE job_id = ?1";
    SWEEP_AFTER = "DELETE FROM execution_after WHERE job_id = ?1";

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
        SELECT s.execution_id, s.step, s.digest, coalesce(length(s.bytes), length(b.bytes))
        FROM json_each(?1) w JOIN step_result s ON s.execution_id = w.value LEFT JOIN blob b ON b.digest = s.digest
        ORDER BY s.execution_id, s.step";
    RESULT_INLINE = "
        SELECT s.execution_id, s.step, s.encoding, s.bytes
        FROM json_each(?1) w JOIN step_result s ON s.execution_id = w.value WHERE s.bytes IS NOT NULL";
    BLOB_GET_SET = "
        SELECT b.digest, b.encoding, b.bytes FROM json_each(?1) w JOIN blob b ON b.digest = unhex(w.value)";

    // Events
    EVENT_STORE = "
        INSERT INTO event (job_id, at, kind, ended)
        SELECT value ->> 0, ?2, value ->> 1, value -> 2 FROM json_each(?1)";
    EVENTS_UNDO = "DELETE FROM event WHERE job_id = ?1";
    EVENT_LATEST = "SELECT at FROM event ORDER BY seq DESC LIMIT 1";
    EVENTS_AFTER = "SELECT seq, kind, ended FROM event WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    EVENT_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'";

    // Explain. ?1 job, ?2 now, ?3 device or null, ?4 whether devices are held, ?5 limit, ?6 the last open wave.
    EXPLAIN_WAITING = "
        SELECT kind, zone, count(*), min(ready_at), holder, wave, touched FROM (
            SELECT e.zone AS zone, e.ready_at AS ready_at, coalesce(l.uuid, t.uuid) AS holder, e.wave AS wave,
                   e.touched AS touched,
                   CASE WHEN e.open_intent IS NOT NULL THEN 0
                        WHEN e.wave > ?6 THEN 5
                        WHEN EXISTS (
                            SELECT 1 FROM execution_after a
                            JOIN execution c ON c.job_id = a.job_id AND c.device_id = a.child_id AND c.state < 10
                            WHERE a.job_id = ?1 AND a.device_id = e.device_id) THEN 7
                        WHEN coalesce(l.uuid, t.uuid) IS NOT NULL THEN 1
                        WHEN e.ready_at > ?2 AND e.error_class IN (1, 2, 3, 8) THEN 2
                        WHEN e.ready_at > ?2 AND e.error_class IS NULL THEN 6
                        WHEN e.ready_at > ?2 THEN 3
                        ELSE 4 END AS kind
            FROM (SELECT * FROM execution
                  WHERE job_id = ?1 AND state = 1 AND (?3 IS NULL OR device_id = ?3) LIMIT ?5) e
            LEFT JOIN (SELECT x.device_id, x.job_id, o.uuid FROM execution x JOIN job o ON o.id = x.job_id
                       WHERE x.locked = 1) l
                ON ?4 AND l.device_id = e.device_id AND l.job_id <> e.job_id
            -- Of another row that is the same router.
            LEFT JOIN (SELECT a.id AS device_id, o.uuid FROM device a JOIN device b ON b.serial = a.serial AND b.id <> a.id
                       JOIN execution x ON x.device_id = b.id AND x.locked = 1 JOIN job o ON o.id = x.job_id) t
                ON ?4 AND t.device_id = e.device_id)
        GROUP BY kind, zone, holder, wave, touched ORDER BY kind, zone, wave";
    // Those that ask for their first intent, by wave. ?1 job, ?2 device or null.
    EXPLAIN_ASKING = "
        SELECT wave, count(*) FROM execution INDEXED BY execution_lock
        WHERE locked = 1 AND state = 2 AND touched = 0 AND job_id = ?1 AND (?2 IS NULL OR device_id = ?2)
        GROUP BY wave";
    // A touched execution holds its device until it is over, so these are few, however large the job.
    // ?1 job, ?2 wave or null, ?3 limit.
    EXPLAIN_TOUCHED = "
        SELECT device_name FROM execution INDEXED BY execution_lock
        WHERE locked = 1 AND touched = 1 AND job_id = ?1 AND (?2 IS NULL OR wave = ?2)
        ORDER BY device_id LIMIT ?3";
    EXPLAIN_WITH_WORKERS = "
        SELECT s.id, s.worker, count(*), sum(e.open_intent IS NOT NULL AND e.intent_epoch <> e.epoch)
        FROM execution e JOIN session s ON s.id = e.session_id
        WHERE e.state IN (2, 3) AND e.job_id = ?1 AND (?2 IS NULL OR e.device_id = ?2)
        GROUP BY s.id ORDER BY s.id";
    EXPLAIN_WHICH = "
        SELECT session_id, id FROM execution
        WHERE state IN (2, 3) AND job_id = ?1 AND (?2 IS NULL OR device_id = ?2) AND session_id IS NOT NULL LIMIT ?3";
    EXPLAIN_ONE = "
        SELECT e.state, e.attempts, e.error_class, e.error_message, e.error_category, e.device_id, e.wave
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
        SELECT e.id, s.digest, coalesce(length(s.bytes), length(b.bytes), 0)
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
    SWEEP_WAVES = "DELETE FROM wave WHERE job_id = ?1";
    SWEEP_BUDGETS = "DELETE FROM budget_count WHERE job_id = ?1";
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
