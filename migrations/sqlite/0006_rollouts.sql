-- Rollouts: jobs with a policy. Times are milliseconds since the Unix epoch; waves are counted from 0.

-- Nothing new of the job starts from this time on: the end of its window, less what one execution takes. Null: any time.
ALTER TABLE job ADD COLUMN admit_until INTEGER;
-- What is in flight stops before its next step from this time on: the end of a window that wants it so. Null: it goes on.
ALTER TABLE job ADD COLUMN stop_at INTEGER;
-- Executions with workers at once for now, beside `concurrency`: a ramp. Null: no such limit.
ALTER TABLE job ADD COLUMN pace INTEGER;

CREATE TABLE rollout (
    job_id        INTEGER PRIMARY KEY,
    policy        TEXT    NOT NULL,             -- canonical JSON: muster_model::Policy
    seed          INTEGER NOT NULL,
    assigned      INTEGER NOT NULL DEFAULT 0,   -- 1 when every execution is in its wave
    digest        TEXT,                         -- hex, of what approvals sign
    acknowledged  TEXT    NOT NULL DEFAULT '[]',-- tallies by wave at the last resume: rules count from there
    runs          TEXT    NOT NULL DEFAULT '[]',-- failures in a row, by rule
    hold_by       TEXT,                         -- what keeps the next wave shut
    hold_evidence TEXT,
    hold_until    INTEGER,
    hold_person   INTEGER NOT NULL DEFAULT 0,   -- 1 when a person has to decide
    pace_since    INTEGER,
    warned_at     INTEGER,
    break_glass   TEXT                          -- why it passes approvals, windows and freezes by
) STRICT;

-- Who approved: of the job's beginning (wave -1), or of a gate after a wave.
CREATE TABLE approval (
    job_id INTEGER NOT NULL,
    wave   INTEGER NOT NULL,
    gate   INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    PRIMARY KEY (job_id, wave, gate, who)
) STRICT, WITHOUT ROWID;

-- What gates were found to say.
CREATE TABLE gate_verdict (
    job_id  INTEGER NOT NULL,
    wave    INTEGER NOT NULL,
    gate    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    verdict INTEGER NOT NULL,                   -- 1 pass, 2 fail, 3 inconclusive
    reason  TEXT    NOT NULL,
    PRIMARY KEY (job_id, wave, gate)
) STRICT, WITHOUT ROWID;

-- The one freeze over everything: no job with effects starts anything while there is a row.
CREATE TABLE freeze (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    since      INTEGER NOT NULL,
    claimed_by TEXT    NOT NULL,
    reason     TEXT    NOT NULL
) STRICT;

-- An execution that waits for another of its job to be over (D4).
CREATE TABLE execution_after (
    job_id    INTEGER NOT NULL,
    device_id INTEGER NOT NULL,
    child_id  INTEGER NOT NULL,                 -- the device that goes first
    PRIMARY KEY (job_id, device_id, child_id)
) STRICT, WITHOUT ROWID;

-- What was previewed, so that it can be told what changed since.
CREATE TABLE preview (
    digest TEXT    PRIMARY KEY,
    at     INTEGER NOT NULL,
    body   TEXT    NOT NULL                     -- JSON: muster_engine_core::rollout::digest::Approved
) STRICT;
CREATE INDEX preview_at ON preview (at);
