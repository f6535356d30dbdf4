-- Jobs and audits that begin by the clock. Times are milliseconds since the Unix epoch.

-- Executions become ready spread over so long, each by a hash of this number and its device. Null: all at once.
ALTER TABLE job ADD COLUMN spread_ms INTEGER;
ALTER TABLE job ADD COLUMN spread_seed INTEGER;

CREATE TABLE schedule (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    body        BLOB    NOT NULL,              -- what it does and when, as the API has it
    after       INTEGER NOT NULL,              -- occurrences up to this one are decided on
    waiting     TEXT    NOT NULL DEFAULT '[]', -- JSON array: occurrences that wait for the run before to end
    paused_at   INTEGER,
    created_at  INTEGER NOT NULL,
    claimed_by  TEXT    NOT NULL
) STRICT;

-- What became of occurrences.
CREATE TABLE schedule_run (
    id          INTEGER PRIMARY KEY,
    schedule_id INTEGER NOT NULL,
    occurrence  INTEGER NOT NULL,              -- the first, where several were skipped together
    last        INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    outcome     INTEGER NOT NULL,              -- 1 is being started, 2 started, 3 skipped
    job         TEXT,
    reason      TEXT    NOT NULL
) STRICT;
CREATE INDEX schedule_run_of ON schedule_run (schedule_id, id);
CREATE INDEX schedule_run_starting ON schedule_run (id) WHERE outcome = 1;
-- No occurrence begins twice.
CREATE UNIQUE INDEX schedule_run_once ON schedule_run (schedule_id, occurrence) WHERE outcome < 3;
