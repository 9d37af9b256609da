"""Charges API: POST /api/charges, where tools outside of the gateway book what they spent."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farthing.catalog import Catalog, VirtualKey
from farthing.errors import (
    BodyTooLarge,
    InvalidParameter,
    InvalidTag,
    UnpricedModel,
    UnregisteredFeature,
    UnsupportedEncoding,
)
from farthing.hold import Account
from farthing.money import format_usd
from farthing.ports import Clock
from farthing.record import Extra, Outcome, Record
from farthing.tags import Tags
from gateway.books import Witness
from gateway.pricenames import price_names
from gateway.usageevents import UsageEvent, read_events
from ledger.bills import Priced, price_portions
from ledger.charges import EXTERNAL, Booked, Charge, EventKey, booked
from ledger.database import Database
from ledger.price import UnpricedExtra, plain_tier, version_in_tier
from ledger.prices import PriceBook
from ledger.statement import Portion


class Booking(Protocol):
    """A ledger that takes charges (see ledger.sqlite.SQLiteLedger.book)."""

    def book(self, charge: Charge) -> "asyncio.Future[bool]":
        """Write it; True where it is new. Raises LedgerUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeDesk:
    """Prices events and books them. What a reload may change is asked at each request. `accounts` are those that a
    charge draws on (see ledger.charges.charged_accounts), once `know` has looked for them; `witness` is told of each
    new record, as of every other; `body_bytes` is the longest body taken."""

    ledger: Booking
    database: Database
    clock: Clock
    catalog: Callable[[], Catalog]
    know: Callable[[Tags], Awaitable[None]]
    accounts: Callable[[Tags, int], tuple[Account, ...]]
    prices: Callable[[], PriceBook]
    witness: Witness
    body_bytes: int

    async def take(self, events: Sequence[UsageEvent], key: VirtualKey) -> list[dict[str, Any]]:
        """Book what is new of these events, in one transaction; what came of each, in their order.

        Raises UnregisteredFeature, UnpricedModel or InvalidTag with nothing booked, LedgerUnavailable.
        """
        keys = [EventKey(key.tenant, event.source, event.id) for event in events]
        known = dict(await self._look_up([one.record_id for one in keys]))
        charges = [
            await self._charge(event, one, key)
            for event, one in zip(events, keys, strict=True)
            if one.record_id not in known
        ]
        fresh = await self._book(charges)
        known |= await self._look_up([charge.key.record_id for charge in charges])
        told = []
        for one in keys:
            told.append(_members(one, known[one.record_id], duplicate=one.record_id not in fresh))
            fresh.discard(one.record_id)  # the same event twice in a batch: the second is the duplicate
        return told

    async def _look_up(self, record_ids: Sequence[str]) -> Mapping[str, Booked]:
        return await run_in_threadpool(booked, self.database, record_ids)

    async def _book(self, charges: Sequence[Charge]) -> set[str]:
        """The ids of the records that are new."""
        written = [self._queue(charge) for charge in charges]
        results = await asyncio.gather(*written)
        return {charge.record.id for charge, is_new in zip(charges, results, strict=True) if is_new}

    def _queue(self, charge: Charge) -> "asyncio.Future[bool]":
        """The witnesses hang on the write, not on whoever waits for it: a caller may be cancelled, a write not."""
        written = self.ledger.book(charge)

        def tell(done: "asyncio.Future[bool]") -> None:
            if not done.cancelled() and done.exception() is None and done.result():
                self.witness(charge.record)

        written.add_done_callback(tell)
        return written

    async def _charge(self, event: UsageEvent, event_key: EventKey, key: VirtualKey) -> Charge:
        tags = self._tags(event, key)
        await self.know(tags)
        record = _priced(
            event, event_key, tags, price_names(self.catalog()).get(event.provider, event.provider), self.prices()
        )
        return Charge(
            key=event_key,
            record=record,
            accounts=self.accounts(tags, event.time_ns),
            booked_ns=self.clock.wall_ns(),
            booked_by=key.id,
        )

    def _tags(self, event: UsageEvent, key: VirtualKey) -> Tags:
        catalog = self.catalog()
        feature = catalog.features.get(event.feature)
        if feature is None:
            raise UnregisteredFeature(
                f"The feature '{event.feature}' is not registered: add it under `features:` in config/routing.yaml.",
                param=f"{event.at}data.feature",
            )
        if event.task and event.task not in catalog.tasks:
            raise InvalidTag(f"The task '{event.task}' is not declared under `tasks:`.", param=f"{event.at}data.task")
        return Tags(
            tenant=key.tenant,
            key_id=key.id,
            feature=event.feature,
            task=event.task or feature.task,
            run=event.run,
            environment=event.environment or key.environment,
            team=event.team or feature.team or key.team,
        )


