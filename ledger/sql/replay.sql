-- name: count
SELECT count(*) FROM records WHERE received_ns >= :since_ns AND received_ns < :until_ns;

-- name: chunk
SELECT rowid, {columns} FROM records
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND (received_ns, rowid) > (:last_ns, :last_row)
ORDER BY received_ns, rowid LIMIT :chunk;
