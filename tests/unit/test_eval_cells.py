"""Kept answers: what they hang on, and which of several counts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evals.cells import check_key, generation_key, question
from evals.cellstore import CellStore
from evals.report import ItemOutcome
from evals.suite import Assertion, Item, Suite
from farthing.money import Nano

ITEM = Item(
    messages=({"role": "user", "content": "q"},),
    assertions=(Assertion(type="equals", value="a"),),
    max_tokens=8,
    temperature=0,
)
ASKED = question(ITEM, ("p/m",), "g1")
MADE = ItemOutcome(item_hash=ITEM.hash, tier="tiny", score=1.0, cost=Nano(7), output_sha256="f", made_ns=100)


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[CellStore]:
    with CellStore(tmp_path / "evals.db") as opened:
        yield opened


@pytest.mark.parametrize(
    "changed",
    [
        replace(ITEM, messages=({"role": "user", "content": "other"},)),
        replace(ITEM, messages=({"role": "system", "content": "q"},)),
        replace(ITEM, max_tokens=9),
        replace(ITEM, temperature=1),
        replace(ITEM, extras={"response_format": {"type": "json_object"}}),
        replace(ITEM, extras={"tools": []}),
        replace(ITEM, repeat=1),
    ],
)
def test_another_request_is_another_question(changed: Item) -> None:
    assert question(changed, ("p/m",), "g1").request_key != ASKED.request_key


def test_other_deployments_are_another_question_in_whatever_order() -> None:
    both = question(ITEM, ("p/a", "p/b"), "g1").request_key

    assert both == question(ITEM, ("p/b", "p/a"), "g1").request_key
    assert both != question(ITEM, ("p/a",), "g1").request_key


def test_another_assertion_or_grader_grades_the_same_answer_anew() -> None:
    stricter = replace(ITEM, assertions=(Assertion(type="equals", value="b"),))

    for other in (question(stricter, ("p/m",), "g1"), question(ITEM, ("p/m",), "g2")):
        assert other.request_key == ASKED.request_key
        assert other.grade_key != ASKED.grade_key


def test_another_revision_of_the_model_is_another_generation() -> None:
    assert generation_key("r", "m", "fp1") != generation_key("r", "m", "fp2")


def test_a_test_hangs_on_task_suite_models_reference_and_graders() -> None:
    suite = Suite(name="s", task="t", bar=0.8, reference="large", candidates=("tiny",), items=(ITEM,))
    keys = {
        check_key(suite, ("a",), ("b",), "g"),
        check_key(replace(suite, bar=0.9), ("a",), ("b",), "g"),
        check_key(replace(suite, task="u"), ("a",), ("b",), "g"),
        check_key(suite, ("a2",), ("b",), "g"),
        check_key(suite, ("a",), ("b2",), "g"),
        check_key(suite, ("a",), ("b",), "g2"),
    }

    assert len(keys) == 6
    assert check_key(replace(suite, name="renamed"), ("a",), ("b",), "g") in keys


def test_of_several_answers_the_first_that_counts_is_the_one(cells: CellStore) -> None:
    for made_ns, score in ((100, 0.0), (200, 1.0), (300, 0.5)):
        cells.keep(ASKED, replace(MADE, made_ns=made_ns, score=score), run_id="r", text=None)

    assert [found.score if (found := cells.find(ASKED, since)) else None for since in (0, 150, 301)] == [0.0, 1.0, None]


def test_a_cell_is_never_changed(cells: CellStore) -> None:
    cells.keep(ASKED, MADE, run_id="r", text=None)

    cells.keep(ASKED, replace(MADE, score=0.0), run_id="r2", text=None)

    found = cells.find(ASKED, 0)
    assert found is not None and found.score == 1.0 and found.is_kept


def test_a_text_is_found_for_another_grader_only_where_it_was_kept(cells: CellStore) -> None:
    cells.keep(ASKED, MADE, run_id="r", text=None)
    without = cells.text(ASKED, 0), cells.find(ASKED, 0, with_text=True)

    cells.keep(ASKED, replace(MADE, made_ns=200), run_id="r", text="a", tool_calls=({"id": "1"},))
    found = cells.text(question(ITEM, ("p/m",), "g2"), 0)

    assert without == (None, None)
    assert found is not None and (found.text, found.tool_calls) == ("a", ({"id": "1"},))


def test_a_test_begins_once_and_anew(cells: CellStore) -> None:
    before = cells.since("k")
    cells.begin("k", task="t", tier="tiny", suite="s", since_ns=5)
    cells.begin("k", task="t", tier="tiny", suite="s", since_ns=9)

    assert (before, cells.since("k")) == (None, 9)


def test_what_runs_of_a_kind_have_paid_is_known(cells: CellStore) -> None:
    cells.note_paid("due-1", 90, Nano(3))
    cells.note_paid("due-1", 100, Nano(7))
    cells.note_paid("due-2", 200, Nano(7))
    cells.note_paid("by-hand", 300, Nano(7))

    assert [cells.spent("due-", since) for since in (0, 150, 250)] == [14, 7, 0]
    assert cells.spent("due-*", 0) == 0


def test_old_cells_are_forgotten(cells: CellStore) -> None:
    cells.keep(ASKED, MADE, run_id="due-1", text=None)
    cells.keep(ASKED, replace(MADE, made_ns=300), run_id="by-hand", text=None)

    assert (cells.forget(250), cells.forget(250)) == (1, 0)
