-- What was changed beside the configuration. The row `amendments` of meta counts the changes of raises and runs, so
-- that other processes see with one look whether there is anything to read.

-- Temporary raises of a budget's limit; a budget with several accounts raises all of them, or those of one scope.
-- `ended_ns` is set where a raise was ended before its time.
CREATE TABLE raises (
    id TEXT NOT NULL PRIMARY KEY,
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    amount INTEGER NOT NULL,
    made_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    ended_ns INTEGER,
    author TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;

-- Runs that were opened with a cap of their own (`cap` is NULL for others) or refused a call; `refused` is what that
-- call needed at most.
CREATE TABLE runs (
    tenant TEXT NOT NULL,
    run TEXT NOT NULL,
    cap INTEGER,
    feature TEXT NOT NULL DEFAULT '',
    author TEXT NOT NULL DEFAULT '',
    opened_ns INTEGER,
    until_ns INTEGER,
    closed_ns INTEGER,
    refused INTEGER,
    PRIMARY KEY (tenant, run)
) WITHOUT ROWID;

-- Thresholds that somebody was told of: once for each account, and so for each window.
CREATE TABLE notices (
    account TEXT NOT NULL,
    threshold TEXT NOT NULL,
    told_ns INTEGER NOT NULL,
    PRIMARY KEY (account, threshold)
) WITHOUT ROWID;

INSERT INTO meta VALUES ('amendments', '1');

-- Runs belong to their tenant: accounts of runs that only one tenant used are renamed, so that they go on.
UPDATE accounts SET
    id = budget || '|tenant=' || owner.tenant || ',' || accounts.scope || '|run|',
    scope = 'tenant=' || owner.tenant || ',' || accounts.scope
FROM (SELECT run, min(tenant) AS tenant FROM records WHERE run <> '' GROUP BY run HAVING count(DISTINCT tenant) = 1)
    AS owner
WHERE accounts.budget_window = 'run' AND accounts.scope = 'run=' || owner.run AND accounts.held = 0;
