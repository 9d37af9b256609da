"""Suites are read from files, and whatever is wrong with one is told with its place."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from evals.loader import constant_answer, find_suite, load_suite
from evals.suite import Assertion, Limits, Suite
from farthing.errors import ConfigError

HEAD = """\
task: ticket_class
bar: 0.85
reference: large
candidates: [tiny, small]
prompts: ["Classify: {{text}}"]
"""
TESTS = """\
tests:
  - vars: {text: first}
    assert: [{type: icontains, value: billing}]
  - vars: {text: second}
    assert: [{type: icontains, value: refund}]
"""


def load(folder: Path, text: str, name: str = "suite.yaml") -> Suite:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return load_suite(file)


def findings(folder: Path, text: str, name: str = "suite.yaml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, name)
    return [line.removeprefix(f"{folder}/") for line in caught.value.message.splitlines()[1:]]


def test_a_suite_has_an_item_for_every_prompt_and_test(tmp_path: Path) -> None:
    suite = load(tmp_path, HEAD.replace("prompts: [", 'prompts: ["Say what: {{text}}", ') + TESTS)

    contents = [item.messages[0]["content"] for item in suite.items]
    assert contents == ["Say what: first", "Classify: first", "Say what: second", "Classify: second"]
    assert suite.items[0].assertions == (Assertion(type="icontains", value="billing"),)
    assert (suite.name, suite.task, suite.bar) == ("suite", "ticket_class", 0.85)
    assert (suite.reference, suite.candidates) == ("large", ("tiny", "small"))
    assert suite.items[0].temperature == 0


def test_the_whole_vocabulary_is_read(tmp_path: Path) -> None:
    suite = load(
        tmp_path,
        """\
$schema: https://promptfoo.dev/config-schema.json
description: Everything
task_type: sentiment
bar: {min_score: 0.8, margin_vs_reference: 0.03, alpha: 0.05}
reference: large
candidates: [tiny]
max_tokens: 12
temperature: 0.5
limits: {max_samples: 400, budget_usd: 1.50, max_age: 14d}
prompts:
  - - {role: system, content: "Be {{mood}}."}
    - {role: user, content: "{{text}}"}
defaultTest:
  vars: {mood: brief}
  assert: [{type: label, labels: [good, bad], value: "{{gold}}"}]
tests:
  - {description: one, vars: {text: fine, gold: good}, metadata: {source: us}}
  - vars: {text: awful, gold: bad, mood: kind}
    threshold: 0.5
    assert: [{type: not-regex, value: "^I", weight: 2, metric: tone}]
