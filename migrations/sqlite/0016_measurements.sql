-- What devices measured before they were changed and after, for gates that compare the two.

-- What is measured on each device: a JSON list of facts. Null: nothing.
ALTER TABLE job ADD COLUMN measures TEXT;

CREATE TABLE measurement (
    execution_id INTEGER PRIMARY KEY,
    pre          TEXT,                         -- {fact: number}
    post         TEXT
) STRICT;
