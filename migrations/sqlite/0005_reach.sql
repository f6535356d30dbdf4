-- How devices are reached: TLS, REST and auto, and what they are known by.

ALTER TABLE device ADD COLUMN tls TEXT;                      -- as given: system, roots, pin, first-use, insecure
ALTER TABLE device ADD COLUMN pin TEXT;                      -- SHA-256 of the certificate or key, hex
ALTER TABLE device ADD COLUMN ports TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN asked_by TEXT NOT NULL DEFAULT '';   -- who imported it so; asked for first use
ALTER TABLE device ADD COLUMN pinned_by TEXT;
ALTER TABLE device ADD COLUMN pinned_at INTEGER;
ALTER TABLE device ADD COLUMN offered_certificate TEXT;      -- presented and not taken
ALTER TABLE device ADD COLUMN offered_key TEXT;
ALTER TABLE device ADD COLUMN offered_at INTEGER;
ALTER TABLE device ADD COLUMN worked TEXT;                   -- what auto found
ALTER TABLE device ADD COLUMN worked_at INTEGER;
ALTER TABLE device ADD COLUMN serial TEXT;                   -- what it is known by
ALTER TABLE device ADD COLUMN offered_serial TEXT;           -- what it says now, when that is another
ALTER TABLE device ADD COLUMN offered_serial_at INTEGER;
