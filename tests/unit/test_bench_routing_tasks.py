"""The benchmark of the task classifier: its data is read as it lies beside the project, and a row is what it says."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench import routing_tasks
from tests.labelled import TEXTS


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    wrapped = "\n## Question: \n\n{}\n\n## Instruction \n\nPlease answer"
    python = "Complete it.\n[PYTHON]\nassert f(1) == ??\n[/PYTHON]\n"
    write_lines(
        tmp_path / "routing" / "zeroeval" / "prompts.jsonl.gz",
        [{"task": "gsm", "prompt": wrapped.format("1 + 1?")}, {"task": "crux", "prompt": wrapped.format(python)}],
    )
    write_lines(
        tmp_path / "routing" / "routellm" / "outcomes.jsonl.gz",
        [
            {"task": "nutrition", "prompt": "n"},
            {"task": "marketing", "prompt": "m"},
            {"task": "astronomy", "prompt": "a"},
        ],
    )
    labelled = tmp_path / "semantic-cache"
    labelled.mkdir()
    (labelled / "banking77_train.csv").write_text("text,category\nWhere is my card?,card\n", encoding="utf-8")
    clinc = {"train": [["set a timer", "timer"]], "oos_test": [["what is love", "oos"]]}
    (labelled / "clinc150_data_full.json").write_text(json.dumps(clinc), encoding="utf-8")
    return tmp_path / "routing"


def test_types_are_read_without_the_wrappers_that_would_give_them_away(data: Path) -> None:
    types, strangers = routing_tasks.read_types(data)

    assert types == {
        "gsm": ["1 + 1?"],
        "crux": ["\nassert f(1) == ??\n"],
        "nutrition": ["n"],
        "banking": ["Where is my card?"],
        "assistant": ["set a timer"],
    }
    assert strangers == ["m", "what is love"]


def test_a_draw_is_tested_on_texts_that_are_no_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing_tasks, "TESTED", 10)
    monkeypatch.setattr(routing_tasks, "OTHERS", 10)
    types = {task: texts for task, texts in TEXTS.items() if task}
    strangers = [f"{text} {number}" for text in TEXTS[""] for number in range(20)]

    row = routing_tasks._draw(20, types, strangers, seed=1)

    assert row is not None
    assert row["right"] > 0.9
    assert 0 <= row["with examples of none"] <= row["strangers sure"] <= 1
