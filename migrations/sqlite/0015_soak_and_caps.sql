-- Soaks and label caps of rollouts.

-- How long a device is left alone after it was changed, before it is looked at again. 0: not at all.
ALTER TABLE wave ADD COLUMN soak_ms INTEGER NOT NULL DEFAULT 0;
-- 1 when a wave of it soaks.
ALTER TABLE job ADD COLUMN soaks INTEGER NOT NULL DEFAULT 0;
CREATE INDEX job_soaks ON job (id) WHERE soaks = 1 AND state < 20;
-- Executions with workers at once for each value of a label: {label: executions}. Null: no such limit.
ALTER TABLE job ADD COLUMN caps TEXT;
