"""Live grading: who is watched, what counts as a grade, and what an alarm is about."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from cache.finding import Pair, Ruling
from evals.driftbook import DriftBook
from farthing.catalog import Deployment, Feature, LiveGrader, LiveRule, Task
from farthing.money import ZERO
from farthing.routing import Demotion, LiveEvidence, Scorecard, Verdict
from farthing.tags import SHADOW
from gateway.asides import Asides
from gateway.livegrading import LiveGrading
from gateway.pipeline import serve_aside
from gateway.tasks import Background
from tests.scripted_pipeline import CHAT, Stair, completion, dollars, plain, provider, usage

ALL = LiveRule(share=1.0)
TASK = Task(name="triage", bar=Decimal("0.8"), reference="large", candidates=("small",), live=ALL)
CARD = Scorecard(
    task="triage",
    tier="small",
    verdict=Verdict.PASS,
    score=0.95,
    difference=0.0,
    bar=0.8,
    items=200,
    suite="s",
    suite_hash="h",
    models=("one/small-model",),
    run_id="r",
    decided_ns=5,
)
PLACES = tuple(Deployment(name=name, provider=provider("one"), model=name) for name in ("small-model", "twin"))
LONG = "It depends on so many things that a few words would not do, and so here are a good many of them."


class House:
    """A pipeline whose live answers are watched."""

    def __init__(
        self,
        path: Path,
        task: Task = TASK,
        ruling: bool | None = True,
        places: tuple[Deployment, ...] = PLACES[:1],
    ) -> None:
        feature = replace(CHAT, task="triage", exact_cache=False)
        prices = tuple(dollars("one", name) for name in ("small-model", "twin", "large-model"))
        self.stair = Stair(feature=feature, task=task, small=places, prices=prices).open()
        self.background = Background()
        self.pairs: list[Pair] = []
        self._ruling = ruling
        runtime, generation = self.stair.runtime, self.stair.runtime.generation
        features = {**generation.catalog.features, SHADOW: Feature(name=SHADOW, policy="fixed", tier="small")}
        catalog = replace(generation.catalog, features=MappingProxyType(features))
        runtime.generation = replace(generation, catalog=catalog)
        self.book = DriftBook(path / "evals.db")
        asides = Asides(serve_aside, self.stair.clock)
        self.live = LiveGrading(self.book, asides, self.stair.clock, self.background, lambda: self._judge)
        runtime.live = self.live
        self.take_up()

    def take_up(self, cards: tuple[Scorecard, ...] = (CARD,), demotions: tuple[Demotion, ...] = ()) -> None:
        self.live.take_up(self.stair.runtime.generation.catalog, cards, demotions)

    async def _judge(self, pair: Pair) -> Ruling:
        self.pairs.append(pair)
        return Ruling(self._ruling, ZERO)

    async def answered(self, small: str, large: str, **body: Any) -> None:
        """One call: what the tier says, and what the reference says when it is asked the same."""
        self.stair.upstream.add(*(plain(completion(text, usage=usage(10, 1))) for text in (small, large)))
        await self.stair.ask(**body)
        await self.background.settle()

    async def standings(self) -> Mapping[str, tuple[int, float]]:
        """Of each signal how many scores there are, and their sum."""
        await self.live.flush()
        return {one.signal: (one.watch.graded, one.watch.total) for one in self.book.standings()}


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for house in made:
        house.book.close()


def house(houses: list[House], tmp_path: Path, **given: Any) -> House:
    houses.append(House(tmp_path, **given))
    return houses[-1]


async def test_an_answer_is_graded_by_the_references_own(houses: list[House], tmp_path: Path) -> None:
    watched = house(houses, tmp_path)
    await watched.answered("Billing.", "billing")
    await watched.answered("refund", "billing")

    assert await watched.standings() == {"checks": (2, 2.0), "grades": (2, 1.0)}
    assert [record.tags.task for record in watched.stair.records] == ["triage", "live:chat"] * 2


async def test_free_text_is_no_grade_without_a_judge_and_one_with_it(houses: list[House], tmp_path: Path) -> None:
    watched = house(houses, tmp_path)
    await watched.answered("short", LONG)
    assert "grades" not in await watched.standings()

    judged = house(houses, tmp_path, task=replace(TASK, live=replace(ALL, grader=LiveGrader.JUDGE)))
    await judged.answered("short", LONG)
    await judged.answered(LONG, LONG)

    assert (await judged.standings())["grades"] == (2, 2.0)
    assert (judged.pairs[0].answer_a, judged.pairs[0].answer_b) == ("short", LONG)


@pytest.mark.parametrize(("ruling", "grades"), [(True, (1, 1.0)), (False, (1, 0.0)), (None, None)])
async def test_a_judge_that_cannot_tell_gives_no_grade(
    houses: list[House], tmp_path: Path, ruling: bool | None, grades: tuple[int, float] | None
) -> None:
    judge = replace(TASK, live=replace(ALL, grader=LiveGrader.JUDGE))
    watched = house(houses, tmp_path, task=judge, ruling=ruling)

    await watched.answered("yes", "no")

    assert (await watched.standings()).get("grades") == grades


async def test_a_cut_answer_is_a_fault_unless_few_tokens_were_asked_for(houses: list[House], tmp_path: Path) -> None:
    watched = house(houses, tmp_path, task=replace(TASK, live=replace(ALL, grader=LiveGrader.NONE)))
    cut = completion("so", usage=usage(10, 1))
    cut["choices"][0]["finish_reason"] = "length"
    watched.stair.upstream.add(plain(cut), plain(cut), plain(cut))

    await watched.stair.ask()
    await watched.stair.ask(max_tokens=100)
    await watched.stair.ask(max_tokens=1)

    assert await watched.standings() == {"checks": (3, 1.0)}


async def test_a_tier_that_was_demoted_since_its_pass_is_watched_as_one_without_any(
    houses: list[House], tmp_path: Path
) -> None:
    watched = house(houses, tmp_path)
    lost = Demotion(task="triage", tier="small", at_ns=9, until_ns=99, cause="drift", detail="x")
    watched.take_up(demotions=(lost,))
    for _ in range(25):
        await watched.answered("nonsense", "billing")

    (alarm,) = await watched.live.flush()

    assert (alarm.tier, alarm.signal, alarm.card) == ("small", "grades", None)


async def test_another_pass_begins_anew_and_the_same_goes_on(houses: list[House], tmp_path: Path) -> None:
    watched = house(houses, tmp_path)
    await watched.answered("billing", "billing")
    await watched.live.flush()
    watched.take_up()
    same = watched.live.evidence()
    watched.take_up((replace(CARD, run_id="r2", decided_ns=6),))

    assert same == (LiveEvidence(task="triage", tier="small", graded=1, e_worse=same[0].e_worse),)
    assert same[0].e_worse < 1
    assert watched.live.evidence() == ()


async def test_what_is_not_of_any_shape_breaks_nothing(houses: list[House], tmp_path: Path) -> None:
    watched = house(houses, tmp_path)
    watched.stair.upstream.add(plain({"choices": 7}), plain(completion("x", usage=usage(1, 1))))

    await watched.stair.ask()
    await watched.background.settle()

    assert (await watched.standings())["checks"] == (1, 0.0)


def test_without_the_setting_nobody_is_watched(houses: list[House], tmp_path: Path) -> None:
    watched = house(houses, tmp_path, task=replace(TASK, live=None))

    assert watched.live.evidence() == ()
    assert watched.book.standings() == ()


async def test_one_deployment_that_became_another_model_is_seen_among_others_that_did_not(
    houses: list[House], tmp_path: Path
) -> None:
    unpaid = replace(TASK, live=replace(ALL, grader=LiveGrader.NONE))
    watched = house(houses, tmp_path, task=unpaid, places=PLACES)
    watched.take_up((replace(CARD, run_id="r2", fingerprints=("m",)),))
    for number in range(6):
        answer = completion("x", usage=usage(1, 1)) | ({"model": "m-2"} if number % 2 else {})
        watched.stair.upstream.add(plain(answer))
        await watched.stair.ask()

    (alarm,) = await watched.live.flush()

    assert (alarm.signal, alarm.detail) == ("revision", "its provider answers with model m-2 in place of m")
