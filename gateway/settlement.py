"""Settlement: from what the upstream sent to what the call cost, written on its page."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from farthing.call import Call
from farthing.catalog import Deployment
from farthing.errors import MoneyError, UnpricedModel
from farthing.money import ZERO, Nano, Rates
from farthing.ports import Clock
from farthing.record import Attempt, Billed
from farthing.usage import Usage, UsageSource
from farthing.value import changed
from gateway.allowances import Allowance
from gateway.books import Page
from gateway.errorbodies import read_error
from gateway.forward import Forwarded
from gateway.pricing import ANY_TIER, Pricing, asked_tier, most_input
from gateway.tokens import estimated_input, estimated_tokens
from ledger.bills import Bill
from ledger.price import plain_tier, version_in_tier
from ledger.prices import CHEAPER_TIERS
from ledger.statement import Portion, Statement
from ledger.usage import UsageReader, estimate


class Settlement:
    """Prices one call by `clock`; `allowance` is that of a stream which may outgrow its hold. `open` before it is sent,
    `begin` when the response head is there, then exactly one of `charge` and `estimate`."""

    def __init__(
        self, page: Page, call: Call, pricing: Pricing, clock: Clock, allowance: Allowance | None = None
    ) -> None:
        self._page = page
        self._route = page.route
        self._call = call
        self._pricing = pricing
        self.clock = clock
        self.allowance = allowance
        self._sent = clock.monotonic()
        self._deployment: Deployment | None = None
        self._cap = 0
        self._answering: UsageReader | None = None

    @property
    def pricing(self) -> Pricing:
        """By whose prices."""
        return self._pricing

    def again(self, call: Call) -> "Settlement":
        """Another one, for the next answer to a call whose first was set aside; the route of the page is its own."""
        return Settlement(self._page, call, self._pricing, self.clock)

    @property
    def deployment(self) -> Deployment:
        """Who answers."""
        assert self._deployment is not None
        return self._deployment

    def open(self, deployment: Deployment, cap: int) -> "Settlement":
        """Note that a request is about to leave, for `deployment` first, whose choices have `cap` tokens at most."""
        self._deployment, self._cap = deployment, cap
        return self

    def begin(self, forwarded: Forwarded) -> None:
        """Note who answers, and when its meter started."""
        self._deployment, self._sent = forwarded.deployment, forwarded.started
        self._answering = UsageReader(context_window=most_input(self._call, forwarded.deployment))
        self._name(forwarded.deployment)

    @property
    def _reader(self) -> UsageReader:
        """That of the answer which has begun."""
        assert self._answering is not None
        return self._answering

    @property
    def seconds(self) -> float:
        """Seconds that the upstream has worked; a client that reads slowly holds up nothing there."""
        return min(self.clock.monotonic() - self._sent, self.deployment.provider.timeouts.total)

    def read(self, event: Mapping[str, Any]) -> Usage | None:
        """The usage inside an answer or a stream event, or None where it cannot be relied on."""
        is_new = self._reader.take(event)
        return self._reader.usage if is_new and self._counts_all else None

    @property
    def _counts_all(self) -> bool:
        """True where the provider counts every choice that was asked for."""
        return self._call.choices == 1 or self.deployment.provider.quirks.usage_covers_choices

    def charge(self, usage: Usage) -> Nano:
        """Book this usage, and what the answer brought besides, at the price of the deployment in the service tier of
        the answer; returns the cost."""
        page, deployment = self._page, self.deployment
        seconds = self.seconds
        bill = self._pricing.bill(deployment, self._statement(usage), self._call.received_ns, seconds)
        # The tokens of the bill, so that rates and extras always explain the cost.
        source = UsageSource.ESTIMATED if bill.assumptions else usage.source
        usage = bill.usage if bill.usage.source is source else changed(bill.usage, source=source)
        page.usage, page.cost, page.extras = usage, bill.cost, bill.extras
        page.rates, page.price_version = _rates_text(bill.rates), version_in_tier(bill.price_version, bill.service_tier)
        page.service_tier = plain_tier(bill.service_tier)
        # Also where its count was not the one to charge by.
        reader = self._answering
        page.stated_cost = None if reader is None or reader.statement is None else reader.statement.stated_cost
        if page.attempts:
            last = page.attempts[-1]
            page.attempts[-1] = Attempt(
                deployment=last.deployment,
                status=last.status,
                error=last.error,
                seconds=seconds,
                cost=page.cost,
            )
        page.avoided_routing = Nano(self._avoided(usage, seconds, page.cost) - page.set_aside_cost)
        return page.cost

    def _statement(self, usage: Usage) -> Statement:
        """What the provider said, with the output that `usage` has beyond it; `usage` alone where it did not count
        this input."""
        reader = self._answering
        stated = None if reader is None else reader.statement
        tier = (reader and reader.service_tier) or charged_tier(self._call)
        if stated is None or not self._counts_all or stated.usage.input_total != usage.input_total:
            return Statement(portions=(Portion(usage=usage),), service_tier=tier)
        beyond = max(usage.output - stated.usage.output, 0)
        if not beyond and stated.service_tier == tier:
            return stated
        first, *others = stated.portions
        first = changed(first, usage=changed(first.usage, output=first.usage.output + beyond))
        return changed(stated, portions=(first, *others), service_tier=tier)

    async def count(self, texts: Sequence[str]) -> int:
        """Tokens of what was delivered, by the tokenizer of the model that answers."""
        return await estimated_tokens(texts, model=self.deployment.model)

    async def estimate(self, output_tokens: int) -> Nano:
        """Book what was delivered, plus the input, where the provider gave no usable figure; never zero."""
        self._deployment = self._tried_last()
        self._name(self.deployment)
        input_tokens = await estimated_input(self._call, model=self.deployment.model)
        input_tokens = max(min(input_tokens, self._call.input_bound), 1)
        if (most := most_input(self._call, self.deployment)) is not None:
            input_tokens = min(input_tokens, most)
        return self.charge(estimate(input_tokens=input_tokens, output_tokens=output_tokens))

    def charge_stated(self, error: Mapping[str, Any]) -> None:
        """Book what the body of a refusal says that was billed; most say nothing."""
        self._reader.take(error)
        if (usage := self._reader.usage) is not None:
            self.charge(usage)

    def turn_to(self, tier: str) -> None:
        """See FailureMeter: route, headers and record name the tier at which the call is tried, and say why."""
        page, route = self._page, self._route
        if route is None:
            return
        if tier != route.tier:
            reason = f"fallback: {tier} in place of {route.tier}, of which no deployment answers; {route.reason}"
            route = changed(route, tier=tier, reason=reason)
        page.route, page.tier = route, tier

    async def pay_failure(self, forwarded: Forwarded) -> None:
        """See FailureMeter. What was billed is charged beside the attempt that will answer, and set aside in addition:
        the hold is for one attempt. Where there is no room for it, it is what the call cost."""
        error = await read_error(forwarded.response)
        if error is None:
            return
        self.begin(forwarded)
        self._reader.take(error)
        usage, page = self._reader.usage, self._page
        if usage is None:
            return
        seconds = self.seconds
        bill = self._pricing.bill(self.deployment, self._statement(usage), self._call.received_ns, seconds)
        try:
            await page.extend(bill.cost)
        except BaseException:  # also where the client leaves meanwhile: it was billed
            self.charge(usage)
            raise
        page.failed_cost = Nano(page.failed_cost + bill.cost)
        billed = _billed(self.deployment, bill)
        page.attempts[-1] = changed(page.attempts[-1], seconds=seconds, cost=bill.cost, billed=billed)

    async def hold_whole(self) -> None:
        """See to it that the hold covers a plain answer, which has come where a stream was asked for: it is made
        already, and cannot be stopped. Raises MoneyError, with what is held booked."""
        if self.allowance is None:
            return
        try:
            await self.allowance.cover_whole()
        except MoneyError:
            await self.estimate(self.allowance.tokens)
            raise

    async def presume(self) -> Nano:
        """Book what an answer may have cost of which nothing is known. A stream ends with its connection; a plain
        answer may have been made to its end."""
        return await self.estimate(0 if self._call.stream else self._cap * self._call.choices)

    def _tried_last(self) -> Deployment:
        """The deployment that may have billed, where it is not known yet who answers."""
        route, attempts = self._page.route, self._page.attempts
        if route is None or not attempts:
            return self.deployment
        return next((place for place in route.deployments if place.id == attempts[-1].deployment), self.deployment)

    def _name(self, deployment: Deployment) -> None:
        self._page.model, self._page.provider = deployment.model, deployment.provider.name

    def _avoided(self, usage: Usage, seconds: float, cost: Nano) -> Nano:
        """What the reference tier would have cost more for the same tokens; negative where it would have cost less."""
        reference = self._pricing.reference(self._page.reference_tier, self._page.tier)
        if reference is None:
            return ZERO
        try:
            price = self._pricing.price(reference, self._call.received_ns)
        except UnpricedModel:
            return ZERO  # what was not even asked needs no price: that the call itself cost something is on the page
        return Nano(price.rates(usage.input_total).cost(usage, seconds) - cost)


def _billed(deployment: Deployment, bill: Bill) -> Billed:
    return Billed(
        provider=deployment.provider.name,
        model=deployment.model,
        usage=bill.usage,
        rates=_rates_text(bill.rates),
        price_version=version_in_tier(bill.price_version, bill.service_tier),
        service_tier=plain_tier(bill.service_tier),
        extras=bill.extras,
    )


def charged_tier(call: Call) -> str:
    """The tier in which a call is charged whose answer names none: the dearer one that it asked for, else standard."""
    tier = asked_tier(call)
    return "" if tier == ANY_TIER or tier in CHEAPER_TIERS else tier


_RATES_TEXT: dict[Rates, str] = {}


def _rates_text(rates: Rates) -> str:
    text = _RATES_TEXT.get(rates)
    if text is None:
        text = _RATES_TEXT[rates] = orjson.dumps(rates.as_dict()).decode()
    return text
