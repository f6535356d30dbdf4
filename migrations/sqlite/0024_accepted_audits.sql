-- Runs that were accepted as the baseline: when, Unix milliseconds, and by whom. The newest of a name counts.

ALTER TABLE audit_run ADD COLUMN accepted_at INTEGER;
ALTER TABLE audit_run ADD COLUMN accepted_by TEXT;
CREATE INDEX audit_run_accepted ON audit_run (name, accepted_at) WHERE accepted_at IS NOT NULL;
