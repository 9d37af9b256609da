"""Files of labelled examples, and `farthing tasks train`, which makes a classifier of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.settings import SettingsError, load
from gateway.settings.findings import Finding
from gateway.taskexamples import MOST_LINES, read_examples
from router_policies.centroid import from_text
from router_policies.training import Example
from tests.labelled import SUMS, TEXTS, TICKETS, inseparable, write_examples

TREE = """\
providers: {{box: {{kind: vllm}}}}
tiers: [{{name: small, deployments: [{{provider: box, model: tiny}}]}}]
features: {{chat: {{}}}}
prices: [{{provider: box, model: tiny, free: true}}]
data_dir: {data}
task_resolution: {{examples: "file://others.jsonl"}}
tasks:
  sums: {{bar: 0.9, reference: small, examples: "file://sums.jsonl"}}
  tickets: {{bar: 0.9, reference: small, examples: "file://tickets.jsonl"}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    write_examples(directory)
    (directory / "farthing.yaml").write_text(TREE.format(data=tmp_path / "data"), encoding="utf-8")
    return directory


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def findings(config: Path, *lines: str) -> list[Finding]:
    """What is said of a file of sums with these lines."""
    (config / "sums.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = load(config, {})
    with pytest.raises(SettingsError) as caught:
        read_examples(settings.catalog, settings.tasks)
    return list(caught.value.findings)


def test_files_are_found_beside_the_configuration_and_may_hold_texts_or_requests(config: Path) -> None:
    settings = load(config, {})

    found = read_examples(settings.catalog, settings.tasks)

    assert sorted(found) == sorted(Example(task, text) for task, texts in TEXTS.items() for text in texts)


def test_a_line_is_read_as_a_request_would_be(config: Path) -> None:
    lines = [
        {"text": "plain"},
        {"system": "s", "user": "u"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "v"}]},
        {"instructions": "s", "input": "w"},
    ]
    (config / "sums.jsonl").write_text("\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    settings = load(config, {})

    found = [example.text for example in read_examples(settings.catalog, settings.tasks) if example.task == SUMS]

    assert found == ["plain", "s\nu", "s\nv", "s\nw"]


def test_every_line_that_cannot_be_used_is_told_with_file_and_line(config: Path) -> None:
    found = findings(config, '{"text": "good"}', "[1]", '{"text": ""}', '{"words": "x"}')

    assert [(finding.place.file, finding.place.line) for finding in found] == [
        (str(config / "sums.jsonl"), line) for line in (2, 3, 4)
    ]
    assert "is no JSON object; write" in found[0].problem
    assert "holds no text; write" in found[1].problem


def test_a_file_that_is_missing_or_too_large_is_told(config: Path) -> None:
    (large,) = findings(config, *["{}"] * (MOST_LINES + 1))
    (config / "tickets.jsonl").unlink()
    missing, _ = findings(config, "[]")[::-1]

    assert "is larger than" in large.problem
    assert "cannot be read" in missing.problem


def test_training_writes_a_classifier_and_says_how_good_it_is(config: Path, tmp_path: Path) -> None:
    said = run("tasks", "train", "--config", config)

    classifier = from_text((tmp_path / "data" / "task-classifier.json").read_text(encoding="utf-8"))
    assert classifier.tasks == {SUMS, TICKETS}
    assert "106 held-out examples" in said
    assert f"{classifier.held.right_if_covered:.1%} of them right" in said
    assert "(no task)" in said


def test_training_refuses_examples_that_cannot_be_told_apart_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    for task in (SUMS, TICKETS):
        lines = [json.dumps({"text": example.text}) for example in inseparable() if example.task == task]
        (config / f"{task}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (config / "farthing.yaml").write_text(
        TREE.format(data=tmp_path / "data").replace('task_resolution: {examples: "file://others.jsonl"}\n', ""),
        encoding="utf-8",
    )

    said = run("tasks", "train", "--config", config, code=1)

    assert "No margin parts these tasks" in said
    assert "Nothing was written." in said
    assert not (tmp_path / "data").exists()


def test_training_without_examples_says_what_to_write(config: Path) -> None:
    file = config / "farthing.yaml"
    file.write_text(
        "\n".join(
            line.split(", examples")[0] + "}" if "examples" in line else line for line in file.read_text().split("\n")
        ).replace('task_resolution: {examples: "file://others.jsonl"}}', ""),
        encoding="utf-8",
    )

    assert "No task has examples" in run("tasks", "train", "--config", config, code=2)


def test_the_check_tells_of_bad_examples_and_of_a_classifier_that_was_made_of_others(config: Path) -> None:
    fine = run("check", "--config", config)
    run("tasks", "train", "--config", config)
    trained = run("check", "--config", config)
    with (config / "sums.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "one more"}\n')
    other = run("check", "--config", config, code=1)
    with (config / "sums.jsonl").open("a", encoding="utf-8") as file:
        file.write("[]\n")
    bad = run("check", "--config", config, code=1)

    assert "is fine" in fine
    assert "is fine" in trained
    assert "was made of other examples: run `farthing tasks train`." in other
    assert f"{config / 'sums.jsonl'}:{len(TEXTS[SUMS]) + 2}:1: is no JSON object" in bad
