"""The whole life of a request, read from top to bottom: admit, tag, caches, route, reserve, forward, relay, settle."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

from farthing.answer import Hit, StoredAnswer
from farthing.call import Call, Endpoint
from farthing.catalog import HangUp, Replay, VirtualKey
from farthing.errors import FarthingError
from farthing.record import CacheOutcome, Outcome
from gateway.admission import admit, authenticate, known_task
from gateway.answer import Answer
from gateway.books import Page
from gateway.cachedesk import Following, Lookup
from gateway.cascades import Cascade, plain_call
from gateway.destination import Destination
from gateway.embeddings import open_lookup
from gateway.forward import output_cap
from gateway.holds import Holds
from gateway.hothits import Understood
from gateway.replies import (
    error_answer,
    follow_answer,
    hit_answer,
    plain_answer,
    stream_answer,
    upstream_error_answer,
)
from gateway.request import Request
from gateway.runtime import Generation, Runtime
from gateway.settlement import Settlement
from gateway.streams import CLIENT_GONE, StreamEnding
from router_policies.tasks import resolve_task

_LOG: Final = logging.getLogger("farthing.pipeline")


async def serve(request: Request, runtime: Runtime) -> Answer:
    """Answer one request; the page is closed exactly once on every way out, cancellation included."""
    page = runtime.books.open(request)
    return await _closing(_serve(request, runtime, runtime.generation, page), page)


async def _closing(work: Awaitable[Answer], page: Page) -> Answer:
    try:
        return await work
    except FarthingError as error:
        await page.close_with(error)
        return error_answer(error, page)
    except Exception as error:  # noqa: BLE001 - a bug of ours must not leave the books open
        _LOG.error("%s: %s", page.request.id, type(error).__name__, exc_info=_without_content(error))
        await page.charge_if_sent()
        await page.close_with(broken := FarthingError())
        return error_answer(broken, page)
    except BaseException:
        # The client left, or the gateway stops: what may have been billed is booked all the same.
        if page.keeper in (None, asyncio.current_task()):
            await page.charge_if_sent()
            await page.close(Outcome.ABORTED, CLIENT_GONE, "client_gone")
        raise


async def refuse(request: Request, error: FarthingError, runtime: Runtime) -> Answer:
    """Answer a request whose body was not even read, and leave its record."""
    page = runtime.books.open(request)
    with suppress(FarthingError):
        page.know_key(authenticate(runtime.generation.keys, request.secret, request.received_ns))
    await page.close_with(error)
    return error_answer(error, page)


def _without_content(error: Exception) -> Exception:
    """The same traceback under a bare error: messages of exceptions may quote what was being handled."""
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


async def _serve(request: Request, runtime: Runtime, generation: Generation, page: Page) -> Answer:
    if found := runtime.caches.hot.find(request, generation):
        return await _hot(*found, request, page, runtime)

    # admit
    key = authenticate(generation.keys, request.secret, request.received_ns)
    page.know_key(key)
    call = admit(request, key, generation.catalog, count_unregistered=generation.count_unregistered)
    page.know_call(call)

    # tag
    feature = generation.feature(call.tags.feature)
    said = resolve_task(
        header=request.task, metadata=call.tags.task, key_default=key.task, feature_default=feature.task
    )
    if generation.resolver is not None:
        said = await runtime.tasks.resolve(said, call, feature, generation)
    task_name, page.task_source = said
    task = known_task(task_name, page.task_source, generation.catalog, refuses=generation.refuses_tasks)
    page.know_task(task)
    destination = generation.destinations.find(call, feature, task)
    if destination.moves:
        destination = await runtime.move(generation, page, call, feature, task)
    if destination.escalation is not None and call.endpoint is Endpoint.EMBEDDINGS:
        destination = destination.escalation  # of vectors nobody sees whether they are good
    page.reference_tier = destination.reference_tier

    # exact cache, semantic cache: a hit costs nothing, so it is served even where the budget is spent
    rules = generation.cache_rules
    async with open_lookup(runtime.caches, call, feature, destination.partition, rules, key.cache) as lookup:
        page.inputs = lookup.inputs
        if hit := await lookup.find():
            lasts = not (lookup.inputs or destination.moves)
            if isinstance(hit, Hit) and hit.kind is CacheOutcome.EXACT and lookup.exact_key and lasts:
                runtime.caches.hot.remember(request, generation, _understood(key, call, lookup, lookup.exact_key, page))
            return await _hit(call, hit, lookup, destination, page, runtime)
        page.cache = lookup.outcome

        # route: a threshold of a budget may lower it, to a tier whose answers are kept as its own
        lowered = await runtime.lower(destination, generation, page, feature, task)
        if lowered.partition != destination.partition:
            lookup.turn_to(lowered.partition)
            if hit := await lookup.find():
                return await _hit(call, hit, lookup, lowered, page, runtime)
            page.cache = lookup.outcome
        lookup.check_wanted()
        route = runtime.route(lowered)
        page.route, page.tier = route, route.tier
        if task is not None and task.live is not None and lowered.is_routed:
            page.observer = runtime.live.observer(page, call, task, runtime)
            if lowered.shadow:
                page.observer = runtime.candidates.beside(page.observer, call, task, lowered, runtime)

        # reserve: for what no cache knows
        call = lookup.rest(route.deployments)
        cap = output_cap(call, feature)
        may_stay = call.stream and (feature.on_hang_up is HangUp.DRAIN or lookup.leads or route.then is not None)
        call = call if route.then is None else plain_call(call)  # what a cascade gives first, it looks at as a whole
        call, allowance = await Holds(generation.pricing, runtime.outputs).hold(page, call, feature, cap)

        settlement = Settlement(page, call, generation.pricing, runtime.clock, allowance)
        page.meter = settlement.open(route.deployments[0], cap)
        page.inputs_sent = lookup.inputs_sent
        if may_stay:
            heir = lookup.hand_over()
            kept = _kept(call, cap, settlement, heir, page, runtime, feature.on_hang_up)
            return await runtime.drains.see_through(
                _closing(kept, page), page, lambda: _goes_on(page, heir, feature.on_hang_up)
            )
        return await _answer(call, cap, settlement, lookup, page, runtime, HangUp.ABORT)


def _understood(key: VirtualKey, call: Call, lookup: Lookup, exact_key: bytes, page: Page) -> Understood:
    return Understood(
        key=key,
        call=call,
        tags=page.tags,
        task_source=page.task_source,
        reference_tier=page.reference_tier,
        replay=lookup.replay,
        exact_key=exact_key,
        cache_tags=lookup.cache_tags,
        stamp=lookup.stamp,
    )


async def _hot(known: Understood, answer: StoredAnswer, request: Request, page: Page, runtime: Runtime) -> Answer:
    """The exact cache answers again what it has answered before."""
    call, hit = known.again(request), Hit(kind=CacheOutcome.EXACT, answer=answer)
    page.know_call(call)
    page.tags, page.task_source, page.reference_tier = known.tags, known.task_source, known.reference_tier
    return await _replayed(call, hit, known.replay, page, runtime)


async def _replayed(call: Call, hit: Hit, replay: Replay, page: Page, runtime: Runtime) -> Answer:
    page.know_hit(hit)
    answer = hit_answer(call, hit, page, runtime.clock, replay)  # first: what cannot be replayed was no hit
    await page.close(Outcome.HIT, 200)
    return answer


async def _hit(
    call: Call, hit: Hit | Following, lookup: Lookup, destination: Destination, page: Page, runtime: Runtime
) -> Answer:
    if isinstance(hit, Following):
        return follow_answer(call, hit, page, runtime.clock)
    page.cache_reason = lookup.reason if hit.kind is CacheOutcome.SEMANTIC else ""
    answer = await _replayed(call, hit, lookup.replay, page, runtime)
    if hit.kind is CacheOutcome.SEMANTIC and lookup.near is not None:
        runtime.shadows.follow(call, lookup.near, destination, runtime)
    return answer


async def serve_aside(call: Call, destination: Destination, cap: int, page: Page, runtime: Runtime) -> Answer:
    """Answer a call of the gateway's own on its open page, as any other from the routing on: no cache is asked, and
    the answer is plain. `cap` is that of its output where it has none."""
    return await _closing(_aside(call, destination, cap, page, runtime), page)


async def _aside(call: Call, destination: Destination, cap: int, page: Page, runtime: Runtime) -> Answer:
    generation = runtime.generation
    feature = generation.feature(call.tags.feature)
    page.know_call(call)
    async with runtime.caches.open(call, feature, destination.partition, generation.cache_rules) as lookup:
        route = runtime.route(destination)
        page.route, page.tier = route, route.tier
        call, allowance = await Holds(generation.pricing, runtime.outputs).hold(page, call, feature, cap)
        settlement = Settlement(page, call, generation.pricing, runtime.clock, allowance)
        page.meter = settlement.open(route.deployments[0], cap)
        return await _answer(call, cap, settlement, lookup, page, runtime, HangUp.ABORT)


def _goes_on(page: Page, lookup: Lookup, on_hang_up: HangUp) -> bool:
    """Whether a stream goes on whose client has left. The first answer of a cascade is plain, so it is finished."""
    page.is_unheard = on_hang_up is not HangUp.DRAIN and not lookup.followers
    return not page.is_unheard or (page.route is not None and page.route.then is not None)


async def _kept(
    call: Call, cap: int, settlement: Settlement, lookup: Lookup, page: Page, runtime: Runtime, on_hang_up: HangUp
) -> Answer:
    """The same for a stream that its client may leave: the lookup is open for as long as this works on."""
    async with lookup:
        return await _answer(call, cap, settlement, lookup, page, runtime, on_hang_up)


async def _answer(
    call: Call, cap: int, settlement: Settlement, lookup: Lookup, page: Page, runtime: Runtime, on_hang_up: HangUp
) -> Answer:
    # forward
    assert page.route is not None
    lookup.depart()
    if page.route.then is not None:
        first = await Cascade(call, cap, settlement, lookup, page, runtime).first()
        if isinstance(first, Answer):
            return first
        call, settlement = first
    forwarded = await runtime.forwarder.send(call, page.route, cap, page.attempts, settlement)
    settlement.begin(forwarded)

    # relay, settle, record
    if forwarded.response.status >= 400:
        return await upstream_error_answer(forwarded, settlement, page)
    if call.stream and forwarded.streams:
        ending = StreamEnding(call, forwarded, settlement, lookup.hand_over(), page, runtime.drains, on_hang_up)
        return stream_answer(forwarded, ending, page)
    return await plain_answer(call, forwarded, settlement, lookup, page)
