-- Roll-ups: sums of `records`, written in the same transaction as the records and rebuilt by `farthing ledger check
-- --repair`. STRICT, so that a sum that no longer fits into an integer is refused and never becomes a float.

-- What the histogram of costs is kept by.
CREATE TABLE cost_groups (
    id INTEGER PRIMARY KEY,
    feature TEXT NOT NULL,
    tier TEXT NOT NULL,
    model_served TEXT NOT NULL,
    UNIQUE (feature, tier, model_served)
) STRICT;

-- What the sums are kept by: each combination of values that any record had. Rows are never removed: open ledgers
-- remember their ids.
CREATE TABLE rollup_keys (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    task TEXT NOT NULL,
    environment TEXT NOT NULL,
    team TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    outcome TEXT NOT NULL,
    model_served TEXT NOT NULL,
    provider TEXT NOT NULL,
    tier TEXT NOT NULL,
    cache TEXT NOT NULL,
    cost_group INTEGER NOT NULL,
    UNIQUE (tenant, key_id, feature, task, environment, team, endpoint, outcome, model_served, provider, tier, cache)
) STRICT;

-- id = UTC hours since 1970 << 32 | rollup_keys.id: one integer to look up, and neighbours in time lie together.
CREATE TABLE rollup_hours (
    id INTEGER PRIMARY KEY,
    requests INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    avoided_cache INTEGER NOT NULL,
    avoided_routing INTEGER NOT NULL,
    input_uncached INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    input_audio INTEGER NOT NULL,
    output_audio INTEGER NOT NULL,
    input_image INTEGER NOT NULL
) STRICT;

-- id = UTC days since 1970 << 32 | rollup_keys.id: what long periods are read from. Has the days before `days_until`
-- (meta): a day is summed up from its hours when it is over, what comes later for it is written here too.
CREATE TABLE rollup_days (
    id INTEGER PRIMARY KEY,
    requests INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    avoided_cache INTEGER NOT NULL,
    avoided_routing INTEGER NOT NULL,
    input_uncached INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    input_audio INTEGER NOT NULL,
    output_audio INTEGER NOT NULL,
    input_image INTEGER NOT NULL
) STRICT;

-- How many inferences cost about so much. id = UTC days since 1970 << 42 | cost_groups.id << 10 | bucket.
CREATE TABLE cost_histogram (id INTEGER PRIMARY KEY, requests INTEGER NOT NULL) STRICT;

-- The first day whose records are older than this table; the next opening begins there.
INSERT INTO meta SELECT 'rollups_pending', min(received_ns) / 86400000000000 FROM records HAVING count(*) > 0;
