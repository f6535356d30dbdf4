-- Devices that a job has lost, until they are seen again or somebody takes them off (J4). One row a device, of its last loss.
CREATE TABLE rescue (
    device_id      INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    execution_id   INTEGER NOT NULL,
    job            TEXT    NOT NULL,           -- its uuid, which may be deleted before this is
    at             INTEGER NOT NULL,           -- milliseconds since the Unix epoch
    step           INTEGER NOT NULL,           -- the one that was under way, or else the last that was done
    under_way      INTEGER NOT NULL,
    body           TEXT    NOT NULL,           -- that step, as in the plan
    guard          INTEGER NOT NULL,           -- muster.v1.Guard that was armed for it
    error_class    INTEGER,
    error_message  TEXT,
    error_category INTEGER
) STRICT;
CREATE INDEX rescue_job ON rescue (job);
