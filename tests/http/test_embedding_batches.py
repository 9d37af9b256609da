"""Batches of embeddings: only inputs that nobody knows are sent, and all come back in order."""

import asyncio
import base64
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from farthing.call import CacheControl, Endpoint
from farthing.catalog import Deployment
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.value import changed
from gateway.pipeline import serve
from gateway.upstreams.testing import Scripted
from tests.scripted_pipeline import CHAT, SMALL, Stair, headers_of, plain, provider

EMBED = Endpoint.EMBEDDINGS


def vector(text: str) -> list[float]:
    """Its own for each text."""
    return [float(np.float32(0.1 + ord(letter))) for letter in text.ljust(4)[:4]]


def b64(numbers: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(numbers, dtype="<f4").tobytes()).decode()


def embedded(*texts: str, tokens: int | None = None, as_base64: bool = False) -> dict[str, Any]:
    """What a provider says to these texts: by default one token each."""
    shown = [b64(vector(text)) if as_base64 else vector(text) for text in texts]
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
    count = len(texts) if tokens is None else tokens
    return {
        "object": "list",
        "data": data,
        "model": "m-1",
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def stair(*answers: Scripted, **fields: Any) -> Stair:
    made = Stair(**fields)
    made.upstream.add(*answers)
    return made.open()


async def ask(made: Stair, *texts: Any, **body: Any) -> tuple[dict[str, str], dict[str, Any]]:
    answer, raw = await made.ask(EMBED, model=SMALL, input=list(texts), **body)
    return dict(headers_of(answer)), orjson.loads(raw)


def sent(made: Stair, number: int = -1) -> Any:
    return orjson.loads(made.upstream.sent[number].body)


def vectors(said: dict[str, Any]) -> list[Any]:
    """Those of an answer in the order of their indexes; floats as the float32 that they mean."""
    assert [item["index"] for item in said["data"]] == list(range(len(said["data"])))
    shown = [item["embedding"] for item in said["data"]]
    return [one if isinstance(one, str) else np.float32(one).tolist() for one in shown]


def records(made: Stair) -> list[Record]:
    return list(made.ledger.records.values())


async def test_of_a_hundred_texts_of_which_97_are_known_three_are_sent() -> None:
    texts = [f"{number:04}" for number in range(100)]
    new = [texts[7], texts[50], texts[99]]
    known = [text for text in texts if text not in new]
    made = stair(plain(embedded(*known)), plain(embedded(*new)))
    await ask(made, *known)

    headers, said = await ask(made, *texts)

    assert sent(made)["input"] == new
    assert vectors(said) == [vector(text) for text in texts]
    assert said["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert said["model"] == "m-1"
    assert headers["x-farthing-cache"] == "partial"
    assert headers["x-farthing-inputs-sent"] == "3/100"
    assert headers["x-farthing-cost-usd"] == "0.000003000"
    record = records(made)[-1]
    assert (record.cache, record.outcome) == (CacheOutcome.PARTIAL, Outcome.SUCCESS)
    assert (record.inputs, record.inputs_sent) == (100, 3)
    assert (record.cost, record.avoided_cache, record.usage.input_total) == (3_000, 97_000, 3)


async def test_a_batch_whose_texts_are_all_known_is_a_hit_in_any_order() -> None:
    made = stair(plain(embedded("a", "b", "c")))
    await ask(made, "a", "b", "c")

    headers, said = await ask(made, "c", "a", "c")

    assert vectors(said) == [vector("c"), vector("a"), vector("c")]
    assert said == {**said, "object": "list", "model": "m-1", "usage": {"prompt_tokens": 0, "total_tokens": 0}}
    assert (headers["x-farthing-cache"], headers["x-farthing-inputs-sent"], headers["age"]) == ("exact", "0/3", "0")
    record = records(made)[-1]
    assert (record.cache, record.outcome, record.cost) == (CacheOutcome.EXACT, Outcome.HIT, 0)
    assert (record.inputs, record.inputs_sent, record.avoided_cache) == (3, 0, 3_000)
    assert len(made.upstream.sent) == 1


async def test_one_text_alone_and_in_a_batch_is_the_same() -> None:
    made = stair(plain(embedded("a")))
    await made.ask(EMBED, model=SMALL, input="a")

    _, said = await ask(made, "a")

    assert vectors(said) == [vector("a")]


async def test_a_text_that_is_asked_for_twice_is_sent_once() -> None:
    made = stair(plain(embedded("a", "b", tokens=20)))

    headers, said = await ask(made, "a", "b", "a")

    assert sent(made)["input"] == ["a", "b"]
    assert vectors(said) == [vector("a"), vector("b"), vector("a")]
    assert (headers["x-farthing-cache"], headers["x-farthing-inputs-sent"]) == ("miss", "2/3")
    record = records(made)[-1]
    assert (record.cost, record.avoided_cache, record.inputs, record.inputs_sent) == (20_000, 10_000, 3, 2)


async def test_token_ids_are_known_again_too() -> None:
    made = stair(plain(embedded("a", "b")), plain(embedded("c")))
    await ask(made, [1, 2], [3])

    _, said = await ask(made, [3], [1], [1, 2])

    assert sent(made)["input"] == [[1]]
    assert vectors(said) == [vector("b"), vector("c"), vector("a")]


@pytest.mark.parametrize("kept_as", ["float", "base64"])
async def test_one_entry_serves_floats_and_base64(kept_as: str) -> None:
    made = stair(plain(embedded("a", as_base64=kept_as == "base64")))
    await ask(made, "a", encoding_format=kept_as)

    _, floats = await ask(made, "a")
    _, packed = await ask(made, "a", encoding_format="base64")

    assert vectors(floats)[0] == vector("a")
    assert vectors(packed) == [b64(vector("a"))]
    assert len(made.upstream.sent) == 1


async def test_a_provider_with_base64_is_asked_for_it_and_the_client_gets_what_it_asked_for() -> None:
    place = Deployment(name=SMALL, provider=provider("one", base64_embeddings=True), model=SMALL)
    made = stair(plain(embedded("a", "b", as_base64=True)), small=(place,))

    _, said = await ask(made, "a", "b", encoding_format="float")

    assert sent(made)["encoding_format"] == "base64"
    assert vectors(said) == [vector("a"), vector("b")]
    assert said["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_an_answer_that_needs_no_change_passes_byte_for_byte() -> None:
    raw = orjson.dumps({**embedded("a", "b"), "of its own": 1}, option=orjson.OPT_INDENT_2)
    made = stair(Scripted(chunks=(raw,)))

    answer, body = await made.ask(EMBED, model=SMALL, input=["a", "b"])

    assert body == raw
    assert made.upstream.sent[0].body == made.request(EMBED, model=SMALL, input=["a", "b"]).body
    assert headers_of(answer)["x-farthing-inputs-sent"] == "2/2"


async def test_an_answer_out_of_order_is_put_right_and_kept_right() -> None:
    shuffled = embedded("a", "b")
    shuffled["data"].reverse()
    made = stair(plain(shuffled))

    _, said = await ask(made, "a", "b")
    _, again = await ask(made, "b")

    assert vectors(said) == [vector("a"), vector("b")]
    assert vectors(again) == [vector("b")]


def nan() -> dict[str, Any]:
    said = embedded("a", "b", as_base64=True)
    said["data"][1]["embedding"] = b64([float("nan")] * 4)
    return said


def ragged() -> dict[str, Any]:
    said = embedded("a", "b")
    said["data"][1]["embedding"].pop()
    return said


@pytest.mark.parametrize("absurd", [embedded("a"), embedded("a", "b", "c"), nan(), ragged()])
async def test_an_absurd_answer_to_the_very_call_passes_and_is_not_kept(absurd: dict[str, Any]) -> None:
    made = stair(plain(absurd), plain(embedded("a", "b")))

    _, said = await ask(made, "a", "b")
    headers, right = await ask(made, "a", "b")

    assert said == absurd
    assert headers["x-farthing-cache"] == "miss"
    assert vectors(right) == [vector("a"), vector("b")]


async def test_an_absurd_answer_to_a_part_is_an_error_that_is_paid_for() -> None:
    made = stair(plain(embedded("a")), plain(embedded("b", "c", tokens=9)), plain(embedded("a", "b")))
    await ask(made, "a")

    answer, raw = await made.ask(EMBED, model=SMALL, input=["a", "b"])
    _, right = await ask(made, "a", "b")

    assert (answer.status, orjson.loads(raw)["error"]["code"]) == (502, "upstream_broken")
    broken = records(made)[1]
    assert (broken.cost, broken.outcome, broken.avoided_cache) == (9_000, Outcome.UPSTREAM_ERROR, 0)
    assert vectors(right) == [vector("a"), vector("b")]


async def test_a_model_with_another_dimension_makes_the_old_vectors_forgotten() -> None:
    other = embedded("b")
    other["data"][0]["embedding"].append(1.0)
    longer = embedded("a", "b")
    for item in longer["data"]:
        item["embedding"].append(1.0)
    made = stair(plain(embedded("a")), plain(other), plain(longer))
    await ask(made, "a")

    answer, _ = await made.ask(EMBED, model=SMALL, input=["a", "b"])
    headers, said = await ask(made, "a", "b")

    assert answer.status == 502
    assert sent(made)["input"] == ["a", "b"]
    assert (headers["x-farthing-inputs-sent"], len(vectors(said)[0])) == ("2/2", 5)


async def test_a_failure_upstream_fails_the_call_and_keeps_what_was_known() -> None:
    refusal = {"error": {"message": "too long", "type": "invalid_request_error", "param": "input", "code": None}}
    made = stair(plain(embedded("a")), plain(refusal, 400))
    await ask(made, "a")

    answer, raw = await made.ask(EMBED, model=SMALL, input=["a", "b"])
    headers, _ = await ask(made, "a")

    assert (answer.status, orjson.loads(raw)) == (400, refusal)
    assert headers["x-farthing-cache"] == "exact"
    assert records(made)[1].cost == 0


async def test_the_hold_is_for_what_is_sent() -> None:
    long = "x" * 5_000
    made = stair(plain(embedded(long)), plain(embedded("b")), limit=Nano(6_000_000))
    first, _ = await ask(made, long)

    second, _ = await ask(made, long, "b")

    assert float(first["x-farthing-budget-remaining-usd"]) < 0.001
    assert float(second["x-farthing-budget-remaining-usd"]) > 0.0059


async def test_other_dimensions_know_nothing_of_each_other() -> None:
    made = stair(plain(embedded("a")), plain(embedded("a")))
    await ask(made, "a")

    headers, _ = await ask(made, "a", dimensions=4)

    assert headers["x-farthing-cache"] == "miss"


async def test_no_cache_asks_for_all_and_keeps_the_new_vectors() -> None:
    made = stair(plain(embedded("a")), plain(embedded("b")))
    await ask(made, "a")
    fresh = changed(made.request(EMBED, model=SMALL, input=["a", "a"]), cache_control=CacheControl(no_cache=True))

    async with await serve(fresh, made.runtime) as answer:
        said = orjson.loads(answer.body)
    _, again = await ask(made, "a")

    assert sent(made)["input"] == ["a"]
    assert headers_of(answer)["x-farthing-cache"] == "bypass"
    assert vectors(said) == [vector("b")] * 2
    assert vectors(again) == [vector("b")]


async def test_without_an_exact_cache_the_call_passes_as_it_is() -> None:
    made = stair(plain(embedded("a", "a")), feature=replace(CHAT, exact_cache=False))

    headers, said = await ask(made, "a", "a")

    assert sent(made)["input"] == ["a", "a"]
    assert vectors(said) == [vector("a")] * 2
    assert (headers["x-farthing-cache"], headers["x-farthing-inputs-sent"]) == ("bypass", "2/2")


async def test_an_encoding_that_is_not_known_passes_and_is_cached_as_a_whole() -> None:
    binary = embedded("a")
    binary["data"][0]["embedding"] = [1, 0]
    made = stair(plain(binary))

    await ask(made, "a", encoding_format="ubinary")
    headers, said = await ask(made, "a", encoding_format="ubinary")

    assert said == binary
    assert headers["x-farthing-cache"] == "exact"
    assert "x-farthing-inputs-sent" not in headers


async def test_an_entry_expires_like_any_other() -> None:
    made = stair(plain(embedded("a")), plain(embedded("a")))
    await ask(made, "a")
    made.clock.advance(3601)

    headers, _ = await ask(made, "a")

    assert headers["x-farthing-cache"] == "miss"


async def test_only_what_is_cached_means_every_input() -> None:
    made = stair(plain(embedded("a")))
    await ask(made, "a")
    wanted = CacheControl(only_if_cached=True)
    asked = changed(made.request(EMBED, model=SMALL, input=["a", "b"]), cache_control=wanted)

    async with await serve(asked, made.runtime) as answer:
        pass

    assert answer.status == 504
    assert len(made.upstream.sent) == 1


async def test_an_identical_batch_under_way_is_waited_for_and_pays_nothing() -> None:
    made = stair(plain(embedded("a", "b", "c")), plain(embedded("d")))
    await ask(made, "a", "b", "c")

    (first, said), (second, same) = await asyncio.gather(ask(made, "a", "d"), ask(made, "a", "d"))

    assert [first["x-farthing-cache"], second["x-farthing-cache"]] == ["partial", "coalesced"]
    assert vectors(said) == vectors(same) == [vector("a"), vector("d")]
    assert (said["usage"]["total_tokens"], same["usage"]["total_tokens"]) == (1, 0)
    coalesced = next(one for one in records(made) if one.cache is CacheOutcome.COALESCED)
    assert (coalesced.cost, coalesced.avoided_cache, coalesced.inputs, coalesced.inputs_sent) == (0, 2_000, 2, 0)


class AfterAnother:
    """Port Leases: the first lease comes when another process has done its `work`."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work: Coroutine[Any, Any, Any] | None = work
        self.released = 0

    async def take(self, key: bytes) -> bool:
        work, self._work = self._work, None
        if work is not None:
            await work
        return True

    async def release(self, key: bytes) -> None:
        self.released += 1

    async def renew(self) -> None:
        """It does not end by itself."""

    async def close(self) -> None:
        """Nothing is open."""


async def test_what_another_process_has_stored_meanwhile_is_not_sent_again() -> None:
    other, made = stair(plain(embedded("a", "b"))), stair(plain(embedded("c")))
    made.runtime.caches.exact = other.runtime.caches.exact
    made.runtime.caches.leases = leases = AfterAnother(ask(other, "a", "b"))

    headers, said = await ask(made, "a", "b")
    await made.runtime.caches.background.settle()

    assert headers["x-farthing-cache"] == "coalesced"
    assert vectors(said) == [vector("a"), vector("b")]
    assert made.upstream.sent == []
    assert leases.released == 1
