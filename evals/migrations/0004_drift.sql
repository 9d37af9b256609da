-- What live answers showed of a tier for a task since its pass (`basis`); counts and sums only, nothing of any answer.
CREATE TABLE drift (
    task       TEXT NOT NULL,
    tier       TEXT NOT NULL,
    signal     TEXT NOT NULL,
    basis      TEXT NOT NULL,
    graded     INTEGER NOT NULL,
    total      REAL NOT NULL,
    evidence   TEXT NOT NULL,
    wealth     TEXT NOT NULL,
    promise    TEXT NOT NULL,
    alarms     INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL,
    PRIMARY KEY (task, tier, signal)
) STRICT, WITHOUT ROWID;

CREATE TABLE revisions (
    task    TEXT NOT NULL,
    tier    TEXT NOT NULL,
    basis   TEXT NOT NULL,
    text    TEXT NOT NULL,
    seen_ns INTEGER NOT NULL,
    PRIMARY KEY (task, tier, basis, text)
) STRICT, WITHOUT ROWID;
