-- Plans that go on where they were, open intents that are looked after, jobs laid out in parts, pausing, priorities,
-- history, quarantine. Times are milliseconds since the Unix epoch.

ALTER TABLE job ADD COLUMN steps TEXT NOT NULL DEFAULT '';          -- one letter a step: muster_model::Marks
ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 2;     -- muster.v1.JobPriority
ALTER TABLE job ADD COLUMN concurrency INTEGER;                     -- executions with workers at once; null: no limit
ALTER TABLE job ADD COLUMN paused_at INTEGER;
ALTER TABLE job ADD COLUMN retry_of INTEGER;                        -- the job whose outcomes this one tries again
ALTER TABLE job ADD COLUMN retry_states TEXT;                       -- JSON array: which
-- Plans of that version were made of raw commands. A letter for the plan's worst step stands for all of them.
UPDATE job SET steps = substr('rscd', effect, 1);

ALTER TABLE execution ADD COLUMN next_step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execution ADD COLUMN intent_epoch INTEGER;              -- of open_intent
ALTER TABLE execution ADD COLUMN intent_at INTEGER;
ALTER TABLE execution ADD COLUMN resolution INTEGER;                -- 1 done, 0 not done: evidence after the end
ALTER TABLE execution ADD COLUMN resolution_epoch INTEGER;
ALTER TABLE execution ADD COLUMN resolution_at INTEGER;
UPDATE execution SET intent_epoch = epoch, intent_at = coalesce(started_at, 0) WHERE open_intent IS NOT NULL;

DROP INDEX execution_ready;
CREATE INDEX execution_ready ON execution (job_id, ready_at) WHERE state = 1 AND open_intent IS NULL;
-- Open questions, which are asked before anything else is done.
CREATE INDEX execution_resolving ON execution (ready_at) WHERE state = 1 AND open_intent IS NOT NULL;
-- Those that wait for their device to come back.
CREATE INDEX execution_offline ON execution (device_id) WHERE state = 1 AND error_class IS NOT NULL;

-- Executions that ended badly, for quarantine (A12).
CREATE TABLE harm (
    device_id    INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    at           INTEGER NOT NULL,
    execution_id INTEGER NOT NULL,
    PRIMARY KEY (device_id, at, execution_id)
) STRICT, WITHOUT ROWID;

-- What operators did (H4). Append-only: each row's hash covers the row and the hash before it.
CREATE TABLE history (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    claimed_by TEXT    NOT NULL,
    action     TEXT    NOT NULL,               -- for example job.pause
    subject    TEXT    NOT NULL,               -- for example a job's id
    reason     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    hash       BLOB    NOT NULL
) STRICT;
CREATE INDEX history_subject ON history (subject, id);
