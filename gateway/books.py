"""Books: one page for each request, and one Record from it, however the request ends."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from msgspec import UNSET

from farthing.answer import Hit, StoredAnswer
from farthing.call import Call
from farthing.catalog import Task, VirtualKey
from farthing.errors import (
    AuthenticationError,
    BudgetExceeded,
    FarthingError,
    LedgerUnavailable,
    MoneyError,
    PermissionDenied,
    RequestError,
    RunClosed,
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
)
from farthing.hold import Account, Hold, Intent
from farthing.money import ZERO, Nano
from farthing.ports import Clock, Ledger
from farthing.record import Attempt, Billed, CacheOutcome, Extra, Outcome, Record
from farthing.routing import Route
from farthing.tags import UNREGISTERED, Tags
from farthing.usage import NO_USAGE, Usage
from farthing.value import changed
from gateway.request import Request

Witness = Callable[[Record], None]
"""Metrics and log line: they see each record once, after it is on the books."""

_NOBODY: Final = Tags(tenant="", key_id="", feature=UNREGISTERED)
HOLD_GRACE_NS: Final = 60 * 10**9


class Meter(Protocol):
    """Prices what one call sent and received, and writes it on the page."""

    async def estimate(self, output_tokens: int) -> Nano:
        """Book the input and so many output tokens, marked as an estimate."""

    async def presume(self) -> Nano:
        """Book the most that an answer may have cost of which nothing was seen, marked as an estimate."""


class Page:
    """The open page of one request. Facts are written as they become known; `close` makes the Record, once."""

    __slots__ = (
        "_books",
        "attempts",
        "avoided_cache",
        "avoided_routing",
        "cache",
        "cache_reason",
        "call",
        "closed",
        "cost",
        "extras",
        "failed_check",
        "failed_cost",
        "finish_reason",
        "first_byte_seconds",
        "hold",
        "inputs",
        "inputs_sent",
        "is_unheard",
        "keeper",
        "meter",
        "model",
        "observer",
        "price_version",
        "provider",
        "rates",
        "reference_tier",
        "refused_by",
        "request",
        "route",
        "service_tier",
        "set_aside_cost",
        "stated_cost",
        "tags",
        "task_source",
        "tier",
        "usage",
    )

    def __init__(self, books: "Books", request: Request) -> None:
        self._books = books
        self.request = request
        self.closed = False
        self.call: Call | None = None
        self.tags = _NOBODY
        self.task_source = ""
        self.route: Route | None = None
        self.reference_tier = ""
        self.cache = CacheOutcome.BYPASS
        self.cache_reason = ""
        self.hold: Hold | None = None
        self.keeper: asyncio.Task[None] | None = None
        self.meter: Meter | None = None
        self.usage: Usage = NO_USAGE
        self.cost: Nano = ZERO  # of the attempt that answers; failed ones may have billed besides
        self.failed_cost: Nano = ZERO
        self.set_aside_cost: Nano = ZERO  # that part of it which answers had cost that failed their check
        self.failed_check = ""
        self.is_unheard = False  # the client has left, and nobody else waits
        self.avoided_cache: Nano = ZERO
        self.avoided_routing: Nano = ZERO
        self.rates = "{}"
        self.extras: tuple[Extra, ...] = ()
        self.price_version = self.service_tier = self.refused_by = ""
        self.stated_cost: Nano | None = None
        self.model = self.provider = self.tier = ""
        self.first_byte_seconds: float | None = None
        self.finish_reason = ""
        self.inputs = self.inputs_sent = 0
        self.attempts: list[Attempt] = []
        self.observer: Callable[[Mapping[str, Any]], None] | None = None  # wants to see the whole answer

    @property
    def total_cost(self) -> Nano:
        """What the call has cost so far, failed attempts included."""
        return Nano(self.cost + self.failed_cost)

    def know_key(self, key: VirtualKey) -> None:
        """From here on the record names the key, also where its request is refused."""
        self.tags = Tags(tenant=key.tenant, key_id=key.id, feature=UNREGISTERED, team=key.team)

    def know_call(self, call: Call) -> None:
        """The request has been understood."""
        self.call, self.tags = call, call.tags

    def know_task(self, task: Task | None) -> None:
        """The task type under which the call is routed and booked; only declared ones, so their number is bounded."""
        name = task.name if task else ""
        if self.tags.task != name:
            self.tags = changed(self.tags, task=name)

    def know_hit(self, hit: Hit) -> None:
        """A cache answered: nothing is spent, and what it avoided is what the stored answer had cost."""
        stored = hit.answer
        self.cache, self.avoided_cache = hit.kind, stored.cost
        self.model, self.provider, self.tier = stored.model, stored.provider, stored.tier

    def stored(self, body: bytes, seconds: float = 0.0) -> StoredAnswer:
        """The answer of this page as a cache keeps it; its provider took `seconds`."""
        return StoredAnswer(
            body=body,
            model=self.model,
            provider=self.provider,
            tier=self.tier,
            usage=self.usage,
            cost=self.cost,
            stored_ns=self._books.clock.wall_ns(),
            seconds=seconds,
        )

    def set_aside(self, error: str) -> None:
        """The answer that was charged last is not the one that will be given: what it cost stays on the page as that of
        an attempt that failed, with `error` where it has none of its own."""
        if self.attempts:
            last, billed = self.attempts[-1], self._billed() if self.cost else UNSET
            self.attempts[-1] = changed(last, error=last.error or error, cost=self.cost, billed=billed)
        self.failed_cost = Nano(self.failed_cost + self.cost)
        self.set_aside_cost = Nano(self.set_aside_cost + self.cost)
        self.usage, self.cost, self.avoided_routing = NO_USAGE, ZERO, ZERO
        self.rates, self.extras, self.stated_cost = "{}", (), None
        self.price_version = self.service_tier = self.model = self.provider = self.finish_reason = ""

    def _billed(self) -> Billed:
        return Billed(
            provider=self.provider,
            model=self.model,
            usage=self.usage,
            rates=self.rates,
            price_version=self.price_version,
            service_tier=self.service_tier,
            extras=self.extras,
        )

    async def know(self) -> None:
        """See to it that the call's accounts can be told as they are now. Raises LedgerUnavailable."""
        if self.tags.run:
            await self._books.know(self.tags)

    async def reserve(self, amount: Nano, timeout_s: float) -> Hold:
        """Set `amount` aside before anything is sent; raises BudgetExceeded, RunClosed or LedgerUnavailable."""
        await self.know()
        intent = Intent(
            id=self.request.id,
            amount=amount,
            accounts=self._books.accounts(self.tags, self.request.received_ns),
            expires_ns=self._books.clock.wall_ns() + int(timeout_s * 1e9) + HOLD_GRACE_NS,
            draft=self._record(Outcome.LOST, 0, ""),
        )
        self.hold = await self._hold(intent)
        self.refused_by = ""  # a larger hold may have been refused before
        self._books.on_hold(self.hold)
        return self.hold

    async def _hold(self, intent: Intent) -> Hold:
        """The same, with account values that are no older than the refusal: a limit may have been raised since."""
        while True:
            try:
                return await self._books.ledger.reserve(intent)
            except BudgetExceeded as refusal:
                await self._books.on_refusal(self.tags, refusal)
                await self.know()
                accounts = self._books.accounts(self.tags, self.request.received_ns)
                if accounts == intent.accounts:
                    self.refused_by = _refuser(refusal)
                    raise
            intent = changed(intent, accounts=accounts)

    async def extend(self, amount: Nano) -> None:
        """Set `amount` more aside, against the limits of now; raises BudgetExceeded or LedgerUnavailable, and the hold
        stays as it was."""
        hold = self.hold
        assert hold is not None
        try:
            await self.know()
            found = self._books.accounts(self.tags, self.request.received_ns)
        except RunClosed:
            found = ()  # a run takes no more calls, but finishes those under way
        now = {account.id: account for account in found}
        accounts = tuple(now.get(account.id, account) for account in hold.intent.accounts)
        current = changed(hold, intent=changed(hold.intent, accounts=accounts))
        try:
            self.hold = await self._books.ledger.extend(current, amount)
        except BudgetExceeded as refusal:
            self.refused_by = _refuser(refusal)
            raise
        self._books.on_hold(self.hold)

    async def charge_if_sent(self) -> None:
        """Book an estimate where a request left for upstream and nothing was charged yet."""
        if self.meter is not None and not self.closed and self.cost == ZERO:
            await self.meter.presume()

    async def close(self, outcome: Outcome, status: int, error_code: str = "") -> None:
        """Write the record and release the hold. The second call does nothing. The write is queued before the first
        wait, so it happens even when the caller is cancelled; an unwritable ledger leaves the hold, which recovery
        turns into an estimated charge."""
        if self.closed:
            return
        self.closed = True
        self._books.open_pages -= 1
        record = self._record(outcome, status, error_code)
        written = self._books.ledger.settle(self.hold, record)
        if error_code == LedgerUnavailable.code:  # the caller has waited for the ledger once already
            written.add_done_callback(partial(self._books.witness_done, record))
            return
        try:
            await self._books.witness_written(written, record)
        except asyncio.CancelledError:
            # The write itself has ended, well or not, when its caller is told of its cancellation (see the port).
            await self._books.witness_written(written, record)
            raise

    async def close_with(self, error: FarthingError) -> None:
        """Close for an error the caller is told about. After a timeout the provider may bill a whole answer; one that
        broke off billed the input at most, as far as anybody can know."""
        if isinstance(error, UpstreamTimeout):
            await self.charge_if_sent()
        elif isinstance(error, UpstreamBroken) and self.meter is not None and self.cost == ZERO:
            await self.meter.estimate(0)
        # Money may be wanting for a further attempt only; of a call that was refused nothing was sent.
        is_stopped = isinstance(error, MoneyError) and bool(self.attempts)
        await self.close(Outcome.ABORTED if is_stopped else outcome_of(error), error.status, error.code)

    def _record(self, outcome: Outcome, status: int, error_code: str) -> Record:
        call, route = self.call, self.route
        last = self.attempts[-1] if self.attempts else None
        return Record(
            id=self.request.id,
            tags=self.tags,
            endpoint=self.request.endpoint.value,
            stream=call.stream if call else False,
            received_ns=self.request.received_ns,
            outcome=outcome,
            status=status,
            model_requested=call.model if call else "",
            model_served=self.model,
            provider=self.provider,
            deployment=last.deployment if last else "",
            tier=self.tier,
            reference_tier=self.reference_tier,
            policy=route.policy if route else "",
            route_reason=route.reason if route else self.cache_reason,
            task_source=self.task_source,
            cache=self.cache,
            usage=self.usage,
            cost=self.total_cost,
            avoided_cache=self.avoided_cache,
            avoided_routing=self.avoided_routing,
            rates=self.rates,
            price_version=self.price_version,
            seconds=self._books.clock.monotonic() - self.request.started,
            first_byte_seconds=self.first_byte_seconds,
            error_code=error_code,
            finish_reason=self.finish_reason,
            attempts=tuple(self.attempts),
            service_tier=self.service_tier,
            stated_cost=self.stated_cost,
            refused_by=self.refused_by,
            extras=self.extras,
            inputs=self.inputs,
            inputs_sent=self.inputs_sent,
        )


