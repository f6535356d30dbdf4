-- Limits that are changed while everything runs.

-- What is not here is as muster comes. Names and scopes are those of muster_model::limit.
CREATE TABLE limit_rule (
    name  TEXT    NOT NULL,
    scope TEXT    NOT NULL,                    -- empty, a zone, key=value or key=*
    value INTEGER NOT NULL,
    PRIMARY KEY (name, scope)
) STRICT, WITHOUT ROWID;
