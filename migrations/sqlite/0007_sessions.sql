-- Limits that are changed while everything runs, and jobs that begin slowly.

-- What is not here is as muster comes. Names and scopes are those of muster_model::limit.
CREATE TABLE limit_rule (
    name  TEXT    NOT NULL,
    scope TEXT    NOT NULL,                    -- empty, a zone, key=value or key=*
    value INTEGER NOT NULL,
    PRIMARY KEY (name, scope)
) STRICT, WITHOUT ROWID;

-- Jobs whose concurrency grows while they go well (D2). job.concurrency is what it is now.
CREATE TABLE job_ramp (
    job_id      INTEGER PRIMARY KEY,
    most        INTEGER NOT NULL,              -- it grows no further
    percent     INTEGER NOT NULL,              -- what it becomes after each clean interval, 200 for twice as much
    interval_ms INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,              -- Unix milliseconds
    bad         INTEGER NOT NULL DEFAULT 0     -- executions that had not ended well at the last look
) STRICT;
