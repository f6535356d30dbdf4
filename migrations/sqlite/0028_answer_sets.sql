-- What all steps of an audit answered on a device, by content: most devices say today what they said yesterday, and one
-- number in the execution says so then.

-- An answer_set; null: the answers are in step_result.
ALTER TABLE execution ADD COLUMN answers INTEGER;

CREATE TABLE answer_set (
    id     INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL UNIQUE,            -- SHA-256 of the digests of its answers, one after the other
    uses   INTEGER NOT NULL                    -- executions that name it
) STRICT;

CREATE TABLE set_step (
    set_id INTEGER NOT NULL,
    step   INTEGER NOT NULL,
    digest BLOB    NOT NULL,                   -- of a blob
    PRIMARY KEY (set_id, step)
) STRICT, WITHOUT ROWID;
