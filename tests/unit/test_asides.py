"""Asides and referee: what the gateway asks on its own account, how much of it, and what it makes of the answers."""

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import orjson
import pytest

from cache.finding import Pair, Ruling
from cache.testing import example_call, example_question
from farthing.catalog import Feature
from farthing.tags import SHADOW
from gateway.asides import SHADOWING, Aside, Asides, aside_of
from gateway.pipeline import serve_aside
from gateway.referee import ModelReferee
from gateway.upstreams.testing import Scripted
from tests.scripted_pipeline import CHAT, Stair, completion, plain, usage

PAIR = Pair(
    call=example_call(example_question("What is the capital of France?")),
    question_a="What's France's capital?",
    answer_a="Paris.",
    question_b="What is the capital of France?",
    answer_b="It is Paris.",
)
CHAT_USAGE = {"usage": usage(10, 1)}


@pytest.fixture
def stair() -> Stair:
    return _stair()


def _stair(*, feature: str = SHADOW, judge: str = "tier/small") -> Stair:
    made = Stair().open()
    generation = made.runtime.generation
    features = {"chat": CHAT, feature: Feature(name=feature, policy="fixed", tier="small")}
    made.runtime.generation = replace(
        generation,
        catalog=replace(generation.catalog, features=MappingProxyType(features)),
        cache_rules=replace(generation.cache_rules, judge=judge),
    )
    return made


def _says(stair: Stair, *words: str) -> None:
    stair.upstream.add(*map(_reply, words))


def _reply(word: str) -> Scripted:
    return plain(completion(word, **CHAT_USAGE))


async def _ask(asides: Asides, stair: Stair) -> Aside:
    call = aside_of(PAIR.call, dict(PAIR.call.body, stream=True, model="auto"), stair.clock, SHADOWING)
    runtime = stair.runtime
    destination = runtime.generation.destinations.find(call, CHAT, None)
    return await asides.ask(call, destination, 50, runtime)


async def test_an_aside_is_a_plain_call_on_farthings_account_that_no_cache_sees(stair: Stair) -> None:
    _says(stair, "Paris.", "Paris.")
    asides = Asides(serve_aside, stair.clock)

    first, second = await _ask(asides, stair), await _ask(asides, stair)

    assert first.answer is not None
    assert (first.cost, second.cost) == (12_000, 12_000)
    assert [record.tags.feature for record in stair.records] == [SHADOW, SHADOW]
    sent = orjson.loads(stair.upstream.sent[0].body)
    assert "stream" not in sent
    assert sent["max_tokens"] == 50
    assert len(stair.upstream.sent) == 2


async def test_without_its_feature_there_are_no_asides() -> None:
    stair = _stair(feature="other")

    assert await _ask(Asides(serve_aside, stair.clock), stair) == Aside(None, 0)
    assert stair.upstream.sent == []


async def test_asides_are_bounded_by_the_minute(stair: Stair) -> None:
    _says(stair, *["Paris."] * 3)
    asides = Asides(serve_aside, stair.clock, per_minute=2)

    found = [(await _ask(asides, stair)).answer is not None for _ in range(3)]
    stair.clock.advance(61)
    later = await _ask(asides, stair)

    assert found == [True, True, False]
    assert later.answer is not None


async def test_after_a_failure_there_is_a_pause(stair: Stair) -> None:
    stair.upstream.add(plain({"error": {"message": "no"}}, 400))
    _says(stair, "Paris.")
    asides = Asides(serve_aside, stair.clock)

    failed = await _ask(asides, stair)
    paused = asides.may(stair.runtime)
    stair.clock.advance(61)

    assert failed.answer is None
    assert not paused
    assert asides.may(stair.runtime)


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (("SAME", "SAME"), True),
        (("DIFFERENT", "Different."), False),
        (("SAME", "DIFFERENT"), None),
        (("SAME, because the first answer says so", ""), None),
    ],
)
async def test_a_referee_is_believed_where_both_orders_agree(
    stair: Stair, words: tuple[str, str], same: bool | None
) -> None:
    _says(stair, *words)
    referee = ModelReferee(Asides(serve_aside, stair.clock), _runtime_of(stair))

    ruling = await referee(PAIR)

    assert ruling.same is same
    assert ruling.cost == sum(record.cost for record in stair.records)
    assert {record.tags.feature for record in stair.records} == {SHADOW}


async def test_a_referee_sees_the_texts_in_both_orders_and_as_data(stair: Stair) -> None:
    _says(stair, "SAME", "SAME")
    referee = ModelReferee(Asides(serve_aside, stair.clock), _runtime_of(stair))

    await referee(PAIR)

    shown = [orjson.loads(orjson.loads(sent.body)["messages"][1]["content"]) for sent in stair.upstream.sent]
    assert [(one["answer 1"], one["answer 2"]) for one in shown] == [
        ("Paris.", "It is Paris."),
        ("It is Paris.", "Paris."),
    ]


async def test_without_a_judge_pairs_stay_undecided() -> None:
    stair = _stair(judge="")
    referee = ModelReferee(Asides(serve_aside, stair.clock), _runtime_of(stair))

    assert await referee(PAIR) == Ruling(None, 0)
    assert stair.records == []


def _runtime_of(stair: Stair) -> Callable[[], object]:
    return lambda: stair.runtime
