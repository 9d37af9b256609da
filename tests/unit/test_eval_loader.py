"""Suites are read from files, and whatever is wrong with one is told with its place."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from evals.gate import Rule
from evals.loader import find_suite, load_suite
from evals.sizes import least_items
from evals.soundness import constant_answer
from evals.suite import Assertion, Gold, Limits, Suite
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


def load(folder: Path, text: str, name: str = "suite.yaml", *, may_promote: bool = False) -> Suite:
    """The suite as a smoke run reads it, which may be small."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return load_suite(file, may_promote=may_promote)


def findings(folder: Path, text: str, name: str = "suite.yaml", *, may_promote: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, name, may_promote=may_promote)
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
        (HEAD + TESTS.replace("icontains", "factuality"), "suite.yaml:8: tests[0].assert[0].type: assertions of type"),
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
        (HEAD + TESTS.replace("value: billing", "value: file://x"), "assert[0].value: is not read from a file here"),
        (HEAD + TESTS.replace("text: second", "text: file://x"), "tests[1].vars.text: is not read from a file here"),
        (HEAD + "tests: [{vars: {text: a}}]", "suite.yaml:6: tests[0]: the test asserts nothing"),
        (HEAD + "tests: []", "suite.yaml:1: the suite has no tests"),
        (HEAD, "suite.yaml:1: `tests` is a list, or file://tests.jsonl"),
        (HEAD.replace("bar: 0.85\n", "") + TESTS, "suite.yaml:1: `bar` is missing"),
        (HEAD.replace("0.85", "{alpha: 0.05}") + TESTS, "suite.yaml:2: bar: `bar` is missing"),
        (HEAD.replace("0.85", "1") + TESTS, "suite.yaml:2: bar: a number below 1 is wanted here"),
        (HEAD.replace("0.85", "{min_score: .9, alpha: .6}") + TESTS, "bar.alpha: a number from 0 to 0.5 is wanted"),
        (HEAD + "margin: -0.03\n" + TESTS, "suite.yaml:6: margin: a number from 0 to 1 is wanted here"),
        (HEAD + "margin: 1\n" + TESTS, "suite.yaml:6: margin: a number below 1 is wanted here"),
        (
            HEAD.replace("0.85", "{margin_vs_reference: 0.03}") + "margin: 0.03\n" + TESTS,
            "suite.yaml:6: margin: give `margin` or `margin_vs_reference`, not both",
        ),
        (HEAD + "repeat: 21\n" + TESTS, "suite.yaml:6: repeat: a whole number of at least 1 and at most 20"),
        (
            HEAD + TESTS.replace("- vars", "- id: same\n    vars"),
            "suite.yaml:10: tests[1].id: the id 'same' is that of line 7 too: give each test its own",
        ),
        (
            HEAD + TESTS.replace("- vars", "- metadata: {id: 7}\n    vars"),
            "suite.yaml:10: tests[1].metadata.id: the id 7 is that of line 7 too",
        ),
        (HEAD + TESTS.replace("- vars", "- metadata: 7\n    vars"), "tests[0].metadata: `metadata` is a mapping"),
        (HEAD + "tool_choice: perhaps\n" + TESTS, "suite.yaml:6: tool_choice: `tool_choice`: auto, none, required"),
        (HEAD + "tools: [{type: magic}]\n" + TESTS, "suite.yaml:6: tools: `tools`: a tool is {type: function"),
        (
            HEAD + "tools: [{type: function, function: {name: f, parameters: {type: objekt}}}]\n" + TESTS,
            "tools: `tools`: parameters of f: is not a valid JSON schema",
        ),
        (
            HEAD + "response_format: {type: xml}\n" + TESTS,
            "response_format: `response_format`: a mapping with a `type`",
        ),
        (
            HEAD + TESTS.replace("type: icontains, value: billing", "type: is-valid-openai-tools-call"),
            "suite.yaml:7: tests[0]: the test asserts a tool call, but offers no `tools`",
        ),
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
        ("{type: equals, value: yes}", "equals: `value` is a text"),
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
        ("{type: contains, value: a, relative_tolerance: 1}", "`relative_tolerance` belongs to final-number only"),
        ("{type: icontains-any, value: a}", "icontains-any: `value` is a list of texts"),
        ("{type: normalized, value: []}", "normalized: `value` is a list of texts"),
        ("{type: cost, value: 1}", "cost: give the most it may be, in USD, as `threshold`, and no `value`"),
        ("{type: latency}", "latency: give the most it may be, in milliseconds, as `threshold`"),
        ("{type: assert-set}", "assert-set: `assert` is a list of the assertions in the set"),
        ("{type: assert-set, assert: [{type: equls, value: a}]}", "assert[0].assert[0].type: unknown assertion type"),
        ("{type: not-assert-set, assert: [{type: equals, value: a}]}", "assert-set cannot be turned round"),
        ("{type: equals, value: a, assert: []}", "`assert` belongs to assert-set only"),
        ("{type: tool-call, value: 7}", "tool-call: `value` is a call {name, arguments}, or a list"),
        ("{type: tool-call, value: {arguments: {}}}", "tool-call: a call is {name, arguments, accepted, optional}"),
        ("{type: tool-call, value: {name: f, args: {}}}", "tool-call: a call is {name, arguments, accepted, optional}"),
        ("{type: tool-call, value: {name: f, arguments: [1]}}", "tool-call: `arguments` maps names to values"),
        ("{type: tool-call, value: {name: f, accepted: {a: 1}}}", "tool-call: `accepted` maps names to lists"),
        ("{type: tool-call, value: {name: f, optional: [a]}}", "tool-call: `optional` lists names that"),
        ("{type: python, value: a}", "assertions of type 'python' are not supported: an answer's code is run by"),
        ("{type: not-javascript, value: a}", "assertions of type 'not-javascript' are not supported"),
    ],
)
def test_an_unusable_assertion_is_found_before_anything_is_asked(tmp_path: Path, assertion: str, finding: str) -> None:
    text = HEAD + f"tests: [{{vars: {{text: a}}, assert: [{assertion}]}}]"

    assert finding in "\n".join(findings(tmp_path, text))


