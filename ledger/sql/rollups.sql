-- name: add_group
INSERT INTO cost_groups (feature, tier, model_served) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: add_key
INSERT INTO rollup_keys ({dimensions}, cost_group)
SELECT {places}, id FROM cost_groups WHERE feature = ? AND tier = ? AND model_served = ? ON CONFLICT DO NOTHING;

-- name: find_key
SELECT id, cost_group FROM rollup_keys WHERE {equal};

-- name: add_sums
INSERT INTO {table} (id, {figures}) VALUES (?, {places}) ON CONFLICT (id) DO UPDATE SET {added};

-- name: add_costs
INSERT INTO cost_histogram (id, requests) VALUES (?, ?)
ON CONFLICT (id) DO UPDATE SET requests = cost_histogram.requests + excluded.requests;

-- name: days_until
SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'days_until';

-- name: set_days_until
INSERT INTO meta (name, value) VALUES ('days_until', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: next_hour
-- The first hour that has sums, not before the one given.
SELECT min(id) >> 32 FROM rollup_hours WHERE id >= (? << 32);

-- name: pending_day
SELECT value FROM meta WHERE name = 'rollups_pending';

-- name: set_pending_day
INSERT INTO meta (name, value) VALUES ('rollups_pending', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: nothing_pending
DELETE FROM meta WHERE name = 'rollups_pending';

-- name: next_record
SELECT min(received_ns) FROM records WHERE received_ns >= ?;

-- name: rebuild_groups
INSERT INTO cost_groups (feature, tier, model_served)
SELECT DISTINCT feature, tier, model_served FROM records WHERE received_ns >= :since_ns AND received_ns < :until_ns
ON CONFLICT DO NOTHING;

-- name: rebuild_keys
INSERT INTO rollup_keys ({dimensions}, cost_group)
SELECT DISTINCT {of_record}, cost_groups.id
FROM records JOIN cost_groups USING (feature, tier, model_served)
WHERE received_ns >= :since_ns AND received_ns < :until_ns
ON CONFLICT DO NOTHING;

-- name: clear_hours
DELETE FROM rollup_hours WHERE id >= (:day * 24) << 32 AND id < (:day * 24 + 24) << 32;

-- name: rebuild_hours
INSERT INTO rollup_hours (id, {figures})
SELECT ((received_ns / 3600000000000) << 32) | rollup_keys.id AS cell, count(*), {sums}
FROM records JOIN rollup_keys USING ({dimensions})
WHERE received_ns >= :since_ns AND received_ns < :until_ns GROUP BY cell;

-- name: clear_days
DELETE FROM rollup_days WHERE id >= :day << 32 AND id < (:day + 1) << 32;

-- name: rebuild_days
INSERT INTO rollup_days (id, {figures})
SELECT (:day << 32) | (id & 4294967295) AS cell, sum(requests), {sums}
FROM rollup_hours WHERE id >= (:day * 24) << 32 AND id < (:day * 24 + 24) << 32
AND :day < (SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'days_until') GROUP BY cell;

-- name: clear_costs
DELETE FROM cost_histogram WHERE id >= :day << 42 AND id < (:day + 1) << 42;

-- name: rebuild_costs
INSERT INTO cost_histogram (id, requests)
SELECT (:day << 42) | (cost_groups.id << 10) | cost_bucket(cost) AS cell, count(*)
FROM records JOIN cost_groups USING (feature, tier, model_served)
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (cost > 0 OR outcome IN ({inferences})) GROUP BY cell;
