"""Tokens: a tighter bound on what goes into a call than its bytes, where the model's tokenizer is known."""

from collections.abc import Iterator
from typing import Any, Final

from farthing.call import Call, Endpoint
from farthing.catalog import Deployment
from gateway.admission import UNBOUNDED_INPUT
from ledger.tokens import bound_tokens

COUNTED_BYTES: Final = 400_000
"""A longer body is not counted: it would take longer (about 50 ms of another thread) than a refusal may."""


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