# --- graders that need something -----------------------------------------------------------------

JUDGED = "tests: [{vars: {text: a}, assert: [{type: llm-rubric, value: Be kind.}]}]\n"
PAIRED = "tests: [{vars: {text: a}, assert: [{type: select-best, value: Be kind.}]}]\n"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (HEAD + JUDGED, "suite.yaml:6: llm-rubric needs a `judge: {model, rubric, gold}` in the suite"),
        (HEAD + PAIRED, "suite.yaml:6: select-best needs a `judge"),
        (HEAD + JUDGED.replace("llm-rubric", "similar"), "suite.yaml:6: similar needs an `embedder` in the suite"),
        (HEAD + "judge: {rubric: x}\n" + JUDGED, "suite.yaml:6: judge: `model` is missing"),
        (HEAD + "judge: {model: m, modle: x}\n" + JUDGED, "suite.yaml:6: judge.modle: unknown key 'modle'"),
        (HEAD + "judge: {model: m, rubric: ''}\n" + JUDGED, "judge.rubric: a text that is not empty is wanted here"),
        (HEAD + "judge: {model: m, max_chars: 0}\n" + JUDGED, "judge.max_chars: a whole number of at least 1"),
        (
            HEAD + "judge: {model: m}\n" + JUDGED.replace(", value: Be kind.", ""),
            "suite.yaml:7: the assertion has no rubric, and the judge has none either",
        ),
        (HEAD + "judge: {model: m}\n" + JUDGED.replace("Be kind.", "[a]"), "llm-rubric: `value` is the rubric"),
        (HEAD + "judge: {model: m}\n" + PAIRED, "suite.yaml:7: a bar of 0.85 cannot be asked for: against itself"),
        (
            HEAD + "judge: {model: m}\n" + PAIRED.replace("value", "threshold: 1, value"),
            "threshold: select-best has no threshold",
        ),
        (HEAD + "judge: {model: m}\n" + PAIRED.replace("select", "not-select"), "select-best cannot be turned round"),
        (HEAD + "judge: {model: m, gold: 7}\n" + JUDGED, "judge.gold: `gold` is file://gold.jsonl, or a list"),
        (HEAD + "judge: {model: m, gold: file://none.jsonl}\n" + JUDGED, "none.jsonl:1: cannot be read"),
        (
            HEAD + "judge: {model: m, gold: [{prompt: a}]}\n" + JUDGED,
            "gold[0]: a row of gold is {prompt, output, pass}",
        ),
        (
            HEAD + "judge: {model: m, gold: [{prompt: a, better: b, worse: c, pass: true}]}\n" + JUDGED,
            "gold[0]: a row of gold is {prompt, output, pass}, or {prompt, better, worse} for a pair",
        ),
        (
            HEAD + "judge: {model: m, gold: [{prompt: a, output: b, pass: 1}]}\n" + JUDGED,
            "gold[0].pass: true or false is wanted here",
        ),
        (
            HEAD
            + "judge: {model: m, gold: [{prompt: a, output: b, pass: true}, {prompt: a, output: b, pass: true}]}\n"
            + JUDGED,
            "gold[1]: the row repeats an earlier one",
        ),
        (
            HEAD + JUDGED.replace("llm-rubric, value: Be kind.", "code, value: assert True"),
            "suite.yaml:6: code of answers is run only where `evals.allow_code: true` says so",
        ),
        (
            HEAD + JUDGED.replace("llm-rubric, value: Be kind.", "code, value: x = 1"),
            "code: the tests have no `assert`",
        ),
    ],
)
def test_what_a_grader_needs_is_asked_for_when_the_suite_is_read(tmp_path: Path, text: str, finding: str) -> None:
    assert finding in "\n".join(findings(tmp_path, text))


