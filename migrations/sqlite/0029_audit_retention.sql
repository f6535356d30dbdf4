-- Deleting audits that are over.

-- Runs that are deleted: their rows go in small batches.
CREATE TABLE audit_gone (
    run_id INTEGER PRIMARY KEY
) STRICT;

-- Findings by when they were closed, for deleting the oldest.
CREATE INDEX finding_closed ON finding (closed_at) WHERE state = 4;
