"""Upstream adapters: the wires on which model providers are reached."""
