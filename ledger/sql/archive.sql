-- name: oldest
SELECT min(received_ns) FROM records;

-- name: oldest_of_a_day
SELECT {columns} FROM records WHERE received_ns >= :since_ns AND received_ns < :until_ns
ORDER BY received_ns, rowid LIMIT :most;

-- name: under_way
SELECT value FROM meta WHERE name = 'archiving';

-- name: begin
INSERT INTO meta (name, value) VALUES ('archiving', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: end
DELETE FROM meta WHERE name = 'archiving';

-- name: archived_until
-- From here on reports do not look for records of that time.
INSERT INTO meta (name, value) VALUES ('archived_ns', :until_ns)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE CAST(meta.value AS BIGINT) < CAST(excluded.value AS BIGINT);

-- name: remove
DELETE FROM records WHERE id IN (SELECT value FROM json_each(?) AS each);

-- name: add_mark
INSERT INTO meta (name, value) VALUES ('ledger_id', ?) ON CONFLICT DO NOTHING;

-- name: mark
SELECT value FROM meta WHERE name = 'ledger_id';

-- name: known
SELECT id FROM records WHERE id IN (SELECT value FROM json_each(?) AS each);

-- name: missing
-- How many records of a day the roll-ups know of and the ledger does not have.
SELECT (SELECT coalesce(sum(requests), 0) FROM rollup_hours WHERE id >= (:day * 24) << 32 AND id < (:day * 24 + 24) << 32)
     - (SELECT count(*) FROM records WHERE received_ns >= :since_ns AND received_ns < :until_ns);

-- name: first_day
SELECT (min(id) >> 32) / 24 FROM rollup_hours;

-- name: archived_from
-- From here on reports look for records again.
UPDATE meta SET value = :since_ns WHERE name = 'archived_ns';

-- name: keep
INSERT INTO meta (name, value) VALUES ('restored_until', :until_ns)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE CAST(meta.value AS BIGINT) < CAST(excluded.value AS BIGINT);

-- name: kept_until
SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'restored_until';
