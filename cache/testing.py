"""Fakes of what the caches lean on, with example values, for the tests of those who use a cache."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.calibration import Candidate, Evidence
from cache.embedders.pooled import EmbedderAway, EmbedderBusy
from cache.guards import ParsedPrompt
from cache.words import STOP_WORDS
from farthing.answer import StoredAnswer
from farthing.call import CacheControl, Call, Endpoint
from farthing.money import Nano
from farthing.ports import Payer, Store
from farthing.tags import Tags
from farthing.usage import Usage


class WordEmbedder:
    """Port `Embedder` by the content words of a text: the same words in any order have the same vector.

    `texts` are those embedded so far. Setting `broken` makes it raise, `stuck` makes it wait for ever,
    `busy` or `away` makes it refuse, `halved` makes it gives vectors of half their length. Where paid, a text costs
    `price` nano-dollars.
    """

    dimension = 64
    version = "words-1"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.broken = self.stuck = self.busy = self.away = self.halved = False
        self.price = 0

    async def embed(self, texts: Sequence[str], payer: Payer | None = None, /) -> NDArray[np.float32]:
        """See the port."""
        if self.stuck:
            await asyncio.Event().wait()
        if self.busy:
            raise EmbedderBusy(queued=1, limit=1)
        if self.away:
            raise EmbedderAway("nobody is there")
        if self.broken:
            raise RuntimeError("the embedder is broken")
        self.texts += texts
        if payer is not None and self.price:
            payer.spent(Nano(self.price * len(texts)))
        vectors = np.stack([self._vector(text) for text in texts])
        return vectors[:, ::2] if self.halved else vectors

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


class FixedScorer:
    """Port `Scorer`: the cosine itself, certain from 0.95 on."""

    version = "fixed-1"
    certain = 0.95

    def score(self, asked: ParsedPrompt, kept: Sequence[ParsedPrompt], cosines: Sequence[float]) -> Sequence[float]:
        """See the port."""
        return [min(1.0, max(0.0, cosine)) for cosine in cosines]


class FixedCalibration:
    """Port `Calibration`: the score is the probability, `after` labels make the threshold 1 - `max_wrong`.

    `labels` are those it has learned (entry, score, same, weight), `requests` the probabilities it was told, `joined`
    the pairs of rows that it was told have the same answer.
    """

    stopped = False

    def __init__(self, max_wrong: float, state: bytes | None = None, *, after: int = 10) -> None:
        self.max_wrong, self.after = max_wrong, after
        self.labels: list[tuple[int, float, bool, float]] = [tuple(one) for one in json.loads(state or b"[]")]
        self.requests: list[float] = []
        self.joined: list[tuple[int, int]] = []

    @property
    def tau(self) -> float | None:
        """See the port."""
        return 1 - self.max_wrong if len(self.labels) >= self.after else None

    def weigh(self, candidate: Candidate, candidates: Sequence[Candidate]) -> Evidence:
        """See the port."""
        return Evidence(candidate.cosine, candidate.score, 0.2, 0)

    def p(self, entry_id: int, s: Evidence) -> float:
        """See the port: 0 for an entry that was wrong once."""
        return 0.0 if any(entry == entry_id and not same for entry, _, same, _ in self.labels) else s.score

    def note_request(self, p: float, *, hit: bool | None = None) -> None:
        """See the port."""
        self.requests.append(p)

    def grading_share(self, p: float) -> float:
        """See the port."""
        return 0.05

    def learn(
        self, entry_id: int, s: Evidence, same: bool, weight: float, *, kept: int | None = None, served: bool = False
    ) -> None:
        """See the port."""
        self.labels.append((entry_id, s.score, same, weight))
        if same and kept is not None:
            self.joined.append((kept, entry_id))

    def state(self) -> bytes:
        """See the port."""
        return json.dumps(self.labels).encode()


class FixedGrader:
    """Port `Grader` whose `verdict` is set by the test; `asked` are the pairs it was shown."""

    def __init__(self, verdict: bool | None = True) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str, str, str]] = []

    async def same(self, question_a: str, answer_a: str, question_b: str, answer_b: str) -> bool | None:
        """See the port."""
        self.asked.append((question_a, answer_a, question_b, answer_b))
        return self.verdict


async def value_of(store: Store, key: bytes, now_ns: int) -> bytes | None:
    """The live value of one key."""
    return (await store.read([key], now_ns)).get(key)


class BrokenStore:
    """Port `Store` on a disk that is gone."""

    async def read(self, keys: Sequence[bytes], now_ns: int) -> dict[bytes, bytes]:
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
