"""Runs that a judge, tests or limits decide: what flatters the judge is not promoted, and nonsense decides nothing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.responses import Response

from evals.cellstore import CellStore
from evals.judges import NULL_ANSWER
from evals.suite import Assertion, Judge, Suite
from farthing.errors import ConfigError
from farthing.routing import Verdict
from tests.unit.test_eval_judges import PAIRS, gold, sound
from tests.unit.test_eval_runner import FakeGateway, completion, results, run, suite

MODELS = {
    "tiny": ("local/smollm2-135m",),
    "large": ("openai/gpt-5",),
    "judge": ("anthropic/claude-sonnet-5",),
}
JUDGE = Judge(model="tier/judge", rubric="It says a number.", gold=(*gold(30, 30), *PAIRS), max_chars=1_000)
RUBRIC = Assertion(type="llm-rubric", place="suite.yaml:7")
BEST = Assertion(type="select-best", place="suite.yaml:8")
Says = Callable[[str], str]


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[CellStore]:
    with CellStore(tmp_path / "evals.db") as opened:
        yield opened


def judged(assertion: Assertion, count: int = 120, **given: object) -> Suite:
    plain = suite(count, **given)  # type: ignore[arg-type]
    items = tuple(replace(item, assertions=(assertion,)) for item in plain.items)
    return replace(plain, items=items, judge=JUDGE)


def gateway(tiny: Says, large: Says, judge: Callable[[str, int], str] = sound) -> FakeGateway:
    def reply(tier: str, prompt: str) -> Response:
        says = {"tiny": tiny, "large": large, "judge": lambda content: judge(content, 0)}
        return completion(says[tier](prompt), x_farthing_tier=tier)

    return FakeGateway(reply)


def good(prompt: str) -> str:
    return f"good {prompt}"


def bad(prompt: str) -> str:
    return f"bad {prompt}"


def flattering(prompt: str) -> str:
    del prompt
    return NULL_ANSWER


async def test_a_tier_that_a_judge_lets_pass_is_promoted(cells: CellStore) -> None:
    fake = gateway(good, good)

    report = await run(fake, judged(RUBRIC), cells, models=MODELS)

    assert results(report)["tiny"].verdict is Verdict.PASS
    worth = "the judge tier/judge agrees with people on 60 of 60"
    assert report.graded_by == f"share that meets the rubric, by llm-rubric; {worth}"
    assert report.cost == len(fake.asked) * 100_000  # the judge's questions are the run's money too


@pytest.mark.parametrize("tiny", [bad, flattering])
async def test_a_constant_answer_that_flatters_the_judge_is_not_promoted(cells: CellStore, tiny: Says) -> None:
    report = await run(gateway(tiny, good), judged(RUBRIC), cells, models=MODELS)

    assert results(report)["tiny"].verdict is Verdict.FAIL


async def test_a_judge_that_a_constant_answer_convinces_decides_nothing_and_costs_no_candidate(
    cells: CellStore,
) -> None:
    def gullible(content: str, attempt: int) -> str:
        return "pass" if NULL_ANSWER[:20] in content else sound(content, attempt)

    fake = gateway(flattering, good, gullible)

    with pytest.raises(ConfigError, match="it let a constant answer pass"):
        await run(fake, judged(RUBRIC), cells, models=MODELS)

    assert (fake.count("tiny"), fake.count("large")) == (0, 0)


async def test_a_tier_that_is_as_good_as_the_reference_is_promoted_by_ties(cells: CellStore) -> None:
    paired = judged(BEST, count=100, bar=0, margin=0.05)

    report = await run(gateway(good, good), paired, cells, models=MODELS)

    assert results(report)["tiny"].verdict is Verdict.PASS
    assert results(report)["tiny"].evidence.difference == 0


@pytest.mark.parametrize("tiny", [bad, flattering])
async def test_a_tier_that_loses_its_pairs_fails(cells: CellStore, tiny: Says) -> None:
    paired = judged(BEST, count=100, bar=0, margin=0.05)

    report = await run(gateway(tiny, good), paired, cells, models=MODELS)

    assert results(report)["tiny"].verdict is Verdict.FAIL


async def test_a_judge_that_turns_to_nonsense_leaves_every_tier_undecided(cells: CellStore) -> None:
    def silent_on_the_suite(content: str, attempt: int) -> str:
        asked = json.loads(content)
        return "well ..." if asked.get("answer", "").startswith("good q") else sound(content, attempt)

    report = await run(gateway(good, good, silent_on_the_suite), judged(RUBRIC), cells, models=MODELS)

    assert {tier.verdict for tier in report.tiers} == {Verdict.UNDECIDED}
    assert "suite.yaml:7: llm-rubric: the judge gave no verdict" in results(report)["tiny"].reason


async def test_answers_that_are_timed_or_priced_come_from_no_cache(cells: CellStore) -> None:
    for kind in ("latency", "cost"):
        fake = gateway(good, good)

        await run(fake, judged(Assertion(type=kind, value=Decimal(1_000))), cells, models=MODELS)

        assert {headers.get("cache-control") for _, headers in fake.asked} == {"no-cache"}
