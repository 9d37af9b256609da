-- name: latest_outputs
-- The limit is inside: a ledger of any size costs the same.
SELECT feature, model_served, output, reasoning, output_audio
FROM (
    SELECT received_ns, rowid AS place, feature, model_served, output, reasoning, output_audio, outcome, usage_source, cache
    FROM records ORDER BY received_ns DESC, rowid DESC LIMIT ?
) AS latest
WHERE feature IN (SELECT value FROM json_each(?) AS each) AND outcome = 'success' AND usage_source = 'provider'
  AND cache IN ('miss', 'bypass')
ORDER BY received_ns DESC, place DESC;
