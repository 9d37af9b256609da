-- name: version
SELECT value FROM meta WHERE name = 'amendments';

-- name: count_change
UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'amendments';

-- name: insert_raise
INSERT INTO raises (id, budget, scope, amount, made_ns, until_ns, author, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: end_raise
UPDATE raises SET ended_ns = :now_ns
WHERE id = :id AND budget = :budget AND ended_ns IS NULL AND until_ns > :now_ns;

-- name: live_raises
SELECT id, budget, scope, amount, made_ns, until_ns, ended_ns, author, reason FROM raises
WHERE ended_ns IS NULL AND until_ns > ? ORDER BY made_ns, id;

-- name: raises_of
SELECT id, budget, scope, amount, made_ns, until_ns, ended_ns, author, reason FROM raises
WHERE budget = ? ORDER BY made_ns DESC, id LIMIT 1000;

-- name: run
SELECT tenant, run, cap, feature, author, opened_ns, until_ns, closed_ns, refused FROM runs
WHERE tenant = ? AND run = ?;

-- name: open_run
INSERT INTO runs (tenant, run, cap, feature, author, opened_ns, until_ns)
VALUES (:tenant, :run, :cap, :feature, :author, :now_ns, :until_ns)
ON CONFLICT (tenant, run) DO UPDATE SET
    cap = excluded.cap,
    feature = CASE excluded.feature WHEN '' THEN runs.feature ELSE excluded.feature END,
    author = excluded.author,
    opened_ns = coalesce(runs.opened_ns, excluded.opened_ns),
    until_ns = coalesce(excluded.until_ns, runs.until_ns);

-- name: open_run_account
-- What the run has cost before it was opened counts too.
INSERT INTO accounts (id, budget, scope, budget_window, cap, spent)
SELECT :id, :budget, :scope, :window, :cap, coalesce(sum(cost), 0) FROM records WHERE run = :run AND tenant = :tenant
ON CONFLICT (id) DO UPDATE SET cap = excluded.cap;

-- name: close_run
INSERT INTO runs (tenant, run, closed_ns) VALUES (:tenant, :run, :now_ns)
ON CONFLICT (tenant, run) DO UPDATE SET closed_ns = coalesce(runs.closed_ns, excluded.closed_ns);

-- name: refuse_run
INSERT INTO runs (tenant, run, refused) VALUES (?, ?, ?)
ON CONFLICT (tenant, run) DO UPDATE SET refused = excluded.refused;

-- name: balances
SELECT id, cap, spent, held FROM accounts WHERE id IN (SELECT value FROM json_each(?) AS each);

-- name: claim_notice
INSERT INTO notices (account, threshold, told_ns) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
