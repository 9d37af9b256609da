-- name: few
-- Whether the period has at most so many records: an index of their times knows.
SELECT count(*) FROM (SELECT 1 FROM records WHERE received_ns >= :since_ns AND received_ns < :until_ns LIMIT :most + 1)
AS counted;

-- name: of_records
SELECT json_array({keys}), cost, count(*) FROM records
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (cost > 0 OR outcome IN ({inferences}))
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: of_histogram
-- Summed over the days first, by numbers: names are looked up once for each group and bucket.
WITH cells AS (
    SELECT id & 4398046511103 AS cell, sum(requests) AS requests FROM cost_histogram
    WHERE id >= :first_day << 42 AND id < :last_day << 42 GROUP BY cell
)
SELECT json_array({keys}), cell & 1023, sum(requests)
FROM cells JOIN cost_groups ON cost_groups.id = cell >> 10
GROUP BY 1, 2 ORDER BY 1, 2;
