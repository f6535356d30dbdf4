-- The way back: what was there before a step changed it, and what is armed on the device while it does.

-- The first step that was granted a change. Null for executions of versions before, which may have changed any.
ALTER TABLE execution ADD COLUMN touched_from INTEGER;

CREATE TABLE pre_state (
    execution_id INTEGER NOT NULL,
    step         INTEGER NOT NULL,
    pre          BLOB    NOT NULL,             -- the differences, in wire format, LZ4 with a length in front; empty for none
    facts        TEXT    NOT NULL,             -- what the device said before the first step; empty where nobody asked
    guard        INTEGER NOT NULL,             -- muster.v1.Guard
    guard_ms     INTEGER NOT NULL,             -- how long it may take to act, from the grant
    PRIMARY KEY (execution_id, step)
) STRICT, WITHOUT ROWID;
