-- name: add_group
INSERT OR IGNORE INTO cost_groups (feature, tier, model_served) VALUES (?, ?, ?);

-- name: add_key
INSERT OR IGNORE INTO rollup_keys ({dimensions}, cost_group)
SELECT {places}, id FROM cost_groups WHERE feature = ? AND tier = ? AND model_served = ?;

-- name: find_key
SELECT id, cost_group FROM rollup_keys WHERE {equal};

-- name: add_sums
INSERT INTO {table} (id, {figures}) VALUES (?, {places}) ON CONFLICT (id) DO UPDATE SET {added};

-- name: add_costs
-- A JSON array of cells, each as often as it was met.
INSERT INTO cost_histogram (id, requests) SELECT value, 1 FROM json_each(?) WHERE true
ON CONFLICT (id) DO UPDATE SET requests = requests + 1;

-- name: days_until
SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'days_until';

-- name: set_days_until
INSERT OR REPLACE INTO meta VALUES ('days_until', ?);

-- name: next_hour
-- The first hour that has sums, not before the one given.
SELECT min(id) >> 32 FROM rollup_hours WHERE id >= ? << 32;

-- name: pending_day
SELECT value FROM meta WHERE name = 'rollups_pending';

-- name: set_pending_day
INSERT OR REPLACE INTO meta VALUES ('rollups_pending', ?);

-- name: nothing_pending
DELETE FROM meta WHERE name = 'rollups_pending';

-- name: next_record
SELECT min(received_ns) FROM records WHERE received_ns >= ?;

-- name: rebuild_groups
INSERT OR IGNORE INTO cost_groups (feature, tier, model_served)
SELECT DISTINCT feature, tier, model_served FROM records WHERE received_ns >= :since_ns AND received_ns < :until_ns;

-- name: rebuild_keys
INSERT OR IGNORE INTO rollup_keys ({dimensions}, cost_group)
SELECT DISTINCT {of_record}, cost_groups.id
FROM records JOIN cost_groups USING (feature, tier, model_served)
WHERE received_ns >= :since_ns AND received_ns < :until_ns;

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
SELECT (:day << 32) | (id & 0xFFFFFFFF) AS cell, sum(requests), {sums}
FROM rollup_hours WHERE id >= (:day * 24) << 32 AND id < (:day * 24 + 24) << 32
AND :day < (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'days_until') GROUP BY cell;

-- name: clear_costs
DELETE FROM cost_histogram WHERE id >= :day << 42 AND id < (:day + 1) << 42;

-- name: rebuild_costs
INSERT INTO cost_histogram (id, requests)
SELECT (:day << 42) | (cost_groups.id << 10) | cost_bucket(cost) AS cell, count(*)
FROM records JOIN cost_groups USING (feature, tier, model_served)
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (cost > 0 OR outcome IN ({inferences})) GROUP BY cell;
