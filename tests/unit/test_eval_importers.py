"""Samples of other tools become suites of ours, all of them or none."""

import json
from pathlib import Path
from typing import Any

import pytest

from evals.graders import grade
from evals.importers import Head, import_suite
from evals.loader import load_suite
from evals.suite import Item
from farthing.errors import ConfigError
from tests.unit.test_cli_commands import run

CHAT = [{"role": "system", "content": "Be {{brief}}."}, {"role": "user", "content": "Capital of France?"}]


def head(**more: Any) -> Head:
    return Head(task="faq", reference="large", candidates=("tiny",), bar=0.8, **more)


def imported(folder: Path, kind: str, rows: list[Any], how: str = "") -> list[Item]:
    source, target = folder / "samples.jsonl", folder / "suite.yaml"
    source.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    count = import_suite(kind, source, target, head(how=how))
    items = load_suite(target, may_promote=False).items
    assert len(items) == count
    return list(items)


def refused(folder: Path, kind: str, rows: list[Any], how: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        imported(folder, kind, rows, how)
    assert sorted(file.name for file in folder.iterdir()) == ["samples.jsonl"]
    return [line.removeprefix(f"{folder}/") for line in caught.value.message.splitlines()[1:]]


def scores(item: Item, *outputs: str) -> list[float | None]:
    return [grade(item, output).score for output in outputs]


@pytest.mark.parametrize(
    ("ideal", "how", "right", "wrong"),
    [
        ("Paris", "", "Paris, of course", "It is Paris"),
        (["Paris", "the city of light"], "", "the city of light!", "City"),
        ("Paris", "includes", "It is Paris", "paris"),
        (["Paris", "Lutetia"], "includes", "Lutetia it was", "Rome"),
        (["Paris", "Lutetia"], "icontains", "PARIS", "Rome"),
        (["The Paris", "Lutetia"], "normalized", "paris.", "in Paris"),
        ("Paris", "equals", "Paris", "Paris."),
        (["Paris", "Lutetia"], "equals", "Lutetia", "Lutetia."),
        ("1,234.5", "number", "It is 1234.5", "1234"),
        (7, "number", "7", "8"),
        ("{{odd}} {% text", "equals", "{{odd}} {% text", "odd"),
    ],
)
def test_a_sample_of_openai_evals_is_graded_as_it_says(
    tmp_path: Path, ideal: Any, how: str, right: str, wrong: str
) -> None:
    (item,) = imported(tmp_path, "openai-evals", [{"input": CHAT, "ideal": ideal}], how)

    assert [dict(message) for message in item.messages] == CHAT
    assert scores(item, right, wrong) == [1, 0]


def test_a_text_is_one_message_and_examples_are_turns(tmp_path: Path) -> None:
    example = {"role": "system", "name": "example_user", "content": "Capital of Italy?"}

    (plain,) = imported(tmp_path, "openai-evals", [{"input": 'Capital?\n\u2028"x"', "ideal": "P", "extra": 1}])
    (tmp_path / "suite.yaml").unlink()
    (chat,) = imported(tmp_path, "openai-evals", [{"input": [example, CHAT[1]], "ideal": "P"}])

    assert plain.messages == ({"role": "user", "content": 'Capital?\n\u2028"x"'},)
    assert [message["role"] for message in chat.messages] == ["user", "user"]


def test_a_sample_of_inspect_with_choices_is_answered_by_a_letter(tmp_path: Path) -> None:
    row = {"input": "Which is a city?", "choices": ["Seine", "Paris"], "target": "B", "id": "q1", "metadata": {"a": 1}}

    (item,) = imported(tmp_path, "inspect", [row])

    assert "A) Seine\nB) Paris" in item.messages[0]["content"]
    assert scores(item, "ANSWER: B", "It is a city.\nAnswer: (b)", "B", "ANSWER: A", "ANSWER: B or A") == [
        1,
        1,
        0,
        0,
        0,
    ]


def test_a_sample_of_inspect_without_choices_is_compared_without_case_and_signs(tmp_path: Path) -> None:
    (item,) = imported(tmp_path, "inspect", [{"input": "Capital?", "target": ["Paris", "Lutetia"]}])

    assert scores(item, "paris.", "in Paris") == [1, 0]


def test_a_repeated_sample_is_left_out(tmp_path: Path) -> None:
    rows = [{"input": f"q{number % 3}", "ideal": f"a{number % 3}"} for number in range(6)]

    assert len(imported(tmp_path, "openai-evals", rows)) == 3


@pytest.mark.parametrize(
    ("kind", "rows", "finding"),
    [
        ("openai-evals", [{"input": "q"}], "samples.jsonl:1: a sample has `input` and `ideal`"),
        ("openai-evals", [{"input": "q", "ideal": "a"}, 7], "samples.jsonl:2: a sample has `input` and `ideal`"),
        ("openai-evals", [{"input": 7, "ideal": "a"}], "samples.jsonl:1: input: `input` is a text, or messages"),
        ("openai-evals", [{"input": [], "ideal": "a"}], "samples.jsonl:1: input: `input` is a text, or messages"),
        (
            "openai-evals",
            [{"input": [{"role": "tool", "content": "x"}], "ideal": "a"}],
            "samples.jsonl:1: input: `input` is a text, or messages",
        ),
        ("openai-evals", [{"input": "q", "ideal": []}], "samples.jsonl:1: ideal: a text, or a list of texts"),
        ("openai-evals", [{"input": "q", "ideal": {"a": 1}}], "samples.jsonl:1: ideal: a text, or a list of texts"),
        (
            "openai-evals",
            [{"input": "q", "ideal": "a"}, {"input": CHAT, "ideal": "a"}],
            "samples.jsonl:2: its messages are system, user, those of the first sample user",
        ),
        (
            "openai-evals",
            [{"input": "q", "ideal": ["{{a}}", "b"]}],
            "samples.jsonl:1: one of several wanted answers holds {{",
        ),
        ("inspect", [{"input": "q", "target": "a", "sandbox": "docker"}], "samples.jsonl:1: sandbox: samples with"),
        (
            "inspect",
            [{"input": "q", "target": "C", "choices": ["x", "y"]}],
            "samples.jsonl:1: `target` is the letter of one choice: one of A, B",
        ),
        (
            "inspect",
            [{"input": "q", "target": ["A", "B"], "choices": ["x", "y"]}],
            "samples.jsonl:1: `target` is the letter of one choice",
        ),
        (
            "inspect",
            [{"input": f"q{number}", "target": "no", "id": 1} for number in range(2)],
            "(what would be ",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_told_and_nothing_is_written(
    tmp_path: Path, kind: str, rows: list[Any], finding: str
) -> None:
    assert finding in "\n".join(refused(tmp_path, kind, rows))


def test_all_lines_that_cannot_be_used_are_told_at_once(tmp_path: Path) -> None:
    rows = [{"input": "q"}, {"input": "q", "ideal": "word"}, {"ideal": "a"}]

    found = refused(tmp_path, "openai-evals", rows, "number")

    assert [line.split(" ")[0] for line in found] == ["samples.jsonl:1:", "samples.jsonl:2:", "samples.jsonl:3:"]


def test_lines_that_are_no_json_and_files_without_lines_are_told(tmp_path: Path) -> None:
    source = tmp_path / "samples.jsonl"
    for text, finding in (('{"input": "q", "ideal": "a"}\n{oops\n', ":2: is not valid JSON"), ("\n", ":1: is empty")):
        source.write_text(text, encoding="utf-8")

        with pytest.raises(ConfigError) as caught:
            import_suite("openai-evals", source, tmp_path / "suite.yaml", head())

        assert finding in caught.value.message


def test_a_suite_that_exists_is_never_written_over(tmp_path: Path) -> None:
    target = tmp_path / "suite.yaml"
    target.write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="exists: remove it"):
        imported(tmp_path, "openai-evals", [{"input": "q", "ideal": "a"}])

    assert target.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("kind", "how", "name", "finding"),
    [
        ("openai", "", "suite.yaml", "There is no format 'openai': known are inspect, openai-evals, promptfoo"),
        ("inspect", "roughly", "suite.yaml", "There is no --how roughly: known are begins, equals"),
        ("inspect", "", "suite.json", "suite.json must end in .yaml"),
    ],
)
def test_what_is_asked_for_must_exist(tmp_path: Path, kind: str, how: str, name: str, finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        import_suite(kind, tmp_path / "samples.jsonl", tmp_path / name, head(how=how))


PROMPTFOO = """\
description: Capitals
providers: [openai:gpt-4o]
prompts: ["Capital of {{country}}?"]
defaultTest: {assert: [{type: icontains, value: "{{city}}"}]}
tests:
  - vars: {country: France, city: Paris}
  - vars: {country: Italy, city: Rome}
"""


def test_a_configuration_of_promptfoo_gets_a_head_of_ours(tmp_path: Path) -> None:
    source, target = tmp_path / "promptfooconfig.yaml", tmp_path / "suite.yaml"
    source.write_text(PROMPTFOO, encoding="utf-8")

    count = import_suite("promptfoo", source, target, head())

    suite = load_suite(target, may_promote=False)
    assert (count, suite.task, suite.bar, suite.description) == (2, "faq", 0.8, "Capitals")
    assert scores(suite.items[0], "It is Paris.", "Rome") == [1, 0]


def test_an_assertion_of_promptfoo_that_is_not_graded_here_is_told(tmp_path: Path) -> None:
    source = tmp_path / "promptfooconfig.yaml"
    source.write_text(PROMPTFOO.replace("icontains", "javascript"), encoding="utf-8")

    with pytest.raises(ConfigError, match="assertions of type 'javascript' are not supported"):
        import_suite("promptfoo", source, tmp_path / "suite.yaml", head())

    assert [file.name for file in tmp_path.iterdir()] == ["promptfooconfig.yaml"]


def test_the_command_says_how_many_items_it_wrote(tmp_path: Path) -> None:
    source, target = tmp_path / "samples.jsonl", tmp_path / "suite.yaml"
    source.write_text('{"input": "q", "ideal": "a"}\n', encoding="utf-8")

    tiers = ["--reference", "large", "--candidate", "tiny", "--candidate", "small"]
    output = run(
        "eval", "import", "openai-evals", str(source), "--task", "faq", "--margin", "0.03", *tiers, "-o", str(target)
    )

    assert f"{target}: 1 items." in output.replace("\n", "")
    suite = load_suite(target, may_promote=False)
    assert (suite.candidates, suite.margin) == (("tiny", "small"), 0.03)
