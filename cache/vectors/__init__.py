"""Vector indexes: adapters of the port `VectorIndex`."""