def _priced(event: UsageEvent, key: EventKey, tags: Tags, priced_as: str, book: PriceBook) -> Record:
    """The record. A stated cost is booked as stated, without rates: it is not ours to price anew."""
    cost, rates, version = event.cost, "{}", ""
    extras = tuple(Extra(name=name, quantity=count, rate=0) for name, count in event.extras)
    if cost is None:
        priced = _computed(event, priced_as, book)
        cost, rates, extras = priced.cost, orjson.dumps(priced.rates.as_dict()).decode(), priced.extras
        version = version_in_tier(priced.version, event.service_tier)
    return Record(
        id=key.record_id,
        tags=tags,
        endpoint=EXTERNAL,
        stream=False,
        received_ns=event.time_ns,
        outcome=Outcome.SUCCESS,
        status=200,
        model_requested=event.model,
        model_served=event.model,
        provider=event.provider,
        usage=event.usage,
        cost=cost,
        rates=rates,
        price_version=version,
        seconds=event.seconds,
        service_tier=plain_tier(event.service_tier),
        extras=extras,
    )


def _computed(event: UsageEvent, priced_as: str, book: PriceBook) -> Priced:
    for name, value in (("provider", event.provider), ("model", event.model)):
        if not value:
            raise InvalidParameter(
                f"`{name}` is needed to price the usage; or state `cost_usd`.", param=f"{event.at}data.{name}"
            )
    portion = Portion(usage=event.usage, extras=event.extras)
    try:
        price = book.price(priced_as, event.model, event.time_ns, event.service_tier)
        priced = price_portions((portion,), event.usage, lambda _: price, event.seconds)
        if priced.unpriced:
            raise UnpricedExtra(priced_as, event.model, priced.unpriced[0])
    except UnpricedModel as error:
        error.param = f"{event.at}data.{error.param}"  # model, service_tier or an extra
        raise
    if not priced.cost and not event.usage.input_total and not event.usage.output_total and not event.extras:
        raise InvalidParameter(
            "The usage holds no token and costs nothing, and an event is booked once: send what was used, or state "
            "`cost_usd`.",
            param=f"{event.at}data.usage",
        )
    return priced


def _members(key: EventKey, found: Booked, *, duplicate: bool) -> dict[str, Any]:
    return {
        "source": key.source,
        "id": key.id,
        "record_id": found.record_id,
        "cost_usd": format_usd(found.cost),
        "price_version": found.price_version,
        "duplicate": duplicate,
    }


def charge_routes(
    desk: ChargeDesk, require_admin: Callable[[Request], VirtualKey], reply: Callable[[Any], Response]
) -> list[Route]:
    """The route, for callers whom `require_admin` lets in."""

    async def charges(request: Request) -> Response:
        key = require_admin(request)
        raw = await _body(request, desk.body_bytes)
        events, batch = read_events(raw, request.headers.get("content-type", ""), desk.clock.wall_ns())
        told = await desk.take(events, key)
        return reply({"charges": told} if batch else told[0])

    return [Route("/api/charges", charges, methods=["POST"])]


async def _body(request: Request, most: int) -> bytes:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise BodyTooLarge
    return b"".join(parts)
