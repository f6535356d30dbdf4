-- Small answers that nobody else gave stay with their step, whose digest is empty then: an index entry under a digest
-- is a page of its own in every commit, wherever the others are.
ALTER TABLE step_result ADD COLUMN encoding INTEGER;   -- of bytes, as in blob
ALTER TABLE step_result ADD COLUMN bytes BLOB;
