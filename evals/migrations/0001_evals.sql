-- Runs, the outcome of every item, and the cards that policies read.
-- Money in nano-dollars, times in wall ns. Scores stay for each item, so that any other rule can be computed from them.
CREATE TABLE runs (
    run_id         TEXT PRIMARY KEY,
    suite          TEXT NOT NULL,
    suite_hash     TEXT NOT NULL,
    task           TEXT NOT NULL,
    bar            REAL NOT NULL,
    rule           TEXT NOT NULL,
    started_ns     INTEGER NOT NULL,
    decided_ns     INTEGER NOT NULL,
    valid_until_ns INTEGER,
    cost_nano      INTEGER NOT NULL,
    stopped        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    run_id        TEXT NOT NULL REFERENCES runs (run_id),
    tier          TEXT NOT NULL,
    position      INTEGER NOT NULL,
    item_hash     TEXT NOT NULL,
    score         REAL,
    reason        TEXT NOT NULL,
    model         TEXT NOT NULL,
    cost_nano     INTEGER NOT NULL,
    seconds       REAL NOT NULL,
    finish_reason TEXT NOT NULL,
    cache         TEXT NOT NULL,
    output_sha256 TEXT NOT NULL,
    output        TEXT NOT NULL,
    error         TEXT NOT NULL,
    PRIMARY KEY (run_id, tier, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE scorecards (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id         TEXT NOT NULL,
    task           TEXT NOT NULL,
    tier           TEXT NOT NULL,
    role           TEXT NOT NULL,
    verdict        TEXT NOT NULL CHECK (verdict IN ('pass', 'fail', 'undecided')),
    reason         TEXT NOT NULL,
    score          REAL NOT NULL,
    low            REAL NOT NULL,
    high           REAL NOT NULL,
    bar            REAL NOT NULL,
    items          INTEGER NOT NULL,
    planned        INTEGER NOT NULL,
    cost_nano      INTEGER NOT NULL,
    suite          TEXT NOT NULL,
    suite_hash     TEXT NOT NULL,
    models         TEXT NOT NULL,
    decided_ns     INTEGER NOT NULL,
    valid_until_ns INTEGER,
    UNIQUE (run_id, tier)
) STRICT;

CREATE INDEX scorecards_by_task_tier ON scorecards (task, tier, decided_ns);
