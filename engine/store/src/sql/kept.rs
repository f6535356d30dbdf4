//! Backups and exports of devices.

statements! {
    KEPT_ADD = "
        INSERT INTO kept_file (device_id, device_name, kind, at, execution_id, job, version, size, digest)
        SELECT e.device_id, e.device_name, ?2, ?3, e.id, j.uuid, ?4, ?5, ?6
        FROM execution e JOIN job j ON j.id = e.job_id WHERE e.id = ?1
        ON CONFLICT DO NOTHING
        RETURNING device_id";
    KEPT_BYTES_ADD = "INSERT INTO kept_bytes (digest, sealed) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    // Those of a device and kind beyond the newest so many.
    KEPT_OLD = "
        DELETE FROM kept_file WHERE id IN (
            SELECT id FROM kept_file WHERE device_id = ?1 AND kind = ?2 ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?3)
        RETURNING digest";
    KEPT_BYTES_UNUSED = "
        DELETE FROM kept_bytes
        WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM kept_file f WHERE f.digest = kept_bytes.digest)";
    KEPT_LIST = "
        SELECT id, device_name, kind, at, job, version, size, digest FROM kept_file
        WHERE device_name = ?1 AND id < ?2 AND (?3 = 0 OR kind = ?3) ORDER BY id DESC LIMIT ?4";
    KEPT_GET = "
        SELECT id, device_name, kind, at, job, version, size, digest FROM kept_file WHERE id = ?1";
    KEPT_BYTES = "SELECT sealed FROM kept_bytes WHERE digest = ?1";
    // Of each of these devices the newest backup and the newest export.
    KEPT_LAST = "
        SELECT f.device_id, f.id, f.device_name, f.kind, f.at, f.job, f.version, f.size, f.digest
        FROM kept_file f
        WHERE f.id IN (SELECT max(k.id) FROM kept_file k WHERE k.device_id IN (SELECT value FROM json_each(?1))
                       GROUP BY k.device_id, k.kind)
        ORDER BY f.id";
    KEPT_NEWEST = "
        SELECT w.value, (SELECT max(at) FROM kept_file f WHERE f.device_id = w.value AND f.kind = ?2)
        FROM json_each(?1) w";
}