def test_a_judge_is_read_with_its_gold(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "output": "o", "pass": False, "rubric": "Be brief."},
        {"prompt": "p", "better": "b", "worse": "w"},
    ]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    suite = load(tmp_path, HEAD + "judge: {model: tier/big, rubric: Be kind., gold: file://gold.jsonl}\n" + JUDGED)

    assert suite.judge is not None
    assert (suite.judge.model, suite.judge.rubric, suite.judge.max_chars) == ("tier/big", "Be kind.", 8_000)
    assert suite.judge.gold == (
        Gold(prompt="p", output="o", passes=False, rubric="Be brief."),
        Gold(prompt="p", output="b", other="w"),
    )


def test_a_line_of_gold_that_cannot_be_used_is_told_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text('{"prompt": "p", "output": "o", "pass": true}\n\n{"prompt": "p"}\n')

    found = findings(tmp_path, HEAD + "judge: {model: m, gold: file://gold.jsonl}\n" + JUDGED)

    assert found == ["gold.jsonl:3: a row of gold is {prompt, output, pass}, or {prompt, better, worse} for a pair"]


def test_a_judge_without_enough_gold_may_not_promote_and_may_take_part_in_a_smoke_run(tmp_path: Path) -> None:
    tests = "tests:\n" + "".join(
        f"  - {{vars: {{text: t{n}}}, assert: [{{type: llm-rubric, value: Be kind.}}]}}\n" for n in range(60)
    )
    text = HEAD + "judge: {model: m}\n" + tests

    assert "suite.yaml:8: the judge has 0 gold verdicts: 50 of" in findings(tmp_path, text, may_promote=True)[0]
    assert len(load(tmp_path, text, may_promote=False).items) == 60


def test_code_is_taken_where_it_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(HEAD + JUDGED.replace("llm-rubric, value: Be kind.", "code, value: assert f(1)"), encoding="utf-8")

    (item,) = load_suite(file, may_promote=False, allow_code=True).items

    assert item.assertions[0].type == "code"


def test_an_embedder_is_named_once_for_the_suite(tmp_path: Path) -> None:
    tests = "tests: [{vars: {text: a}, assert: [{type: similar, value: [x, y]}]}]"

    suite = load(tmp_path, HEAD + "embedder: minilm-l6\n" + tests)

    assert (suite.embedder, suite.items[0].assertions[0].threshold) == ("minilm-l6", 0.75)


def test_all_findings_are_told_at_once(tmp_path: Path) -> None:
    text = HEAD.replace("0.85", "2") + "typo: 1\n" + TESTS.replace("icontains", "equls")

    assert len(findings(tmp_path, text)) == 4


def test_a_broken_line_of_a_jsonl_suite_is_told_with_its_number(tmp_path: Path) -> None:
    head = '{"task": "t", "bar": 0.9, "reference": "a", "candidates": ["b"], "prompts": ["p"]}'

    assert findings(tmp_path, f"{head}\n{{oops}}\n", "s.jsonl")[0].startswith("s.jsonl:2: is not valid JSON")


