-- System prompts that no task claims: their hash, never their text. Times in wall ns.
CREATE TABLE IF NOT EXISTS prompts (
    hash TEXT NOT NULL,
    feature TEXT NOT NULL,
    requests INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    task TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (hash, feature)
) STRICT;
