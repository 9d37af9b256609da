-- name: insert_record
INSERT INTO records ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING;

-- name: insert_hold
INSERT INTO holds (id, instance, amount, accounts, expires_ns, draft) VALUES (?, ?, ?, ?, ?, ?);

-- name: insert_charge
INSERT INTO charges (record_id, tenant, source, event_id, event_ns, cost, price_version, booked_ns, booked_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: take_holds
-- Those of the ids that are still open, removed in the same step.
DELETE FROM holds WHERE id IN ({ids}) RETURNING id, amount;

-- name: read_holds
SELECT id, amount FROM holds WHERE id IN ({ids});

-- name: extend_hold
UPDATE holds SET amount = ? WHERE id = ?;

-- name: known_records
SELECT id FROM records WHERE id IN ({ids});

-- name: read_accounts
SELECT id, cap, spent, held FROM accounts WHERE id IN ({ids});

-- name: write_account
INSERT INTO accounts (id, budget, scope, budget_window, cap, resets_at, spent, held)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET cap = excluded.cap, spent = excluded.spent, held = excluded.held;

-- name: holding_instances
SELECT DISTINCT instance FROM holds;

-- name: orphans
-- Holds whose time is over (of one instance, or of all where none is named), and those of a JSON array of dead ones.
SELECT id, amount, accounts, draft FROM holds
WHERE expires_ns <= ? AND ? IN ('', instance) OR instance IN (SELECT value FROM json_each(?) AS each);

-- name: remove_hold
DELETE FROM holds WHERE id = ?;

-- name: charge_account
UPDATE accounts SET spent = spent + :cost, held = CASE WHEN held > :held THEN held - :held ELSE 0 END WHERE id = :id;
