-- name: prompts
SELECT feature, provider, model_served, rates, count(*), sum(CASE WHEN cache_read > 0 THEN 1 ELSE 0 END),
       sum({inputs}), sum(cache_read), sum(cache_write_5m),
       sum(cache_write_1h)
FROM records
WHERE received_ns >= :since AND received_ns < :until AND ({inputs}) > 0
GROUP BY feature, provider, model_served, rates;