def test_a_line_of_jsonl_ends_at_a_newline_and_nowhere_else(tmp_path: Path) -> None:
    head = '{"task": "t", "bar": 0.9, "reference": "a", "candidates": ["b"], "prompts": ["{{q}}"]}'
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


# --- what a suite can show -----------------------------------------------------------------------


def rows(count: int, documents: int = 0) -> str:
    """So many tests; with `documents`, each from one of so many in turn."""
    tests = ["tests:"]
    for number in range(count):
        source = f"metadata: {{document: d{number % documents}}}, " if documents else ""
        tests.append(f"  - {{{source}vars: {{text: t{number}}}, assert: [{{type: contains, value: v{number}}}]}}")
    return "\n".join(tests) + "\n"


@pytest.mark.parametrize(
    ("head", "bar", "margin", "alpha"),
    [
        (HEAD, 0.85, None, 0.05),
        (HEAD + "margin: 0.03\n", 0.85, 0.03, 0.05),
        (HEAD.replace("bar: 0.85", "margin: 0.05"), 0, 0.05, 0.05),
        (HEAD.replace("0.85", "{margin_vs_reference: 0.02, alpha: 0.01}"), 0, 0.02, 0.01),
        (HEAD.replace("0.85", "{min_score: 0.7, margin_vs_reference: 0.02}"), 0.7, 0.02, 0.05),
    ],
)
def test_a_suite_has_a_bar_a_margin_or_both(
    tmp_path: Path, head: str, bar: float, margin: float | None, alpha: float
) -> None:
    suite = load(tmp_path, head + TESTS)

    assert (suite.bar, suite.margin, suite.alpha) == (bar, margin, alpha)
    assert (suite.rule.bar, suite.rule.margin) == (bar or None, margin)


def test_what_has_to_be_shown_is_part_of_the_hash(tmp_path: Path) -> None:
    heads = [
        HEAD,
        HEAD + "margin: 0.03\n",
        HEAD + "margin: 0.05\n",
        HEAD.replace("0.85", "{min_score: .85, alpha: .1}"),
    ]

    assert len({load(tmp_path, head + TESTS).hash for head in heads}) == len(heads)


@pytest.mark.parametrize(
    ("head", "count", "faults"),
    [
        (
            HEAD,
            15,
            [
                "suite.yaml:2: bar: 15 items cannot promote anybody: even without one fault, a bar of 0.85 at alpha",
                f". Write {least_items(Rule(items=15, bar=0.85, candidates=2)) - 15} more tests",
            ],
        ),
        (HEAD.replace("0.85", "0.95"), 70, ["; or name one candidate, which takes", "; or set a bar of 0.9, which"]),
        (
            HEAD.replace("bar: 0.85", "margin: 0.03"),
            155,
            [
                "suite.yaml:2: margin: 155 items",
                "; or name one candidate, which",
                "; or accept a margin of 0.05, which",
            ],
        ),
        (HEAD + "limits: {max_samples: 15}\n", 60, [". Raise `limits.max_samples` (now 15): the suite has 60"]),
        (HEAD.replace("0.85", "0.9999"), 40, ["can show a bar of 0.9999 at alpha 0.05. Set a bar of 0.9, which"]),
    ],
)
def test_a_suite_that_cannot_promote_anybody_is_refused_with_the_ways_out(
    tmp_path: Path, head: str, count: int, faults: list[str]
) -> None:
    found = findings(tmp_path, head + rows(count), may_promote=True)

    assert len(found) == 1
    assert [fault for fault in faults if fault not in found[0]] == [], found[0]


def test_a_suite_of_just_the_needed_size_is_taken_and_one_item_less_is_not(tmp_path: Path) -> None:
    needed = least_items(Rule(items=1, bar=0.85, candidates=2))
    assert needed is not None

    assert len(load(tmp_path, HEAD + rows(needed), may_promote=True).items) == needed
    assert f"takes {needed}" in findings(tmp_path, HEAD + rows(needed - 1), may_promote=True)[0]


def test_a_small_suite_is_read_where_nobody_is_to_be_promoted_by_it(tmp_path: Path) -> None:
    assert len(load(tmp_path, HEAD + rows(2), may_promote=False).items) == 2


def test_items_of_one_document_count_once_towards_the_size(tmp_path: Path) -> None:
    found = findings(tmp_path, HEAD + rows(100, documents=15), may_promote=True)

    assert "15 items cannot promote anybody" in found[0]


