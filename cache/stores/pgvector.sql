-- The number in the name of the schema is that of these tables: another version of Farthing uses others beside them.
CREATE SCHEMA IF NOT EXISTS farthing_cache_1;

-- Texts are bytes, for clients and names of domains may hold U+0000. What is compressed already is not tried again.
CREATE TABLE farthing_cache_1.questions (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope BYTEA NOT NULL,
    prompt BYTEA NOT NULL,
    answer BYTEA STORAGE EXTERNAL NOT NULL,
    writer TEXT NOT NULL,
    admitted BOOLEAN NOT NULL DEFAULT false,
    expires_ns BIGINT NOT NULL
);
CREATE INDEX questions_by_expiry ON farthing_cache_1.questions (expires_ns);

-- Beside the questions and narrow, for a lookup reads all vectors of its scope; partitioned by it (docs/adr/0012). A vector of any length may stand here: embedders have scopes of their own.
CREATE TABLE farthing_cache_1.vectors (
    scope BYTEA NOT NULL,
    id BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL,
    vector VECTOR STORAGE MAIN NOT NULL,
    PRIMARY KEY (scope, id)
) PARTITION BY HASH (scope);

DO $$
BEGIN
    FOR part IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE farthing_cache_1.vectors_%s PARTITION OF farthing_cache_1.vectors '
            'FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part, part
        );
    END LOOP;
END
$$;

-- The other tables are those of semantic.sql.
CREATE TABLE farthing_cache_1.samples (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    evidence TEXT NOT NULL,
    same BOOLEAN,
    weight DOUBLE PRECISION NOT NULL,
    served BOOLEAN NOT NULL,
    would BOOLEAN NOT NULL,
    kept BIGINT
);
CREATE INDEX samples_by_domain ON farthing_cache_1.samples (domain, id);

CREATE TABLE farthing_cache_1.domains (
    domain BYTEA PRIMARY KEY,
    feature TEXT NOT NULL,
    state BYTEA NOT NULL,
    watermark BIGINT NOT NULL,
    hit_share DOUBLE PRECISION NOT NULL,
    calibrated BOOLEAN NOT NULL,
    stopped BOOLEAN NOT NULL
);

-- What was purged (cache/epochs.py), where no other server keeps it.
CREATE TABLE farthing_cache_1.epochs (
    name TEXT PRIMARY KEY,
    number BIGINT NOT NULL
);

-- Made last: where it is, all are.
CREATE TABLE farthing_cache_1.totals (
    feature TEXT NOT NULL,
    name TEXT NOT NULL,
    value NUMERIC NOT NULL,
    PRIMARY KEY (feature, name)
);
