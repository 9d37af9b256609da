"""Stores: adapters of the port `Store`, and the rows of the semantic cache."""
