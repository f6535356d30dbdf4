-- Previews, and jobs that are done only on devices as a preview found them.

-- 0: does its plan. 1: a preview, only looks. 2: does it where a device is as previewed. 3: that, and where the preview did
-- not look.
ALTER TABLE job ADD COLUMN mode INTEGER NOT NULL DEFAULT 0;
-- The preview's number.
ALTER TABLE job ADD COLUMN previewed INTEGER;

-- SHA-256 of what a device has in the menus of a plan: found by a preview, or expected by a job after one.
ALTER TABLE execution ADD COLUMN fingerprint BLOB;
