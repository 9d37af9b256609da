"""Which tier answers a call, and the sentence that explains why."""

from router_policies.registry import policies, policy_of

__all__ = ["policies", "policy_of"]
