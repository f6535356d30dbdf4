-- Audits: files of checks, runs of them, verdicts, findings, waivers. Times are milliseconds since the Unix epoch.

CREATE TABLE audit_file (
    digest BLOB PRIMARY KEY,                   -- SHA-256 of the body
    body   TEXT NOT NULL                       -- TOML
) STRICT;

CREATE TABLE audit_run (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT    NOT NULL UNIQUE,      -- its job's, if it has one
    request_id   TEXT    UNIQUE,
    request_hash BLOB    NOT NULL,
    job_id       INTEGER,                      -- null when nobody had to be asked
    name         TEXT    NOT NULL,
    file         BLOB    NOT NULL REFERENCES audit_file (digest),
    selector     TEXT    NOT NULL,             -- empty: every device
    claimed_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    seen         INTEGER NOT NULL DEFAULT 0,   -- events of its job up to this one are judged
    reused       INTEGER NOT NULL,             -- devices that were not asked: what they said before is young enough
    min_coverage REAL,
    tallies      TEXT                          -- JSON: verdicts by check, once it is over
) STRICT;
CREATE INDEX audit_run_open ON audit_run (id) WHERE finished_at IS NULL;
CREATE INDEX audit_run_name ON audit_run (name, id);
CREATE INDEX audit_run_file ON audit_run (file, id);

-- What all checks of a file say of a device, by content: most devices are told the same, and most days.
CREATE TABLE audit_outcome (
    id     INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL UNIQUE,            -- SHA-256 of the body
    body   TEXT    NOT NULL                    -- JSON: muster_audit::Judgement by check
) STRICT;

CREATE TABLE audit_result (
    run_id      INTEGER NOT NULL,
    device_id   INTEGER NOT NULL,
    device      TEXT    NOT NULL,              -- results outlive the device
    outcome_id  INTEGER NOT NULL,
    observed_at INTEGER NOT NULL,
    answered    INTEGER NOT NULL,              -- 1 when the device answered: then it is good for a later run
    PRIMARY KEY (run_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE finding (
    audit      TEXT    NOT NULL,               -- the name of the audit
    check_name TEXT    NOT NULL,
    device_id  INTEGER NOT NULL,
    device     TEXT    NOT NULL,
    severity   TEXT    NOT NULL,
    state      INTEGER NOT NULL,               -- 1 pending, 2 open, 4 closed
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    closed_at  INTEGER,
    flaps      INTEGER NOT NULL,
    runs       INTEGER NOT NULL,               -- a bit for each of the last runs that judged it, 1 for a failure
    reason     TEXT    NOT NULL,
    evidence   TEXT    NOT NULL,               -- JSON array
    run_id     INTEGER NOT NULL,               -- the last run that counted
    PRIMARY KEY (audit, check_name, device_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE waiver (
    audit      TEXT    NOT NULL,
    check_name TEXT    NOT NULL,
    device     TEXT    NOT NULL,               -- empty: every device
    owner      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (audit, check_name, device)
) STRICT, WITHOUT ROWID;
