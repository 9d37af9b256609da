"""Embeddings of a provider for the semantic cache: shared calls, whose account, and when nobody is asked."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pytest

from cache.embedders.pooled import EmbedderAway, EmbedderBusy, EmbedderClosed
from cache.finding import SemanticRules
from cache.loaded import LoadedScopes
from cache.semantic import Learning, SemanticCache
from cache.stores.semantic import SQLiteSemanticRows
from cache.testing import (
    FixedCalibration,
    FixedGrader,
    FixedScorer,
    example_answer,
    example_call,
    example_question,
)
from cache.vectors.memory import MemoryIndex
from farthing.call import Call
from farthing.catalog import Deployment, Feature, PriceOverride, Provider
from farthing.money import Nano
from farthing.ports import Payer
from farthing.record import Outcome
from farthing.tags import CACHE, Tags
from gateway.answer import Answer
from gateway.books import Page
from gateway.destination import Destination
from gateway.paidembedder import AT_ONCE, LATE_IN_A_ROW, MAX_BATCH, PAUSE_S, PaidEmbedder
from gateway.pipeline import serve_aside
from gateway.runtime import Runtime
from gateway.settings import EmbedderSettings
from gateway.tasks import Background
from gateway.upstreams.testing import Ending, Scripted
from tests.scripted_pipeline import CHAT, Stair, dollars, plain, provider

MODEL = "embed-1"
PATIENCE_S = 0.25
PLACE = Deployment(name=MODEL, provider=provider("one"), model=MODEL)
SETTINGS = EmbedderSettings(place=PLACE, dimension=2)
PRICE = PriceOverride(provider="one", model=MODEL, input_per_mtok=Decimal(1), output_per_mtok=Decimal(0))
"""A token costs 1000 nano-dollars."""


@dataclass(slots=True)
class Bench:
    """An embedder over a scripted provider, whose calls wait for `gate`; `costs` is what payers were told."""

    stair: Stair
    settings: EmbedderSettings = SETTINGS
    current: EmbedderSettings | None = None
    max_queue: int = 4
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: Background = field(default_factory=Background)
    costs: list[tuple[str, int]] = field(default_factory=list)
    waits: list[asyncio.Task[Any]] = field(default_factory=list)
    embedder: PaidEmbedder = field(init=False)

    def open(self) -> "Bench":
        self.gate.set()
        self.embedder = PaidEmbedder(
            self.settings,
            self._serve,
            self.stair.clock,
            self.tasks.start,
            runtime=lambda: self.stair.runtime,
            current=lambda: self.current,
            max_queue=self.max_queue,
            patience_s=PATIENCE_S,
        )
        return self

    async def _serve(self, call: Call, destination: Destination, cap: int, page: Page, runtime: Runtime) -> Answer:
        await self.gate.wait()
        return await serve_aside(call, destination, cap, page, runtime)

    def payer(self, tenant: str = "acme", feature: str = "search", *, waits: bool = True) -> Payer:
        def spent(cost: Nano) -> None:
            self.costs.append((feature, cost))

        return Payer(Tags(tenant=tenant, key_id="k", feature=feature, environment="test"), spent, waits)

    async def embed(self, *texts: str, **who: Any) -> list[list[float]]:
        return (await self.embedder.embed(texts, self.payer(**who))).tolist()

    async def ask(self, *texts: str, **who: Any) -> "asyncio.Task[list[list[float]]]":
        """The same, begun and not waited for."""
        task = asyncio.ensure_future(self.embed(*texts, **who))
        self.waits.append(task)
        await asyncio.sleep(0)
        return task

    async def fill(self) -> None:
        """Have as many calls under way as may be, which the gate holds up."""
        self.gate.clear()
        for number in range(AT_ONCE):
            self.stair.upstream.add(vectors([1, 0]))
            await self.ask(f"under way {number}")

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The bodies that the provider got."""
        return [orjson.loads(sent.body) for sent in self.stair.upstream.sent]


