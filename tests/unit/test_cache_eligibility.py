"""Eligibility: which calls may look for a paraphrase, and the reason why not."""

from typing import Any

import pytest

from cache.semantic import eligible
from cache.testing import example_call, example_question
from farthing.call import Endpoint

ASKED = "How do I reset the password of my account?"


def _reason(text: str = ASKED, **members: Any) -> str:
    return eligible(example_call(example_question(text, **members)))


@pytest.mark.parametrize(
    "text",
    [
        ASKED,
        "What's the capital of France?",
        "Why does bread rise when it is left in a warm place?",
        "Explain the difference between TCP and UDP.",
        "How many people live in Berlin?",
        "Is 1,000 metres the same as one kilometre for most purposes?",
    ],
)
def test_a_plain_question_is_eligible(text: str) -> None:
    assert _reason(text) == ""


def test_system_prompt_and_earlier_turns_are_allowed_where_the_question_stands_alone() -> None:
    turns = [
        {"role": "system", "content": "You answer questions about our shop."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! How can I help?"},
        {"role": "user", "content": ASKED},
    ]

    assert eligible(example_call(example_question("", messages=turns))) == ""


def test_responses_are_eligible_too() -> None:
    call = example_call(
        {"model": "m", "input": ASKED, "text": {"format": {"type": "text"}}}, endpoint=Endpoint.RESPONSES
    )

    assert eligible(call) == ""


@pytest.mark.parametrize(
    "members, reason",
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"web_search_options": {"x": 1}}, "tools"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "structured"),
        ({"response_format": {"type": "json_object"}}, "structured"),
        ({"logit_bias": {"5": 1}}, "sampling"),
        ({"logprobs": True}, "sampling"),
        ({"n": 2}, "sampling"),
        ({"seed": 0}, "sampling"),
        ({"temperature": 0.31}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"modalities": ["text", "audio"]}, "media"),
        ({"audio": {"voice": "x"}}, "media"),
        ({"previous_response_id": "resp_1"}, "state"),
        ({"conversation": "conv_1"}, "state"),
    ],
)
def test_parameters_that_ask_for_more_than_text_are_refused(members: dict[str, Any], reason: str) -> None:
    assert _reason(**members) == reason


@pytest.mark.parametrize("members", [{"tools": []}, {"n": 1}, {"temperature": 0.3}, {"temperature": None},
                                     {"response_format": {"type": "text"}}, {"modalities": ["text"]}])  # fmt: skip
def test_parameters_that_say_nothing_are_no_obstacle(members: dict[str, Any]) -> None:
    assert _reason(**members) == ""


def test_a_temperature_left_out_is_left_to_the_feature() -> None:
    body = example_question(ASKED)
    del body["temperature"]

    assert eligible(example_call(body)) == ""


@pytest.mark.parametrize(
    "text, reason",
    [
        ("Yes", "short"),
        ("cancel it", "short"),
        ("Reset password quickly now", "time"),
        ("Card delivery status check", "language"),
        ("Is it expensive to buy?", "anaphora"),
        ("And what is the capital of Spain?", "anaphora"),
        ("What about the capital of Spain?", "anaphora"),
        ("That is what I want to know about the tariff", "anaphora"),
        ("What is the weather in Paris?", "time"),
        ("Who is the current president of France?", "time"),
        ("What opens today in Berlin?", "time"),
        ("How old is the queen of Denmark?", "time"),
        ("What happened last week in the market?", "time"),
        ("Write a poem about the sea.", "creative"),
        ("Give me another example of a verb.", "creative"),
        ("Tell me a joke about cats.", "creative"),
        ("Why was jane.doe@example.org charged?", "personal"),
        ("Where is my order 12345678?", "personal"),
        ("What is the status of ab12-34cd?", "personal"),
        ("Can you call +44 20 7946 0958 for me?", "personal"),
        ("My name is Ann, how do I sign up?", "personal"),
        ("What does https://example.org/x say?", "link"),
        ("What does `ls -l` do?", "code"),
        ("Why does if (x) { y(); } fail?", "code"),
        ("Can you explain the text above?", "reference"),
        ("Please translate the following:", "reference"),
        ("Wie setze ich mein Passwort zurück?", "language"),
        ("¿Cómo puedo cambiar la contraseña?", "language"),
        ("パスワードを変更する方法は何ですか", "language"),
        ("Как сбросить пароль для the account", "language"),
        ("why " * 101, "long"),
        ("a b " * 41, "long"),
    ],
)
def test_a_text_that_cannot_be_matched_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert _reason(text) == reason


def test_a_pronoun_is_refused_where_there_was_an_earlier_turn() -> None:
    text = "How long does it usually take to get the refund?"
    earlier = [{"role": "user", "content": "I sent the shoes back"}, {"role": "assistant", "content": "Fine."}]

    followup = eligible(example_call(example_question("", messages=[*earlier, {"role": "user", "content": text}])))

    assert (_reason(text), followup) == ("", "anaphora")


@pytest.mark.parametrize(
    "before, reason",
    [
        ({"role": "tool", "tool_call_id": "c", "content": "{}"}, "tools"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}, "tools"),
        ({"type": "function_call_output", "call_id": "c", "output": "{}"}, "tools"),
        ({"role": "system", "content": "The user's name is Ann."}, "personal"),
        ({"role": "developer", "content": "Current date: 2026-01-01"}, "personal"),
        ({"role": "system", "content": "Mail: ann@example.org"}, "personal"),
    ],
)
def test_earlier_tool_traffic_and_personal_prompts_are_refused(before: dict[str, Any], reason: str) -> None:
    turns = [before, {"role": "user", "content": ASKED}]

    assert eligible(example_call(example_question("", messages=turns))) == reason


@pytest.mark.parametrize(
    "endpoint, body, reason",
    [
        (Endpoint.EMBEDDINGS, {"input": ASKED}, "endpoint"),
        (Endpoint.COMPLETIONS, {"prompt": ASKED}, "endpoint"),
        (Endpoint.CHAT, {"messages": []}, "content"),
        (
            Endpoint.CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "content",
        ),
        (Endpoint.RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "content"),
        (Endpoint.RESPONSES, {"input": ASKED, "instructions": "It is 2026-01-01T10:00"}, "personal"),
        (Endpoint.RESPONSES, {"input": ASKED, "text": {"format": {"type": "json_schema"}}}, "structured"),
    ],
)
def test_other_endpoints_and_other_content_are_refused(endpoint: Endpoint, body: dict[str, Any], reason: str) -> None:
    assert eligible(example_call(body, endpoint=endpoint)) == reason
