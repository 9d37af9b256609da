"""Failures of a provider in unusual forms: what the client is told, and that nothing private comes along."""

from dataclasses import replace

import orjson
import pytest

from farthing.call import Endpoint
from farthing.catalog import Deployment
from farthing.record import Outcome
from gateway.upstreams.testing import Ending, Scripted
from tests.scripted_pipeline import SMALL, Stair, completion, headers_of, plain, provider, usage

SECRET = "sk-of-the-provider"
KEYED = (Deployment(name=SMALL, provider=replace(provider("one"), api_key=SECRET), model=SMALL),)


async def test_a_refusal_whose_body_breaks_off_keeps_its_status_and_its_hints() -> None:
    stair = Stair().open()
    stair.upstream.add(Scripted(status=429, headers={"retry-after": "7"}, chunks=(b'{"err',), ending=Ending.CUT))

    answer, body = await stair.ask()

    assert (answer.status, headers_of(answer)["retry-after"]) == (429, "7")
    assert "message" in orjson.loads(body)["error"]
    assert (stair.record.cost, stair.record.error_code) == (0, "upstream_429")


async def test_an_error_that_quotes_the_providers_key_reaches_nobody_with_it() -> None:
    stair = Stair(small=KEYED).open()
    stair.upstream.add(plain({"error": {"message": f"Incorrect API key provided: {SECRET}", "type": "x"}}, 401))

    answer, body = await stair.ask()

    assert answer.status == 401
    assert SECRET.encode() not in body
    assert b"Incorrect API key provided" in body


async def test_a_bare_error_with_status_200_is_a_502_and_no_success() -> None:
    stair = Stair(small=KEYED).open()
    stair.upstream.add(plain({"error": {"message": f"exploded with {SECRET}", "code": 502}}))

    answer, body = await stair.ask()

    assert (answer.status, headers_of(answer)["x-farthing-error-source"]) == (502, "upstream")
    assert b"exploded" in body
    assert SECRET.encode() not in body
    assert (stair.record.outcome, stair.record.status) == (Outcome.UPSTREAM_ERROR, 502)


async def test_a_response_that_failed_is_passed_on_as_it_is_and_is_no_success() -> None:
    stair = Stair().open()
    failed = {"id": "r", "object": "response", "status": "failed", "output": [], "error": {"code": "server_error"}}
    stair.upstream.add(plain(failed))

    answer, body = await stair.ask(Endpoint.RESPONSES, input="x")

    assert (answer.status, orjson.loads(body)) == (200, failed)
    assert stair.record.outcome is Outcome.UPSTREAM_ERROR


@pytest.mark.parametrize("ending", [Ending.SILENT, Ending.UNANSWERED, Ending.REFUSED])
async def test_a_provider_without_an_answer_is_named_as_the_source_of_the_error(ending: Ending) -> None:
    stair = Stair().open()
    stair.upstream.add(Scripted(ending=ending))

    answer, _ = await stair.ask()

    assert headers_of(answer)["x-farthing-error-source"] == "upstream"


async def test_a_header_that_no_header_may_hold_is_cleaned() -> None:
    stair = Stair().open()
    stair.upstream.add(plain(completion(usage=usage(1, 1)), **{"x-ratelimit-reset": "in 5 s\r\nx-evil: 1 …"}))

    answer, _ = await stair.ask()

    assert dict(answer.headers)[b"x-ratelimit-reset"] == b"in 5 s?x-evil: 1 ?"


async def test_a_plain_answer_without_an_index_is_replayed_as_a_stream() -> None:
    stair = Stair().open()
    body = completion("Hello.", usage=usage(10, 5))
    del body["choices"][0]["index"]
    stair.upstream.add(plain(body))
    await stair.ask()

    answer, text = await stair.ask(stream=True)

    assert (answer.status, headers_of(answer)["x-farthing-cache"]) == (200, "exact")
    assert b'"index":0' in text
    assert b"Hello." in text
