"""Answers: what the caches keep, what they find, and the value in which one travels."""

from farthing.money import Nano
from farthing.record import CacheOutcome
from farthing.usage import Usage
from farthing.value import Value


class StoredAnswer(Value, frozen=True, kw_only=True):
    """A complete answer as a cache keeps it: `body` is the plain (not streamed) JSON of the endpoint.

    `cost` is what it cost to make, nano-dollars; `stored_ns` wall ns; `seconds` is how long its provider took.
    """

    body: bytes
    model: str
    provider: str
    tier: str
    usage: Usage
    cost: Nano
    stored_ns: int
    seconds: float = 0.0

    def is_young(self, now_ns: int, max_age_s: int | None) -> bool:
        """True where it is no older than so many seconds; None bounds nothing."""
        return max_age_s is None or now_ns - self.stored_ns <= max_age_s * 1_000_000_000


class Hit(Value, frozen=True, kw_only=True):
    """An answer found. `score` is the cosine of a semantic hit (trusted callers only), None for an exact one."""

    kind: CacheOutcome
    answer: StoredAnswer
    score: float | None = None
