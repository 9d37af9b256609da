"""Tokens: texts counted by tokenizer, for estimates and for a bound on what goes into a call tighter than its bytes."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from farthing.call import Call, Endpoint
from farthing.catalog import Deployment
from farthing.errors import ConfigError
from gateway.admission import UNBOUNDED_INPUT
from ledger.tokens import bound_tokens, count_tokens, is_loaded

COUNTED_BYTES: Final = 400_000
"""A longer body is not counted: it would take longer (about 50 ms of another thread) than a refusal may."""

COUNTED_AT_ONCE: Final = 20_000
"""Characters that are counted on the event loop: 1 ms, at the worst 5. A million take 40 ms of a thread."""
_TEXTS_AT_ONCE: Final = 500
CHARACTERS_PER_TOKEN: Final = 4
"""The usual length of an English token, where nothing better is known."""
_AROUND_A_TURN: Final = 4
_AROUND_ALL: Final = 3
"""Of OpenAI's chat models: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken."""
_A_PICTURE: Final = 765
"""What OpenAI bills for an image of 1024 pixels square in high detail."""


async def estimated_tokens(texts: Sequence[str], *, model: str) -> int:
    """Tokens of texts by the tokenizer of the model, or the likeliest.

    Long texts are counted in a thread. Callers settle money, so this always has an answer: where the caller is
    cancelled meanwhile the answer is by length, and it is told of its cancellation at its next wait.
    """
    size = sum(map(len, texts))
    try:
        if size <= COUNTED_AT_ONCE and len(texts) <= _TEXTS_AT_ONCE and is_loaded(model):
            return count_tokens(texts, model=model)
        return await asyncio.to_thread(count_tokens, texts, model=model)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        task.cancel()
    except ConfigError:
        pass  # the start has said that there are no encodings
    return by_length(size)


def by_length(characters: int) -> int:
    """Tokens of a text of which only the length is known."""
    return -(-characters // CHARACTERS_PER_TOKEN)


async def estimated_input(call: Call, *, model: str) -> int:
    """About how many input tokens a call has, for a provider that did not say: its texts, its tools and earlier calls
    of them, what OpenAI puts around each turn, and each image, sound or file at a usual size."""
    texts = [*_texts(call), *_around(call)]
    return await estimated_tokens(texts, model=model) + _frame(call) + _A_PICTURE * _media(call)


def _turns(call: Call) -> list[dict[str, Any]]:
    turns = call.body.get("messages" if call.endpoint is Endpoint.CHAT else "input")
    return [turn for turn in turns if type(turn) is dict] if type(turns) is list else []


def _frame(call: Call) -> int:
    if call.endpoint in (Endpoint.CHAT, Endpoint.RESPONSES):
        return _AROUND_A_TURN * max(len(_turns(call)), 1) + _AROUND_ALL
    given = call.body.get("prompt" if call.endpoint is Endpoint.COMPLETIONS else "input")
    return _ids(given)


def _ids(given: Any) -> int:
    """Tokens that the client has made itself: a list of numbers, or of such lists."""
    if type(given) is not list:
        return 0
    return sum(1 if type(item) is int else _ids(item) for item in given)


def _around(call: Call) -> Iterator[str]:
    """What a model reads besides the contents of messages, as JSON where it is no text."""
    for name in ("tools", "functions", "response_format", "text"):
        if given := call.body.get(name):
            yield _json(given)
    for turn in _turns(call):
        yield from (turn[name] for name in ("name", "arguments", "output") if type(turn.get(name)) is str)
        for name in ("tool_calls", "function_call"):
            if given := turn.get(name):
                yield _json(given)


def _media(call: Call) -> int:
    """How many parts are no text."""
    parts = [part for turn in _turns(call) if type(content := turn.get("content")) is list for part in content]
    return sum(type(part) is dict and "text" not in part and type(part.get("type")) is str for part in parts)


def _json(node: Any) -> str:
    return orjson.dumps(node).decode()


def input_bound(call: Call, deployment: Deployment) -> int:
    """No fewer input tokens than the call has at this deployment, and no more than its bytes.

    The texts of messages are counted by the tokenizer; all around them (roles, tools, names) stays at a token a byte,
    as in `Call.input_bound`, of which this is a part. Takes time: not for the event loop.
    """
    if call.input_bound >= UNBOUNDED_INPUT or len(call.raw) > COUNTED_BYTES:
        return call.input_bound
    texts = list(_texts(call))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return call.input_bound - size + min(bound_tokens(texts, model=deployment.model), size)


def _texts(call: Call) -> Iterator[str]:
    body = call.body
    if call.endpoint is Endpoint.CHAT:
        yield from _contents(body.get("messages"))
    elif call.endpoint is Endpoint.RESPONSES:
        yield from _strings(body.get("instructions"))
        yield from _strings(body.get("input"))
        yield from _contents(body.get("input"))
    elif call.endpoint is Endpoint.COMPLETIONS:
        yield from _strings(body.get("prompt"))
    else:
        yield from _strings(body.get("input"))


def _contents(turns: Any) -> Iterator[str]:
    """The texts that turns carry as `content`, whole or in parts."""
    for turn in turns if type(turns) is list else ():
        content = turn.get("content") if type(turn) is dict else None
        yield from _strings(content)
        for part in content if type(content) is list else ():
            if type(part) is dict:
                yield from _strings(part.get("text"))


def _strings(node: Any) -> Iterator[str]:
    """A text, or the texts of a list."""
    if type(node) is str:
        yield node
    elif type(node) is list:
        yield from (text for text in node if type(text) is str)
