-- Two devices of the inventory may be one router.

CREATE INDEX device_serial ON device (serial) WHERE serial IS NOT NULL;
