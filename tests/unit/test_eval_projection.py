"""What a run may cost before it begins."""

import pytest

from evals.projection import ExamCost, project
from evals.suite import Assertion, Item, Suite
from farthing.money import Nano


def suite(count: int = 60) -> Suite:
    return Suite(
        name="s",
        task="t",
        bar=0.8,
        reference="large",
        candidates=("tiny", "small"),
        items=tuple(
            Item(
                messages=({"role": "user", "content": f"q{number}"},),
                assertions=(Assertion(type="equals", value="a"),),
                max_tokens=8,
                temperature=0,
            )
            for number in range(count)
        ),
    )


def price(tier: str, item: Item) -> Nano:
    return Nano({"tiny": 1, "small": 10, "large": 100}[tier])


def everything(tested: Suite) -> dict[str, list[Item]]:
    return {tier: list(tested.sample()) for tier in ("tiny", "small", "large")}


@pytest.mark.parametrize(
    ("compares", "least", "most"),
    [
        (True, 20 * 100 + 20 * 1, 60 * 100 + 60 * 10 + 60 * 1),  # the reference answers all that candidates do
        (False, 20 * 100 + 20 * 1, 20 * 100 + 60 * 10 + 60 * 1),  # else its first 20 items only
    ],
)
def test_least_is_one_candidate_decided_at_once_and_most_is_every_item_of_every_tier(
    compares: bool, least: int, most: int
) -> None:
    tested = suite()

    found = project(tested, everything(tested), price, compares=compares)

    assert (found.least, found.most) == (least, most)
    assert [(one.tier, one.items) for one in found.tiers][:2] == [("tiny", 60), ("small", 60)]


def test_what_was_answered_costs_nothing() -> None:
    tested = suite()
    lacking = {"tiny": list(tested.sample()[50:]), "small": [], "large": []}

    found = project(tested, lacking, price)

    assert (found.least, found.most) == (0, 10)


def test_a_smoke_test_costs_its_first_items_only() -> None:
    tested = suite()

    found = project(tested, everything(tested), price, first=20)

    assert found.most == 20 * 111


def test_an_exam_that_the_judge_owes_is_a_part_of_both() -> None:
    tested = suite()
    exam = ExamCost(questions=70, least=Nano(7), most=Nano(14))

    bare, found = (project(tested, everything(tested), price, exam=one) for one in (None, exam))

    assert (found.least - bare.least, found.most - bare.most) == (7, 14)
    assert (bare.exam, found.exam) == (None, exam)
