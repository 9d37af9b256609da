-- name: spend
-- Groups by cost; what does not fit under the row limit is folded into one row, so that no spend goes missing.
WITH picked ({names}, requests, hits, cost, avoided_cache, avoided_routing, {classes}) AS (
{sources}
),
grouped AS (
    SELECT {keys} AS keys, sum(requests) AS requests, sum(hits) AS hits, sum(cost) AS cost,
           sum(avoided_cache) AS avoided_cache, sum(avoided_routing) AS avoided_routing, {sums}
    FROM picked GROUP BY {names}
),
ranked AS (
    SELECT *, row_number() OVER (ORDER BY cost DESC, requests DESC, keys) AS place, count(*) OVER () AS places
    FROM grouped
)
SELECT CASE WHEN place < :row_limit OR places <= :row_limit THEN keys END AS shown, sum(requests), sum(hits), sum(cost),
       sum(avoided_cache), sum(avoided_routing), {sums}
FROM ranked GROUP BY 1, CASE WHEN place < :row_limit THEN place ELSE :row_limit END
ORDER BY min(place);

-- name: spend_of_records
SELECT {columns}, 1, CASE WHEN cache IN {hit} THEN 1 ELSE 0 END, cost, avoided_cache, avoided_routing, {classes}
FROM records WHERE received_ns >= {since} AND received_ns < {until} {conditions}

-- name: spend_of_adjustments
-- Later corrections of a cost: no request of their own.
SELECT {columns}, 0, 0, delta, 0, 0, {zeros}
FROM adjustments WHERE received_ns >= {since} AND received_ns < {until} {conditions}

-- name: spend_of_adjusted
SELECT {columns}, 0, 0, delta, 0, 0, {zeros}
FROM {table} AS sums JOIN rollup_keys ON rollup_keys.id = sums.id & 4294967295
WHERE sums.id >= {since} AND sums.id < {until} {conditions}

-- name: spend_of_sums
SELECT {columns}, requests, CASE WHEN cache IN {hit} THEN requests ELSE 0 END, cost, avoided_cache, avoided_routing, {classes}
FROM {table} AS sums JOIN rollup_keys ON rollup_keys.id = sums.id & 4294967295
WHERE sums.id >= {since} AND sums.id < {until} {conditions}

-- name: state
-- What of the file decides how a report may be answered.
SELECT name, value FROM meta WHERE name IN ('schema', 'rollups_pending', 'archived_ns', 'days_until');

-- name: record
SELECT {columns} FROM records WHERE id = :id;

-- name: recent
SELECT {columns} FROM records ORDER BY received_ns DESC, rowid DESC LIMIT :row_limit;

-- name: open_holds
SELECT count(*) FROM holds;

-- name: budget_states
SELECT id, budget, scope, budget_window, cap, resets_at, spent, held FROM accounts
WHERE (:budget = '' OR budget = :budget) AND (resets_at IS NULL OR julianday(resets_at) > julianday(:now))
ORDER BY CAST(spent + held AS DOUBLE PRECISION) / (CASE WHEN cap > 1 THEN cap ELSE 1 END) DESC, id LIMIT :row_limit;
