-- Files of devices that the engine keeps: backups and exports. Times are milliseconds since the Unix epoch.

CREATE TABLE kept_file (
    id           INTEGER PRIMARY KEY,
    device_id    INTEGER NOT NULL,
    device_name  TEXT    NOT NULL,             -- they outlive the device
    kind         INTEGER NOT NULL,             -- muster.v1.KeptKind
    at           INTEGER NOT NULL,
    execution_id INTEGER NOT NULL,
    job          TEXT    NOT NULL,             -- its uuid, which may be deleted before this is
    version      TEXT    NOT NULL,             -- of RouterOS; empty when it is not known
    size         INTEGER NOT NULL,             -- bytes
    digest       BLOB    NOT NULL              -- SHA-256 of the bytes as the device gave them, exports normalised
) STRICT;
-- A report that is told again adds nothing.
CREATE UNIQUE INDEX kept_file_once ON kept_file (execution_id, kind, digest);
CREATE INDEX kept_file_device ON kept_file (device_id, kind, at);
CREATE INDEX kept_file_name ON kept_file (device_name, id);
CREATE INDEX kept_file_digest ON kept_file (digest);

-- Their bytes, once however many name them: compressed and sealed, because a backup holds a device's secrets.
CREATE TABLE kept_bytes (
    digest BLOB PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;
