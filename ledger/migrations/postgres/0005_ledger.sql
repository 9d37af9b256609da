-- The ledger on PostgreSQL as of schema 5; what the tables mean is said in the migrations of SQLite, which have the same
-- numbers. Money is integer nano-dollars, times are wall nanoseconds (UTC) or seconds where the name says so.

-- What the statements call by SQLite's names, for the forms in which they call it.
CREATE FUNCTION strftime(form TEXT, seconds BIGINT, unit TEXT) RETURNS TEXT LANGUAGE SQL IMMUTABLE PARALLEL SAFE
AS $$ SELECT to_char(to_timestamp(seconds) AT TIME ZONE 'UTC', 'YYYY-MM-DD') $$;

CREATE FUNCTION julianday(moment TEXT) RETURNS DOUBLE PRECISION LANGUAGE SQL STABLE PARALLEL SAFE
AS $$ SELECT extract(epoch FROM moment::TIMESTAMPTZ)::DOUBLE PRECISION / 86400 $$;

-- ledger.rollups.bucket_of: below 32 a bucket for each cost, above 16 for each doubling.
CREATE FUNCTION cost_bucket(cost BIGINT) RETURNS BIGINT LANGUAGE SQL IMMUTABLE PARALLEL SAFE AS $$
SELECT shift * 16 + (cost >> shift::INTEGER)
FROM (SELECT greatest(length(ltrim(cost::BIT(64)::TEXT, '0')) - 5, 0)::BIGINT AS shift) AS sized
$$;

CREATE TABLE records (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    task TEXT NOT NULL,
    run TEXT NOT NULL,
    environment TEXT NOT NULL,
    team TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    stream BIGINT NOT NULL,
    received_ns BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    status BIGINT NOT NULL,
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
    input_uncached BIGINT NOT NULL,
    cache_read BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    input_audio BIGINT NOT NULL,
    output_audio BIGINT NOT NULL,
    input_image BIGINT NOT NULL,
    usage_source TEXT NOT NULL,
    cost BIGINT NOT NULL,
    avoided_cache BIGINT NOT NULL,
    avoided_routing BIGINT NOT NULL,
    rates TEXT NOT NULL,
    price_version TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    first_byte_seconds DOUBLE PRECISION,
    error_code TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    attempts TEXT NOT NULL,
    service_tier TEXT NOT NULL DEFAULT '',
    stated_cost BIGINT,
    refused_by TEXT NOT NULL DEFAULT ''
);

CREATE INDEX records_received ON records (received_ns, rowid);

CREATE INDEX records_run ON records (run) WHERE run <> '';

CREATE TABLE holds (
    id TEXT NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL,
    amount BIGINT NOT NULL,
    accounts TEXT NOT NULL,
    expires_ns BIGINT NOT NULL,
    draft TEXT NOT NULL
);

-- Free space in each page, so that a balance that changes in every transaction stays where it is.
CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    budget_window TEXT NOT NULL,
    cap BIGINT NOT NULL,
    resets_at TEXT,
    spent BIGINT NOT NULL DEFAULT 0,
    held BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Processes that may hold money: when they last said that they live, and since when they have said so without a gap.
-- All by this server's clock.
CREATE TABLE instances (
    name TEXT NOT NULL PRIMARY KEY,
    since TIMESTAMPTZ NOT NULL,
    seen TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE cost_groups (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feature TEXT NOT NULL,
    tier TEXT NOT NULL,
    model_served TEXT NOT NULL,
    UNIQUE (feature, tier, model_served)
);

CREATE TABLE rollup_keys (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    cost_group BIGINT NOT NULL,
    UNIQUE (tenant, key_id, feature, task, environment, team, endpoint, outcome, model_served, provider, tier, cache)
);

CREATE TABLE rollup_hours (
    id BIGINT PRIMARY KEY,
    requests BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    avoided_cache BIGINT NOT NULL,
    avoided_routing BIGINT NOT NULL,
    input_uncached BIGINT NOT NULL,
    cache_read BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    input_audio BIGINT NOT NULL,
    output_audio BIGINT NOT NULL,
    input_image BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE rollup_days (LIKE rollup_hours INCLUDING INDEXES);

CREATE TABLE cost_histogram (id BIGINT PRIMARY KEY, requests BIGINT NOT NULL) WITH (fillfactor = 50);

CREATE TABLE charges (
    record_id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_ns BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    price_version TEXT NOT NULL,
    booked_ns BIGINT NOT NULL,
    booked_by TEXT NOT NULL,
    UNIQUE (tenant, source, event_id)
);

CREATE TABLE adjustments (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record_id TEXT NOT NULL,
    received_ns BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    task TEXT NOT NULL,
    run TEXT NOT NULL,
    environment TEXT NOT NULL,
    team TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    outcome TEXT NOT NULL,
    model_served TEXT NOT NULL,
    provider TEXT NOT NULL,
    tier TEXT NOT NULL,
    cache TEXT NOT NULL,
    old_cost BIGINT NOT NULL,
    new_cost BIGINT NOT NULL,
    delta BIGINT NOT NULL,
    rates TEXT NOT NULL,
    price_version TEXT NOT NULL,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    created_ns BIGINT NOT NULL,
    CHECK (delta = new_cost - old_cost)
);

CREATE INDEX adjustments_received ON adjustments (received_ns);

CREATE INDEX adjustments_record ON adjustments (record_id);

CREATE TABLE adjusted_hours (id BIGINT PRIMARY KEY, delta BIGINT NOT NULL);

CREATE TABLE adjusted_days (id BIGINT PRIMARY KEY, delta BIGINT NOT NULL);

CREATE TABLE raises (
    id TEXT NOT NULL PRIMARY KEY,
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    amount BIGINT NOT NULL,
    made_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    ended_ns BIGINT,
    author TEXT NOT NULL,
    reason TEXT NOT NULL
);

CREATE TABLE runs (
    tenant TEXT NOT NULL,
    run TEXT NOT NULL,
    cap BIGINT,
    feature TEXT NOT NULL DEFAULT '',
    author TEXT NOT NULL DEFAULT '',
    opened_ns BIGINT,
    until_ns BIGINT,
    closed_ns BIGINT,
    refused BIGINT,
    PRIMARY KEY (tenant, run)
);

CREATE TABLE notices (
    account TEXT NOT NULL,
    threshold TEXT NOT NULL,
    told_ns BIGINT NOT NULL,
    PRIMARY KEY (account, threshold)
);

INSERT INTO meta (name, value) VALUES ('amendments', '1');
