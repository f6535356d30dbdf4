-- What a worker wants to know again when it, or another, goes on after an intent.
ALTER TABLE execution ADD COLUMN memo BLOB;
-- How long the longest step of the plan may take beyond the deadline of a command, milliseconds.
ALTER TABLE job ADD COLUMN linger_ms INTEGER NOT NULL DEFAULT 0;
