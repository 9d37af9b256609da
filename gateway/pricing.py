"""Pricing: what a deployment charges, and the most that a call may cost before it is sent."""

from farthing.call import Call
from farthing.catalog import Catalog, Deployment
from farthing.money import Nano
from ledger.prices import Price, PriceBook


class Pricing:
    """Prices for one catalogue. Raises UnpricedModel wherever a price is missing: never zero by accident."""

    def __init__(self, book: PriceBook, catalog: Catalog) -> None:
        self._book = book
        self._first = {tier.name: tier.deployments[0] for tier in catalog.tiers if tier.deployments}

    def price(self, deployment: Deployment, at_ns: int) -> Price:
        """The price of a deployment's model at a time (wall ns)."""
        provider = deployment.provider
        return self._book.price(provider.price_provider or provider.name, deployment.model, at_ns)

    def reference(self, reference_tier: str, served_tier: str) -> Deployment | None:
        """The deployment to compare with, None where the reference tier itself answered."""
        return None if reference_tier == served_tier else self._first.get(reference_tier)

    def worst_case(self, call: Call, deployments: tuple[Deployment, ...], output_cap: int) -> Nano:
        """Nano-dollars the call cannot exceed at any of the deployments, as long as price and token bound are right.

        Only the attempt that answers bills: connection errors, 429 and 5xx do not, and a timeout is never retried.
        """
        return Nano(max(self._bound(call, deployment, output_cap) for deployment in deployments))

    def _bound(self, call: Call, deployment: Deployment, output_cap: int) -> Nano:
        window = deployment.context_window
        most_input = call.input_bound if window is None else min(call.input_bound, window)
        if deployment.max_output_tokens is not None:
            output_cap = min(output_cap, deployment.max_output_tokens)
        # Some providers bill input once for each choice, none more often.
        ceiling = self.price(deployment, call.received_ns).ceiling()
        return ceiling.bound(most_input * call.choices, output_cap * call.choices, deployment.provider.timeouts.total)
