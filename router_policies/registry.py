"""Registry: the policies by the names that `policy:` in config/routing.yaml may hold."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from farthing.ports import Policy
from router_policies.cheapest_passing import CheapestPassing
from router_policies.fixed import Fixed

_POLICIES: Final[Mapping[str, Policy]] = MappingProxyType({"cheapest_passing": CheapestPassing(), "fixed": Fixed()})


def policies() -> Mapping[str, Policy]:
    """Every policy by name; they keep no state, so everybody shares them."""
    return _POLICIES
