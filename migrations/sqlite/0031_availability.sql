-- Availability: of devices with the same value of a label, so many may be out of service at once.

-- {label: amount}. Null: no such limit.
ALTER TABLE job ADD COLUMN availability TEXT;
CREATE INDEX job_availability ON job (id) WHERE availability IS NOT NULL AND state < 20;

-- Whether a device answered when it was last asked, as far as that was noted: only while a job has such limits.
CREATE TABLE device_contact (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    up        INTEGER NOT NULL
) STRICT;
