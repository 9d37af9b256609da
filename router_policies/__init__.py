"""Which tier answers a call, and the sentence that explains why."""

from router_policies.registry import policies

__all__ = ["policies"]
