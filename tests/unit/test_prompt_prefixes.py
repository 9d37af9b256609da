"""Prefixes of prompts: what changes their hash, and marks that leave order and text as they are."""

import copy
from typing import Any

import pytest

from cache.prefixes import is_arranged, marked, prefixes_of
from cache.testing import example_call
from farthing.call import Endpoint

SYSTEM = {"role": "system", "content": "You answer briefly."}
TOOLS = [{"type": "function", "function": {"name": "b"}}, {"type": "function", "function": {"name": "a"}}]
MARK = {"type": "ephemeral"}


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def chat(*turns: dict[str, Any], tenant: str = "acme", feature: str = "search", **members: Any) -> Any:
    body = {"model": "m", "messages": [SYSTEM, *turns], "tools": TOOLS, **members}
    return example_call(body, tenant=tenant, feature=feature)


def prefixes(*turns: dict[str, Any], place: str = "p/m", **more: Any) -> Any:
    found = prefixes_of(b"s", chat(*turns, **more), place)
    assert found is not None
    return found


def test_the_head_is_the_same_whatever_is_asked() -> None:
    assert prefixes(user("a")).head == prefixes(user("b"), temperature=1, user="u", max_tokens=3).head
    assert prefixes(user("a")).turns != prefixes(user("b")).turns


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"feature": "other"},
        {"place": "p/other"},
        {"tools": TOOLS[::-1]},
        {"tools": None},
        {"tool_choice": "none"},
        {"messages": [{"role": "system", "content": "Other."}, user("a")]},
    ],
)
def test_whatever_stands_before_the_turns_is_in_the_head(changes: dict[str, Any]) -> None:
    assert prefixes(user("a"), **changes).head.digest != prefixes(user("a")).head.digest


def test_the_next_call_of_a_conversation_goes_on_from_the_one_before() -> None:
    first = prefixes(user("a")).turns
    second = prefixes(user("a"), assistant("b"), user("c")).turns
    other = prefixes(user("x"), assistant("b"), user("c")).turns

    assert first.digest in second.earlier
    assert first.digest not in other.earlier
    assert second.tokens > first.tokens


def test_a_call_without_turns_is_all_head() -> None:
    found = prefixes()

    assert found.head == found.turns


def test_responses_have_instructions_and_input_for_head_and_turns() -> None:
    def of(**body: Any) -> Any:
        return prefixes_of(b"s", example_call(body, endpoint=Endpoint.RESPONSES), "p/m")

    assert of(instructions="i", input="a").head == of(instructions="i", input=[user("b")]).head
    assert of(instructions="i", input="a").head != of(instructions="j", input="a").head
    assert prefixes_of(b"s", example_call({"input": "a"}, endpoint=Endpoint.EMBEDDINGS), "p/m") is None


@pytest.mark.parametrize(
    "members",
    [
        {"prompt_cache_key": "k"},
        {"cache_control": MARK},
        {"prompt_cache_options": {"mode": "explicit"}},
        {"tools": [{**TOOLS[0], "cache_control": MARK}]},
        {"tools": [{"type": "function", "function": {"name": "a", "cache_control": MARK}}]},
        {"messages": [user([{"type": "text", "text": "a", "cache_control": MARK}])]},
        {"messages": [user([{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}])]},
        {"messages": [{"role": "tool", "content": "a", "cache_control": MARK}]},
    ],
)
def test_what_the_client_says_itself_is_seen_wherever_it_stands(members: dict[str, Any]) -> None:
    assert is_arranged(chat(**members))
    assert not is_arranged(chat(user('"cache_control": not meant')))


def test_marks_stand_at_the_end_of_head_and_turns_and_change_nothing_else() -> None:
    call = chat(user("a"), assistant("b"), user([{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]))
    before = copy.deepcopy(call.body)

    changes = marked(call, head=True, turns=True, whole_messages=False)

    assert changes == {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "You answer briefly.", "cache_control": MARK}]},
            user("a"),
            assistant("b"),
            user([{"type": "text", "text": "c"}, {"type": "text", "text": "d", "cache_control": MARK}]),
        ]
    }
    assert call.body == before


def test_without_a_system_prompt_the_last_tool_ends_the_head() -> None:
    call = example_call({"messages": [user("a")], "tools": TOOLS})

    changes = marked(call, head=True, turns=False, whole_messages=False)

    assert changes == {"tools": [TOOLS[0], {**TOOLS[1], "cache_control": MARK}]}


@pytest.mark.parametrize(
    "last",
    [
        assistant("the beginning of an answer"),
        user(""),
        user("  "),
        user([]),
        user([{"type": "image_url", "image_url": {"url": "data:x"}}]),
        user(None),
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ],
)
def test_what_cannot_carry_a_mark_gets_none(last: dict[str, Any]) -> None:
    assert marked(chat(last), head=False, turns=True, whole_messages=False) == {}


def test_an_answer_of_a_tool_is_marked_as_a_whole_where_the_wire_takes_it() -> None:
    answer = {"role": "tool", "tool_call_id": "1", "content": "42"}

    changes = marked(chat(user("a"), answer), head=False, turns=True, whole_messages=True)

    assert changes["messages"][-1] == {**answer, "cache_control": MARK}
