"""Providers keep the beginnings of prompts where a feature's traffic has shown that it pays, and only there."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson
import pytest

from farthing.call import Endpoint
from farthing.catalog import CacheWire, Deployment, PriceOverride, PromptCache
from farthing.money import Nano
from gateway.promptcaches import PromptCaches, least_tokens
from tests.scripted_pipeline import CHAT, Stair, completion, dollars, plain, provider, usage

MODEL = "claude-sonnet-4-5"
LONG = "All of our rules. " * 300
"""More than a thousand tokens."""
MARK = {"type": "ephemeral"}
CACHED = {"cache_read_per_mtok": Decimal("0.1"), "cache_write_per_mtok": Decimal("1.25")}


def stair(
    wire: CacheWire = CacheWire.MARKS,
    *,
    mode: PromptCache = PromptCache.AUTO,
    model: str = MODEL,
    price: PriceOverride | None = None,
    **fields: Any,
) -> Stair:
    place = Deployment(name=model, provider=provider("one", prompt_cache=wire), model=model)
    made = Stair(
        small=(place,),
        feature=replace(CHAT, prompt_cache=mode, exact_cache=False),
        prices=(price or dollars("one", model, **CACHED), dollars("one", "large-model")),
        **fields,
    ).open()
    made.runtime.forwarder.shape = PromptCaches(b"secret", made.clock, lambda: made.runtime.generation).changes
    return made


def turns(*texts: str, system: str = LONG) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    said = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *said]


async def send(made: Stair, messages: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
    """What the provider gets of this call."""
    made.upstream.add(plain(completion(usage=usage(10, 2))))
    await made.ask(messages=messages, **body)
    return dict(orjson.loads(made.upstream.sent[-1].body))


def marks(sent: dict[str, Any]) -> list[int]:
    """The messages that carry one."""
    return [number for number, message in enumerate(sent["messages"]) if MARK in _marks_of(message)]


def _marks_of(message: dict[str, Any]) -> list[Any]:
    content = message["content"]
    return [part.get("cache_control") for part in content] if isinstance(content, list) else []


async def test_a_system_prompt_that_comes_again_and_again_is_marked() -> None:
    made = stair()

    sent = [await send(made, turns(f"question {number}")) for number in range(6)]

    assert [marks(one) for one in sent] == [[], [], [], [0], [0], [0]]
    assert sent[3]["messages"][0]["content"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert sent[3]["messages"][1] == {"role": "user", "content": "question 3"}


async def test_a_conversation_is_marked_at_its_end_once_conversations_have_been_seen_to_go_on() -> None:
    made = stair()
    said: list[str] = []
    sent = []
    for number in range(6):
        said += [f"question {number} " + LONG, f"answer {number}"]
        sent.append(await send(made, turns(*said[:-1])))

    assert marks(sent[-1]) == [0, 11]
    # What has been kept once must begin every later call, to the byte.
    texts = [[_text(message) for message in one["messages"]] for one in sent]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(texts))


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else content[0]["text"]


async def test_prompts_that_never_come_again_are_left_alone() -> None:
    made = stair()

    sent = [await send(made, turns("q", system=f"Case {number}. {LONG}")) for number in range(30)]

    assert [marks(one) for one in sent] == [[]] * 30


async def test_prompts_that_come_again_after_they_would_be_forgotten_are_left_alone() -> None:
    made = stair()
    for _ in range(10):
        sent = await send(made, turns("q"))
        made.clock.advance(301)

    assert marks(sent) == []


async def test_what_the_client_marks_itself_is_all_there_is() -> None:
    made = stair()
    for number in range(6):
        await send(made, turns(f"q {number}"))
    own = turns("q", system=LONG)
    own[1]["content"] = [{"type": "text", "text": "q", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]

    sent = await send(made, own)

    assert sent["messages"] == own


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": PromptCache.OFF},
        {"wire": CacheWire.NONE},
        {"model": "some-other-model"},
        {"price": dollars("one", MODEL)},  # reading costs as much as anything
        {"price": dollars("one", MODEL, cache_read_per_mtok=Decimal("0.9"), cache_write_per_mtok=Decimal(5))},
    ],
)
async def test_nothing_is_said_where_it_is_not_wanted_not_understood_or_does_not_pay(changes: dict[str, Any]) -> None:
    made = stair(**changes)

    for number in range(8):
        sent = await send(made, turns(f"q {number}"))

    assert sent["messages"] == turns("q 7")
    assert "prompt_cache_key" not in sent


async def test_short_prompts_are_kept_by_nobody() -> None:
    made = stair()

    for _ in range(8):
        sent = await send(made, turns("q", system="Be brief."))

    assert sent["messages"] == turns("q", system="Be brief.")


async def test_openai_is_given_a_key_that_tells_nothing_and_is_the_same_for_the_same_head() -> None:
    made = stair(CacheWire.KEY, model="gpt-5", price=dollars("one", "gpt-5", cache_read_per_mtok=Decimal("0.1")))

    keys = [(await send(made, turns(f"q {number}"))).get("prompt_cache_key") for number in range(4)]
    other = [(await send(made, turns("q", system="Other. " + LONG))).get("prompt_cache_key") for _ in range(2)]

    assert keys[0] is None
    assert len(set(keys[1:])) == 1
    assert len(str(keys[1])) == 32
    assert other[1] not in (None, keys[1])


async def test_the_key_of_a_client_stays() -> None:
    made = stair(CacheWire.KEY, model="gpt-5", price=dollars("one", "gpt-5", cache_read_per_mtok=Decimal("0.1")))

    for _ in range(4):
        sent = await send(made, turns("q"), prompt_cache_key="their own")

    assert sent["prompt_cache_key"] == "their own"


async def test_responses_get_a_key_and_no_marks() -> None:
    made = stair(CacheWire.KEY, model="gpt-5", price=dollars("one", "gpt-5", cache_read_per_mtok=Decimal("0.1")))
    answer = {
        "object": "response",
        "status": "completed",
        "output": [],
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    made.upstream.add(*[plain(answer)] * 3)

    for number in range(3):
        await made.ask(Endpoint.RESPONSES, instructions=LONG, input=f"q {number}")

    bodies = [orjson.loads(sent.body) for sent in made.upstream.sent]
    assert "prompt_cache_key" not in bodies[0]
    assert len(bodies[2]["prompt_cache_key"]) == 32


async def test_the_hold_covers_a_prompt_that_is_written_whole() -> None:
    dear = dollars("one", MODEL, cache_read_per_mtok=Decimal("0.1"), cache_write_per_mtok=Decimal(50))
    made = stair(price=dear)
    written = {"prompt_tokens": 1400, "completion_tokens": 2, "total_tokens": 1402}
    written["prompt_tokens_details"] = {"cached_tokens": 0, "cache_creation_tokens": 1390}  # type: ignore[assignment]
    made.upstream.add(plain(completion(usage=written)))

    await made.ask(messages=turns("q"))

    assert made.record.usage.cache_write_5m == 1390
    assert made.record.cost > Nano(1390 * 50_000)
    assert made.ledger.overages == 0


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-sonnet-4-5", 1024),
        ("anthropic/claude-opus-4.5", 4096),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 4096),
        ("claude-3-5-haiku-latest", 2048),
        ("amazon.nova-pro-v1:0", 1024),
    ],
)
def test_the_least_length_goes_by_the_model(model: str, tokens: int) -> None:
    assert least_tokens(model) == tokens
