-- name: oldest
SELECT min(received_ns) FROM records WHERE received_ns < :before_ns;

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
