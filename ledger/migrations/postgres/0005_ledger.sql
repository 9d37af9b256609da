-- The ledger on PostgreSQL as of schema 5; what the tables mean is said in the migrations of SQLite, which have the same
-- numbers. Money is integer nano-dollars, times are wall nanoseconds (UTC) or seconds where the name says so. Texts are
-- compared byte by byte, as in SQLite, whatever the database's collation: reports come in the same order.

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

-- SQLite's json_array, for texts.
CREATE FUNCTION json_texts(VARIADIC parts TEXT[] DEFAULT '{}') RETURNS TEXT LANGUAGE SQL STABLE PARALLEL SAFE
AS $$ SELECT array_to_json(parts)::TEXT $$;

CREATE TABLE records (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    task TEXT COLLATE "C" NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    stream BIGINT NOT NULL,
    received_ns BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    status BIGINT NOT NULL,
    model_requested TEXT COLLATE "C" NOT NULL,
    model_served TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    deployment TEXT COLLATE "C" NOT NULL,
    tier TEXT COLLATE "C" NOT NULL,
    reference_tier TEXT COLLATE "C" NOT NULL,
    policy TEXT COLLATE "C" NOT NULL,
    route_reason TEXT COLLATE "C" NOT NULL,
    task_source TEXT COLLATE "C" NOT NULL,
    cache TEXT COLLATE "C" NOT NULL,
    input_uncached BIGINT NOT NULL,
    cache_read BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    input_audio BIGINT NOT NULL,
    output_audio BIGINT NOT NULL,
    input_image BIGINT NOT NULL,
    usage_source TEXT COLLATE "C" NOT NULL,
    cost BIGINT NOT NULL,
    avoided_cache BIGINT NOT NULL,
    avoided_routing BIGINT NOT NULL,
    rates TEXT COLLATE "C" NOT NULL,
    price_version TEXT COLLATE "C" NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    first_byte_seconds DOUBLE PRECISION,
    error_code TEXT COLLATE "C" NOT NULL,
    finish_reason TEXT COLLATE "C" NOT NULL,
    attempts TEXT COLLATE "C" NOT NULL,
    service_tier TEXT COLLATE "C" NOT NULL DEFAULT '',
    stated_cost BIGINT,
    refused_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE INDEX records_received ON records (received_ns, rowid);

CREATE INDEX records_run ON records (run) WHERE run <> '';

CREATE TABLE holds (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    instance TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    accounts TEXT COLLATE "C" NOT NULL,
    expires_ns BIGINT NOT NULL,
    draft TEXT COLLATE "C" NOT NULL
);

-- Free space in each page, so that a balance that changes in every transaction stays where it is.
CREATE TABLE accounts (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    budget TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    budget_window TEXT COLLATE "C" NOT NULL,
    cap BIGINT NOT NULL,
    resets_at TEXT COLLATE "C",
    spent BIGINT NOT NULL DEFAULT 0,
    held BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Processes that may hold money: when they last said that they live, and since when they have said so without a gap.
-- All by this server's clock.
CREATE TABLE instances (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    since TIMESTAMPTZ NOT NULL,
    seen TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE cost_groups (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feature TEXT COLLATE "C" NOT NULL,
    tier TEXT COLLATE "C" NOT NULL,
    model_served TEXT COLLATE "C" NOT NULL,
    UNIQUE (feature, tier, model_served)
);

CREATE TABLE rollup_keys (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    task TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    model_served TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    tier TEXT COLLATE "C" NOT NULL,
    cache TEXT COLLATE "C" NOT NULL,
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
    record_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    event_ns BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    price_version TEXT COLLATE "C" NOT NULL,
    booked_ns BIGINT NOT NULL,
    booked_by TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant, source, event_id)
);

CREATE TABLE adjustments (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record_id TEXT COLLATE "C" NOT NULL,
    received_ns BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    task TEXT COLLATE "C" NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    model_served TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    tier TEXT COLLATE "C" NOT NULL,
    cache TEXT COLLATE "C" NOT NULL,
    old_cost BIGINT NOT NULL,
    new_cost BIGINT NOT NULL,
    delta BIGINT NOT NULL,
    rates TEXT COLLATE "C" NOT NULL,
    price_version TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    created_ns BIGINT NOT NULL,
    CHECK (delta = new_cost - old_cost)
);

CREATE INDEX adjustments_received ON adjustments (received_ns);

CREATE INDEX adjustments_record ON adjustments (record_id);

CREATE TABLE adjusted_hours (id BIGINT PRIMARY KEY, delta BIGINT NOT NULL);

CREATE TABLE adjusted_days (id BIGINT PRIMARY KEY, delta BIGINT NOT NULL);

CREATE TABLE raises (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    budget TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    made_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    ended_ns BIGINT,
    author TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL
);

CREATE TABLE runs (
    tenant TEXT COLLATE "C" NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    cap BIGINT,
    feature TEXT COLLATE "C" NOT NULL DEFAULT '',
    author TEXT COLLATE "C" NOT NULL DEFAULT '',
    opened_ns BIGINT,
    until_ns BIGINT,
    closed_ns BIGINT,
    refused BIGINT,
    PRIMARY KEY (tenant, run)
);

CREATE TABLE notices (
    account TEXT COLLATE "C" NOT NULL,
    threshold TEXT COLLATE "C" NOT NULL,
    told_ns BIGINT NOT NULL,
    PRIMARY KEY (account, threshold)
);

INSERT INTO meta (name, value) VALUES ('amendments', '1');
