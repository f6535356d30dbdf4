-- Waves, and the hard budget of what a job may harm. Times are milliseconds since the Unix epoch.

-- What was asked for ("10", "2%", "all"; null in jobs of versions before) and what it came to: null for no limit.
ALTER TABLE job ADD COLUMN budget_asked TEXT;
ALTER TABLE job ADD COLUMN budget INTEGER;
-- By how much a unit of the budget that comes free puts off the job's end, if others waited for it; null for not at all.
ALTER TABLE job ADD COLUMN stretch_ms INTEGER;
-- Executions of waves up to this one may be handed out.
ALTER TABLE job ADD COLUMN open_wave INTEGER NOT NULL DEFAULT 0;
-- The state it goes to when it is laid out.
ALTER TABLE job ADD COLUMN start_state INTEGER NOT NULL DEFAULT 4;
-- The rule that stopped it, and its evidence.
ALTER TABLE job ADD COLUMN halted_rule TEXT;
ALTER TABLE job ADD COLUMN halted_at INTEGER;
ALTER TABLE job ADD COLUMN halted_detail TEXT;

ALTER TABLE execution ADD COLUMN wave INTEGER NOT NULL DEFAULT 0;

-- One after the other, so that waiting executions cost the same in one wave and in many.
DROP INDEX execution_ready;
CREATE INDEX execution_ready ON execution (job_id, wave, ready_at) WHERE state = 1 AND open_intent IS NULL;

-- Those that hold a unit of a budget and wait to be handed out again. There are few.
CREATE INDEX execution_touched ON execution (job_id, ready_at)
    WHERE state = 1 AND touched = 1 AND open_intent IS NULL;

-- Every job has wave 0.
CREATE TABLE wave (
    job_id    INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    total     INTEGER NOT NULL,                -- executions
    budget    INTEGER,                         -- its own; null for the job's alone
    opened_at INTEGER,
    ended_at  INTEGER,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO wave (job_id, number, total, opened_at, ended_at) SELECT id, 0, total, created_at, finished_at FROM job;

-- Executions of a wave by what rules and budgets count. Changed by deltas, in the commit that moves the executions.
CREATE TABLE budget_count (
    job_id    INTEGER NOT NULL,
    wave      INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,                -- touched and not over
    harmed    INTEGER NOT NULL,                -- broken, lost, unknown
    rescued   INTEGER NOT NULL,                -- reverted
    refused   INTEGER NOT NULL,                -- touched, failed
    benign    INTEGER NOT NULL,                -- untouched, failed or rejected
    unreached INTEGER NOT NULL,                -- expired
    good      INTEGER NOT NULL,                -- succeeded, unchanged
    touched   INTEGER NOT NULL,                -- touched, over
    ended     INTEGER NOT NULL,                -- over
    PRIMARY KEY (job_id, wave)
) STRICT, WITHOUT ROWID;
INSERT INTO budget_count
    SELECT job_id, 0, sum(touched AND state < 10), sum(state IN (18, 19, 20)), sum(state = 17),
           sum(touched AND state = 16), sum((NOT touched AND state = 16) OR state = 13), sum(state = 15),
           sum(state IN (10, 11)), sum(touched AND state >= 10), sum(state >= 10)
    FROM execution WHERE job_id <> 0 GROUP BY job_id;
