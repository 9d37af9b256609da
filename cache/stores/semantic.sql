-- AUTOINCREMENT: an id is never given twice, so a process that has read up to an id finds all newer rows above it.
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope BLOB NOT NULL,
    prompt TEXT NOT NULL,
    vector BLOB NOT NULL,
    answer BLOB NOT NULL,
    expires_ns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_scope ON entries (scope, id);
CREATE INDEX IF NOT EXISTS entries_by_expiry ON entries (expires_ns);
