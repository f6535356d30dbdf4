-- Rows of the inventory that are one router, for whoever holds it (A10).
CREATE INDEX device_serial ON device (serial) WHERE serial IS NOT NULL;
