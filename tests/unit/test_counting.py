"""Counting texts for the books: on the loop or off it, always with an answer; and what a request holds besides them."""

import asyncio

import orjson
import pytest

from farthing.call import Call, Endpoint
from farthing.tags import Tags
from gateway.tokens import COUNTED_AT_ONCE, by_length, estimated_input, estimated_tokens
from ledger.tokens import count_tokens, load

LONG = "word " * COUNTED_AT_ONCE


def call(endpoint: Endpoint = Endpoint.CHAT, **body: object) -> Call:
    raw = orjson.dumps(body)
    return Call(
        id="r",
        endpoint=endpoint,
        tags=Tags(tenant="t", key_id="k", feature="f"),
        model="gpt-5",
        stream=False,
        wants_usage=False,
        raw=raw,
        body=body,
        received_ns=0,
        started=0.0,
        input_bound=len(raw),
    )


async def test_a_model_is_counted_by_its_own_encoding() -> None:
    texts = ["Grüße aus Köln, 你好"]

    assert await estimated_tokens(texts, model="gpt-4") == count_tokens(texts, model="gpt-4") != count_tokens(texts)
    for model in ("openai/gpt-4o-mini", "llama"):
        assert await estimated_tokens(texts, model=model) == count_tokens(texts)


async def test_a_caller_that_is_cancelled_while_it_counts_has_its_figure_and_learns_of_it_afterwards() -> None:
    load()
    found: list[int] = []

    async def settle() -> None:
        found.append(await estimated_tokens([LONG], model=""))
        await asyncio.sleep(3600)

    task = asyncio.ensure_future(settle())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert found == [by_length(len(LONG))]


async def test_the_loop_goes_on_while_a_long_text_is_counted() -> None:
    load()
    turns = 0
    counting = asyncio.ensure_future(estimated_tokens([LONG] * 3, model=""))

    while not counting.done():
        turns += 1
        await asyncio.sleep(0)

    assert await counting == 3 * count_tokens([LONG])
    assert turns > 10


async def test_a_request_is_its_texts_and_what_stands_around_them() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    asked = call(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is π?"}], tools=tools
    )

    expected = count_tokens(["Be brief.", "What is π?", orjson.dumps(tools).decode()]) + 2 * 4 + 3

    assert await estimated_input(asked, model="gpt-5") == expected


async def test_earlier_calls_of_tools_are_read_by_the_model_too() -> None:
    made = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"city":"Paris"}'}}]
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": made}]

    with_call = await estimated_input(call(messages=turns), model="")
    without = await estimated_input(call(messages=turns[:1]), model="")

    assert with_call == without + count_tokens([orjson.dumps(made).decode()]) + 4


@pytest.mark.parametrize(("given", "tokens"), [([1, 2, 3], 3), ([[1, 2], [3]], 3), ("hi", 1), (["hi", "hi"], 2)])
async def test_texts_and_tokens_to_embed_are_counted(given: object, tokens: int) -> None:
    assert await estimated_input(call(Endpoint.EMBEDDINGS, input=given), model="") == tokens


async def test_items_of_a_response_are_counted() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "output": "sunny", "call_id": "c"},
    ]

    counted = await estimated_input(call(Endpoint.RESPONSES, instructions="Be brief.", input=items), model="")

    assert counted == count_tokens(["Be brief.", "hi", "f", "{}", "sunny"]) + 3 * 4 + 3
