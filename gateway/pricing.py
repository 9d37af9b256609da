"""Pricing: what a deployment charges, and the most that a call may cost before it is sent."""

from collections.abc import Mapping
from typing import Any, Final

from farthing.call import Call, Endpoint
from farthing.catalog import Catalog, Deployment
from farthing.money import FEMTO_PER_NANO, Nano
from ledger.bills import Bill, bill_for
from ledger.prices import Price, PriceBook
from ledger.statement import Statement

ANY_TIER: Final = "auto"
"""The service tier whose provider decides; in an answer it only repeats the request."""
UNSTATED_USES: Final = 10
"""Calls that one tool of a provider's may make where the request does not say how many: Anthropic pauses after ten
turns; for others no bound is documented."""
_MOST_USES: Final = 1_000
"""No answer makes more."""
_OWN_TOOLS: Final = ("function", "custom")
"""Tools that the client runs, so that each of their turns is a call of its own."""


class Pricing:
    """Prices for one catalogue. Raises UnpricedModel wherever a price is missing: never zero by accident."""

    def __init__(self, book: PriceBook, catalog: Catalog) -> None:
        self.book = book
        self._first = {tier.name: tier.deployments[0] for tier in catalog.tiers if tier.deployments}

    def price(self, deployment: Deployment, at_ns: int) -> Price:
        """The standard price of a deployment's model at a time (wall ns)."""
        return self.book.price(_owner(deployment), deployment.model, at_ns)

    def bill(self, deployment: Deployment, statement: Statement, at_ns: int, seconds: float) -> Bill:
        """What an answer of a deployment costs of which its provider says this."""
        return bill_for(self.book, _owner(deployment), deployment.model, statement, at_ns=at_ns, seconds=seconds)

    def reference(self, reference_tier: str, served_tier: str) -> Deployment | None:
        """The deployment to compare with, None where the reference tier itself answered."""
        return None if reference_tier == served_tier else self._first.get(reference_tier)

    def worst_case(
        self, call: Call, deployments: tuple[Deployment, ...], output_cap: int, *, output: int | None = None
    ) -> Nano:
        """Nano-dollars the call cannot exceed at any of the deployments, as long as price and token bound are right.
        With `output`, for no more than so many output tokens of all choices together.

        Of one attempt: connection errors, 429 and 5xx bill nothing as a rule, what one says that it billed is held in
        addition before the next is sent (see Settlement.pay_failure), and a timeout is never retried.
        """
        return Nano(max(self._bound(call, deployment, output_cap, output) for deployment in deployments))

    def at_most(self, deployment: Deployment, input_: int, output: int, at_ns: int) -> Nano:
        """Nano-dollars of a call with so many tokens, at the highest of the standard rates that may apply."""
        owner, seconds = _owner(deployment), deployment.provider.timeouts.total
        return self.book.ceiling(owner, deployment.model, at_ns).bound(input_, output, seconds)

    def _bound(self, call: Call, deployment: Deployment, output_cap: int, output: int | None) -> Nano:
        # Some providers bill input once for each choice, none more often.
        input_ = call.input_bound * call.choices
        if (most := most_input(call, deployment)) is not None:
            input_ = min(input_, most)
        if deployment.max_output_tokens is not None:
            output_cap = min(output_cap, deployment.max_output_tokens)
        whole = output_cap * call.choices
        output = whole if output is None else min(output, whole)
        owner, model, at_ns = _owner(deployment), deployment.model, call.received_ns
        ceiling = self.book.ceiling(owner, model, at_ns, asked_tier(call))
        tokens = ceiling.bound(input_, output, deployment.provider.timeouts.total)
        uses = tool_uses(call)
        return Nano(tokens + self._tools(owner, model, at_ns, uses) * call.choices) if uses else tokens

    def _tools(self, owner: str, model: str, at_ns: int, uses: Mapping[str, int]) -> Nano:
        """What so many calls of the provider's tools cost at most; those without a price add nothing."""
        tables = self.book.answered_price(owner, model, at_ns, ANY_TIER).extras
        femto = sum(most * max((table.get(name, 0) for table in tables), default=0) for name, most in uses.items())
        return Nano(-(-femto // FEMTO_PER_NANO))


def _owner(deployment: Deployment) -> str:
    """Under whose name the price book has the model."""
    return deployment.provider.price_provider or deployment.provider.name


def asked_tier(call: Call) -> str:
    """The service tier that the call asks for, in the words of its provider; empty for the standard one."""
    if call.body.get("speed") == "fast":  # Anthropic
        return "fast"
    tier = call.body.get("service_tier")
    return tier if type(tier) is str else ANY_TIER if tier else ""


def most_input(call: Call, deployment: Deployment) -> int | None:
    """The input tokens that a window lets into one call: it holds for each choice (a completion may have several
    prompts). None where there is no such bound: an embedding call takes many texts, each as long as the window, and
    a model with tools of its provider's is given its own findings, turn after turn."""
    window = deployment.context_window
    if window is None or call.endpoint is Endpoint.EMBEDDINGS or takes_turns(call):
        return None
    return window * call.choices


def tool_uses(call: Call) -> dict[str, int]:
    """The most calls of the provider's tools that are billed by the piece, by name in `Portion.extras`: what the
    request states (Anthropic `max_uses` of a tool, OpenAI `max_tool_calls` of all), else UNSTATED_USES each."""
    stated = _uses(call.body.get("max_tool_calls"))
    most = UNSTATED_USES if stated is None else stated
    found: dict[str, int] = {}
    if "web_search_options" in call.body:
        found["web_searches"] = most
    tools = call.body.get("tools")
    for tool in tools if type(tools) is list else ():
        if name := _sold_by_the_piece(tool):
            own = _uses(tool.get("max_uses"))
            found[name] = found.get(name, 0) + (most if own is None else own)
    return found if stated is None else {name: min(number, stated) for name, number in found.items()}


def _uses(value: object) -> int | None:
    return min(value, _MOST_USES) if type(value) is int and value >= 0 else None


def _sold_by_the_piece(tool: Any) -> str:
    """The name of its calls on a bill, empty for the client's own tools and for those that cost their tokens only."""
    kind = tool.get("type") if type(tool) is dict else None
    if kind in _OWN_TOOLS or type(tool) is not dict:
        return ""
    words = kind if type(kind) is str else " ".join(tool)  # Gemini names a tool by its only member
    if "file_search" in words:
        return "storage_searches"
    return "web_searches" if "search" in words.lower() else ""


def takes_turns(call: Call) -> bool:
    """True where the provider itself may call the model again and again."""
    tools = call.body.get("tools")
    if type(tools) is list and any(type(tool) is dict and tool.get("type") not in _OWN_TOOLS for tool in tools):
        return True
    return "web_search_options" in call.body
