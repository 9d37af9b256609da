-- What earlier versions kept had no writer: it would be nobody's to serve.
DROP TABLE IF EXISTS entries;

-- AUTOINCREMENT: an id is never given twice, so a process that has read up to an id finds all newer rows above it.
CREATE TABLE IF NOT EXISTS questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope BLOB NOT NULL,
    prompt TEXT NOT NULL,
    vector BLOB NOT NULL,
    answer BLOB NOT NULL,
    writer TEXT NOT NULL,
    admitted INTEGER NOT NULL DEFAULT 0,
    expires_ns INTEGER NOT NULL
);
-- With all that tells who is alive: the end of a row lies behind its vector and its answer.
CREATE INDEX IF NOT EXISTS questions_alive ON questions (scope, id, expires_ns);
DROP INDEX IF EXISTS questions_by_scope;
CREATE INDEX IF NOT EXISTS questions_by_expiry ON questions (expires_ns);

-- Which snapshot of a scope's vectors was made last: a file that was begun anew or restored knows none, or an older one.
CREATE TABLE IF NOT EXISTS snapshots (
    scope BLOB PRIMARY KEY,
    token BLOB NOT NULL
) WITHOUT ROWID;

-- Graded pairs, by domain (cache/domains.py); evidence is a list in JSON (cache/calibration.py). Every process learns from all of them, in the order of their ids.
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    domain TEXT NOT NULL,
    entry INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    same INTEGER,
    weight REAL NOT NULL,
    served INTEGER NOT NULL,
    would INTEGER NOT NULL,
    kept INTEGER
);
CREATE INDEX IF NOT EXISTS samples_by_domain ON samples (domain, id);

-- What a process had learned up to a sample: a short cut to the same state, never the only copy of a label.
CREATE TABLE IF NOT EXISTS domains (
    domain TEXT PRIMARY KEY,
    feature TEXT NOT NULL,
    state BLOB NOT NULL,
    watermark INTEGER NOT NULL,
    hit_share REAL NOT NULL,
    calibrated INTEGER NOT NULL,
    stopped INTEGER NOT NULL
);

-- Sums by feature: whole numbers and nano-dollars exact, weights (one over the share that was sampled) not.
CREATE TABLE IF NOT EXISTS totals (
    feature TEXT NOT NULL,
    name TEXT NOT NULL,
    value NUMERIC NOT NULL,
    PRIMARY KEY (feature, name)
) WITHOUT ROWID;
