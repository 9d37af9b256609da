-- See the migration of SQLite with this number.
ALTER TABLE records ADD COLUMN extras TEXT COLLATE "C" NOT NULL DEFAULT '[]';

ALTER TABLE adjustments ADD COLUMN extras TEXT COLLATE "C" NOT NULL DEFAULT '[]';
