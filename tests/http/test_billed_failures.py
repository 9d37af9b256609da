"""Failed attempts that say what they billed are charges too, each with its own figures, and held before the next."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from farthing.catalog import Deployment
from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.ports import Upstream
from farthing.record import Outcome, Record
from farthing.usage import Usage, UsageSource
from gateway.errorbodies import MOST_BYTES, read_error
from gateway.pipeline import serve
from gateway.story import charges, tell
from gateway.upstreams.pyreqwest import PyreqwestUpstream
from gateway.upstreams.relay import RelayUpstream
from gateway.upstreams.testing import Ending, Scripted, scripted_server
from ledger.adjustments import priced_part
from ledger.rows import record_of, row_of
from tests.scripted_pipeline import (
    LARGE,
    SMALL,
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    plain,
    provider,
    stream,
    usage,
    usage_chunk,
)

ERROR = {"error": {"message": "overloaded after thinking", "code": 502}}
BILLED = {**ERROR, "usage": usage(1000, 500)}
FAILED = 1000 * 1000 + 500 * 2000
"""Nano-dollars at the first deployment: 1 and 2 USD a million."""
ANSWERED = 10 * 3000 + 5 * 4000
"""At the second: 3 and 4."""


def failure(body: object = BILLED, status: int = 502, headers: Mapping[str, str] = MappingProxyType({})) -> Scripted:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    told = {"content-type": "application/json", "content-length": str(len(raw)), **headers}
    return Scripted(chunks=(raw,), status=status, headers={name: value for name, value in told.items() if value})


def stair(**changes: Any) -> Stair:
    places = (
        Deployment(name=SMALL, provider=provider("one"), model=SMALL),
        Deployment(name="b", provider=provider("two"), model=SMALL),
    )
    prices = (dollars("one", SMALL), dollars("two", SMALL, "3", "4"), dollars("one", LARGE, "10", "20"))
    return Stair(**{"small": places, "prices": prices, **changes}).open()


def answer(streamed: bool) -> Scripted:
    said = frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 5))
    return stream(*said) if streamed else plain(completion(usage=usage(10, 5)))


def figures(record: Record) -> list[tuple[int, Usage | None]]:
    return [(attempt.cost, attempt.billed.usage if attempt.billed else None) for attempt in record.attempts]


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_failed_attempt_billed_is_charged_beside_the_answer_with_its_own_figures(streamed: bool) -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(answer(streamed))

    got, _ = await built.ask(max_tokens=50, stream=streamed)

    record = built.record
    assert (got.status, record.outcome) == (200, Outcome.SUCCESS)
    assert record.cost == FAILED + ANSWERED
    assert figures(record) == [(FAILED, Usage(input_uncached=1000, output=500)), (ANSWERED, None)]
    assert record.usage == Usage(input_uncached=10, output=5)
    assert built.ledger.spent == dict.fromkeys(built.ledger.spent, FAILED + ANSWERED)
    assert record_of(row_of(record)) == record
    billed = record.attempts[0].billed
    assert billed and (billed.provider, billed.model, billed.rates) == (
        "one",
        SMALL,
        '{"input_uncached":1000000000,"cache_read":1000000000,"cache_write_5m":1000000000,"cache_write_1h":1000000000,'
        '"output":2000000000,"reasoning":2000000000,"input_audio":1000000000,"output_audio":2000000000,'
        '"input_image":1000000000}',
    )


async def test_its_row_is_explained_and_told() -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(answer(False))

    await built.ask(max_tokens=50)

    record = built.record
    assert priced_part(record) == ANSWERED
    assert "(http_502, billed 0.002000000 USD)" in " ".join(tell(record))
    assert [(line.quantity, line.amount) for line in charges(record) if "failed" in line.name] == [
        ("1,500", "0.002000000")
    ]


async def test_the_headers_of_the_answer_tell_the_whole_cost_and_a_hit_avoids_that_of_the_answer() -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(answer(False))

    got, _ = await built.ask(max_tokens=50, temperature=0)
    await built.ask(max_tokens=50, temperature=0)

    assert dict(got.headers)[b"x-farthing-cost-usd"] == b"0.002050000"
    assert (built.records[1].outcome, built.records[1].avoided_cache) == (Outcome.HIT, ANSWERED)


@pytest.mark.parametrize("status", [400, 429, 500, 502])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_the_last_attempt_billed_is_the_cost_of_its_row(status: int, streamed: bool) -> None:
    built = Stair().open()
    built.upstream.add(failure(status=status))

    got, _ = await built.ask(max_tokens=50, stream=streamed)

    record = built.record
    assert (got.status, record.outcome, record.status) == (status, Outcome.UPSTREAM_ERROR, status)
    assert (record.cost, record.usage) == (FAILED, Usage(input_uncached=1000, output=500))
    assert figures(record) == [(FAILED, None)]
    assert priced_part(record) == FAILED


async def test_two_failures_that_billed_are_two_charges() -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(failure({**ERROR, "usage": usage(10, 5)}, status=500))

    await built.ask(max_tokens=50)

    record = built.record
    assert record.cost == FAILED + ANSWERED
    assert (figures(record)[0][0], priced_part(record)) == (FAILED, ANSWERED)


async def test_where_the_next_attempt_is_not_even_reached_the_first_ones_bill_stays() -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(Scripted(ending=Ending.REFUSED))

    got, _ = await built.ask(max_tokens=50)

    record = built.record
    assert got.status >= 500
    assert (record.cost, record.provider) == (FAILED, "one")
    assert record.usage.input_total == 0


async def test_where_the_next_attempt_is_silent_its_estimate_is_charged_too() -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(Scripted(ending=Ending.SILENT))

    await built.ask(max_tokens=50)

    record = built.record
    assert record.cost == FAILED + record.attempts[1].cost
    assert record.attempts[1].cost > 0
    assert record.usage.source is UsageSource.ESTIMATED


@pytest.mark.parametrize(
    "silent",
    [
        failure(ERROR),
        failure({**ERROR, "usage": None}),
        failure({**ERROR, "usage": {"limit": 5, "used": 5}}),
        failure({**ERROR, "usage": usage(0, 0)}),
        failure({**ERROR, "usage": {**usage(5, 5), "prompt_tokens": -5}}),
        failure([BILLED]),
        failure(b"not JSON"),
        failure(BILLED, headers={"content-type": "text/html"}),
        failure(BILLED, headers={"content-length": ""}),
        failure(BILLED, headers={"content-length": "lots"}),
        failure(BILLED, headers={"content-length": str(MOST_BYTES + 1)}),
        failure({**BILLED, "padding": "x" * MOST_BYTES}, headers={"content-length": "99"}),
        Scripted(
            chunks=(orjson.dumps(BILLED)[:20],),
            status=502,
            headers={"content-type": "application/json", "content-length": "99"},
            ending=Ending.CUT,
        ),
    ],
)
async def test_a_body_that_tells_no_bill_is_passed_over_and_let_go(silent: Scripted) -> None:
    built = stair()
    built.upstream.add(silent)
    built.upstream.add(answer(False))

    got, _ = await built.ask(max_tokens=50)

    assert (got.status, built.record.cost) == (200, ANSWERED)
    assert all(given.closed for given in built.upstream.answers)


# --- its hold ------------------------------------------------------------------------------------


async def held_at_each_attempt(built: Stair, **body: Any) -> list[int]:
    held: list[int] = []
    send = built.upstream.send

    async def watching(*arguments: Any, **named: Any) -> Any:
        held.append(sum(built.ledger.held.values()))
        return await send(*arguments, **named)

    built.upstream.send = watching  # type: ignore[method-assign]
    await built.ask(**body)
    return held


async def test_the_hold_grows_by_what_was_billed_before_the_next_attempt_is_sent() -> None:
    built = stair()
    built.upstream.add(failure())
    built.upstream.add(answer(False))

    first, second = await held_at_each_attempt(built, max_tokens=50)

    assert second - first == FAILED
    assert set(built.ledger.held.values()) == {0}


async def test_where_the_budget_has_no_room_there_is_no_further_attempt_and_the_failed_one_is_charged() -> None:
    built = stair(limit=Nano(FAILED + 400_000))
    built.upstream.add(failure())

    got, body = await built.ask(max_tokens=50)

    record = built.record
    assert (got.status, orjson.loads(body)["error"]["code"]) == (402, "budget_exceeded")
    assert len(built.upstream.sent) == 1
    assert (record.outcome, record.status, record.cost) == (Outcome.ABORTED, 402, FAILED)
    assert record.usage == Usage(input_uncached=1000, output=500)
    assert priced_part(record) == FAILED
    assert record.refused_by.startswith("all|")
    assert "nothing was sent" not in " ".join(tell(record))
    assert max(built.ledger.spent.values()) <= FAILED + 400_000


async def test_where_the_ledger_is_gone_there_is_no_further_attempt() -> None:
    built = stair()
    built.upstream.add(failure())

    async def gone(*_: Any) -> Any:
        raise LedgerUnavailable

    built.ledger.extend = gone  # type: ignore[method-assign, assignment]

    got, _ = await built.ask(max_tokens=50)

    assert (got.status, len(built.upstream.sent)) == (503, 1)
    (record,) = built.ledger.records.values()
    assert record.cost == FAILED


async def test_a_client_that_leaves_while_its_hold_grows_has_paid_for_the_failure() -> None:
    built = stair()
    built.upstream.add(failure())
    begun = asyncio.Event()

    async def waiting(*_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    built.ledger.extend = waiting  # type: ignore[method-assign, assignment]

    call = asyncio.create_task(serve(built.request(max_tokens=50), built.runtime))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert (built.record.outcome, built.record.cost) == (Outcome.ABORTED, FAILED)


class Stalled:
    """An answer whose body does not come."""

    status = 503
    headers = {"content-type": "application/json", "content-length": "99"}  # noqa: RUF012

    async def read(self) -> bytes:
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    assert await read_error(Stalled(), wait_s=0.01) is None


@pytest.mark.parametrize("client", [RelayUpstream, PyreqwestUpstream])
async def test_over_a_socket_the_body_is_read_through_either_client(client: Callable[[], Upstream]) -> None:
    upstream, told = client(), []
    async with scripted_server(failure(), failure(headers={"content-length": ""})) as server:
        place = Deployment(name="m", provider=replace(provider("one"), base_url=server.base_url), model="m")

        for _ in range(2):
            response = await upstream.send(place, "chat/completions", b"{}", stream=True)
            told.append(await read_error(response, wait_s=5))
            await response.close()

        await upstream.close()
    assert told == [BILLED, None]  # of a body without a length nobody knows how long it is
