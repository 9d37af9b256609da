"""Whole streams through the semantic cache, with calibration and local grader as they ship: the budget holds, the
published estimate agrees with what the test knows, and a stream that turns hostile is stopped."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cache.answers import answer_text
from cache.calibration import Calibration
from cache.finding import SemanticRules
from cache.grading import LocalGrader
from cache.loaded import LoadedScopes
from cache.published import FeatureReport, semantic_report
from cache.semantic import Learning, SemanticCache
from cache.stores.semantic import SQLiteSemanticRows, read_published
from cache.testing import FixedScorer, WordEmbedder, example_answer, example_body, example_call, example_question
from cache.vectors.memory import MemoryIndex
from farthing.money import ZERO
from ledger.testing import ManualClock

SCOPE = b"s" * 32
THINGS = [
    "card",
    "account",
    "loan",
    "transfer",
    "refund",
    "password",
    "invoice",
    "order",
    "parcel",
    "contract",
    "phone",
]
ACTS = ["cancel", "change", "open", "close", "track", "renew"]
EXTRAS = ["please", "kindly", "quickly", "online", "properly", "exactly", "somehow"]


@dataclass
class Stream:
    """Questions in 66 meanings, each in many words; a model that knows the answer, unless it is `hostile`."""

    cache: SemanticCache
    path: Path
    rules: SemanticRules
    clock: ManualClock
    dice: random.Random
    requests: int = 0
    hits: int = 0
    wrong: int = 0

    async def run(self, requests: int, *, hostile: bool = False) -> None:
        for _ in range(requests):
            thing, act = self.dice.choice(THINGS), self.dice.choice(ACTS)
            words = [act, "the", thing, "with", *self.dice.sample(EXTRAS, self.dice.randint(0, 2))]
            moody = f" {self.dice.randint(2, 9)} times" if hostile and self.dice.random() < 0.5 else ""
            await self._ask(f"How do I {' '.join(words)}?", f"Answer {thing} {act}{moody}.")

    async def _ask(self, question: str, truth: str) -> None:
        self.requests += 1
        self.clock.advance(1)
        call, fresh = example_call(example_question(question)), example_answer(example_body(truth))
        hit, near = await self.cache.find(call, SCOPE, self.rules)
        if hit is None:
            await self.cache.add(call, SCOPE, fresh, ttl_s=10**6, near=near)
            return
        self.hits += 1
        self.wrong += answer_text(call.endpoint, hit.answer) != truth
        if near is not None and self.dice.random() < near.share:
            await self.cache.grade_hit(near, fresh, cost=ZERO)

    async def report(self) -> FeatureReport:
        await self.cache.flush()
        (report,) = semantic_report(*read_published(self.path))
        return report


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[Stream]:
    embedder, clock, path = WordEmbedder(), ManualClock(), tmp_path / "semantic.db"
    learning = Learning(scorer=FixedScorer(), calibrations=Calibration.of_state, grader=LocalGrader(embedder))
    rows = SQLiteSemanticRows.open(path)
    loaded = LoadedScopes(rows, MemoryIndex(), dimension=embedder.dimension)
    cache = SemanticCache(rows, loaded, embedder, clock, learning=learning, deadline_s=10)
    yield Stream(cache, path, SemanticRules(floor=0.5, max_wrong=0.02), clock, random.Random(3))
    await cache.close()


async def test_a_calm_stream_keeps_its_budget_and_the_estimate_agrees(stream: Stream) -> None:
    await stream.run(1000)

    report = await stream.report()
    assert stream.hits > 0.5 * stream.requests
    assert stream.wrong <= 0.02 * stream.requests
    assert report.conservative_hits < report.hits == stream.hits
    assert report.wrong_per_hit.low <= stream.wrong / stream.hits <= report.wrong_per_hit.high


async def test_a_stream_that_turns_hostile_is_stopped(stream: Stream) -> None:
    await stream.run(600)
    before = stream.hits

    await stream.run(500, hostile=True)

    assert (await stream.report()).stopped == 1
    assert stream.hits - before < 250
