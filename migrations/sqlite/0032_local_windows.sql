-- Windows in the zone of each device, which a label says: until when something may start in each zone, and when what is in
-- flight there stops. {"label": …, "admit": {zone: Unix ms or null}, "stop": {zone: Unix ms}}. Null: one zone for all.
ALTER TABLE job ADD COLUMN local TEXT;
