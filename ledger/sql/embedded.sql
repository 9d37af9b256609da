-- name: schema
SELECT value FROM meta WHERE name = 'schema';

-- name: inputs
SELECT count(*), coalesce(sum(inputs), 0), coalesce(sum(inputs_sent), 0)
FROM records
WHERE received_ns >= :since AND received_ns < :until AND endpoint = 'embeddings' AND inputs > 0
  AND model_served IN (SELECT value FROM json_each(:models) AS each) AND (:feature = '' OR feature = :feature);