def test_items_of_one_document_are_asked_together_and_are_one_piece_of_evidence(tmp_path: Path) -> None:
    suite = load(tmp_path, HEAD + rows(9, documents=3))

    assert [len(cluster) for cluster in suite.clusters()] == [3, 3, 3]
    assert suite.rule.items == 3
    assert [item for cluster in suite.clusters() for item in cluster] == list(suite.sample())
    assert load(tmp_path, HEAD + rows(9)).hash != suite.hash


def test_repeats_of_an_item_are_one_piece_of_evidence_and_differ_in_their_seed(tmp_path: Path) -> None:
    suite = load(tmp_path, HEAD + "repeat: 3\n" + rows(5))

    assert [len(cluster) for cluster in suite.clusters()] == [3] * 5
    assert {item.body().get("seed") for item in suite.clusters()[0]} == {None, 1, 2}
    assert len({item.hash for item in suite.items}) == 15


def test_the_mode_in_which_a_model_is_asked_is_part_of_the_item(tmp_path: Path) -> None:
    tool = "{type: function, function: {name: find, parameters: {type: object}}}"
    call = "[{type: tool-call, value: {name: find, arguments: {q: 1}}}]"
    tests = f"tests:\n  - {{vars: {{text: a}}, assert: {call}}}\n"
    tests += f"  - {{vars: {{text: b}}, tool_choice: none, assert: {call}}}\n"

    plain = load(tmp_path, HEAD + TESTS)
    first, second = load(tmp_path, HEAD + f"tools: [{tool}]\ntool_choice: required\n" + tests).items

    assert plain.items[0].extras == {}
    assert first.body()["tools"][0]["function"]["name"] == "find"
    assert (first.body()["tool_choice"], second.body()["tool_choice"]) == ("required", "none")
    assert "response_format" not in first.body()
    (other, _) = load(tmp_path, HEAD + f"tools: [{tool}]\ntool_choice: auto\n" + tests).items
    assert other.hash != first.hash


def test_a_suite_with_a_margin_alone_is_refused_where_a_constant_answer_is_nearly_always_right(tmp_path: Path) -> None:
    tests = "tests:\n" + "".join(
        f"  - {{vars: {{text: t{n}}}, assert: [{{type: equals, value: '{'no' if n else 'maybe'}'}}]}}\n"
        for n in range(40)
    )

    assert (
        "the constant answer 'no' would score 0.97"
        in findings(tmp_path, HEAD.replace("bar: 0.85", "margin: .05") + tests)[0]
    )


@pytest.mark.parametrize(("name", "items", "bar"), [("sentiment", 160, 0.7), ("arithmetic", 60, 0.8)])
def test_the_packaged_suites_load_and_a_constant_answer_fails_them(name: str, items: int, bar: float) -> None:
    suite = load_suite(find_suite(name))

    assert (suite.task, suite.bar, len(suite.items)) == (name, bar, items)
    assert (suite.reference, suite.candidates) == ("reference", ("tiny",))
    assert constant_answer(suite.items)[1] <= 0.5


def test_an_unknown_suite_name_is_answered_with_the_packaged_ones() -> None:
    with pytest.raises(ConfigError, match="give a file, or one of arithmetic, sentiment"):
        find_suite("sentimental")


def test_a_character_beyond_16_bits_may_be_escaped_as_json_does(tmp_path: Path) -> None:
    text = json.dumps({"task": "t", "bar": 0.9, "reference": "a", "candidates": ["b"], "prompts": ["{{q}}"]})
    row = json.dumps({"vars": {"q": "🙂"}, "assert": [{"type": "contains", "value": "x"}]})

    (whole,) = load(tmp_path, text[:-1] + f', "tests": [{row}]}}', "suite.json").items
    (lines,) = load(tmp_path, f"{text}\n{row}\n", "suite.jsonl").items

    assert r"\ud83d" in row
    assert whole.messages == lines.messages == ({"role": "user", "content": "🙂"},)


@pytest.mark.parametrize("name", ["suite.json", "suite.jsonl"])
def test_half_a_character_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    text = '{"task": "t", "prompts": ["\\ud83d"]}'

    assert "prompts" in findings(tmp_path, text, name)[0]
    assert "holds half of a surrogate pair" in findings(tmp_path, text, name)[0]
