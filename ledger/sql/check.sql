-- name: next_day
-- The first day, from the one given on, that records, corrections or roll-ups know of; NULL where there is none.
SELECT min(day) FROM (
    SELECT min(received_ns) / 86400000000000 AS day FROM records WHERE received_ns >= :since_ns
    UNION ALL SELECT min(received_ns) / 86400000000000 FROM adjustments WHERE received_ns >= :since_ns
    UNION ALL SELECT (min(id) >> 32) / 24 FROM rollup_hours WHERE id >= (:day * 24) << 32
    UNION ALL SELECT min(id) >> 32 FROM rollup_days WHERE id >= :day << 32
    UNION ALL SELECT min(id) >> 42 FROM cost_histogram WHERE id >= :day << 42
    UNION ALL SELECT (min(id) >> 32) / 24 FROM adjusted_hours WHERE id >= (:day * 24) << 32
    UNION ALL SELECT min(id) >> 32 FROM adjusted_days WHERE id >= :day << 32
) AS days;

-- name: hours
-- Where the sums of a day's hours are not those of its records: by how much they are too large.
WITH told AS (
    SELECT rollup_hours.id >> 32 AS at, {dimensions}, {figures} FROM rollup_hours
    LEFT JOIN rollup_keys ON rollup_keys.id = rollup_hours.id & 4294967295
    WHERE rollup_hours.id >= (:day * 24) << 32 AND rollup_hours.id < (:day * 24 + 24) << 32
    UNION ALL
    SELECT received_ns / 3600000000000 AS at, {dimensions}, {negative_sums} FROM records
    WHERE received_ns >= :since_ns AND received_ns < :until_ns GROUP BY at, {dimensions}
)
SELECT at, json_array({dimensions}), {sums} FROM told GROUP BY at, {dimensions} HAVING {any};

-- name: days
-- Where the sums of a day are not those of its hours, or are there before the day is over.
WITH told AS (
    SELECT id & 4294967295 AS key, {figures} FROM rollup_days WHERE id >= :day << 32 AND id < (:day + 1) << 32
    UNION ALL
    SELECT id & 4294967295, {negative} FROM rollup_hours
    WHERE id >= (:day * 24) << 32 AND id < (:day * 24 + 24) << 32 AND :day < :days_until
)
SELECT :day, json_array({dimensions}), {sums} FROM told LEFT JOIN rollup_keys ON rollup_keys.id = key
GROUP BY key, {dimensions} HAVING {any};

-- name: costs
-- Where the histogram of a day does not count its inferences.
WITH told AS (
    SELECT feature, tier, model_served, cost_histogram.id & 1023 AS bucket, requests FROM cost_histogram
    LEFT JOIN cost_groups ON cost_groups.id = (cost_histogram.id >> 10) & 4294967295
    WHERE cost_histogram.id >= :day << 42 AND cost_histogram.id < (:day + 1) << 42
    UNION ALL
    SELECT feature, tier, model_served, cost_bucket(cost), -1 FROM records
    WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (cost > 0 OR outcome IN ({inferences}))
)
SELECT :day, json_array(feature, tier, model_served), sum(requests) FROM told
GROUP BY feature, tier, model_served, bucket HAVING sum(requests) <> 0;

-- name: held
-- Accounts whose held amount is not that of the open holds on them, and by how much it is too large.
WITH told AS (
    SELECT id AS account, held FROM accounts
    UNION ALL
    SELECT each.value, -amount FROM holds, json_each(holds.accounts) AS each
)
SELECT account, sum(held) FROM told GROUP BY account HAVING sum(held) <> 0 ORDER BY account;

-- name: accounts
SELECT id, scope, budget_window, resets_at, spent FROM accounts ORDER BY id;

-- name: spent_of_sums
SELECT coalesce(sum(cost), 0) FROM {table} AS sums JOIN rollup_keys ON rollup_keys.id = sums.id & 4294967295
WHERE sums.id >= :first << 32 AND sums.id < :last << 32 {conditions};

-- name: spent_of_records
SELECT coalesce(sum(cost), 0) FROM records WHERE true {conditions};

-- name: adjusted
-- Where the sums of a day's corrections are not those of its adjustments.
WITH told AS (
    SELECT sum_id >> 32 AS at, {dimensions}, delta FROM (SELECT id AS sum_id, delta FROM {table}) AS sums
    JOIN rollup_keys ON rollup_keys.id = sum_id & 4294967295
    WHERE sum_id >= (:since_ns / {unit}) << 32 AND sum_id < (:until_ns / {unit}) << 32
    UNION ALL
    SELECT received_ns / {unit}, {dimensions}, -delta FROM adjustments
    WHERE received_ns >= :since_ns AND received_ns < :until_ns
)
SELECT at, json_array({dimensions}), sum(delta) FROM told GROUP BY at, {dimensions} HAVING sum(delta) <> 0;

-- name: forget_adjusted
DELETE FROM {table} WHERE id >= (:since_ns / {unit}) << 32 AND id < (:until_ns / {unit}) << 32;

-- name: rebuild_adjusted
INSERT INTO {table} (id, delta)
SELECT (received_ns / {unit}) << 32 | rollup_keys.id, sum(delta) FROM adjustments JOIN rollup_keys USING ({dimensions})
WHERE received_ns >= :since_ns AND received_ns < :until_ns GROUP BY 1;
