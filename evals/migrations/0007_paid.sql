-- What each run has paid so far, for answers, grades and a judge's exam, also where it did not come to its end.
-- `paid_ns` is the last time at which it paid. Nano-dollars, wall ns.
CREATE TABLE paid (
    run_id    TEXT PRIMARY KEY,
    paid_ns   INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO paid (run_id, paid_ns, cost_nano)
SELECT run_id, max(made_ns), sum(cost_nano) FROM cells GROUP BY run_id;
