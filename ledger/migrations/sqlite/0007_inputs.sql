-- The texts of an embedding call, and how many of them went upstream (see farthing.record.Record); 0 for other calls and
-- in rows from before.
ALTER TABLE records ADD COLUMN inputs INTEGER NOT NULL DEFAULT 0;

ALTER TABLE records ADD COLUMN inputs_sent INTEGER NOT NULL DEFAULT 0;
