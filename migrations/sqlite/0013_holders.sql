-- The worker that a device's executions went to last: it has the connection. A worker is named by a number made of its
-- process's name.
CREATE TABLE device_holder (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    worker    INTEGER NOT NULL
);
CREATE INDEX device_holder_worker ON device_holder (worker);

-- Commands in flight on one connection to it; null for as many as the limits say.
ALTER TABLE device ADD COLUMN in_flight INTEGER;