""",
    )

    first, second = suite.items
    assert [message["content"] for message in first.messages] == ["Be brief.", "fine"]
    assert [message["content"] for message in second.messages] == ["Be kind.", "awful"]
    assert first.assertions == (Assertion(type="label", value="good", labels=("good", "bad")),)
    assert second.assertions[0] == Assertion(type="regex", value="^I", negated=True, weight=2)
    assert (second.threshold, second.max_tokens, second.temperature) == (0.5, 12, 0.5)
    assert suite.limits == Limits(max_samples=400, budget_usd=Decimal("1.5"), max_age_s=14 * 86_400)


def test_prompts_and_tests_may_lie_in_files_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "ticket.txt").write_text("One: {{text}}\n---\nTwo: {{text}}\n", encoding="utf-8")
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "Chat: {{text}}"}]', encoding="utf-8")
    rows = [{"vars": {"text": "x"}, "assert": [{"type": "contains", "value": "y"}]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")

    head = HEAD.replace('["Classify: {{text}}"]', '["file://ticket.txt", "file://chat.json"]')
    suite = load(tmp_path, head + "tests: file://rows.jsonl\n")

    assert [item.messages[0]["content"] for item in suite.items] == ["One: x", "Two: x", "Chat: x"]


def test_a_jsonl_suite_is_its_head_and_then_its_tests(tmp_path: Path) -> None:
    head = {"task": "t", "bar": 0.9, "reference": "large", "candidates": ["tiny"], "prompts": ["{{q}}"]}
    row = {"vars": {"q": "1+1"}, "assert": [{"type": "final-number", "value": 2, "tolerance": "0.1"}]}

    suite = load(tmp_path, f"{json.dumps(head)}\n\n{json.dumps(row)}\n", "sums.jsonl")

    assert suite.name == "sums"
    assert suite.items[0].assertions[0].tolerance == Decimal("0.1")


def test_values_that_are_no_text_go_into_a_prompt_as_json(tmp_path: Path) -> None:
    tests = 'tests: [{vars: {text: {a: [1, true]}}, assert: [{type: contains, value: "{{text.a}}"}]}]'

    (item,) = load(tmp_path, HEAD + tests).items

    assert item.messages[0]["content"] == 'Classify: {"a": [1, true]}'
    assert item.assertions[0].value == "[1, true]"


def test_what_is_filled_in_is_not_a_template_itself(tmp_path: Path) -> None:
    (item,) = load(tmp_path, HEAD + 'tests: [{vars: {text: "{{secret}}"}, assert: [{type: contains, value: a}]}]').items

    assert item.messages[0]["content"] == "Classify: {{secret}}"


def test_the_hash_is_of_the_content_and_not_of_its_order_or_layout(tmp_path: Path) -> None:
    plain = load(tmp_path, HEAD + TESTS)
    head, first, second = (HEAD + TESTS).partition("tests:\n")[0], *_rows(TESTS)
    turned = load(tmp_path, "# a comment\n" + head + "tests:\n" + second + first)
    other = load(tmp_path, (HEAD + TESTS).replace("billing", "invoice"))

    assert turned.hash == plain.hash
    assert other.hash != plain.hash
    assert load(tmp_path, HEAD.replace("0.85", "0.8") + TESTS).hash != plain.hash


def _rows(tests: str) -> tuple[str, str]:
    first, second = tests.removeprefix("tests:\n").split("  - vars: {text: second}")
    return first, "  - vars: {text: second}" + second


def test_the_sample_is_the_same_every_time_and_no_larger_than_the_limit(tmp_path: Path) -> None:
    rows = "".join(f"  - {{vars: {{text: t{n}}}, assert: [{{type: contains, value: v}}]}}\n" for n in range(30))

    whole = load(tmp_path, HEAD + "tests:\n" + rows)
    limited = load(tmp_path, HEAD + "limits: {max_samples: 7}\ntests:\n" + rows)

    assert whole.sample() != whole.items
    assert sorted(item.hash for item in whole.sample()) == sorted(item.hash for item in whole.items)
    assert limited.sample() == whole.sample()[:7]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (HEAD + "refrence: x\n" + TESTS, "suite.yaml:6: refrence: unknown key 'refrence'; did you mean 'reference'?"),
        (HEAD + "providers: [openai:gpt-4]\n" + TESTS, "suite.yaml:6: providers: `providers` is not used here"),
        (
            HEAD + TESTS.replace("type: icontains, value: refund", "type: icontain, value: refund"),
            "suite.yaml:10: tests[1].assert[0].type: unknown assertion type 'icontain'; did you mean 'icontains'?",
        ),
        (HEAD + TESTS.replace("icontains", "llm-rubric"), "suite.yaml:8: tests[0].assert[0].type: assertions of type"),
        (
            HEAD + TESTS.replace("value: billing", "valu: billing"),
            "suite.yaml:8: tests[0].assert[0].valu: unknown key 'valu'",
        ),
        (
            HEAD + TESTS.replace("{text: second}", "{txt: second}"),
            "suite.yaml:9: tests[1]: there is no variable 'text'",
        ),
        (HEAD + TESTS.replace("second", "first").replace("refund", "billing"), "suite.yaml:9: tests[1]: the test rep"),
        (HEAD + "tests: [{vars: {text: [a, b]}, assert: [{type: contains, value: a}]}]", "a list would stand for"),
        (HEAD + "tests: [{vars: {text: a}}]", "suite.yaml:6: tests[0]: the test asserts nothing"),
        (HEAD + "tests: []", "suite.yaml:1: the suite has no tests"),
        (HEAD, "suite.yaml:1: `tests` is a list, or file://tests.jsonl"),
        (HEAD.replace("bar: 0.85\n", "") + TESTS, "suite.yaml:1: `bar` is missing"),
        (HEAD.replace("0.85", "85") + TESTS, "suite.yaml:2: bar: a number from 0 to 1 is wanted here"),
        (HEAD.replace("0.85", "0") + TESTS, "suite.yaml:2: bar: a number above 0 is wanted here"),
        (HEAD.replace("0.85", "yes") + TESTS, "suite.yaml:2: bar: a number from 0 to 1 is wanted here"),
        (HEAD.replace("task: ticket_class\n", "") + TESTS, "suite.yaml:1: `task` is missing"),
        (HEAD.replace("ticket_class", "'a b'") + TESTS, "suite.yaml:1: task: a task is a name of letters"),
        (HEAD.replace("[tiny, small]", "[tiny, large]") + TESTS, "suite.yaml:4: candidates: a tier is named twice"),
        (HEAD.replace("[tiny, small]", "tiny") + TESTS, "suite.yaml:4: candidates: `candidates` is a list"),
        (HEAD.replace("reference: large\n", "") + TESTS, "suite.yaml:1: `reference` is missing"),
        (HEAD + "limits: {max_age: two weeks}\n" + TESTS, "suite.yaml:6: limits.max_age: a duration is wanted"),
        (HEAD + "limits: {budget_usd: -1}\n" + TESTS, "suite.yaml:6: limits.budget_usd: a number of 0 or more"),
        (HEAD + "limits: {max_samples: 0}\n" + TESTS, "suite.yaml:6: limits.max_samples: a whole number"),
        (HEAD.replace("{{text}}", "{{text | upper}}") + TESTS, "only {{name}} is understood, not {{text | upper}}"),
        (HEAD.replace("{{text}}", "{% if text %}") + TESTS, "only {{name}} is understood, not '{%' tags"),
        (HEAD.replace("Classify: {{text}}", "file://../x.txt") + TESTS, "the file lies outside the suite's folder"),
        (HEAD.replace("Classify: {{text}}", "file:///etc/hostname") + TESTS, "the file lies outside the suite's"),
        (HEAD.replace("Classify: {{text}}", "file://none.txt") + TESTS, "none.txt:1: cannot be read"),
        (HEAD + "tests: file://rows.csv", "tests come from .jsonl, .yaml or .json files"),
        (HEAD + "bar: 0.9\n" + TESTS, "suite.yaml:6: key 'bar' appears twice"),
        (HEAD + "tests: [", "suite.yaml:6: is not valid YAML"),
        ("", "suite.yaml:1: is empty"),
        ("- a\n", "suite.yaml:1: a suite is a mapping"),
    ],
)
def test_a_fault_is_told_with_file_line_and_field(tmp_path: Path, text: str, finding: str) -> None:
    assert finding in "\n".join(findings(tmp_path, text))


@pytest.mark.parametrize(
    ("assertion", "finding"),
    [
        ("{value: x}", "an assertion has a `type`"),
        ("{type: contains}", "contains: `value` is a text that is not empty"),
        ("{type: equals, value: {a: 1}}", "equals: `value` is a text"),
        ("{type: contains-any, value: x}", "contains-any: `value` is a list of texts"),
        ("{type: contains-all, value: []}", "contains-all: `value` is a list of texts"),
        ("{type: regex, value: '('}", "regex: is not a valid pattern"),
        (f"{{type: regex, value: {'a' * 513}}}", "regex: a pattern has at most 512 characters"),
        ("{type: is-json, value: {type: objekt}}", "is-json: is not a valid JSON schema"),
        ("{type: label, value: a, labels: [a]}", "label: `labels` is a list of at least two texts"),
        ("{type: label, value: c, labels: [a, b]}", "label: `value` is one of the labels a, b"),
        ("{type: contains, value: c, labels: [a, b]}", "`labels` belongs to label only"),
        ("{type: final-number, value: many}", "final-number: `value` is a number"),
        ("{type: contains, value: a, tolerance: 1}", "`tolerance` belongs to final-number only"),
        ("{type: contains, value: a, weight: -1}", "weight: a number from 0 to 1000 is wanted here"),
        ("{type: contains, value: a, weight: 0}", "the assertions weigh nothing"),
        ("{type: contains, value: a, threshold: 0}", "threshold: a number above 0 is wanted here"),
        ("{type: python, value: a}", "assertions of type 'python' are not supported yet"),
    ],
)
def test_an_unusable_assertion_is_found_before_anything_is_asked(tmp_path: Path, assertion: str, finding: str) -> None:
    text = HEAD + f"tests: [{{vars: {{text: a}}, assert: [{assertion}]}}]"

    assert finding in "\n".join(findings(tmp_path, text))


def test_all_findings_are_told_at_once(tmp_path: Path) -> None:
    text = HEAD.replace("0.85", "2") + "typo: 1\n" + TESTS.replace("icontains", "equls")

    assert len(findings(tmp_path, text)) == 4


def test_a_broken_line_of_a_jsonl_suite_is_told_with_its_number(tmp_path: Path) -> None:
    head = '{"task": "t", "bar": 1, "reference": "a", "candidates": ["b"], "prompts": ["p"]}'

    assert findings(tmp_path, f"{head}\n{{oops}}\n", "s.jsonl")[0].startswith("s.jsonl:2: is not valid JSON")


def test_a_line_of_jsonl_ends_at_a_newline_and_nowhere_else(tmp_path: Path) -> None:
    head = '{"task": "t", "bar": 1, "reference": "a", "candidates": ["b"], "prompts": ["{{q}}"]}'
    row = '{"vars": {"q": "one\u2028two"}, "assert": [{"type": "contains", "value": "x"}]}'

    (item,) = load(tmp_path, f"{head}\r\n{row}\r\n", "s.jsonl").items

    assert item.messages[0]["content"] == "one\u2028two"


def test_a_date_of_yaml_goes_into_a_prompt_as_text(tmp_path: Path) -> None:
    tests = "tests: [{vars: {text: {day: 2026-11-23}}, assert: [{type: contains, value: a}]}]"

    (item,) = load(tmp_path, HEAD.replace("{{text}}", "{{text.day}}") + tests).items

    assert item.messages[0]["content"] == 'Classify: "2026-11-23"'


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert "once its aliases are followed" in findings(tmp_path, "\n".join(lines))[0]


def test_a_suite_that_a_constant_answer_would_pass_is_refused(tmp_path: Path) -> None:
    tests = "tests:\n" + "".join(
        f"  - {{vars: {{text: t{n}}}, assert: [{{type: equals, value: {'no' if n else 'maybe'}}}]}}\n"
        for n in range(10)
    )

    found = findings(tmp_path, HEAD + tests.replace("value: no", "value: 'no'"))

    assert found == [
        "suite.yaml:2: bar: the constant answer 'no' would score 0.90: raise the bar above it, or balance the tests"
    ]


@pytest.mark.parametrize(("name", "items", "bar"), [("sentiment", 24, 0.7), ("arithmetic", 16, 0.8)])
def test_the_packaged_suites_load_and_a_constant_answer_fails_them(name: str, items: int, bar: float) -> None:
    suite = load_suite(find_suite(name))

    assert (suite.task, suite.bar, len(suite.items)) == (name, bar, items)
    assert (suite.reference, suite.candidates) == ("reference", ("tiny",))
    assert constant_answer(suite.items)[1] <= 0.5


def test_an_unknown_suite_name_is_answered_with_the_packaged_ones() -> None:
    with pytest.raises(ConfigError, match="give a file, or one of arithmetic, sentiment"):
        find_suite("sentimental")
