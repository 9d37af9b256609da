"""Call: one request of a client, parsed once."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from farthing.tags import Tags
from farthing.value import Value


class Endpoint(StrEnum):
    """The OpenAI operations that reach a model; the value is the path below /v1."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"


class CacheControl(Value, frozen=True, kw_only=True):
    """What the caller asked of the caches; a caller may only tighten the policy."""

    no_cache: bool = False
    """Do not answer from a cache (the fresh answer may still be stored)."""
    no_store: bool = False
    max_age_s: int | None = None
    """Do not answer with an entry older than this."""
    min_fresh_s: int = 0
    """Do not answer with an entry that lives no longer than this from now on."""
    only_if_cached: bool = False
    """Answer from a cache or not at all."""
    tags: tuple[str, ...] = ()
    """Names by which the answer can be purged; sorted, none twice."""

    @property
    def is_picky(self) -> bool:
        """True where not every live entry will do."""
        return self.max_age_s is not None or self.min_fresh_s > 0 or self.only_if_cached

    def takes(self, stored_ns: int, asked_ns: int) -> bool:
        """Whether an answer will do that was stored at `stored_ns` (wall ns) and shared with this call, received at
        `asked_ns`, without a word on how long it lives."""
        if self.min_fresh_s > 0:
            return stored_ns >= asked_ns
        return self.max_age_s is None or asked_ns - stored_ns <= self.max_age_s * 1_000_000_000


class Call(Value, frozen=True, kw_only=True):
    """One admitted request.

    `raw` are the bytes as they came, `body` the same parsed (read only); whoever forwards prefers `raw`.
    `model` is what the client asked for. `received_ns` is wall time in ns, `started` monotonic seconds.
    `output_cap` is the client's own cap on output tokens for each choice, if any; `choices` is n (best_of counts).
    `input_bound` is a proven upper bound on input tokens.
    """

    id: str
    endpoint: Endpoint
    tags: Tags
    model: str
    stream: bool
    wants_usage: bool
    raw: bytes
    body: Mapping[str, Any]
    received_ns: int
    started: float
    input_bound: int
    output_cap: int | None = None
    choices: int = 1
    cache_control: CacheControl = CacheControl()
