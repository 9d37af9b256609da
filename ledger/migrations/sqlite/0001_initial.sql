-- Money is integer nano-dollars, times are wall nanoseconds (UTC) or seconds where the name says so.

-- One row for every finished request. A rowid table, so that rows are appended in the order of their commits;
-- ids that grow with time (uuid7 and the like) keep the index of the key append-only too.
CREATE TABLE records (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    task TEXT NOT NULL,
    run TEXT NOT NULL,
    environment TEXT NOT NULL,
    team TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    stream INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    model_requested TEXT NOT NULL,
    model_served TEXT NOT NULL,
    provider TEXT NOT NULL,
    deployment TEXT NOT NULL,
    tier TEXT NOT NULL,
    reference_tier TEXT NOT NULL,
    policy TEXT NOT NULL,
    route_reason TEXT NOT NULL,
    task_source TEXT NOT NULL,
    cache TEXT NOT NULL,
    input_uncached INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    input_audio INTEGER NOT NULL,
    output_audio INTEGER NOT NULL,
    input_image INTEGER NOT NULL,
    usage_source TEXT NOT NULL,
    cost INTEGER NOT NULL,
    avoided_cache INTEGER NOT NULL,
    avoided_routing INTEGER NOT NULL,
    rates TEXT NOT NULL,
    price_version TEXT NOT NULL,
    seconds REAL NOT NULL,
    first_byte_seconds REAL,
    error_code TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    attempts TEXT NOT NULL
);

CREATE INDEX records_received ON records (received_ns);

CREATE INDEX records_run ON records (run) WHERE run <> '';

-- Money set aside for calls in flight. `instance` is the process that will settle it, `accounts` a JSON array of
-- account ids, `draft` the row to write if nobody settles (JSON array in the order of the columns of records).
CREATE TABLE holds (
    id TEXT NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL,
    amount INTEGER NOT NULL,
    accounts TEXT NOT NULL,
    expires_ns INTEGER NOT NULL,
    draft TEXT NOT NULL
);

-- One budget in one window for one combination of scope values. The cap that binds is the configuration's;
-- `cap` is the one last used, kept for reports.
CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    budget_window TEXT NOT NULL,
    cap INTEGER NOT NULL,
    resets_at TEXT,
    spent INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
