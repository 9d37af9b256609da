-- See the migration of SQLite with this number.
ALTER TABLE records ADD COLUMN inputs BIGINT NOT NULL DEFAULT 0;

ALTER TABLE records ADD COLUMN inputs_sent BIGINT NOT NULL DEFAULT 0;
