"""What an answer to an item may cost on a tier, by the price book."""

import json
from pathlib import Path

import pytest

from evals.judges import ExamQuestion
from evals.suite import Assertion, Item, Judge, Suite
from evals.verdictforms import ANSWER_TOKENS, rubric_form
from gateway.evalcosts import FORM_TOKENS, FRAME, JUDGE_CALLS, VERDICT_TOKENS, ItemPrices
from gateway.pricing import Pricing
from gateway.settings import Settings, load
from ledger.prices import PriceBook
from ledger.tokens import count_tokens
from tests.gateway import write_tree

ITEM = Item(
    messages=({"role": "user", "content": "Which of these is the odd one out?"},),
    assertions=(Assertion(type="equals", value="a"),),
    max_tokens=100,
    temperature=0,
)
INPUT = (
    count_tokens(['[[{"role": "user", "content": "Which of these is the odd one out?"}], {}]'], model="gpt-4o") + FRAME
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Every model costs 1 USD a million tokens of input and 2 USD of output: 1,000 and 2,000 nano-dollars each."""
    return load(write_tree(tmp_path, "http://127.0.0.1:1"), {})


def prices(settings: Settings, judge: Judge | None = None) -> ItemPrices:
    suite = Suite(name="s", task="t", bar=0.8, reference="large", candidates=("small",), items=(ITEM,), judge=judge)
    return ItemPrices(suite, settings.catalog, Pricing(PriceBook(settings.prices), settings.catalog), 0)


def test_an_item_costs_its_input_and_the_cap_of_its_output(settings: Settings) -> None:
    assert prices(settings)("small", ITEM) == INPUT * 1_000 + 100 * 2_000


def test_a_judge_reads_both_answers_twice(settings: Settings) -> None:
    judged = prices(settings, Judge(model="tier/large"))("small", ITEM) - prices(settings)("small", ITEM)

    read = INPUT + 2 * 100 + FORM_TOKENS
    assert judged == JUDGE_CALLS * (read * 1_000 + VERDICT_TOKENS * 2_000)


def test_a_judge_that_a_policy_chooses_is_not_counted(settings: Settings) -> None:
    assert prices(settings, Judge(model="auto"))("small", ITEM) == prices(settings)("small", ITEM)


@pytest.mark.parametrize("model", ["tier/large", "auto"])
def test_an_exam_costs_what_the_judge_reads_and_the_cap_of_its_verdicts(settings: Settings, model: str) -> None:
    form = rubric_form("How?", "So.", "It says how.")
    exam = [ExamQuestion(messages=form, is_again=is_again) for is_again in (False, True, False)]

    found = prices(settings, Judge(model=model)).exam(exam)

    read = count_tokens([json.dumps(form)], model="gpt-4o") + 2 * FRAME
    once = read * 1_000 + ANSWER_TOKENS * 2_000
    assert (found.questions, found.least, found.most) == (2, 2 * once, 3 * once)
