-- Inventory, jobs, executions, results and events. Times are milliseconds since the Unix epoch; states and classes
-- are the numbers of muster.v1.

CREATE TABLE device (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    address      TEXT    NOT NULL,
    port         INTEGER NOT NULL,
    transport    TEXT    NOT NULL,
    credential   TEXT    NOT NULL,
    zone         TEXT    NOT NULL,
    labels       TEXT    NOT NULL,             -- JSON object; device_label is its index
    created_at   INTEGER NOT NULL,
    version      TEXT,
    board        TEXT,
    architecture TEXT,
    identity     TEXT,
    facts_at     INTEGER
) STRICT;
CREATE INDEX device_credential ON device (credential);

CREATE TABLE device_label (
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    key       TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    PRIMARY KEY (key, value, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_label_device ON device_label (device_id);

CREATE TABLE credential (
    name       TEXT    PRIMARY KEY,
    username   TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,               -- XChaCha20-Poly1305 envelope of the password
    version    INTEGER NOT NULL,               -- counts its changes, so that workers notice
    updated_at INTEGER NOT NULL
) STRICT;

-- Zones that a worker has served by name: a worker for the rest leaves them alone.
CREATE TABLE zone (
    name TEXT PRIMARY KEY
) STRICT;

CREATE TABLE plan (
    digest BLOB PRIMARY KEY,
    body   TEXT NOT NULL                       -- canonical JSON
) STRICT;

CREATE TABLE job (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT    NOT NULL UNIQUE,
    request_id   TEXT    UNIQUE,
    request_hash BLOB    NOT NULL,
    name         TEXT    NOT NULL,
    plan_digest  BLOB    NOT NULL REFERENCES plan (digest),
    selector     TEXT    NOT NULL,             -- empty: every device
    timeout_ms   INTEGER NOT NULL,
    effect       INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    total        INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    claimed_by   TEXT    NOT NULL
) STRICT;
CREATE INDEX job_live ON job (state) WHERE state < 20;

CREATE TABLE session (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    worker      TEXT    NOT NULL,
    instance    TEXT    NOT NULL,
    engine_boot TEXT    NOT NULL,              -- set for a worker inside an engine's process
    started_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE execution (
    id             INTEGER PRIMARY KEY,
    job_id         INTEGER NOT NULL,
    device_id      INTEGER NOT NULL,
    device_name    TEXT    NOT NULL,           -- results outlive the device
    zone           TEXT    NOT NULL,
    state          INTEGER NOT NULL,
    epoch          INTEGER NOT NULL DEFAULT 0,
    attempts       INTEGER NOT NULL DEFAULT 0,
    touched        INTEGER NOT NULL DEFAULT 0,
    locked         INTEGER NOT NULL DEFAULT 0, -- holds its device against other jobs with effects
    open_intent    INTEGER,                    -- the step whose intent was granted and has no result
    session_id     INTEGER,
    ready_at       INTEGER NOT NULL,
    error_class    INTEGER,
    error_message  TEXT,
    error_category INTEGER,
    started_at     INTEGER,
    finished_at    INTEGER
) STRICT;
CREATE UNIQUE INDEX execution_device ON execution (job_id, device_id);
CREATE INDEX execution_ready ON execution (job_id, ready_at) WHERE state = 1;
CREATE INDEX execution_leased ON execution (session_id) WHERE state IN (2, 3);
-- At most one execution with effects per device at a time, over all jobs (A10).
CREATE UNIQUE INDEX execution_lock ON execution (device_id) WHERE locked = 1;

-- The answer of each step, by content: a fleet gives few different ones.
CREATE TABLE blob (
    digest   BLOB    PRIMARY KEY,              -- SHA-256 of the bytes before encoding
    encoding INTEGER NOT NULL,                 -- 0 as they are, 1 LZ4 block with a length in front
    bytes    BLOB    NOT NULL
) STRICT;

CREATE TABLE step_result (
    execution_id INTEGER NOT NULL,
    step         INTEGER NOT NULL,
    digest       BLOB    NOT NULL,
    PRIMARY KEY (execution_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_count (
    job_id INTEGER NOT NULL,
    state  INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (job_id, state)
) STRICT, WITHOUT ROWID;

-- What happened to jobs, in the order it was committed. `ended` lists the executions that became final.
CREATE TABLE event (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    kind   TEXT    NOT NULL,                   -- created, state, ended
    ended  TEXT    NOT NULL DEFAULT '[]'       -- JSON array of execution ids
) STRICT;
CREATE INDEX event_job ON event (job_id, seq);
