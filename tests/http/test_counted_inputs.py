"""Holds by counted tokens: a call whose bytes do not fit is counted, and only such a call."""

from typing import Any

import pytest

from farthing.call import Endpoint
from farthing.catalog import Deployment
from farthing.money import Nano
from farthing.record import Outcome
from gateway.admission import UNBOUNDED_INPUT, admit
from gateway.tokens import input_bound
from ledger.tokens import bound_tokens
from tests.scripted_pipeline import CHAT, Stair, completion, dollars, plain, provider, usage

KNOWN = Deployment(name="gpt-4o", provider=provider("one"), model="gpt-4o")
UNKNOWN = Deployment(name="other", provider=provider("one"), model="other")
TEXT = "The quick brown fox jumps over the lazy dog. " * 100
MESSAGES = [{"role": "user", "content": TEXT}]


def stair(limit: int, place: Deployment = KNOWN) -> Stair:
    return Stair(small=(place,), prices=(dollars("one", place.model),), feature=CHAT, limit=Nano(limit)).open()


def bound(endpoint: Endpoint, place: Deployment, **body: Any) -> tuple[int, int]:
    """Bytes and tighter bound of one call."""
    built = stair(10**9)
    request = built.request(endpoint, **body)
    generation = built.runtime.generation
    (key,) = generation.keys.values()
    call = admit(request, key, generation.catalog, count_unregistered=False)
    return call.input_bound, input_bound(call, place)


@pytest.mark.parametrize(
    ("endpoint", "body", "texts"),
    [
        (Endpoint.CHAT, {"messages": MESSAGES}, [TEXT]),
        (Endpoint.CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}, [TEXT]),
        (Endpoint.COMPLETIONS, {"prompt": TEXT}, [TEXT]),
        (Endpoint.COMPLETIONS, {"prompt": [TEXT, "b"]}, [TEXT, "b"]),
        (Endpoint.RESPONSES, {"input": TEXT, "instructions": "Be brief."}, [TEXT, "Be brief."]),
        (Endpoint.RESPONSES, {"input": MESSAGES}, [TEXT]),
        (Endpoint.EMBEDDINGS, {"input": [TEXT, TEXT]}, [TEXT, TEXT]),
    ],
)
def test_texts_count_by_their_tokens_and_all_around_them_by_its_bytes(
    endpoint: Endpoint, body: dict[str, Any], texts: list[str]
) -> None:
    size, tight = bound(endpoint, KNOWN, **body)

    frame = size - sum(len(text.encode()) for text in texts)
    assert tight == frame + bound_tokens(texts, model=KNOWN.model)
    assert bound_tokens(texts, model=KNOWN.model) < tight < size


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": None}, {"role": "tool"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
    ],
)
def test_what_is_no_text_counts_by_its_bytes(body: dict[str, Any]) -> None:
    size, tight = bound(Endpoint.CHAT, KNOWN, **body)

    assert tight == size


def test_a_model_whose_tokenizer_is_not_known_keeps_its_bytes() -> None:
    size, tight = bound(Endpoint.CHAT, UNKNOWN, messages=MESSAGES)

    assert tight == size


def test_media_keep_their_bound() -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]

    assert bound(Endpoint.CHAT, KNOWN, messages=picture) == (UNBOUNDED_INPUT, UNBOUNDED_INPUT)


async def test_a_call_that_fits_only_by_its_tokens_is_served() -> None:
    built = stair(2_000_000)  # 4,500 bytes at 1000 are 4.5 million; about 1,100 tokens and 100 of output are 1.3
    built.upstream.add(plain(completion(usage=usage(910, 3))))

    answer, _ = await built.ask(messages=MESSAGES)

    assert answer.status == 200
    assert built.ledger.overages == 0


async def test_a_call_that_fits_in_no_way_is_refused_for_its_bytes() -> None:
    built = stair(900_000)

    answer, _ = await built.ask(messages=MESSAGES)

    assert answer.status == 402
    assert built.record.outcome is Outcome.REFUSED


async def test_an_estimate_is_never_above_the_counted_bound() -> None:
    spaces = [{"role": "user", "content": " " * 40_000}]  # some hundred tokens, where four bytes a token say 10,000
    built = stair(2_000_000)
    built.upstream.add(plain(completion()))

    answer, _ = await built.ask(messages=spaces)

    assert answer.status == 200
    assert 0 < built.record.cost < 2_000_000
    assert built.ledger.overages == 0
