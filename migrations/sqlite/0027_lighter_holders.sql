-- Who has a device's connection is written with every claim of a device that somebody else had, or nobody: so it has neither
-- an index beside it nor a reference to look up. Rows of devices are removed with them.

CREATE TABLE holder (
    device_id INTEGER PRIMARY KEY,
    worker    INTEGER NOT NULL
) STRICT;
INSERT INTO holder (device_id, worker) SELECT device_id, worker FROM device_holder ORDER BY device_id;
DROP TABLE device_holder;
ALTER TABLE holder RENAME TO device_holder;
