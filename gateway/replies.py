"""Replies: the answers that the door sends, each with the headers that explain it."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from cache.replay import plain as replay_plain
from cache.replay import stream as replay_stream
from cache.storable import storable
from farthing.answer import Hit
from farthing.call import Call
from farthing.catalog import Replay
from farthing.errors import FarthingError, MoneyError, UpstreamBroken, UpstreamError
from farthing.money import ZERO, format_usd
from farthing.ports import Clock, UpstreamResponse
from farthing.record import CacheOutcome, Outcome
from gateway.answer import Answer, Header
from gateway.books import Page
from gateway.cachedesk import Following, Lookup
from gateway.errorbodies import MOST_BYTES
from gateway.followers import FollowEnding
from gateway.forward import Forwarded, error_body
from gateway.pacing import PacedEnding, pieces_of
from gateway.reading import finish_reason_of, output_texts, parse_answer
from gateway.settlement import Settlement
from gateway.streams import StreamEnding

JSON: Final = (b"content-type", b"application/json")
EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")
_PASSED_ON: Final = ("retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms")
_ANSWERED: Final = {
    outcome: (b"x-farthing-route", b"answered by the %b cache" % outcome.encode())
    for outcome in CacheOutcome
    if outcome.is_hit
}
_FREE: Final = (b"x-farthing-cost-usd", format_usd(ZERO).encode())
_NOT_IN_HEADERS: Final = re.compile(r"[^\x20-\x7e]+")


def explain(page: Page, *, with_cost: bool) -> list[Header]:
    """The `x-farthing-*` headers of a page as it stands."""
    request_id = page.request.id.encode()
    headers = [
        (b"x-request-id", request_id),
        (b"x-farthing-request-id", request_id),
        (b"x-farthing-cache", page.cache.encode()),
    ]
    if page.call is not None:  # before that nobody knows which feature it is, if it is one
        headers.append((b"x-farthing-feature", page.tags.feature.encode()))
    if page.inputs:
        headers.append((b"x-farthing-inputs-sent", b"%d/%d" % (page.inputs_sent, page.inputs)))
    if page.model:
        headers.append((b"x-farthing-model", _header_text(page.model)))
    if page.tier:
        headers.append((b"x-farthing-tier", _header_text(page.tier)))
    if (answered := _ANSWERED.get(page.cache)) is not None:
        headers.append(answered)
    elif page.route is not None:
        headers.append((b"x-farthing-route", _header_text(page.route.reason)))
    if page.failed_check:
        headers.append((b"x-farthing-check", page.failed_check.encode()))
    if with_cost:
        headers.append((b"x-farthing-cost-usd", format_usd(cost).encode()) if (cost := page.total_cost) else _FREE)
    if page.hold is not None and page.hold.remaining is not None:
        headers.append((b"x-farthing-budget-remaining-usd", format_usd(max(page.hold.remaining, 0)).encode()))
        if page.tags.run and (run_left := page.hold.left_of("run")) is not None:
            headers.append((b"x-farthing-run-remaining-usd", format_usd(max(run_left, 0)).encode()))
    return headers


def _header_text(text: str) -> bytes:
    """Printable ASCII only: names come from files and providers, and a header must never carry a line break."""
    return text.encode() if text.isascii() and text.isprintable() else _NOT_IN_HEADERS.sub("?", text).encode()


def error_answer(error: FarthingError, page: Page) -> Answer:
    """OpenAI's error envelope with the headers that steer retries."""
    source = b"upstream" if isinstance(error, UpstreamError) else b"gateway"
    headers = [JSON, *explain(page, with_cost=False), (b"x-farthing-error-source", source)]
    headers += [(name.encode(), value.encode()) for name, value in error.retry.items()]
    return Answer(error.status, headers, orjson.dumps(error.envelope()))


def hit_answer(call: Call, hit: Hit, page: Page, clock: Clock, replay: Replay) -> Answer:
    """A stored answer with a fresh id, plain or as a stream, whichever was asked for."""
    created = call.received_ns // 1_000_000_000
    age = max(0, clock.wall_ns() - hit.answer.stored_ns) // 1_000_000_000
    headers = [*explain(page, with_cost=not call.stream), (b"age", str(age).encode())]
    if call.stream:
        # Who has waited for an answer under way has waited long enough.
        paced = replay is Replay.PACED and hit.answer.seconds > 0 and hit.kind is not CacheOutcome.COALESCED
        frames = replay_stream(
            call.endpoint,
            hit.answer,
            new_id=call.id,
            created=created,
            include_usage=call.wants_usage,
            pieces=pieces_of(hit.answer) if paced else 1,
        )
        headers = [EVENT_STREAM, (b"cache-control", b"no-cache"), *headers]
        if paced:
            return Answer(200, headers, ending=PacedEnding(frames, hit.answer.seconds))
        return Answer(200, headers, b"".join(frames))
    return Answer(200, [JSON, *headers], replay_plain(call.endpoint, hit.answer, new_id=call.id, created=created))


