"""A run can be read by whoever reads promptfoo's results."""

import json
from pathlib import Path

import pytest

from evals.export import as_promptfoo
from evals.report import ItemOutcome
from evals.scorecards import ScorecardStore
from farthing.money import Nano
from farthing.routing import Verdict
from tests.unit.test_cli_commands import CONFIG, run
from tests.unit.test_eval_scorecards import report

OUTCOMES = [
    ItemOutcome(item_hash="i1", tier="tiny", score=1.0, model="m", cost=Nano(2_000), seconds=0.25, output="yes"),
    ItemOutcome(item_hash="i2", tier="tiny", score=0.5, reason="equals does not hold"),
    ItemOutcome(item_hash="i2", tier="large", score=None, error="timeout"),
]


def test_items_are_told_in_promptfoos_words() -> None:
    written = as_promptfoo("7", OUTCOMES)["results"]

    right, half, lost = written["results"]
    assert written["stats"] == {"successes": 1, "failures": 1, "errors": 1}
    assert (right["success"], right["score"], right["latencyMs"], right["cost"]) == (True, 1.0, 250, 0.000002)
    assert (right["provider"], right["response"]) == ({"id": "tier/tiny", "label": "m"}, {"output": "yes"})
    assert half["gradingResult"] == {"pass": False, "score": 0.5, "reason": "equals does not hold"}
    assert (lost["success"], lost["score"], lost["error"]) == (False, 0.0, "timeout")
    assert [one["testIdx"] for one in written["results"]] == [0, 1, 1]
    assert "response" not in half


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "all.yaml").write_text(CONFIG + "data_dir: state\n", encoding="utf-8")
    (tmp_path / "state").mkdir()
    return tmp_path


def test_the_command_writes_a_run_that_is_on_record(place: Path) -> None:
    known = report("r7", Verdict.PASS, 1_000)
    with ScorecardStore(place / "state" / "evals.db") as store:
        store.add_run(known)
        count = len(store.items(known.run_id))

    printed = json.loads(run("eval", "export", known.run_id))
    run("eval", "export", known.run_id, "-o", "results.json")

    assert len(printed["results"]["results"]) == count > 0
    assert json.loads((place / "results.json").read_text(encoding="utf-8")) == printed


def test_a_run_that_is_not_on_record_is_told(place: Path) -> None:
    assert "There is no run 'none' on record" in run("eval", "export", "none", code=2)
    assert not (place / "results.json").exists()
