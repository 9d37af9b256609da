"""Signs of tasks in the configuration: what they become, and what is said of those that cannot be used."""

from pathlib import Path

import pytest

from farthing.tasksigns import NO_SIGNS, Reading, TaskRule, Turns
from gateway.settings import SettingsError, load
from gateway.settings.task_forms import MOST_RULES
from gateway.taskdesk import counts_prompts, resolver_of

BASE = """\
providers: {box: {kind: vllm}}
tiers: [{name: small, deployments: [{provider: box, model: tiny}]}]
features: {support: {}}
tasks:
"""
HASH = "sha256:" + "a" * 64
TASK = "  sorting: {bar: 0.9, reference: small%s}\n"


def write(directory: Path, text: str) -> Path:
    file = directory / "farthing.yaml"
    file.write_text(BASE + text, encoding="utf-8")
    return file


def finding(directory: Path, text: str) -> str:
    """The one finding, its line counted from the first below `tasks:`."""
    file = write(directory, text)
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    (found,) = caught.value.findings
    return f"{found.place.line - BASE.count(chr(10))}: {found.field}: {found.problem}"


def test_signs_are_kept_in_the_order_of_their_declaration(tmp_path: Path) -> None:
    text = TASK % (
        f', system_prompts: ["{HASH}"], match: [{{tools: true, tool_names: [a, b]}}, {{user_regex: "^[0-9]+$", '
        "languages: [de], min_chars: 2, max_chars: 9}]"
    )

    signs = load(write(tmp_path, text), {}).catalog.tasks["sorting"].signs

    assert signs.system_prompts == {"a" * 64}
    assert signs.rules == (
        TaskRule(tools=True, tool_names=("a", "b")),
        TaskRule(user_regex="^[0-9]+$", languages=("de",), min_chars=2, max_chars=9),
    )


def test_a_task_without_signs_has_none_and_nobody_looks_at_requests(tmp_path: Path) -> None:
    settings = load(write(tmp_path, TASK % ""), {})

    assert settings.catalog.tasks["sorting"].signs == NO_SIGNS
    assert resolver_of(settings.catalog, settings.tasks) is None


@pytest.mark.parametrize(
    ("signs", "counting", "counts"),
    [
        ("", "auto", False),
        (", match: [{tools: true}]", "auto", False),
        (f', system_prompts: ["{HASH}"]', "auto", True),
        (f', system_prompts: ["{HASH}"]', "never", False),
        ("", "always", True),
    ],
)
def test_system_prompts_are_counted_where_some_task_has_one_or_the_configuration_says_so(
    tmp_path: Path, signs: str, counting: str, counts: bool
) -> None:
    settings = load(write(tmp_path, TASK % signs + f"task_resolution: {{count_prompts: {counting}}}\n"), {})

    assert counts_prompts(settings.catalog, settings.tasks) is counts


def test_which_messages_are_read_can_be_changed(tmp_path: Path) -> None:
    settings = load(write(tmp_path, TASK % "" + "task_resolution: {system_messages: all, user_messages: first}\n"), {})

    assert settings.tasks.reading == Reading(system=Turns.ALL, user=Turns.FIRST)


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        (', system_prompts: ["sha256:abc"]', "1: tasks.sorting.system_prompts[0]: 'sha256:abc' cannot be used here; "),
        (', match: [{user_regex: "(a"}]', "1: tasks.sorting.match[0].user_regex: '(a' is not a pattern that can be "),
        (', match: [{system_regex: "(?<=a)b"}]', "1: tasks.sorting.match[0].system_regex: '(?<=a)b' is not a pattern"),
        (", match: [{tools: true}, {}]", "1: tasks.sorting.match[1]: the rule asks nothing and would take every "),
        (", match: [{min_chars: 9, max_chars: 8}]", "1: tasks.sorting.match[0].max_chars: '8' is below min_chars"),
        (", match: [{languages: [klingon]}]", "1: tasks.sorting.match[0].languages[0]: 'klingon' is not possible "),
        (", match: [{tool_name: x}]", "1: tasks.sorting.match[0].tool_name: there is no such setting; did you mean"),
        (f", match: [{', '.join(['{tools: true}'] * (MOST_RULES + 1))}]", "1: tasks.sorting.match: there are more "),
    ],
)
def test_a_sign_that_cannot_be_used_is_a_finding_with_its_place(tmp_path: Path, signs: str, said: str) -> None:
    assert finding(tmp_path, TASK % signs).startswith(said)


def test_a_system_prompt_can_be_of_one_task_only(tmp_path: Path) -> None:
    text = (
        TASK % f', system_prompts: ["{HASH}"]'
        + f'  other: {{bar: 0.9, reference: small, system_prompts: ["{HASH}"]}}\n'
    )

    assert finding(tmp_path, text).startswith("2: tasks.other.system_prompts[0]: this system prompt is on line ")


def test_files_are_seen_from_where_they_are_named(tmp_path: Path) -> None:
    text = (
        TASK % ', examples: "file://labelled/sorting.jsonl"' + "task_resolution: {classifier: c.json, deadline: 20ms}\n"
    )

    settings = load(write(tmp_path, text), {})

    assert settings.catalog.tasks["sorting"].signs.examples == str(tmp_path / "labelled" / "sorting.jsonl")
    assert (settings.tasks.classifier, settings.tasks.deadline_s) == (Path("c.json"), 0.02)


@pytest.mark.parametrize("file", ["sorting.jsonl", "file://sorting.csv", "https://x/sorting.jsonl"])
def test_what_is_no_file_of_examples_is_a_finding(tmp_path: Path, file: str) -> None:
    said = finding(tmp_path, TASK % f', examples: "{file}"')

    assert said.startswith(f"1: tasks.sorting.examples: '{file}' is not a file of examples; write file://NAME.jsonl")
