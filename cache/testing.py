"""Fakes of what the caches lean on, with example values, for the tests of those who use a cache."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.words import STOP_WORDS
from farthing.answer import StoredAnswer
from farthing.call import CacheControl, Call, Endpoint
from farthing.money import Nano
from farthing.tags import Tags
from farthing.usage import Usage


class WordEmbedder:
    """Port `Embedder` by the content words of a text: the same words in any order have the same vector.

    `texts` are those embedded so far. Setting `broken` makes it raise, `stuck` makes it wait for ever.
    """

    dimension = 64
    version = "words-1"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.broken = self.stuck = False

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the port."""
        if self.stuck:
            await asyncio.Event().wait()
        if self.broken:
            raise RuntimeError("the embedder is broken")
        self.texts += texts
        return np.stack([self._vector(text) for text in texts])

    async def aclose(self) -> None:
        """See the port."""

    def _vector(self, text: str) -> NDArray[np.float32]:
        words = {word.strip(".,?!'").lower() for word in text.split()} - STOP_WORDS
        total = np.sum([_direction(word, self.dimension) for word in sorted(words) or [""]], axis=0)
        unit: NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
        return unit


def _direction(word: str, dimension: int) -> NDArray[np.float64]:
    bits = np.unpackbits(np.frombuffer(hashlib.blake2b(word.encode(), digest_size=dimension // 8).digest(), np.uint8))
    return bits.astype(np.float64) - 0.5


class BrokenStore:
    """Port `Store` on a disk that is gone."""

    async def get(self, key: bytes, now_ns: int) -> bytes | None:
        """See the port."""
        raise OSError("no disk")

    async def put(self, key: bytes, value: bytes, *, scope: bytes, expires_ns: int) -> None:
        """See the port."""
        raise OSError("no disk")

    async def delete(self, key: bytes) -> None:
        """See the port."""
        raise OSError("no disk")

    async def close(self) -> None:
        """See the port."""


def example_call(body: dict[str, Any], *, endpoint: Endpoint = Endpoint.CHAT, **changes: Any) -> Call:
    """A call of tenant acme with this body; `tenant`, `feature`, `environment` and any field of Call may be given."""
    named: dict[str, str] = {
        name: changes.pop(name) for name in ("tenant", "feature", "environment") if name in changes
    }
    own: dict[str, str] = {"tenant": "acme", "key_id": "key-1", "feature": "search", **named}
    tags = Tags(**own)
    defaults: dict[str, Any] = {
        "id": "req-1",
        "tags": tags,
        "model": str(body.get("model", "")),
        "stream": bool(body.get("stream")),
        "wants_usage": False,
        "raw": json.dumps(body).encode(),
        "received_ns": 0,
        "started": 0.0,
        "input_bound": 100,
        "cache_control": CacheControl(),
    }
    return Call(endpoint=endpoint, body=body, **{**defaults, **changes})


def example_question(text: str, **members: Any) -> dict[str, Any]:
    """A chat body that asks one thing at temperature 0; further members may be given."""
    return {"model": "small", "messages": [{"role": "user", "content": text}], "temperature": 0, **members}


def example_body(content: str | None = "Paris.", **message: Any) -> dict[str, Any]:
    """A complete plain chat answer; further members of its message may be given."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "small-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, **message},
                "logprobs": None,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        "system_fingerprint": "fp_1",
        "service_tier": "default",
    }


def example_answer(body: dict[str, Any] | None = None, *, stored_ns: int = 1_800_000_000 * 10**9) -> StoredAnswer:
    """A stored answer with this body, by default `example_body()`."""
    return StoredAnswer(
        body=json.dumps(example_body() if body is None else body).encode(),
        model="small-1",
        provider="local",
        tier="small",
        usage=Usage(input_uncached=9, output=2),
        cost=Nano(12_500),
        stored_ns=stored_ns,
    )
