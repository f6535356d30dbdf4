-- Deleting what is over, in small steps, and giving the space back.

-- Jobs by when they ended, for deleting the oldest; plans by the jobs that use them.
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_plan ON job (plan_digest);

-- Jobs that are deleted: nobody sees them any more, and their rows go in small batches. A job's own row goes last, so
-- that its number is not given to another while rows of it are left.
CREATE TABLE job_removed (
    job_id INTEGER PRIMARY KEY
) STRICT;

-- Request ids that outlive their job, so that a repeated call does not do its work again.
CREATE TABLE request_kept (
    request_id   TEXT    PRIMARY KEY,
    request_hash BLOB    NOT NULL,
    uuid         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

-- Answers that several steps name: how many steps beyond the first. An answer of one step has no row here, so that
-- answers that are all different cost nothing.
CREATE TABLE blob_share (
    digest BLOB    PRIMARY KEY,
    more   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO blob_share (digest, more)
    SELECT digest, count(*) - 1 FROM step_result GROUP BY digest HAVING count(*) > 1;
DELETE FROM blob WHERE digest NOT IN (SELECT digest FROM step_result);
