-- Moving a ledger from SQLite to PostgreSQL. What tables and columns there are, the databases know.

-- name: tables
-- Of SQLite; `meta` is about the file as much as about the ledger.
SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'meta' ORDER BY name;

-- name: columns
-- Of SQLite.
SELECT name FROM pragma_table_info(?) ORDER BY cid;

-- name: target_tables
-- Of PostgreSQL; `instances` names the gateways that run.
SELECT table_name FROM information_schema.tables
WHERE table_schema = current_schema() AND table_name NOT IN ('meta', 'instances') ORDER BY table_name;

-- name: types
-- Of PostgreSQL.
SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = ?;

-- name: counters
-- Columns of PostgreSQL that number rows by themselves.
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND is_identity = 'YES';

-- name: set_counter
SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT coalesce(max({column}), 0) + 1 FROM {table}), false);

-- name: living
-- Gateways on PostgreSQL that have said that they live, within their lease.
SELECT name FROM instances WHERE seen > now() - make_interval(secs => ?) LIMIT 1;

-- name: schema
SELECT value FROM meta WHERE name = 'schema';

-- name: meta
SELECT name, value FROM meta WHERE name <> 'schema';

-- name: clear_meta
DELETE FROM meta WHERE name <> 'schema';

-- name: add_meta
INSERT INTO meta (name, value) VALUES (?, ?);
