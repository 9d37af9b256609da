-- name: spend
-- Groups by cost; what does not fit under the row limit is folded into one row, so that no spend goes missing.
WITH picked AS (
    SELECT {keys} AS keys, cost, avoided_cache, avoided_routing, {classes},
           cache IN ('exact', 'semantic', 'coalesced') AS hit
    FROM records
    WHERE received_ns >= :since_ns AND received_ns < :until_ns {conditions}
),
grouped AS (
    SELECT keys, count(*) AS requests, sum(hit) AS hits, sum(cost) AS cost, sum(avoided_cache) AS avoided_cache,
           sum(avoided_routing) AS avoided_routing, {sums}
    FROM picked GROUP BY keys
),
ranked AS (
    SELECT *, row_number() OVER (ORDER BY cost DESC, requests DESC, keys) AS place, count(*) OVER () AS places
    FROM grouped
)
SELECT CASE WHEN place < :row_limit OR places <= :row_limit THEN keys END AS shown, sum(requests), sum(hits), sum(cost),
       sum(avoided_cache), sum(avoided_routing), {sums}
FROM ranked GROUP BY min(place, :row_limit) ORDER BY min(place, :row_limit);

-- name: record
SELECT {columns} FROM records WHERE id = :id;

-- name: recent
SELECT {columns} FROM records ORDER BY received_ns DESC, rowid DESC LIMIT :row_limit;

-- name: budget_states
SELECT id, budget, scope, budget_window, cap, resets_at, spent, held FROM accounts
WHERE (:budget = '' OR budget = :budget) AND (resets_at IS NULL OR julianday(resets_at) > julianday(:now))
ORDER BY CAST(spent + held AS REAL) / max(cap, 1) DESC, id LIMIT :row_limit;