def vectors(*rows: Sequence[float], tokens: int = 10) -> Scripted:
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return plain({"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def _stair(*script: Scripted, **fields: Any) -> Stair:
    stair = Stair(prices=(dollars("one", "small-model"), dollars("one", "large-model"), PRICE), **fields).open()
    generation = stair.runtime.generation
    features = MappingProxyType({"chat": CHAT, CACHE: Feature(name=CACHE)})
    stair.runtime.generation = replace(generation, catalog=replace(generation.catalog, features=features))
    stair.upstream.add(*script)
    return stair


@pytest.fixture
async def made() -> AsyncIterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(*script: Scripted, settings: EmbedderSettings = SETTINGS, max_queue: int = 4, **fields: Any) -> Bench:
        benches.append(Bench(_stair(*script, **fields), settings=settings, max_queue=max_queue).open())
        return benches[-1]

    yield make
    for bench in benches:
        bench.gate.set()
        await asyncio.gather(*bench.waits, return_exceptions=True)
        await bench.tasks.settle()
        await bench.embedder.aclose()


Make = Callable[..., Bench]


async def test_a_text_becomes_the_unit_vector_that_the_provider_gave(made: Make) -> None:
    bench = made(vectors([3, 4]))

    assert await bench.embed("one") == pytest.approx(np.array([[0.6, 0.8]]))
    assert bench.sent == [{"model": MODEL, "input": ["one"]}]


async def test_texts_asked_for_together_share_a_call_and_each_gets_its_own(made: Make) -> None:
    bench = made(vectors([1, 0], [0, 1]))

    assert await bench.embed("one", "two") == [[1, 0], [0, 1]]
    assert [body["input"] for body in bench.sent] == [["one", "two"]]


async def test_vectors_come_as_base64_from_a_provider_that_can(made: Make) -> None:
    place = replace(PLACE, provider=provider("one", base64_embeddings=True))
    packed = base64.b64encode(struct.pack("<2f", 0, 2)).decode()
    answer = plain({"data": [{"index": 0, "embedding": packed}], "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    bench = made(answer, settings=replace(SETTINGS, place=place))

    assert await bench.embed("one") == [[0, 1]]
    assert bench.sent[0]["encoding_format"] == "base64"


async def test_a_model_that_can_is_asked_for_short_vectors(made: Make) -> None:
    bench = made(vectors([1, 0]), settings=replace(SETTINGS, shorten=True))

    await bench.embed("one")

    assert bench.sent[0]["dimensions"] == 2


async def test_a_call_is_booked_to_the_cache_with_the_tenant_of_who_asked(made: Make) -> None:
    bench = made(vectors([1, 0], [0, 1], tokens=10))

    await bench.embed("12", "12345678")

    record = bench.stair.record
    assert (record.tags.tenant, record.tags.environment) == ("acme", "test")
    assert (record.tags.feature, record.tags.key_id, record.tags.task) == (CACHE, CACHE, "embed:search")
    assert (record.endpoint, record.outcome, record.cost) == ("embeddings", Outcome.SUCCESS, 10_000)
    assert bench.costs == [("search", 2_000), ("search", 8_000)]  # 2 and 8 of 10 characters


@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"feature": "chat"}])
async def test_texts_of_two_tenants_or_features_never_share_a_call(made: Make, other: dict[str, str]) -> None:
    bench = made()
    await bench.fill()
    await bench.ask("mine")
    await bench.ask("yours", **other)
    bench.stair.upstream.add(vectors([1, 0]), vectors([1, 0]))
    bench.gate.set()
    await asyncio.gather(*bench.waits)

    assert [body["input"] for body in bench.sent[AT_ONCE:]] == [["mine"], ["yours"]]
    tags = [record.tags for record in bench.stair.records[AT_ONCE:]]
    assert (tags[0].tenant, tags[0].task) == ("acme", "embed:search")
    assert (tags[1].tenant, tags[1].task) == (other.get("tenant", "acme"), f"embed:{other.get('feature', 'search')}")


async def test_what_is_asked_for_while_calls_are_under_way_goes_together(made: Make) -> None:
    bench = made()
    await bench.fill()
    for text in ("a", "b", "c"):
        await bench.ask(text)
    bench.stair.upstream.add(vectors([1, 0], [0, 1], [1, 0]))
    bench.gate.set()
    found = await asyncio.gather(*bench.waits)

    assert [body["input"] for body in bench.sent[AT_ONCE:]] == [["a", "b", "c"]]
    assert found[AT_ONCE:] == [[[1, 0]], [[0, 1]], [[1, 0]]]


async def test_no_call_holds_more_texts_than_it_may(made: Make) -> None:
    bench = made(max_queue=100)
    await bench.fill()
    texts = [f"text {number}" for number in range(MAX_BATCH + 1)]
    await bench.ask(*texts)
    bench.stair.upstream.add(vectors(*[[1, 0]] * MAX_BATCH), vectors([1, 0]))
    bench.gate.set()
    await asyncio.gather(*bench.waits)

    assert [len(body["input"]) for body in bench.sent[AT_ONCE:]] == [MAX_BATCH, 1]


async def test_the_same_text_under_way_is_not_sent_again(made: Make) -> None:
    bench = made(vectors([1, 0]))
    bench.gate.clear()
    await bench.ask("one")
    await bench.ask("one")
    bench.gate.set()

    assert await asyncio.gather(*bench.waits) == [[[1, 0]], [[1, 0]]]
    assert bench.costs == [("search", 10_000)]


async def test_a_full_queue_refuses_at_once(made: Make) -> None:
    bench = made(max_queue=2)
    await bench.fill()
    for text in ("a", "b"):
        await bench.ask(text)
    bench.stair.upstream.add(vectors([1, 0], [1, 0]))

    with pytest.raises(EmbedderBusy) as busy:
        await bench.embed("c")

    assert (busy.value.queued, busy.value.limit) == (2, 2)


async def test_no_lookup_queues_behind_calls_that_are_all_later_than_it_waits(made: Make) -> None:
    bench = made()
    await bench.fill()
    bench.stair.clock.advance(PATIENCE_S + 0.01)

    with pytest.raises(EmbedderBusy):
        await bench.embed("a")


async def test_what_is_only_to_be_kept_may_queue_there(made: Make) -> None:
    bench = made()
    await bench.fill()
    bench.stair.clock.advance(PATIENCE_S + 0.01)
    keeping = await bench.ask("a", waits=False)
    bench.stair.upstream.add(vectors([0, 1]))
    bench.gate.set()

    assert await keeping == [[0, 1]]


async def test_who_leaves_before_his_text_is_sent_pays_nothing(made: Make) -> None:
    bench = made()
    await bench.fill()
    leaver = await bench.ask("leaves")
    leaver.cancel()
    await asyncio.sleep(0)
    bench.gate.set()
    await asyncio.gather(*bench.waits, return_exceptions=True)
    await bench.tasks.settle()

    assert len(bench.sent) == AT_ONCE
    assert len(bench.costs) == AT_ONCE


async def test_who_leaves_after_that_gets_the_vector_for_nothing_later(made: Make) -> None:
    bench = made(vectors([0, 1]))
    bench.gate.clear()
    leaver = await bench.ask("leaves")
    leaver.cancel()
    await asyncio.sleep(0)
    bench.gate.set()
    await bench.tasks.settle()

    assert await bench.embed("leaves") == [[0, 1]]
    assert bench.costs == [("search", 10_000)]
    assert len(bench.sent) == 1


BROKEN = {
    "an error": plain({"error": {"message": "no"}}, 500),
    "a refusal": plain({"error": {"message": "slow down"}}, 429),
    "nobody there": Scripted(ending=Ending.REFUSED),
    "nothing in time": Scripted(ending=Ending.SILENT),
    "a cut": Scripted(chunks=(b'{"data": [',), ending=Ending.CUT),
    "no JSON": Scripted(chunks=(b"<html>",)),
    "another length": vectors([1, 0, 0]),
    "too few": vectors(),
    "no number": vectors([1, float("nan")]),
    "no direction": vectors([0, 0]),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_after_a_failure_nobody_is_asked_for_a_while_and_then_again(made: Make, answer: Scripted) -> None:
    bench = made(answer, vectors([1, 0]))

    with pytest.raises(EmbedderAway):
        await bench.embed("one")
    with pytest.raises(EmbedderAway):
        await bench.embed("two")
    asked = len(bench.sent)
    bench.stair.clock.advance(PAUSE_S)

    assert await bench.embed("three") == [[1, 0]]
    assert asked == 1
    assert not bench.stair.ledger.holds


async def test_what_a_failed_call_has_cost_is_told_and_booked(made: Make) -> None:
    bench = made(vectors([1, 0, 0]))

    with pytest.raises(EmbedderAway):
        await bench.embed("one")

    assert bench.stair.record.cost == 10_000
    assert bench.costs == [("search", 10_000)]


async def _late(bench: Bench, *, gives_up: bool) -> None:
    for number in range(LATE_IN_A_ROW):
        bench.gate.clear()
        lookup = await bench.ask(f"late {number}")
        bench.stair.clock.advance(PATIENCE_S + 0.01)
        if gives_up:
            lookup.cancel()
            await asyncio.sleep(0)
        bench.gate.set()
        await bench.tasks.settle()


async def test_late_calls_for_which_all_have_waited_go_on(made: Make) -> None:
    bench = made(*[vectors([1, 0])] * (LATE_IN_A_ROW + 1))

    await _late(bench, gives_up=False)

    assert await bench.embed("next") == [[1, 0]]


async def test_after_calls_that_lookups_gave_up_on_again_and_again_none_is_made_for_a_while(made: Make) -> None:
    bench = made(*[vectors([1, 0])] * LATE_IN_A_ROW)

    await _late(bench, gives_up=True)

    with pytest.raises(EmbedderAway, match=r"longer than cache\.semantic\.deadline \(0\.25 s\)"):
        await bench.embed("next")

    assert len(bench.sent) == LATE_IN_A_ROW


async def test_a_spent_budget_sends_nothing(made: Make) -> None:
    bench = made(vectors([1, 0]), limit=Nano(0))

    with pytest.raises(EmbedderAway):
        await bench.embed("one")

    assert bench.sent == []
    assert bench.stair.record.outcome is Outcome.REFUSED


async def test_a_model_without_a_price_is_not_asked(made: Make) -> None:
    place = replace(PLACE, model="no-price")
    bench = made(vectors([1, 0]), settings=replace(SETTINGS, place=place))

    with pytest.raises(EmbedderAway):
        await bench.embed("one")

    assert bench.sent == []


async def test_a_key_that_a_reload_brought_is_used_and_another_model_is_not(made: Make) -> None:
    bench = made(vectors([1, 0]), vectors([1, 0]))

    bench.current = replace(SETTINGS, place=replace(PLACE, provider=replace(PLACE.provider, api_key="new")))
    await bench.embed("one")
    bench.current = replace(SETTINGS, place=replace(PLACE, model="another"))
    await bench.embed("two")

    first, second = bench.stair.upstream.sent
    assert (first.deployment.provider.api_key, first.deployment.model) == ("new", MODEL)
    assert second.deployment.model == MODEL


async def test_closing_refuses_what_waits_and_what_comes(made: Make) -> None:
    bench = made()
    await bench.fill()
    waiting = await bench.ask("waits")

    await bench.embedder.aclose()

    with pytest.raises(EmbedderClosed):
        await waiting
    with pytest.raises(EmbedderClosed):
        await bench.embed("comes")


async def test_who_asks_says_who_pays(made: Make) -> None:
    with pytest.raises(ValueError, match="say who pays"):
        await made().embedder.embed(["one"])


def test_every_vector_space_has_a_version_of_its_own() -> None:
    def at(**changes: Any) -> Provider:
        return replace(PLACE.provider, **changes)

    spaces = [
        SETTINGS,
        replace(SETTINGS, dimension=3),
        replace(SETTINGS, shorten=True),
        replace(SETTINGS, place=replace(PLACE, model="embed-2")),
        replace(SETTINGS, place=replace(PLACE, provider=at(name="two"))),
        replace(SETTINGS, place=replace(PLACE, provider=at(base_url="http://elsewhere"))),
    ]

    assert len({one.version for one in spaces}) == len(spaces)
    assert replace(SETTINGS, place=replace(PLACE, provider=at(api_key="new"))).version == SETTINGS.version


@pytest.fixture
async def cached(made: Make, tmp_path: Path) -> AsyncIterator[tuple[Bench, SemanticCache]]:
    """A semantic cache over a provider's embeddings, with one entry."""
    bench = made(vectors([1, 0]))
    learning = Learning(scorer=FixedScorer(), calibrations=FixedCalibration, grader=FixedGrader())
    rows = SQLiteSemanticRows.open(tmp_path / "semantic.db")
    nearby = LoadedScopes(rows, MemoryIndex(), dimension=2)
    cache = SemanticCache(rows, nearby, bench.embedder, bench.stair.clock, learning=learning, deadline_s=0.05)
    await cache.add(_call("What is the capital of France?"), SCOPE, example_answer(), ttl_s=600)
    assert cache.counts.stored == 1
    yield bench, cache
    await cache.close()


SCOPE = b"s" * 32
RULES = SemanticRules(floor=0.5, max_wrong=0.05)


def _call(text: str) -> Call:
    return example_call(example_question(text))


async def test_a_lookup_goes_by_the_providers_vectors(cached: tuple[Bench, SemanticCache]) -> None:
    bench, cache = cached
    bench.stair.upstream.add(vectors([0.999, 0.001]), vectors([0, 1]))

    near = await cache.find(_call("What's the capital of France?"), SCOPE, RULES)
    far = await cache.find(_call("How do I bake bread at home?"), SCOPE, RULES)

    assert near.hit is not None
    assert far.hit is None


async def test_a_lookup_gives_up_at_its_deadline_and_its_vector_is_kept_with_the_answer(
    cached: tuple[Bench, SemanticCache],
) -> None:
    bench, cache = cached
    bench.stair.upstream.add(vectors([0, 1]))
    call = _call("How do I bake bread at home?")

    bench.gate.clear()
    found = await cache.find(call, SCOPE, RULES)  # comes back, although the gate stays shut
    bench.gate.set()
    await cache.add(call, SCOPE, example_answer(), ttl_s=600)

    assert found.hit is None
    assert (cache.counts.late, cache.counts.stored) == (1, 2)
    assert len(bench.sent) == 2  # that of the fixture, and one


async def test_an_outage_with_entries_in_the_scope_is_misses(cached: tuple[Bench, SemanticCache]) -> None:
    _, cache = cached  # the script is over: nobody is there

    found = [await cache.find(_call(f"Where is {place} on the map?"), SCOPE, RULES) for place in ("Rome", "Oslo")]

    assert [one.hit for one in found] == [None, None]
    assert (cache.counts.away, cache.counts.errors) == (2, 0)
