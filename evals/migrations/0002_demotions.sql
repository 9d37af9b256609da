-- Tiers that lost a task, and eval runs that somebody asked for. Times in wall ns.
CREATE TABLE demotions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    task       TEXT NOT NULL,
    tier       TEXT NOT NULL,
    at_ns      INTEGER NOT NULL,
    until_ns   INTEGER NOT NULL,
    cause      TEXT NOT NULL,
    detail     TEXT NOT NULL,
    suite_hash TEXT NOT NULL,
    models     TEXT NOT NULL
) STRICT;

CREATE INDEX demotions_by_task_tier ON demotions (task, tier, at_ns);

CREATE TABLE queue (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    task     TEXT NOT NULL,
    tier     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    asked_ns INTEGER NOT NULL,
    done_ns  INTEGER
) STRICT;

CREATE UNIQUE INDEX queue_of_open ON queue (task, tier) WHERE done_ns IS NULL;
