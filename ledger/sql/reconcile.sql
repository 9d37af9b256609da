-- name: booked
-- What the ledger has of a provider, by day, model and the rates and extras that hold now: those of the last correction,
-- if any.
SELECT strftime('%Y-%m-%d', received_ns / 1000000000, 'unixepoch') AS day, model_served,
       coalesce((SELECT rates FROM adjustments WHERE record_id = records.id ORDER BY id DESC LIMIT 1), rates) AS rates_now,
       usage_source = 'estimated' AS estimated,
       coalesce((SELECT extras FROM adjustments WHERE record_id = records.id ORDER BY id DESC LIMIT 1), extras)
           AS extras_now,
       count(*),
       sum(cost + (SELECT coalesce(sum(delta), 0) FROM adjustments WHERE record_id = records.id)), {sums}
FROM records
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (cost <> 0 OR {tokens} > 0)
  AND cache NOT IN ({hits}) AND provider IN (SELECT value FROM json_each(:providers) AS each)
GROUP BY 1, 2, 3, 4, 5;

-- name: failed
-- Calls of which an attempt that failed had billed, whoever answered in the end.
SELECT strftime('%Y-%m-%d', received_ns / 1000000000, 'unixepoch') AS day, provider, model_served, attempts FROM records
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND attempts LIKE :billed;
