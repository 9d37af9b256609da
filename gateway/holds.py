"""Holds: what is set aside for a call before it is sent, no more than must be for it never to cost more."""

import asyncio
from decimal import Decimal
from typing import Any, Final

from farthing.call import Call, Endpoint
from farthing.catalog import Deployment, Feature, OutputBound
from farthing.errors import BudgetExceeded
from farthing.money import Nano, nano_from_usd
from farthing.routing import Route
from farthing.value import changed
from gateway.allowances import UNSEEN_TOKENS, Allowance
from gateway.books import Page
from gateway.outputbounds import OutputBounds
from gateway.pricing import Pricing, takes_turns
from gateway.tokens import input_bound

_HIDES_OUTPUT: Final = frozenset(
    {
        *("reasoning", "reasoning_effort", "include_reasoning", "thinking", "enable_thinking", "chat_template_kwargs"),
        *("audio", "modalities", "prediction", "best_of"),
    }
)
"""Parameters under which output may be billed that never comes, or comes in no text."""


class Holds:
    """Sets money aside for calls. `outputs` knows how long the answers of a feature are."""

    def __init__(self, pricing: Pricing, outputs: OutputBounds) -> None:
        self._pricing, self._outputs = pricing, outputs

    async def hold(self, page: Page, call: Call, feature: Feature, cap: int) -> tuple[Call, Allowance | None]:
        """Hold the worst case of the call, whose choices have `cap` output tokens at most, at any deployment of its
        route; where that does not fit, at any of its own tier, and then it has no fallback. Returns the call, with a
        tighter bound on its input where only that one fits, and the allowance of its stream where less than its cap is
        held. Raises BudgetExceeded or LedgerUnavailable with nothing held."""
        assert page.route is not None
        places = page.route.deployments
        seconds = _seconds(page.route)
        tokens = self._learned(call, feature, places, cap)
        amount = self._pricing.worst_case(call, places, cap, output=tokens)
        try:
            await page.reserve(amount, seconds)
        except BudgetExceeded as refusal:
            if (alone := without_fallback(page.route)) is not page.route:
                page.route = alone
                return await self.hold(page, call, feature, cap)
            call = await self._counted(call, places, cap, tokens, refusal)
            await page.reserve(self._pricing.worst_case(call, places, cap, output=tokens), seconds)
        return call, None if tokens is None else self._allowance(page, call, places, cap, tokens)

    async def hold_next(self, page: Page, call: Call, route: Route, cap: int) -> tuple[Call, Route]:
        """Hold the worst case of another answer to a call that is held already, at any deployment of `route`, beside
        what it has cost; what its hold has left counts. Returns call and route as `hold` leaves them. Raises
        BudgetExceeded or LedgerUnavailable, and the hold stays as it was."""
        places = route.deployments
        try:
            await self._hold_beside(page, self._pricing.worst_case(call, places, cap))
        except BudgetExceeded as refusal:
            if (alone := without_fallback(route)) is not route:
                return await self.hold_next(page, call, alone, cap)
            call = await self._counted(call, places, cap, None, refusal)
            await self._hold_beside(page, self._pricing.worst_case(call, places, cap))
        return call, route

    async def _hold_beside(self, page: Page, amount: Nano) -> None:
        assert page.hold is not None
        short = page.total_cost + amount - page.hold.intent.amount
        if short > 0:
            await page.extend(Nano(short))

    async def _counted(
        self, call: Call, places: tuple[Deployment, ...], cap: int, tokens: int | None, refusal: BudgetExceeded
    ) -> Call:
        """The call with its input counted by tokenizer. Raises the refusal where that cannot help: only then is the
        time for it spent, and the path of a call that fits never pays it."""
        least = changed(call, input_bound=0)
        room = _room(refusal.budget)
        if self._pricing.worst_case(least, places, cap, output=tokens) > room:
            raise refusal
        bound = await asyncio.to_thread(lambda: max(input_bound(call, place) for place in places))
        counted = changed(call, input_bound=bound)
        if self._pricing.worst_case(counted, places, cap, output=tokens) > room:
            raise refusal
        return counted

    def _learned(self, call: Call, feature: Feature, places: tuple[Deployment, ...], cap: int) -> int | None:
        """Output tokens to hold at first, of all choices, where less than the whole will do."""
        if feature.output_bound is not OutputBound.LEARNED or not _shows_its_output(call):
            return None
        most = 0
        for place in places:
            bound = self._outputs.bound(feature.name, place.model)
            if bound is None:
                return None
            most = max(most, bound)
        tokens = most + UNSEEN_TOKENS * call.choices
        return tokens if tokens < cap * call.choices else None

    def _allowance(self, page: Page, call: Call, places: tuple[Deployment, ...], cap: int, tokens: int) -> Allowance:
        def distrust() -> None:
            self._outputs.distrust(page.tags.feature, page.model)

        return Allowance(
            page,
            lambda output: self._pricing.worst_case(call, places, cap, output=output),
            tokens=tokens,
            whole=cap * call.choices,
            choices=call.choices,
            on_lump=distrust,
        )


def _seconds(route: Route) -> float:
    """Longest that all attempts of a route may take, those of the next step of a cascade included."""
    own = sum(place.provider.timeouts.total for place in route.deployments)
    return own + (_seconds(route.then) if route.then is not None else 0.0)


def without_fallback(route: Route) -> Route:
    """The route with the deployments of its own tier only."""
    if len(route.pools) < 2:
        return route
    own = route.pools[:1]
    return changed(route, deployments=own[0].deployments, pools=own)


def _shows_its_output(call: Call) -> bool:
    """True where every token that is billed as output comes as text of the stream, while it is made."""
    if not call.stream or call.endpoint is Endpoint.EMBEDDINGS or takes_turns(call):
        return False
    return _HIDES_OUTPUT.isdisjoint(call.body)


def _room(budget: dict[str, Any]) -> Nano:
    """What the refusing budget has left, nano-dollars."""
    limit, spent, held = (Decimal(budget[name]) for name in ("limit_usd", "spent_usd", "reserved_usd"))
    return nano_from_usd(max(limit - spent - held, Decimal(0)))
