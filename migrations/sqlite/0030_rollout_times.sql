-- Deadlines of rollouts.

-- Since when a device that was changed could not be reached. Null: it could, or it was not changed.
ALTER TABLE execution ADD COLUMN silent_since INTEGER;
-- What the steps of the plan may take beyond the deadlines of their commands, together; and the way back from the last one.
-- Milliseconds.
ALTER TABLE rollout ADD COLUMN lasts_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout ADD COLUMN back_ms INTEGER NOT NULL DEFAULT 0;

-- Of a job over outcomes of another one: that one's wave, from 0. Null: all of its waves.
ALTER TABLE job ADD COLUMN retry_wave INTEGER;
