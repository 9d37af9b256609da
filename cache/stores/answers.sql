CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY,
    scope BLOB NOT NULL,
    value BLOB NOT NULL,
    expires_ns INTEGER NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_expiry ON answers (expires_ns);

-- Bytes in use, kept by triggers: several processes share the file and none may sum the table.
CREATE TABLE IF NOT EXISTS used (bytes INTEGER NOT NULL);
INSERT INTO used SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM used);
CREATE TRIGGER IF NOT EXISTS answers_added AFTER INSERT ON answers
    BEGIN UPDATE used SET bytes = bytes + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS answers_changed AFTER UPDATE OF size ON answers
    BEGIN UPDATE used SET bytes = bytes + NEW.size - OLD.size; END;
CREATE TRIGGER IF NOT EXISTS answers_removed AFTER DELETE ON answers
    BEGIN UPDATE used SET bytes = bytes - OLD.size; END;

-- What was purged: a number for each tenant|feature|tag (cache/epochs.py).
CREATE TABLE IF NOT EXISTS epochs (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS epochs_by_number ON epochs (number);
