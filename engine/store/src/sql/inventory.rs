//! Credentials, devices, quarantine.

statements! {
    // Credentials
    CREDENTIAL_SET = "
        INSERT INTO credential (name, username, sealed, version, updated_at) VALUES (?1, ?2, ?3, 1, ?4)
        ON CONFLICT (name) DO UPDATE SET username = excluded.username, sealed = excluded.sealed,
            version = version + 1, updated_at = excluded.updated_at";
    CREDENTIAL_USERS = "SELECT count(*) FROM device WHERE credential = ?1";
    CREDENTIAL_REMOVE = "DELETE FROM credential WHERE name = ?1";
    CREDENTIAL_LIST = "
        SELECT c.name, c.username, c.sealed, c.version, c.updated_at,
               (SELECT count(*) FROM device d WHERE d.credential = c.name)
        FROM credential c ORDER BY c.name";
    CREDENTIAL_GET = "
        SELECT c.name, c.username, c.sealed, c.version, c.updated_at, 0 FROM credential c WHERE c.name = ?1";
    CREDENTIAL_NAMES = "SELECT name FROM credential";

    // Devices
    DEVICE_EXISTING = device!("WHERE d.name IN (SELECT value FROM json_each(?1))");
    DEVICES_BY_NUMBER = device!("WHERE d.id IN (SELECT value FROM json_each(?1))");
    DEVICE_GET = device!("WHERE d.name = ?1");
    DEVICE_UPSERT = "
        INSERT INTO device (name, address, port, transport, credential, zone, labels, created_at, tls, pin, ports,
                            asked_by, in_flight)
        SELECT value ->> 'name', value ->> 'address', value ->> 'port', value ->> 'transport',
               value ->> 'credential', value ->> 'zone', value -> 'labels', ?2, value ->> 'tls', value ->> 'pin',
               value ->> 'ports', ?3, value ->> 'in_flight'
        FROM json_each(?1) WHERE true
        ON CONFLICT (name) DO UPDATE SET address = excluded.address, port = excluded.port,
            transport = excluded.transport, credential = excluded.credential, zone = excluded.zone,
            labels = excluded.labels, tls = excluded.tls, pin = excluded.pin, ports = excluded.ports,
            asked_by = excluded.asked_by, in_flight = excluded.in_flight, worked = NULL, worked_at = NULL,
            pinned_by = CASE WHEN pin IS excluded.pin THEN pinned_by END,
            pinned_at = CASE WHEN pin IS excluded.pin THEN pinned_at END";
    LABELS_CLEAR = "
        DELETE FROM device_label WHERE device_id IN (
            SELECT id FROM device WHERE name IN (SELECT value FROM json_each(?1)))";
    LABELS_FILL = "
        INSERT INTO device_label (device_id, key, value)
        SELECT d.id, l.key, l.value FROM device d, json_each(d.labels) l
        WHERE d.name IN (SELECT value FROM json_each(?1))";
    LABELS_SET = "
        UPDATE device SET labels = n.labels
        FROM (SELECT value ->> 'name' AS name, value -> 'labels' AS labels FROM json_each(?1)) AS n
        WHERE device.name = n.name";
    DEVICE_BUSY = "
        SELECT e.device_name, j.uuid FROM execution e JOIN job j ON j.id = e.job_id
        JOIN device d ON d.id = e.device_id
        WHERE j.state < 20 AND e.state < 10 AND d.name IN (SELECT value FROM json_each(?1)) LIMIT 1";
    HOLDERS_FORGET = "
        DELETE FROM device_holder
        WHERE device_id IN (SELECT d.id FROM json_each(?1) w JOIN device d ON d.name = w.value)";
    DEVICE_REMOVE = "DELETE FROM device WHERE name IN (SELECT value FROM json_each(?1))";
    DEVICE_FACTS = "
        UPDATE device SET version = n.version, board = n.board, architecture = n.architecture,
            identity = n.identity, facts_at = ?2,
            serial = coalesce(device.serial, nullif(n.serial, '')),
            offered_serial = CASE WHEN n.serial = '' THEN offered_serial
                                  WHEN n.serial <> device.serial THEN n.serial END,
            offered_serial_at = CASE WHEN n.serial = '' THEN offered_serial_at
                                     WHEN n.serial <> device.serial THEN ?2 END
        FROM (SELECT value ->> 'id' AS id, value ->> 'version' AS version, value ->> 'board' AS board,
                     value ->> 'architecture' AS architecture, value ->> 'identity' AS identity,
                     value ->> 'serial' AS serial
              FROM json_each(?1)) AS n
        WHERE device.id = n.id";
    DEVICE_AT_FIRST_USE = "
        SELECT d.id, d.name, d.asked_by, value ->> 'certificate' FROM json_each(?1) JOIN device d ON d.id = value ->> 'id'
        WHERE value ->> 'reached' AND value ->> 'certificate' <> '' AND d.tls = 'first-use' AND d.pin IS NULL";
    DEVICE_PIN = "
        UPDATE device SET pin = ?2, pinned_by = ?3, pinned_at = ?4, offered_certificate = NULL, offered_key = NULL,
            offered_at = NULL, tls = CASE WHEN tls IN ('system', 'roots', 'insecure') THEN 'pin' ELSE tls END
        WHERE id = ?1";
    DEVICE_SERIAL = "
        UPDATE device SET serial = ?2, offered_serial = NULL, offered_serial_at = NULL WHERE id = ?1";
    DEVICE_CONTACTS = "
        UPDATE device SET
            worked = CASE WHEN n.worked <> '' THEN n.worked WHEN n.reached OR n.certificate <> '' THEN device.worked END,
            worked_at = CASE WHEN n.worked <> '' THEN ?2 WHEN n.reached OR n.certificate <> '' THEN worked_at END,
            offered_certificate = CASE WHEN n.certificate = '' THEN offered_certificate
                                       WHEN NOT n.reached THEN n.certificate END,
            offered_key = CASE WHEN n.certificate = '' THEN offered_key WHEN NOT n.reached THEN n.key END,
            offered_at = CASE WHEN n.certificate = '' THEN offered_at WHEN NOT n.reached THEN ?2 END
        FROM (SELECT value ->> 'id' AS id, value ->> 'worked' AS worked, value ->> 'certificate' AS certificate,
                     value ->> 'key' AS key, value ->> 'reached' AS reached FROM json_each(?1)) AS n
        WHERE device.id = n.id";

    // Quarantine
    HARM_STORE = "
        INSERT INTO harm (device_id, at, execution_id) SELECT value ->> 0, ?2, value ->> 1 FROM json_each(?1)
        WHERE (value ->> 0) IN (SELECT id FROM device) ON CONFLICT DO NOTHING";
    QUARANTINED_AMONG = "
        SELECT h.device_id FROM json_each(?1) w JOIN harm h ON h.device_id = w.value AND h.at > ?2
        GROUP BY h.device_id HAVING count(DISTINCT h.execution_id) >= ?3";
    QUARANTINED = "
        SELECT h.device_id FROM harm h WHERE h.at > ?1
        GROUP BY h.device_id HAVING count(DISTINCT h.execution_id) >= ?2";
    QUARANTINED_NAMES = "
        SELECT d.name FROM harm h JOIN device d ON d.id = h.device_id WHERE h.at > ?1
        GROUP BY h.device_id HAVING count(DISTINCT h.execution_id) >= ?2 ORDER BY d.name";
    HARM_FORGET = "
        DELETE FROM harm WHERE device_id IN (
            SELECT id FROM device WHERE name IN (SELECT value FROM json_each(?1)))";
}
