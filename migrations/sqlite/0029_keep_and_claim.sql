-- Deleting audits that are over; and claims that look at no row of an execution that is not theirs.

-- Runs that are deleted: their rows go in small batches.
CREATE TABLE audit_gone (
    run_id INTEGER PRIMARY KEY
) STRICT;

-- Findings by when they were closed, for deleting the oldest.
CREATE INDEX finding_closed ON finding (closed_at) WHERE state = 4;

-- Zone and device decide who may have an execution: whoever has not sees no more of it than this.
DROP INDEX execution_ready;
CREATE INDEX execution_ready ON execution (job_id, wave, ready_at, device_id, zone) WHERE state = 1 AND open_intent IS NULL;
