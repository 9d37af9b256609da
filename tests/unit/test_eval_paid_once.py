"""What a run pays where others have a hand in it: kept texts that a judge grades, another run of the same suite."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from evals.cellstore import CellStore
from evals.options import RunOptions
from evals.outlook import owes_exam
from evals.suite import Limits
from farthing.errors import ConfigError
from farthing.money import Nano
from farthing.routing import Verdict
from tests.unit.test_eval_judged_run import MODELS, RUBRIC, gateway, good, judged
from tests.unit.test_eval_judges import sound
from tests.unit.test_eval_runner import DAY_NS, START_NS, FakeGateway, completion, refusal, results, right, run, suite


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[CellStore]:
    with CellStore(tmp_path / "evals.db") as opened:
        yield opened


EXAM = Nano(7_000_000)
"""Seventy questions: sixty gold verdicts and ten constant answers."""
HEAVIER = judged(replace(RUBRIC, weight=2.0), count=40, bar=0.5)


async def kept(cells: CellStore) -> FakeGateway:
    """A run of the same questions that has kept its texts; its graders are others."""
    fake = gateway(good, good)
    await run(fake, judged(RUBRIC, count=40, bar=0.5), cells, models=MODELS, keep_outputs=True)
    fake.asked.clear()
    return fake


async def test_kept_texts_are_graded_anew_no_further_than_the_budget_reaches(cells: CellStore) -> None:
    fake = await kept(cells)

    report = await run(fake, HEAVIER, cells, models=MODELS, run_id="8", budget=Nano(EXAM + 500_000))
    further = await run(fake, HEAVIER, cells, models=MODELS, run_id="9")

    assert report.cost == EXAM + 500_000
    assert report.stopped == "the budget of 0.0075 USD does not reach further"
    assert results(report)["tiny"].verdict is Verdict.UNDECIDED
    assert results(further)["tiny"].verdict is Verdict.PASS


async def test_a_gateway_that_refuses_while_kept_texts_are_graded_stops_the_run(cells: CellStore) -> None:
    answering = await kept(cells)
    reply = answering.reply

    def spent_after_the_exam(tier: str, prompt: str) -> Response:
        return reply(tier, prompt) if len(answering.asked) <= 75 else refusal(402, "budget_exceeded")

    answering.reply = spent_after_the_exam

    report = await run(answering, HEAVIER, cells, models=MODELS, run_id="8")

    assert report.stopped == "the gateway answered 402 budget_exceeded: Do this."
    assert {result.verdict for result in report.tiers} == {Verdict.UNDECIDED}


@pytest.mark.parametrize("budget", [Nano(500_000), None])
async def test_a_judge_that_was_not_examined_to_the_end_decides_nothing_and_what_it_cost_is_told(
    cells: CellStore, budget: Nano | None
) -> None:
    fake = await kept(cells)
    reply = fake.reply
    fake.reply = lambda tier, prompt: (
        reply(tier, prompt) if budget or len(fake.asked) <= 5 else refusal(402, "budget_exceeded")
    )

    report = await run(fake, HEAVIER, cells, models=MODELS, run_id="8", budget=budget)

    assert report.cost == 500_000
    assert report.stopped
    assert {result.verdict for result in report.tiers} == {Verdict.UNDECIDED}
    assert results(report)["tiny"].reason.endswith("has not shown that it may decide, and the run stopped")


async def test_grades_of_a_judge_whose_standing_has_ended_decide_nothing_until_it_has_shown_it_again(
    cells: CellStore,
) -> None:
    refuses = FakeGateway(lambda _tier, _prompt: refusal(402, "budget_exceeded"))
    fake, day = gateway(good, good), 10 * DAY_NS
    await run(fake, HEAVIER, cells, models=MODELS, budget=EXAM)

    report = await run(fake, HEAVIER, cells, models=MODELS, run_id="8", now_ns=START_NS + day)
    later = await run(refuses, HEAVIER, cells, models=MODELS, run_id="9", now_ns=START_NS + day + 5 * DAY_NS)

    assert results(report)["tiny"].verdict is Verdict.PASS
    assert results(later)["tiny"].verdict is Verdict.UNDECIDED
    assert results(later)["tiny"].graded == results(report)["tiny"].graded


async def test_two_runs_of_one_suite_at_once_are_one_test(tmp_path: Path) -> None:
    said = iter(range(10**6))

    def never_twice_the_same(tier: str, prompt: str) -> Response:
        answer = prompt.replace("q", "a")
        return completion(answer if tier == "large" or next(said) % 3 else prompt, x_farthing_tier=tier)

    fake = FakeGateway(never_twice_the_same)
    with CellStore(tmp_path / "evals.db") as one, CellStore(tmp_path / "evals.db") as two:
        both = await asyncio.gather(
            run(fake, suite(60, bar=0.6), one, run_id="7"), run(fake, suite(60, bar=0.6), two, run_id="8")
        )

    scores = [{out.item_hash: out.score for out in results(report)["tiny"].outcomes} for report in both]
    shared = scores[0].keys() & scores[1].keys()
    assert len(shared) >= 20
    assert {item: scores[0][item] for item in shared} == {item: scores[1][item] for item in shared}


async def test_an_answer_that_cannot_be_read_is_paid_all_the_same(cells: CellStore) -> None:
    def shapeless(tier: str, prompt: str) -> Response:
        if tier == "large":
            return right(tier, prompt)
        told = {"x-farthing-cost-usd": "0.000100000", "x-farthing-tier": tier}
        return JSONResponse({"choices": []}, headers=told)

    fake = FakeGateway(shapeless)

    report = await run(fake, suite(40, limits=Limits(budget_usd=Decimal("0.0023"))), cells)

    assert report.cost == len(fake.asked) * 100_000
    assert report.cost <= 2_300_000


async def test_an_exam_is_owed_until_the_judge_has_passed_it_and_again_when_that_has_ended(cells: CellStore) -> None:
    fake, options = gateway(good, good), RunOptions(run_id="8", models=MODELS)
    before = owes_exam(HEAVIER, options, cells, START_NS)

    await run(fake, HEAVIER, cells, models=MODELS, budget=EXAM)

    after = [owes_exam(HEAVIER, options, cells, START_NS + days * DAY_NS) for days in (1, 15)]
    assert [before, *after] == [True, False, True]
    assert not owes_exam(suite(40), options, cells, START_NS)


# --- what runs of a kind have paid ---------------------------------------------------------------


async def test_an_exam_counts_as_spent_also_where_the_run_ended_without_a_report(cells: CellStore) -> None:
    fake = gateway(good, good, lambda content, attempt: "fail")

    with pytest.raises(ConfigError, match="may not decide"):
        await run(fake, HEAVIER, cells, models=MODELS, run_id="due-1")

    assert cells.spent("due-", START_NS) == len(fake.asked) * 100_000 == EXAM


async def test_what_was_paid_for_answers_that_cannot_be_read_counts_as_spent(cells: CellStore) -> None:
    def shapeless(tier: str, prompt: str) -> Response:
        told = {"x-farthing-cost-usd": "0.000100000", "x-farthing-tier": tier}
        return right(tier, prompt) if tier == "large" else JSONResponse({"choices": []}, headers=told)

    fake = FakeGateway(shapeless)

    report = await run(fake, suite(40), cells, run_id="due-1")

    assert cells.spent("due-", START_NS) == len(fake.asked) * 100_000 == report.cost


async def test_what_was_paid_before_a_run_was_killed_counts_as_spent(cells: CellStore) -> None:
    class Killed(Exception):
        pass

    def dies(tier: str, prompt: str) -> Response:
        if len(fake.asked) > 65:
            raise Killed
        return completion(sound(prompt, 0) if tier == "judge" else good(prompt), x_farthing_tier=tier)

    fake = FakeGateway(dies)

    with pytest.raises(Killed):
        await run(fake, HEAVIER, cells, models=MODELS, run_id="due-1")

    assert cells.spent("due-", START_NS) == 65 * 100_000
