-- The standing of every tier for a task (or for all): its newest decided card. An undecided one counts only where
-- nothing was ever decided: a run that was cut short keeps the tier where it is.
SELECT $card
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY task, tier
            ORDER BY verdict = 'undecided', decided_ns DESC, id DESC
        ) AS place
    FROM scorecards
    WHERE :task IS NULL OR task = :task
)
WHERE place = 1
ORDER BY task, tier;
