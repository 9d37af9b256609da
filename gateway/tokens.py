"""Tokens: by the tokenizer, how many go into a call at most, and about how many there were where nobody counted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from farthing.call import Call, Endpoint
from farthing.catalog import Deployment
from gateway.admission import UNBOUNDED_INPUT
from ledger.tokens import bound_tokens, count_tokens

COUNTED_BYTES: Final = 400_000
"""A longer body is not counted: it would take longer (about 50 ms of another thread) than a refusal may."""


SAMPLED: Final = 32_000
_SAMPLES: Final = 32
_AROUND_ALL: Final = 3
_AROUND_A_TURN: Final = 4
"""Of OpenAI's models: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken."""
_A_PICTURE: Final = 765
"""What OpenAI bills for an image of 1024 pixels square in high detail."""


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


def estimated_input(call: Call) -> int:
    """About how many input tokens a call has, for a provider that did not say: its texts and the definitions of its
    tools by the tokenizer, with OpenAI's few tokens around each turn, and each image or sound at a usual size."""
    turns = call.body.get("messages", call.body.get("input"))
    turns = turns if type(turns) is list else ()
    settings = [call.body[name] for name in ("tools", "functions", "response_format") if call.body.get(name)]
    texts = [*_texts(call), *(orjson.dumps(one).decode("utf-8", "replace") for one in settings)]
    others = sum(_is_no_text(part) for turn in turns if type(turn) is dict for part in _parts(turn))
    given = _numbers(call.body.get("input")) + _numbers(call.body.get("prompt"))
    return estimated_tokens(texts) + given + _AROUND_ALL + _AROUND_A_TURN * len(turns) + _A_PICTURE * others


def estimated_tokens(texts: Iterable[str]) -> int:
    """About how many tokens a text has that came in these pieces. Exact by the tokenizer up to SAMPLED characters,
    about 5 ms; of a longer one so many, taken from all over it, tell."""
    text = "".join(texts)
    if len(text) <= SAMPLED:
        return count_tokens((text,))
    size, gap = SAMPLED // _SAMPLES, len(text) // _SAMPLES
    counted = count_tokens(text[start : start + size] for start in range(0, gap * _SAMPLES, gap))
    return -(-counted * len(text) // (size * _SAMPLES))


def _numbers(node: Any) -> int:
    """Tokens that the caller sent as such."""
    if type(node) is not list:
        return 0
    return sum(1 if type(item) is int else _numbers(item) for item in node)


def _is_no_text(part: Any) -> bool:
    return type(part) is dict and "text" not in part and type(part.get("type")) is str


def _parts(turn: Mapping[str, Any]) -> Sequence[Any]:
    content = turn.get("content")
    return content if type(content) is list else ()


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
