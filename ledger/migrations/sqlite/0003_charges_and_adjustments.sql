-- External usage events that were booked: one row for every (tenant, source, event id), kept when records are
-- archived, so that a late second delivery is still recognised. The figures are those of the record.
CREATE TABLE charges (
    record_id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_ns INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    price_version TEXT NOT NULL,
    booked_ns INTEGER NOT NULL,
    booked_by TEXT NOT NULL,
    UNIQUE (tenant, source, event_id)
) WITHOUT ROWID;

-- Later corrections of what a record cost. A record is never rewritten: what it costs is its own figure plus the
-- deltas of its adjustments. Carries the dimensions of its record, so that reports need no join and the corrections
-- stay where the record is archived. `rates` are those of the new cost.
CREATE TABLE adjustments (
    id INTEGER PRIMARY KEY,
    record_id TEXT NOT NULL,
    received_ns INTEGER NOT NULL,
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
    old_cost INTEGER NOT NULL,
    new_cost INTEGER NOT NULL,
    delta INTEGER NOT NULL,
    rates TEXT NOT NULL,
    price_version TEXT NOT NULL,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    CHECK (delta = new_cost - old_cost)
);

CREATE INDEX adjustments_received ON adjustments (received_ns);

CREATE INDEX adjustments_record ON adjustments (record_id);

-- Sums of `adjustments`, written in the same transaction: id as in rollup_hours and rollup_days.
CREATE TABLE adjusted_hours (id INTEGER PRIMARY KEY, delta INTEGER NOT NULL) STRICT;

CREATE TABLE adjusted_days (id INTEGER PRIMARY KEY, delta INTEGER NOT NULL) STRICT;
