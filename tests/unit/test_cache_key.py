"""Keys: who asked and what was asked; nothing else."""

from typing import Any

import pytest

from cache.key import exact_key, semantic_scope
from cache.testing import example_call, example_question
from farthing.call import Endpoint

SECRET = b"0" * 32
BODY = example_question("What is the capital of France?")


def _key(body: dict[str, Any], *, partition: str = "p", secret: bytes = SECRET, **changes: Any) -> bytes:
    return exact_key(secret, example_call(body, **changes), partition)


def _scope(body: dict[str, Any], *, partition: str = "p", version: str = "v1", **changes: Any) -> bytes | None:
    return semantic_scope(SECRET, example_call(body, **changes), partition, version)


def test_a_key_is_32_bytes_and_the_same_every_time() -> None:
    assert len(_key(BODY)) == 32
    assert _key(BODY) == _key(dict(BODY))


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"feature": "other"},
        {"environment": "prod"},
        {"partition": "q"},
        {"secret": b"1" * 32},
        {"endpoint": Endpoint.COMPLETIONS},
    ],
)
def test_another_tenant_feature_environment_partition_secret_or_endpoint_has_another_key(changes: Any) -> None:
    assert _key(BODY, **changes) != _key(BODY)


def test_neighbouring_fields_cannot_be_shifted_into_each_other() -> None:
    assert _key(BODY, tenant="ab", feature="c") != _key(BODY, tenant="a", feature="bc")
    assert _key(BODY, tenant="a", feature="b", environment="") != _key(BODY, tenant="a", feature="", environment="b")


@pytest.mark.parametrize(
    "member",
    [
        {"user": "u"},
        {"metadata": {"a": "b"}},
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"safety_identifier": "s"},
        {"prompt_cache_key": "k"},
    ],
)
def test_for_whom_and_in_which_form_does_not_count(member: dict[str, Any]) -> None:
    assert _key({**BODY, **member}) == _key(BODY)


@pytest.mark.parametrize(
    "member",
    [
        {"messages": [{"role": "system", "content": "What is the capital of France?"}]},
        {"messages": [{"role": "user", "name": "n", "content": "What is the capital of France?"}]},
        {"messages": [{"role": "system", "content": "Be terse."}, *BODY["messages"]]},
        {"messages": [{"role": "user", "content": "What is the capital of France? "}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"temperature": 0.1},
        {"top_p": 0.5},
        {"seed": 1},
        {"n": 2},
        {"logit_bias": {"1": 5}},
        {"reasoning_effort": "high"},
        {"store": True},
        {"x_unknown": None},
        {"model": "other"},
    ],
)
def test_anything_else_in_the_body_counts(member: dict[str, Any]) -> None:
    assert _key({**BODY, **member}) != _key(BODY)


def test_the_order_of_members_does_not_count_but_that_of_messages_does() -> None:
    turns = [{"role": "user", "content": "a"}, {"content": "b", "role": "assistant"}]

    assert _key({"model": "m", "messages": turns}) == _key(
        {"messages": [dict(reversed(t.items())) for t in turns], "model": "m"}
    )
    assert _key({"model": "m", "messages": turns[::-1]}) != _key({"model": "m", "messages": turns})


def test_one_and_one_point_nought_are_one_number_but_not_one_text() -> None:
    assert _key({**BODY, "top_p": 1.0}) == _key({**BODY, "top_p": 1})
    assert _key({**BODY, "x": [{"y": 2.0}]}) == _key({**BODY, "x": [{"y": 2}]})
    assert _key({**BODY, "x": "1.0"}) != _key({**BODY, "x": "1"})
    assert _key({**BODY, "x": True}) != _key({**BODY, "x": 1})


def test_unicode_is_taken_as_it_is() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"

    assert _key(example_question(composed)) != _key(example_question(decomposed))


@pytest.mark.parametrize("odd", ["\ud800", 10**400, -(2**70)])
def test_a_body_that_has_no_canonical_form_is_keyed_by_its_bytes(odd: Any) -> None:
    first = _key({**BODY, "x": odd}, raw=b"one")

    assert first == _key({**BODY, "x": odd}, raw=b"one")
    assert first != _key({**BODY, "x": odd}, raw=b"two")


def test_a_secret_of_any_length_will_do() -> None:
    assert _key(BODY, secret=b"s" * 500) != _key(BODY, secret=b"s" * 501)


def test_a_scope_does_not_depend_on_the_last_question() -> None:
    assert _scope(BODY) == _scope(example_question("How tall is Mont Blanc?"))


def test_a_question_in_parts_has_the_scope_of_one_in_a_string() -> None:
    parts = example_question([{"type": "text", "text": "How tall is Mont Blanc?"}])  # type: ignore[arg-type]

    assert _scope(parts) == _scope(BODY)


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [{"role": "system", "content": "Be terse."}, *BODY["messages"]]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, *BODY["messages"]]},
        {"temperature": 0.2},
        {"max_tokens": 5},
        {"model": "other"},
        {"x_unknown": 1},
    ],
)
def test_system_prompt_earlier_turns_and_parameters_split_scopes(other: dict[str, Any]) -> None:
    assert _scope({**BODY, **other}) != _scope(BODY)


@pytest.mark.parametrize(
    "changes", [{"tenant": "o"}, {"feature": "o"}, {"environment": "o"}, {"partition": "o"}, {"version": "v2"}]
)
def test_identity_partition_and_embedder_split_scopes(changes: Any) -> None:
    assert _scope(BODY, **changes) != _scope(BODY)


def test_a_scope_is_never_a_key() -> None:
    assert _scope(BODY) != _key(BODY)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": []},
        {"messages": ["text"]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
    ],
)
def test_without_a_plain_last_user_turn_there_is_no_scope(body: dict[str, Any]) -> None:
    assert _scope(body) is None


def test_responses_have_scopes_too_by_text_or_by_items() -> None:
    text = {"model": "m", "instructions": "Be terse.", "input": "What is DNS?"}
    items = {**text, "input": [{"role": "user", "content": [{"type": "input_text", "text": "What is HTTP?"}]}]}
    typed = {**text, "input": [{"type": "message", "role": "user", "content": "What is TLS?"}]}

    scopes = {_scope(body, endpoint=Endpoint.RESPONSES) for body in (text, items, typed)}

    assert len(scopes) == 1
    assert scopes != {_scope({**text, "instructions": "Be long."}, endpoint=Endpoint.RESPONSES)}


def test_embeddings_and_text_completions_have_no_scope() -> None:
    assert _scope({"input": "text"}, endpoint=Endpoint.EMBEDDINGS) is None
    assert _scope({"prompt": "text"}, endpoint=Endpoint.COMPLETIONS) is None