async def upstream_error_answer(forwarded: Forwarded, settlement: Settlement, page: Page) -> Answer:
    """The provider's refusal as it came: its status and its hints on retrying. What it says it billed is charged."""
    response = forwarded.response
    try:
        body = await read_whole(response)
    except UpstreamError:
        body = b""  # a refusal is one from its head on: it told of nothing billed, and its hints are in the headers
    if len(body) <= MOST_BYTES and (parsed := parse_answer(body)) is not None:
        settlement.charge_stated(parsed)
    await page.close(Outcome.UPSTREAM_ERROR, response.status, f"upstream_{response.status}")
    return _refused(forwarded, response.status, body, page)


def _refused(forwarded: Forwarded, status: int, body: bytes, page: Page) -> Answer:
    if key := forwarded.deployment.provider.api_key:
        body = body.replace(key.encode(), b"(the provider's key)")  # some quote it when they do not know it
    headers = [JSON, *explain(page, with_cost=False), (b"x-farthing-error-source", b"upstream")]
    return Answer(status, headers + _passed_on(forwarded.response), error_body(status, body))


def _passed_on(response: UpstreamResponse) -> list[Header]:
    return [
        (name.encode("latin-1"), _header_text(value))
        for name, value in response.headers.items()
        if name in _PASSED_ON or name.startswith("x-ratelimit-")
    ]


async def plain_answer(call: Call, forwarded: Forwarded, settlement: Settlement, lookup: Lookup, page: Page) -> Answer:
    """A whole answer: read, priced, on the books, kept if it may be, and only then sent."""
    raw, parsed = await read_plain(forwarded, settlement, page)
    if parsed.get("error"):
        return await _failed_answer(forwarded, raw, parsed, page)
    answer = page.stored(raw, page.first_byte_seconds or 0.0)
    body, page.avoided_cache = await lookup.complete(raw, parsed, answer)
    await page.close(Outcome.SUCCESS, forwarded.response.status)
    await lookup.store(answer, storable(call.endpoint, parsed))
    if page.observer is not None:
        page.observer(parsed)
    headers = [JSON, *explain(page, with_cost=True), *_passed_on(forwarded.response)]
    return Answer(forwarded.response.status, headers, body)


async def read_plain(forwarded: Forwarded, settlement: Settlement, page: Page) -> tuple[bytes, dict[str, Any]]:
    """A whole answer, as it came and parsed, with what it cost on the page. Raises UpstreamError, MoneyError."""
    response = forwarded.response
    try:
        await settlement.hold_whole()
    except BaseException as error:  # also where the client leaves meanwhile: whoever got a response closes it
        try:
            if isinstance(error, MoneyError):
                await page.close(Outcome.ABORTED, error.status, error.code)
        finally:
            await response.close()
        raise
    raw = await read_whole(response)
    page.first_byte_seconds = settlement.seconds
    parsed = parse_answer(raw)
    if parsed is None:
        raise UpstreamBroken("The model provider's answer is not a JSON object.")
    usage = settlement.read(parsed)
    if usage is not None:
        settlement.charge(usage)
    else:
        await settlement.estimate(await settlement.count(list(output_texts(parsed))))
    page.finish_reason = finish_reason_of(parsed)
    return raw, parsed


async def _failed_answer(forwarded: Forwarded, raw: bytes, parsed: Mapping[str, Any], page: Page) -> Answer:
    """A failure that came with status 200. A response or a choice that failed says so itself; a bare error needs a
    status that clients take for one."""
    status = forwarded.response.status if "output" in parsed or "choices" in parsed else UpstreamError.status
    await page.close(Outcome.UPSTREAM_ERROR, status, UpstreamError.code)
    return _refused(forwarded, status, raw, page)


def stream_answer(forwarded: Forwarded, ending: StreamEnding, page: Page) -> Answer:
    """A stream: its head now, its books when it ends, however it ends."""
    headers = [EVENT_STREAM, (b"cache-control", b"no-cache"), *explain(page, with_cost=False)]
    return Answer(200, headers + _passed_on(forwarded.response), ending=ending)


def follow_answer(call: Call, following: Following, page: Page, clock: Clock) -> Answer:
    """The stream of an identical call that is under way, from its beginning."""
    page.know_hit(Hit(kind=CacheOutcome.COALESCED, answer=following.feed.about))
    headers = [EVENT_STREAM, (b"cache-control", b"no-cache"), *explain(page, with_cost=False), (b"age", b"0")]
    return Answer(200, headers, ending=FollowEnding(call, following, page, clock))


async def read_whole(response: UpstreamResponse) -> bytes:
    """The whole body; the response is closed in any case."""
    try:
        return await response.read()
    finally:
        await response.close()
