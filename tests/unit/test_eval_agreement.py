"""Agreement: which answers say the same, and which pairs cannot be compared."""

from typing import Any

import pytest

from evals.agreement import agreement, said

LONG = "It depends on many things, and so I would rather not say in so few words what the answer is."


def chat(content: Any, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}]}


def calling(name: str, arguments: str) -> dict[str, Any]:
    return chat(None, tool_calls=[{"type": "function", "function": {"name": name, "arguments": arguments}}])


def response(*items: dict[str, Any]) -> dict[str, Any]:
    return {"status": "completed", "output": list(items)}


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


@pytest.mark.parametrize(
    ("reference", "answer", "found"),
    [
        (chat("billing"), chat(" **Billing.**\n"), 1.0),
        (chat("billing"), chat("refund"), 0.0),
        (chat("billing"), chat("It is billing, I think"), 0.0),
        (chat("5"), chat("-5"), 0.0),
        (chat("billing"), chat(None), 0.0),
        (chat("billing"), chat(LONG), 0.0),
        (chat("billing"), {"choices": []}, 0.0),
        (chat("billing"), {"nonsense": True}, 0.0),
        (chat("billing"), calling("classify", "{}"), 0.0),
        (chat('{"a": 1, "b": [2, 3]}'), chat('```json\n{"b": [2,3], "a": 1}\n```'), 1.0),
        (chat('{"a": 1}'), chat('{"a": true}'), 0.0),
        (chat('{"a": 1}'), chat("a is 1"), 0.0),
        (chat("[1, 2]"), chat("[2, 1]"), 0.0),
        (calling("find", '{"x": 1, "y": 2}'), calling("find", '{"y":2,"x":1}'), 1.0),
        (calling("find", '{"x": 1}'), calling("find", '{"x": 2}'), 0.0),
        (calling("find", '{"x": 1}'), calling("look", '{"x": 1}'), 0.0),
        (calling("find", "{}"), chat("find"), 0.0),
        (response(message("yes")), response(message("Yes!")), 1.0),
        (
            response({"type": "function_call", "name": "f", "arguments": "{}"}),
            response({"type": "function_call", "name": "f", "arguments": "{ }"}),
            1.0,
        ),
        ({"choices": [{"text": "yes", "finish_reason": "stop"}]}, {"choices": [{"text": " yes."}]}, 1.0),
        (chat(LONG), chat(LONG), None),
        (chat(""), chat("yes"), None),
        ({"error": {"message": "no"}}, chat("yes"), None),
    ],
)
def test_two_answers_agree_where_label_json_or_calls_are_the_same(
    reference: dict[str, Any], answer: dict[str, Any], found: float | None
) -> None:
    assert agreement(reference, answer) == found


def test_content_in_parts_is_one_text() -> None:
    parts = chat([{"type": "text", "text": "bil"}, {"type": "text", "text": "ling"}])

    assert said(parts) == ("billing", ())
