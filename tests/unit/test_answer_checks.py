"""Checks of answers: what is a fault, and what is none."""

from typing import Any

import pytest

from farthing.catalog import AnswerCheck
from router_policies.checks import FAULTS, fault_of, refuses

PLAIN = AnswerCheck()
JSON = AnswerCheck(json=True)
SCHEMA = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["a", "b"]}}}


def chat(content: Any = "Paris.", finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


def response(text: str = "Paris.", status: str = "completed", **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text}
    return {"status": status, "output": [{"type": "message", "content": [part]}], **more}


def called(arguments: str) -> dict[str, Any]:
    return chat(
        None, "tool_calls", tool_calls=[{"type": "function", "function": {"name": "f", "arguments": arguments}}]
    )


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (chat(), ""),
        (chat("Pa", "length"), "length"),
        (chat("", "content_filter"), "filter"),
        (chat(" \n"), "empty"),
        (chat(None), "empty"),
        (chat([{"type": "text", "text": "Paris."}]), ""),
        (chat(None, refusal="No."), "refusal"),
        (chat("I'm sorry, but I can't help with that."), "refusal"),
        (called('{"city": "Paris"}'), ""),
        (called(""), ""),
        (called('{"city": '), "json"),
        ({"choices": []}, "empty"),
        ({"choices": [{"text": "Paris.", "finish_reason": "stop"}]}, ""),
        ({"choices": "?"}, "shape"),
        ({}, "shape"),
        ({"error": {"message": "no"}, "choices": []}, "shape"),
        (response(), ""),
        (response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (response(status="incomplete", incomplete_details={"reason": "content_filter"}), "filter"),
        (response(status="failed"), "shape"),
        ({"status": "completed", "output": [{"type": "message", "content": [{"type": "refusal"}]}]}, "refusal"),
        ({"status": "completed", "output": [{"type": "function_call", "arguments": "{"}]}, "json"),
        ({"status": "completed", "output": [{"type": "reasoning"}]}, "empty"),
    ],
)
def test_an_answer_is_judged_by_how_it_ended_and_what_is_in_it(answer: dict[str, Any], fault: str) -> None:
    assert fault_of(PLAIN, {}, answer) == fault
    assert fault in ("", *FAULTS)


@pytest.mark.parametrize(
    ("check", "text", "fault"),
    [
        (JSON, '{"label": "a"}', ""),
        (JSON, "label: a", "json"),
        (JSON, '```json\n{"label": "a"}\n```', "json"),
        (AnswerCheck(regex="^(a|b)$"), "b", ""),
        (AnswerCheck(regex="^(a|b)$"), "perhaps b", "regex"),
        (AnswerCheck(min_chars=5), "four", "short"),
        (AnswerCheck(max_chars=3), "four", "long"),
        (AnswerCheck(max_chars=4), "four", ""),
        (AnswerCheck(refusal=False), "I cannot help with that.", ""),
    ],
)
def test_a_task_says_what_its_answers_look_like(check: AnswerCheck, text: str, fault: str) -> None:
    assert fault_of(check, {}, chat(text)) == fault


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    ],
)
def test_a_schema_that_the_request_asks_for_is_held_against_the_answer(asked: dict[str, Any]) -> None:
    assert fault_of(PLAIN, asked, chat('{"label": "a"}')) == ""
    assert fault_of(PLAIN, asked, chat('{"label": "c"}')) == "schema"
    assert fault_of(PLAIN, asked, chat("a")) == "json"


@pytest.mark.parametrize("schema", [{"type": 7}, {"$ref": "http://127.0.0.1:1/none.json"}, "?", None])
def test_a_schema_that_is_none_asks_for_json_alone_and_nothing_is_fetched(schema: Any) -> None:
    asked = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}

    assert fault_of(PLAIN, asked, chat('{"label": "c"}')) == ""
    assert fault_of(PLAIN, asked, chat("label")) == "json"


def test_a_request_for_any_json_object_is_a_check_too() -> None:
    assert fault_of(PLAIN, {"response_format": {"type": "json_object"}}, chat("no")) == "json"
    assert fault_of(PLAIN, {"response_format": {"type": "text"}}, chat("no")) == ""


def test_every_choice_has_to_be_free_of_faults() -> None:
    both = {"choices": [*chat('{"a": 1}')["choices"], *chat("no")["choices"]]}

    assert fault_of(JSON, {}, both) == "json"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't assist with that request.", True),
        ("I\u2019m sorry, but I cannot provide that.", True),
        ("As an AI language model, I cannot browse.", True),
        ("I am unable to help with this.", True),
        ("I won't do that.", True),
        ("Sorry for the delay: the capital is Paris.", False),
        ("The guard said: no.", False),
        ("I can help with that.", False),
        ("Here is the letter you asked for. " * 8 + "I'm sorry, but I can't assist with that.", False),
    ],
)
def test_a_refusal_is_known_by_its_opening(text: str, refused: bool) -> None:
    assert refuses(text) is refused


def test_a_long_answer_is_parsed_as_a_whole() -> None:
    long = '{"label": "a", "why": "' + "x" * 200_000 + '"}'

    assert fault_of(JSON, {}, chat(long)) == ""
    assert fault_of(JSON, {}, chat(long[:-1])) == "json"
    assert fault_of(AnswerCheck(max_chars=150_000), {}, chat(long)) == "long"


@pytest.mark.parametrize("value", ["NaN", "[1, Infinity]", "\ud800"])
def test_what_is_not_json_to_strict_readers_is_none(value: str) -> None:
    assert fault_of(JSON, {}, chat(value)) == "json"


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": "json_object"},
        {"response_format": {"type": "json_schema", "json_schema": "?"}},
        {"response_format": {"type": "json_schema", "json_schema": ["?"]}},
        {"response_format": [1]},
        {"text": "plain"},
        {"text": {"format": 7}},
    ],
)
def test_a_form_that_cannot_be_read_breaks_nothing(asked: dict[str, Any]) -> None:
    assert fault_of(PLAIN, asked, chat('{"label": "c"}')) == ""
