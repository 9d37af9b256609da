-- Whose turn it was last: of several workers one runs what is due. Times in wall ns.
CREATE TABLE turns (
    name     TEXT PRIMARY KEY,
    begun_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
