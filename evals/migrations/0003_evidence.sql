-- What a verdict rests on beside its score, and every answer that was graded: an answer is paid for once.
-- Money in nano-dollars, times in wall ns.
ALTER TABLE scorecards ADD COLUMN margin REAL;
ALTER TABLE scorecards ADD COLUMN reference TEXT NOT NULL DEFAULT '';
ALTER TABLE scorecards ADD COLUMN difference REAL;
ALTER TABLE scorecards ADD COLUMN e_value REAL NOT NULL DEFAULT 0;
ALTER TABLE scorecards ADD COLUMN e_needed REAL NOT NULL DEFAULT 0;
ALTER TABLE scorecards ADD COLUMN prompt_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE scorecards ADD COLUMN grader TEXT NOT NULL DEFAULT '';
ALTER TABLE scorecards ADD COLUMN fingerprints TEXT NOT NULL DEFAULT '[]';
ALTER TABLE scorecards ADD COLUMN rule TEXT NOT NULL DEFAULT '';
UPDATE scorecards SET rule = coalesce((SELECT rule FROM runs WHERE runs.run_id = scorecards.run_id), '');

ALTER TABLE items ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE items ADD COLUMN made_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN flaw TEXT NOT NULL DEFAULT '';

-- Rows are added and never changed, so that within one test the answer to a question stays the first one.
CREATE TABLE cells (
    request_key    TEXT NOT NULL,
    grade_key      TEXT NOT NULL,
    made_ns        INTEGER NOT NULL,
    generation_key TEXT NOT NULL,
    run_id         TEXT NOT NULL,
    tier           TEXT NOT NULL,
    item_hash      TEXT NOT NULL,
    score          REAL NOT NULL,
    reason         TEXT NOT NULL,
    model          TEXT NOT NULL,
    fingerprint    TEXT NOT NULL,
    cost_nano      INTEGER NOT NULL,
    seconds        REAL NOT NULL,
    finish_reason  TEXT NOT NULL,
    cache          TEXT NOT NULL,
    output_sha256  TEXT NOT NULL,
    output         TEXT,
    tool_calls     TEXT,
    flaw           TEXT NOT NULL,
    PRIMARY KEY (request_key, grade_key, made_ns)
) STRICT, WITHOUT ROWID;

CREATE INDEX cells_by_time ON cells (made_ns);

-- From when on answers count for a test: one that has ended is not drawn again until it is too old.
CREATE TABLE tests (
    test_key TEXT PRIMARY KEY,
    task     TEXT NOT NULL,
    tier     TEXT NOT NULL,
    suite    TEXT NOT NULL,
    since_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What judges have shown, by the key of all that it hangs on.
CREATE TABLE judges (
    standing_key TEXT NOT NULL,
    made_ns      INTEGER NOT NULL,
    agreed       INTEGER NOT NULL,
    total        INTEGER NOT NULL,
    fooled       TEXT NOT NULL,
    cost_nano    INTEGER NOT NULL,
    PRIMARY KEY (standing_key, made_ns)
) STRICT, WITHOUT ROWID;
