-- The hot path on PostgreSQL: a batch is two statements, whatever its size.

-- name: read
-- What a batch is decided by. Accounts are locked in the order of their ids, so that batches wait for each other in
-- turn; holds that are settled are taken, those that are extended are locked.
WITH taken AS (DELETE FROM holds WHERE id = ANY(:holds) RETURNING id, amount),
open AS (SELECT id, amount FROM holds WHERE id = ANY(:extends) ORDER BY id FOR UPDATE),
locked AS (SELECT id, cap, spent, held FROM accounts WHERE id = ANY(:accounts) ORDER BY id FOR UPDATE)
SELECT 'account', id, cap, spent, held FROM locked
UNION ALL SELECT 'taken', id, amount, 0, 0 FROM taken
UNION ALL SELECT 'open', id, amount, 0, 0 FROM open
UNION ALL SELECT 'record', id, 0, 0, 0 FROM records WHERE id = ANY(:records);

-- name: write
-- The rows of a batch, each table's as a JSON array of objects. A record whose id is there already fails the batch,
-- which is then decided anew.
WITH written AS (
    INSERT INTO records ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::records, :records)
),
held AS (
    INSERT INTO holds (id, instance, amount, accounts, expires_ns, draft)
    SELECT id, instance, amount, accounts, expires_ns, draft FROM json_populate_recordset(NULL::holds, :holds)
),
extended AS (
    UPDATE holds SET amount = more.amount FROM json_populate_recordset(NULL::holds, :extended) AS more
    WHERE holds.id = more.id
),
charged AS (
    INSERT INTO charges ({charge_columns})
    SELECT {charge_columns} FROM json_populate_recordset(NULL::charges, :charges)
),
balanced AS (
    UPDATE accounts SET cap = now.cap, spent = now.spent, held = now.held
    FROM json_populate_recordset(NULL::accounts, :accounts) AS now WHERE accounts.id = now.id
),
hours AS (
    INSERT INTO rollup_hours (id, {figures})
    SELECT id, {figures} FROM json_populate_recordset(NULL::rollup_hours, :hours) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET {added_hours}
),
days AS (
    -- Only what comes for a day that has been summed up already.
    INSERT INTO rollup_days (id, {figures})
    SELECT ((id >> 32) / 24 << 32) | (id & 4294967295) AS cell, {sums}
    FROM json_populate_recordset(NULL::rollup_hours, :hours)
    WHERE (id >> 32) / 24 < (SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'days_until')
    GROUP BY cell ORDER BY cell
    ON CONFLICT (id) DO UPDATE SET {added_days}
)
INSERT INTO cost_histogram (id, requests)
SELECT id, requests FROM json_populate_recordset(NULL::cost_histogram, :costs) ORDER BY id
ON CONFLICT (id) DO UPDATE SET requests = cost_histogram.requests + excluded.requests;

-- name: add_accounts
-- Before the batch and in a transaction of its own: a row without money harms nobody, and is never removed.
INSERT INTO accounts (id, budget, scope, budget_window, cap, resets_at)
SELECT id, budget, scope, budget_window, cap, resets_at FROM json_populate_recordset(NULL::accounts, :accounts)
ORDER BY id ON CONFLICT (id) DO NOTHING;

-- name: add_groups
INSERT INTO cost_groups (feature, tier, model_served)
SELECT DISTINCT feature, tier, model_served FROM json_populate_recordset(NULL::rollup_keys, :keys)
ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING;

-- name: add_keys
INSERT INTO rollup_keys ({dimensions}, cost_group)
SELECT {dimensions}, cost_groups.id
FROM json_populate_recordset(NULL::rollup_keys, :keys) AS new JOIN cost_groups USING (feature, tier, model_served)
ORDER BY {dimensions} ON CONFLICT DO NOTHING;

-- name: find_keys
SELECT {dimensions}, rollup_keys.id, rollup_keys.cost_group
FROM rollup_keys JOIN json_populate_recordset(NULL::rollup_keys, :keys) AS new USING ({dimensions});

-- name: barrier
-- Whatever another connection of ours had sent to be committed has come to its end when this is answered.
SELECT pg_advisory_xact_lock({alone});

-- name: done
-- Of a batch whose end is not known: the records that it wrote, and not a recovery.
SELECT id FROM records WHERE id = ANY(:records) AND outcome <> 'lost';

-- name: live
-- The process says that it lives. `since` begins anew where there was a gap: the server was away, the process stood
-- still, or the server's clock was set back.
INSERT INTO instances (name, since, seen) VALUES (:name, now(), now())
ON CONFLICT (name) DO UPDATE SET
    since = CASE WHEN instances.seen BETWEEN now() - make_interval(secs => :gap) AND now()
        THEN instances.since ELSE now() END,
    seen = excluded.seen;

-- name: silent
-- Processes that have not been heard of for so many seconds, as far as the one of that name can judge: it has to have
-- been in touch itself for as long, without a gap. After an outage everybody has time to come back before anybody is
-- taken for dead.
WITH dead AS (
    SELECT name FROM instances WHERE seen < now() - make_interval(secs => :seconds)
    UNION SELECT instance FROM holds WHERE NOT EXISTS (SELECT FROM instances WHERE name = instance)
)
SELECT name FROM dead WHERE EXISTS (
    SELECT FROM instances
    WHERE name = :name
    AND seen BETWEEN now() - make_interval(secs => :gap) AND now()
    AND since < now() - make_interval(secs => :seconds)
);

-- name: forget
-- Not one that has come back meanwhile.
DELETE FROM instances WHERE name = ANY(:names) AND seen < now() - make_interval(secs => :seconds);

-- name: leave
DELETE FROM instances WHERE name = :name;
