-- Jobs that take back what others have done.

-- 1 for a device that the other job harmed already: it is counted there.
ALTER TABLE execution ADD COLUMN exempt INTEGER NOT NULL DEFAULT 0;
-- Who wants what a job has changed taken back once it is aborted; null for nobody.
ALTER TABLE job ADD COLUMN revert_by TEXT;
