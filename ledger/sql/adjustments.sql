-- name: priced
-- Records that keep the price they were computed with, in the order of their time, and what corrections they have.
SELECT rowid, (SELECT coalesce(sum(delta), 0) FROM adjustments WHERE record_id = records.id), {columns}
FROM records
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (received_ns, rowid) > (:last_ns, :last_row)
  AND price_version <> '' AND (:provider = '' OR provider = :provider) AND (:model = '' OR model_served = :model)
ORDER BY received_ns, rowid LIMIT :chunk;

-- name: insert
-- Unless the record has other corrections by now than it had when it was priced anew.
INSERT INTO adjustments (
    record_id, received_ns, tenant, key_id, feature, task, run, environment, team, endpoint, outcome, model_served,
    provider, tier, cache, old_cost, new_cost, delta, rates, price_version, reason, author, created_ns, extras
)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
WHERE (SELECT coalesce(sum(delta), 0) FROM adjustments WHERE record_id = ?) = ?;

-- name: of_record
SELECT old_cost, new_cost, delta, rates, price_version, reason, author, created_ns, extras FROM adjustments
WHERE record_id = :id ORDER BY id;

-- name: add_sum
INSERT INTO {table} (id, delta) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET delta = {table}.delta + excluded.delta;
