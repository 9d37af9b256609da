-- Three more facts of a record: the service tier it was priced in (empty: the standard one; records from before have it
-- at the end of `price_version` only), what the provider itself said that it cost (NULL: nothing), and for a call that
-- was refused for money the budget and its scope (`monthly|feature=search`).
ALTER TABLE records ADD COLUMN service_tier TEXT NOT NULL DEFAULT '';

ALTER TABLE records ADD COLUMN stated_cost INTEGER;

ALTER TABLE records ADD COLUMN refused_by TEXT NOT NULL DEFAULT '';