def _refuser(refusal: BudgetExceeded) -> str:
    """The budget that had too little left, as a record names it."""
    return f"{refusal.budget['id']}|{refusal.budget['scope']}"


async def _nothing_to_do(*_: object) -> None:
    """Where there is nobody to tell."""


class Books:
    """Opens pages. `accounts` names the budget accounts that bind some tags at a time. `know` sees to it that it
    tells how things stand now, for calls of a run. `on_hold` sees every hold; `on_refusal` is told before a call is
    refused, so that `accounts` can look at the limits again."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        accounts: Callable[[Tags, int], tuple[Account, ...]],
        witnesses: tuple[Witness, ...],
        *,
        on_hold: Callable[[Hold], None] = lambda _hold: None,
        know: Callable[[Tags], Awaitable[None]] = _nothing_to_do,
        on_refusal: Callable[[Tags, BudgetExceeded], Awaitable[None]] = _nothing_to_do,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.accounts = accounts
        self.unwritten = 0
        self.open_pages = 0
        self.witnesses = witnesses
        self.on_hold, self.on_refusal, self.know = on_hold, on_refusal, know

    def open(self, request: Request) -> Page:
        """A page for this request; whoever opens it closes it."""
        self.open_pages += 1
        return Page(self, request)

    def witness(self, record: Record) -> None:
        """Tell metrics and log about a committed record."""
        for tell in self.witnesses:
            tell(record)

    def witness_done(self, record: Record, written: "asyncio.Future[bool]") -> None:
        """`witness_written` for a write that has ended."""
        if written.exception() is not None:
            self.unwritten += 1
        elif written.result():
            self.witness(record)

    async def witness_written(self, written: Awaitable[bool], record: Record) -> None:
        """The same once the write has ended, where it put the record on the books: not so when the disk failed, or
        when the hold had expired and was charged."""
        try:
            is_new = await written
        except LedgerUnavailable:
            self.unwritten += 1
        else:
            if is_new:
                self.witness(record)


def outcome_of(error: FarthingError) -> Outcome:
    """How a request ends that ends with this error."""
    if isinstance(error, MoneyError):
        return Outcome.REFUSED
    if isinstance(error, RequestError | AuthenticationError | PermissionDenied):
        return Outcome.REJECTED
    return Outcome.UPSTREAM_ERROR if isinstance(error, UpstreamError) else Outcome.GATEWAY_ERROR
